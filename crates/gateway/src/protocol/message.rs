//! The messages that the gateway says or understands itself: errors, and the state of a session.

/// The SQLSTATEs that the gateway uses.
pub mod sqlstate {
    /// The client broke the protocol.
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    /// A transaction was sent to be committed, and whether it will last is not known.
    pub const TRANSACTION_RESOLUTION_UNKNOWN: &str = "08007";
    /// The connection to the server failed.
    pub const CONNECTION_FAILURE: &str = "08006";
    /// The gateway does not do that.
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    /// Over a limit of sessions.
    pub const TOO_MANY_CONNECTIONS: &str = "53300";
    /// The session is ended from outside.
    pub const ADMIN_SHUTDOWN: &str = "57P01";
    /// The password is wrong.
    pub const INVALID_PASSWORD: &str = "28P01";
    /// The server ends all sessions because one of its processes crashed.
    pub const CRASH_SHUTDOWN: &str = "57P02";
    /// Nobody can serve now.
    pub const CANNOT_CONNECT_NOW: &str = "57P03";
}

/// The type byte of an ErrorResponse.
pub const ERROR: u8 = b'E';

/// The type byte of a NoticeResponse; its body has the form of an ErrorResponse's.
pub const NOTICE: u8 = b'N';

/// The routine (field `R`, in no language) in which PostgreSQL warns that it stopped waiting for its
/// synchronous standby. What it acknowledges after that is on no other machine for sure.
const SYNC_WAIT: &[u8] = b"SyncRepWaitForLSN";

/// How bad it is, in PostgreSQL's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The session ends.
    Fatal,
    /// The statement failed.
    Error,
}

/// What the gateway tells a client that it cannot serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// How bad.
    pub severity: Severity,
    /// Five characters.
    pub sqlstate: &'static str,
    /// What happened, in one sentence.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Fault {
    /// One that ends the session.
    pub fn fatal(sqlstate: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { severity: Severity::Fatal, sqlstate, message: message.into(), hint: hint.into() }
    }

    /// The ErrorResponse message. Zero bytes in the texts are left out, long texts are cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let severity = match self.severity {
            Severity::Fatal => "FATAL",
            Severity::Error => "ERROR",
        };
        let fields = [
            (b'S', severity),
            (b'V', severity),
            (b'C', self.sqlstate),
            (b'M', &self.message),
            (b'H', &self.hint),
        ];
        let mut body = Vec::with_capacity(128);
        for (kind, text) in fields.into_iter().filter(|(_, text)| !text.is_empty()) {
            body.push(kind);
            body.extend(text.bytes().take(TEXT_MAX).filter(|b| *b != 0));
            body.push(0);
        }
        body.push(0);
        let mut error = Vec::with_capacity(body.len() + 5);
        message(&mut error, ERROR, &[&body]);
        error
    }
}

/// The longest text in one field of a message of ours.
const TEXT_MAX: usize = 1_000;

/// Appends a message with a body of these parts.
pub fn message(to: &mut impl Extend<u8>, tag: u8, parts: &[&[u8]]) {
    let length = parts.iter().map(|part| part.len()).sum::<usize>() + 4;
    to.extend([tag]);
    to.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    parts.iter().for_each(|part| to.extend(part.iter().copied()));
}

/// The text at the beginning of a body, up to its zero byte.
#[must_use]
pub fn until_zero(body: &[u8]) -> &[u8] {
    body.split(|b| *b == 0).next().unwrap_or_default()
}

/// One field of an ErrorResponse's body, such as `C` for the SQLSTATE or `M` for the message.
#[must_use]
pub fn error_field(body: &[u8], kind: u8) -> Option<&[u8]> {
    body.split(|b| *b == 0).find_map(|field| field.split_first().filter(|(k, _)| **k == kind)).map(|(_, v)| v)
}

/// A NoticeResponse with this body says that the server has given up waiting for its synchronous
/// standby: somebody cancelled a COMMIT, or the server is being stopped.
#[must_use]
pub fn gave_up_standby(body: &[u8]) -> bool {
    error_field(body, b'R') == Some(SYNC_WAIT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::Frames;

    #[test]
    fn an_error_is_one_whole_message_with_its_fields() {
        let fault = Fault::fatal(sqlstate::CANNOT_CONNECT_NOW, "no \0writer", "wait");
        let bytes = fault.encode();
        let mut seen = Vec::new();
        Frames::default().scan(&bytes, |tag, body| seen.push((tag, body.to_vec()))).unwrap();
        let [(ERROR, body)] = seen.as_slice() else { panic!("one error expected, got {seen:?}") };
        assert_eq!(error_field(body, b'C'), Some(&b"57P03"[..]));
        assert_eq!(error_field(body, b'M'), Some(&b"no writer"[..]));
        assert_eq!(error_field(body, b'S'), Some(&b"FATAL"[..]));
        assert_eq!(error_field(body, b'X'), None);
    }

    proptest! {
        #[test]
        fn any_text_makes_one_message(message in ".{0,2000}", hint in ".{0,50}") {
            let bytes = Fault::fatal("XX000", message, hint).encode();
            let mut frames = Frames::default();
            let mut count = 0;
            frames.scan(&bytes, |_, _| count += 1).unwrap();
            prop_assert_eq!((count, frames.cleared()), (1, bytes.len()));
        }

        #[test]
        fn any_body_can_be_asked_for_a_field(body in proptest::collection::vec(any::<u8>(), 0..200), kind: u8) {
            if let Some(text) = error_field(&body, kind) {
                prop_assert!(!text.contains(&0));
            }
        }
    }
}
