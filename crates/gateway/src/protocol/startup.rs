//! The first packets of a connection: they carry no type byte, only a length and a code.

use super::message::sqlstate;

/// The longest first packet, length word included. PostgreSQL's own limit.
pub const OPENING_MAX: usize = 10_000;
/// The longest secret of a cancel key (protocol 3.2).
pub const CANCEL_SECRET_MAX: usize = 256;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
/// The length word and the code.
const HEAD: usize = 8;

/// What a client opens with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// It asks for TLS.
    Tls,
    /// It asks for GSSAPI encryption.
    Gss,
    /// It asks to cancel what another connection runs.
    Cancel(CancelKey),
    /// It begins a session.
    Session(Startup),
}

/// What a server calls one of its sessions; whoever shows it may cancel what the session runs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CancelKey {
    /// The server's process.
    pub process: u32,
    /// 4 bytes in protocol 3.0, up to 256 in 3.2.
    pub secret: Box<[u8]>,
}

/// Why a first packet is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// The length word is below 8 or above [`OPENING_MAX`].
    #[error("invalid length of startup packet: {0} bytes; 8 to {OPENING_MAX} are possible")]
    Length(u32),
    /// A major version other than 3.
    #[error("unsupported frontend protocol {major}.{minor}: the gateway speaks 3.0 and above")]
    Version {
        /// Before the point.
        major: u32,
        /// After it.
        minor: u32,
    },
    /// The parameters are no list of pairs of texts with a zero byte at its end.
    #[error("invalid startup packet layout: expected pairs of texts with a terminator as last byte")]
    Layout,
    /// A cancel request with no secret or one that is too long.
    #[error(
        "invalid length of cancel request: the secret has {0} bytes; 1 to {CANCEL_SECRET_MAX} are possible"
    )]
    CancelSecret(usize),
}

impl OpeningError {
    /// The SQLSTATE to answer with.
    #[must_use]
    pub const fn sqlstate(&self) -> &'static str {
        match self {
            Self::Version { .. } => sqlstate::FEATURE_NOT_SUPPORTED,
            Self::Length(_) | Self::Layout | Self::CancelSecret(_) => sqlstate::PROTOCOL_VIOLATION,
        }
    }
}

/// How many bytes follow a length word.
///
/// # Errors
/// [`OpeningError::Length`] outside 8 to [`OPENING_MAX`].
pub fn bytes_after_length(word: [u8; 4]) -> Result<usize, OpeningError> {
    let length = u32::from_be_bytes(word);
    match usize::try_from(length) {
        Ok(bytes) if (HEAD..=OPENING_MAX).contains(&bytes) => Ok(bytes - word.len()),
        _ => Err(OpeningError::Length(length)),
    }
}

impl Opening {
    /// Reads what follows the length word.
    ///
    /// # Errors
    /// [`OpeningError`], with the SQLSTATE to answer.
    pub fn parse(rest: &[u8]) -> Result<Self, OpeningError> {
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let (code, rest) = rest.split_first_chunk::<4>().ok_or(OpeningError::Length(length))?;
        let code = u32::from_be_bytes(*code);
        match code {
            SSL => Ok(Self::Tls),
            GSS => Ok(Self::Gss),
            CANCEL => CancelKey::parse(rest).map(Self::Cancel).ok_or(OpeningError::CancelSecret(rest.len())),
            _ if code >> 16 == 3 => Startup::parse(code, rest).map(Self::Session).ok_or(OpeningError::Layout),
            _ => Err(OpeningError::Version { major: code >> 16, minor: code & 0xffff }),
        }
    }
}

// === impl CancelKey ===

impl CancelKey {
    /// Reads the body of a BackendKeyData message or the end of a CancelRequest.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let (process, secret) = body.split_first_chunk::<4>()?;
        if !(1..=CANCEL_SECRET_MAX).contains(&secret.len()) {
            return None;
        }
        Some(Self { process: u32::from_be_bytes(*process), secret: secret.into() })
    }

    /// The CancelRequest packet with this key.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        let mut body = CANCEL.to_be_bytes().to_vec();
        body.extend_from_slice(&self.process.to_be_bytes());
        body.extend_from_slice(&self.secret);
        with_length(&body)
    }
}

/// Never the secret: it would let readers of a log cancel other people's work.
impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelKey").field("process", &self.process).finish_non_exhaustive()
    }
}

// === impl Startup ===

/// A startup message: the version and the parameters, as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    version: u32,
    /// Pairs of zero-terminated texts, without the terminator of the list.
    pairs: Vec<u8>,
}

impl Startup {
    fn parse(version: u32, rest: &[u8]) -> Option<Self> {
        let (end, pairs) = rest.split_last()?;
        let texts = pairs.iter().filter(|b| **b == 0).count();
        let closed = pairs.last().is_none_or(|b| *b == 0);
        let startup = Self { version, pairs: pairs.to_vec() };
        let named = startup.parameters().all(|(name, _)| !name.is_empty());
        (*end == 0 && closed && texts.is_multiple_of(2) && named).then_some(startup)
    }

    /// Names and values, in order. PostgreSQL uses the last of a name.
    pub fn parameters(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut texts = self.pairs.split(|b| *b == 0);
        std::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
    }

    /// The value that counts for that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters().filter(|(n, _)| *n == name.as_bytes()).last().map(|(_, value)| value)
    }

    /// The client wants to stream the log rather than ask questions.
    #[must_use]
    pub fn wants_replication(&self) -> bool {
        const NO: [&[u8]; 5] = [b"false", b"off", b"no", b"0", b"f"];
        let wanted = |value: &[u8]| !NO.iter().any(|no| no.eq_ignore_ascii_case(value));
        self.parameter("replication").is_some_and(wanted)
    }

    /// The same with `name` set to `value`, last, so that it counts.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        let mut set = self.without(name);
        for text in [name, value] {
            set.pairs.extend(text.bytes().filter(|b| *b != 0));
            set.pairs.push(0);
        }
        set
    }

    /// The same without `name`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        if self.parameter(name).is_none() {
            return self;
        }
        let mut pairs = Vec::with_capacity(self.pairs.len());
        for (key, value) in self.parameters().filter(|(key, _)| *key != name.as_bytes()) {
            for text in [key, value] {
                pairs.extend_from_slice(text);
                pairs.push(0);
            }
        }
        self.pairs = pairs;
        self
    }

    /// The packet.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend_from_slice(&self.pairs);
        body.push(0);
        with_length(&body)
    }

    /// How many bytes the packet has.
    #[must_use]
    pub fn size(&self) -> usize {
        HEAD + self.pairs.len() + 1
    }
}

/// `body` behind its length word, which counts itself.
fn with_length(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    let mut packet = length.to_be_bytes().to_vec();
    packet.extend_from_slice(body);
    packet
}

#[cfg(test)]
mod tests;
