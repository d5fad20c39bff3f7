//! Where messages end in a stream of bytes, without copying or decoding them.
//!
//! [`Frames`] keeps three numbers about a buffer that somebody else holds: how much of its beginning
//! may be forwarded, how much of a long message is still to come, and how much of the message that
//! was begun is not yet sent. A message of up to [`WHOLE_MAX`] bytes is cleared only when all of it
//! is there, so that a session that must end in between ends between two messages; a longer one is
//! passed on as it arrives.

/// A message up to this many bytes is forwarded in one piece; also the size of a buffer.
pub const WHOLE_MAX: usize = 16 * 1024;
/// The longest message: PostgreSQL builds none above 1 GiB.
pub const MESSAGE_MAX: u32 = 1 << 30;

/// At least so much of a longer message is there when it is told.
pub const LOOK_MIN: usize = 1_024;

/// The type byte and the length word.
pub const HEAD: usize = 5;
/// The length word counts itself.
const LENGTH_WORD: u32 = 4;

/// The bytes are no messages of PostgreSQL's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of type {tag:#04x} claims {length} bytes; {LENGTH_WORD} to {MESSAGE_MAX} are possible")]
pub struct FrameError {
    /// The type byte.
    pub tag: u8,
    /// The length word.
    pub length: u32,
}

/// The place in a stream of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frames {
    cleared: usize,
    ahead: usize,
    torn: usize,
}

impl Frames {
    /// How many bytes at the beginning of the buffer may be forwarded.
    #[must_use]
    pub const fn cleared(&self) -> usize {
        self.cleared
    }

    /// What was sent so far ends between two messages.
    #[must_use]
    pub const fn at_boundary(&self) -> bool {
        self.torn == 0
    }

    /// Looks at what was added to `held`, clears what may go, and tells `note` each message once, when
    /// it is cleared: its type byte and its body. The body of a message over [`WHOLE_MAX`] is not told
    /// (empty).
    ///
    /// # Errors
    /// [`FrameError`] when the length is impossible; nothing after that can be understood.
    pub fn scan(&mut self, held: &[u8], mut note: impl FnMut(u8, &[u8])) -> Result<(), FrameError> {
        let all = |tag, body: &[u8], whole| {
            note(tag, if whole { body } else { &[] });
            true
        };
        self.scan_while(held, all).map(drop)
    }

    /// As [`Frames::scan`], until `note` says false: that message and all after it are not cleared. Says
    /// whether it never did. Of a message over [`WHOLE_MAX`] the beginning is told ([`LOOK_MIN`] bytes or
    /// more, and not `whole`).
    ///
    /// # Errors
    /// As [`Frames::scan`].
    pub fn scan_while(
        &mut self,
        held: &[u8],
        mut note: impl FnMut(u8, &[u8], bool) -> bool,
    ) -> Result<bool, FrameError> {
        loop {
            let rest = held.get(self.cleared..).unwrap_or_default();
            let passing = rest.len().min(self.ahead);
            self.cleared += passing;
            self.ahead -= passing;
            let Some(size) = rest.get(passing..).map_or(Ok(None), message_size)? else { return Ok(true) };
            let rest = rest.get(passing..).unwrap_or_default();
            let tag = rest.first().copied().unwrap_or_default();
            if let Some(message) = rest.get(..size) {
                if !note(tag, message.get(HEAD..).unwrap_or_default(), true) {
                    return Ok(false);
                }
                self.cleared += size;
            } else if size > WHOLE_MAX && rest.len() >= HEAD + LOOK_MIN {
                if !note(tag, rest.get(HEAD..).unwrap_or_default(), false) {
                    return Ok(false);
                }
                self.cleared += rest.len();
                self.ahead = size - rest.len();
                return Ok(true);
            } else {
                return Ok(true);
            }
        }
    }

    /// The first `sent` bytes of `held` (not more than are cleared) have been sent; the caller removes
    /// them from the buffer.
    pub fn sent(&mut self, held: &[u8], sent: usize) {
        let sent = sent.min(self.cleared);
        self.torn = if sent == self.cleared { self.ahead } else { torn_after(held, self.torn, sent) };
        self.cleared -= sent;
    }
}

/// The size of the message at the beginning of `bytes`, with its head, once the head is there.
///
/// # Errors
/// [`FrameError`] when the length is impossible.
pub fn message_size(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(&[tag, a, b, c, d]) = bytes.first_chunk::<HEAD>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]);
    if !(LENGTH_WORD..=MESSAGE_MAX).contains(&length) {
        return Err(FrameError { tag, length });
    }
    Ok(usize::try_from(length).ok().map(|length| length + 1))
}

/// How much of the message that byte `sent` falls into is left, when `held` begins with the last
/// `torn` bytes of one.
fn torn_after(held: &[u8], torn: usize, sent: usize) -> usize {
    let mut end = torn;
    while end < sent {
        match held.get(end..).map(message_size) {
            Some(Ok(Some(size))) => end += size,
            // Cannot be: only what was scanned is sent. Being torn is the safe side.
            _ => return usize::MAX,
        }
    }
    end - sent
}

#[cfg(test)]
mod tests;
