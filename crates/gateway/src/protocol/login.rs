//! The login of a client, answer by answer: what the gateway says to a new server in a user's place.
//!
//! SCRAM-SHA-256 without channel binding (the way to the server is not encrypted) and servers that ask for
//! nothing. A password is never sent: a server that asks for it in the clear or as MD5 gets nothing.

use bytes::BytesMut;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

/// One login, until the server says that it is done.
pub struct Login {
    state: State,
}

enum State {
    Asked(Box<ScramSha256>),
    /// Its first word was said before it was asked for.
    Greeted(Box<ScramSha256>),
    Answered(Box<ScramSha256>),
    /// The password is proven; the server is to prove that it knows it too.
    Said(Box<ScramSha256>),
    Proven,
    Done,
    Failed,
}

/// Why a login failed. It names neither the password nor anything made from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// It asks for something else than SCRAM-SHA-256.
    #[error("the server asks for an authentication (code {0}) that the gateway does not do for others")]
    Unsupported(u32),
    /// What it says is no part of SCRAM, or it could not prove that it knows the password.
    #[error("the server's part of SCRAM is wrong: {0}")]
    Scram(String),
}

const OK: u32 = 0;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

impl Login {
    /// With the password of the user.
    #[must_use]
    pub fn new(password: &[u8]) -> Self {
        let scram = ScramSha256::new(password, ChannelBinding::unsupported());
        Self { state: State::Asked(Box::new(scram)) }
    }

    /// The first word of SCRAM, for a server that will ask for it: said with the startup packet it saves a round
    /// trip. It gives nothing away but the name of the method.
    ///
    /// # Errors
    /// [`LoginError`] when it has said or heard something already.
    pub fn greet(&mut self) -> Result<Vec<u8>, LoginError> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Asked(scram) => {
                let first = first_word(&scram)?;
                self.state = State::Greeted(scram);
                Ok(first)
            }
            _ => Err(LoginError::Scram("it has begun already".to_owned())),
        }
    }

    /// The server's part is done.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Nothing more is to be said in it.
    #[must_use]
    pub const fn has_said_all(&self) -> bool {
        matches!(self.state, State::Said(_) | State::Proven | State::Done)
    }

    /// This Authentication message asks for SCRAM.
    #[must_use]
    pub fn is_offer(body: &[u8]) -> bool {
        code(body) == Some(SASL)
    }

    /// Hearing this Authentication message takes milliseconds of computing.
    #[must_use]
    pub fn is_heavy(body: &[u8]) -> bool {
        code(body) == Some(SASL_CONTINUE)
    }

    /// Hears an Authentication message (`R`); says what to answer, if anything.
    ///
    /// # Errors
    /// [`LoginError`]; the connection is of no use any more.
    pub fn hear(&mut self, body: &[u8]) -> Result<Vec<u8>, LoginError> {
        let code = code(body).ok_or(LoginError::Unsupported(u32::MAX))?;
        let data = body.get(4..).unwrap_or_default();
        let wrong = |e: std::io::Error| LoginError::Scram(e.to_string());
        let mut answer = BytesMut::new();
        let state = match (std::mem::replace(&mut self.state, State::Failed), code) {
            (State::Asked(_) | State::Proven, OK) => State::Done,
            (State::Asked(_) | State::Greeted(_), SASL) if !offers_scram(data) => {
                return Err(LoginError::Unsupported(code));
            }
            (State::Asked(scram), SASL) => {
                answer.extend_from_slice(&first_word(&scram)?);
                State::Answered(scram)
            }
            (State::Greeted(scram), SASL) => State::Answered(scram),
            (State::Answered(mut scram), SASL_CONTINUE) => {
                scram.update(data).map_err(wrong)?;
                frontend::sasl_response(scram.message(), &mut answer).map_err(wrong)?;
                State::Said(scram)
            }
            (State::Said(mut scram), SASL_FINAL) => {
                scram.finish(data).map_err(wrong)?;
                State::Proven
            }
            (State::Asked(_) | State::Greeted(_), code) => return Err(LoginError::Unsupported(code)),
            _ => return Err(LoginError::Scram(format!("a message with code {code} came out of turn"))),
        };
        self.state = state;
        Ok(answer.to_vec())
    }
}

/// Never what it holds.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("done", &self.is_done()).finish_non_exhaustive()
    }
}

fn offers_scram(mechanisms: &[u8]) -> bool {
    mechanisms.split(|b| *b == 0).any(|mechanism| mechanism == SCRAM_SHA_256.as_bytes())
}

fn first_word(scram: &ScramSha256) -> Result<Vec<u8>, LoginError> {
    let mut word = BytesMut::new();
    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut word)
        .map_err(|e| LoginError::Scram(e.to_string()))?;
    Ok(word.to_vec())
}

fn code(body: &[u8]) -> Option<u32> {
    body.first_chunk().map(|code| u32::from_be_bytes(*code))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn authentication(code: u32, data: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes()[..], data].concat()
    }

    #[test]
    fn a_server_that_asks_for_nothing_is_content() {
        let mut login = Login::new(b"secret");
        assert_eq!(login.hear(&authentication(OK, b"")), Ok(Vec::new()));
        assert!(login.is_done());
    }

    #[test]
    fn a_password_is_never_sent() {
        for code in [3, 5, 7] {
            let mut login = Login::new(b"secret");
            assert_eq!(login.hear(&authentication(code, b"salt")), Err(LoginError::Unsupported(code)));
        }
        let mut login = Login::new(b"secret");
        let plus_only = authentication(SASL, b"SCRAM-SHA-256-PLUS\0\0");
        assert_eq!(login.hear(&plus_only), Err(LoginError::Unsupported(SASL)));
        assert!(!format!("{login:?}").contains("secret"));
    }

    #[test]
    fn the_first_word_is_the_same_before_and_after_it_is_asked_for() {
        let offer = authentication(SASL, b"SCRAM-SHA-256\0\0");
        let mut login = Login::new(b"secret");
        let early = login.greet().unwrap();
        assert_eq!(login.hear(&offer), Ok(Vec::new()), "it was said already");
        let late = Login::new(b"secret").hear(&offer).unwrap();
        let method = "p\0\0\0".len() + 1.."p....SCRAM-SHA-256".len();
        assert_eq!((early.len(), &early[method.clone()]), (late.len(), &late[method]));
        assert!(login.greet().is_err(), "and it is said once");
        let mut content = Login::new(b"secret");
        content.greet().unwrap();
        assert!(content.hear(&authentication(OK, b"")).is_err(), "it would not understand what it hears");
    }

    #[test]
    fn a_server_that_proves_nothing_is_not_believed() {
        let mut login = Login::new(b"secret");
        let offer = authentication(SASL, b"SCRAM-SHA-256\0\0");
        assert!(login.hear(&offer).unwrap().starts_with(b"p"));
        assert!(matches!(login.hear(&authentication(OK, b"")), Err(LoginError::Scram(_))), "not so soon");
        assert!(!login.is_done());
        assert!(login.hear(&offer).is_err(), "and not again");
    }

    proptest! {
        #[test]
        fn any_talk_is_survived(talk in proptest::collection::vec((0u32..14, proptest::collection::vec(any::<u8>(), 0..60)), 0..6)) {
            let mut login = Login::new(b"secret");
            for (code, data) in talk {
                let _ = login.hear(&authentication(code, &data));
            }
        }
    }
}
