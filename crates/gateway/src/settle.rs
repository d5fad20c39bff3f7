//! Setting a session up at another server: the login in the client's place, and what the session had at its old one.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::door::Door;
use crate::protocol::frame::{HEAD, message_size};
use crate::protocol::message::{ERROR, NOTICE, error_field, message, sqlstate, until_zero};
use crate::protocol::tracker::Replay;
use crate::protocol::{CancelKey, Login, Tracker, WHOLE_MAX};
use crate::route::Target;
use crate::upstream::Upstream;

/// How long the login and setting all up may take.
pub(crate) const SETTLE_MAX: Duration = Duration::from_secs(5);
/// What a standby says of itself. Whoever logged in before it became the writer need not hear of it.
const IN_HOT_STANDBY: &[u8] = b"in_hot_standby";

/// A login that has begun, and with what.
pub(crate) struct Pass {
    pub(crate) login: Login,
    pub(crate) password: Arc<str>,
}

/// A session that a server has taken.
#[derive(Debug)]
pub(crate) struct Settled {
    tcp: TcpStream,
    heard: Heard,
    /// What was set up there.
    replayed: Replay,
}

/// Why a server did not take the session over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the connection broke while the session was set up: {0}")]
    Broken(#[from] std::io::Error),
    #[error("setting the session up took over {} s", SETTLE_MAX.as_secs())]
    Slow,
    #[error("it says: {message} ({code})")]
    Says { code: String, message: String },
    #[error("{0}")]
    Wrong(String),
}

impl Settled {
    /// Logs in and sets all up.
    pub(crate) async fn at(
        door: &Door,
        upstream: Upstream,
        login: Login,
        replay: Replay,
    ) -> Result<Self, Trouble> {
        let Upstream { mut tcp, early, .. } = upstream;
        let mut heard = Heard { held: early, key: None, parameters: Vec::new() };
        let login = introduce(door, &mut tcp, &mut heard, login).await?;
        let (mut from, mut to) = tcp.split();
        // Behind the login's last word, without waiting for the server's yes: a round trip less. What the client
        // has asked meanwhile waits for it.
        let said = async { Ok(to.write_all(&replay.bytes).await?) };
        let answered = async {
            be_admitted(door, &mut from, &mut heard, login).await?;
            heard.all_ready(&mut from, &replay).await
        };
        tokio::try_join!(said, answered)?;
        Ok(Self { tcp, heard, replayed: replay })
    }

    /// Sets up what the session has now, if nothing was set up yet. False: it was, and is not the same any more.
    pub(crate) async fn is_like(&mut self, replay: Replay) -> Result<bool, Trouble> {
        if self.replayed == replay || self.replayed.readies > 0 {
            return Ok(self.replayed == replay);
        }
        let (mut from, mut to) = self.tcp.split();
        let said = async { Ok(to.write_all(&replay.bytes).await?) };
        tokio::try_join!(said, self.heard.all_ready(&mut from, &replay))?;
        self.replayed = replay;
        Ok(true)
    }

    /// For the relay. What the client must be told is the first that it will hear from there.
    pub(crate) fn into_upstream(
        mut self,
        target: Target,
        tracker: &Tracker,
    ) -> (Upstream, Option<CancelKey>) {
        (Upstream { tcp: self.tcp, target, early: self.heard.news(tracker) }, self.heard.key)
    }
}

/// The login, until all is said that the gateway has to say in it.
async fn introduce(
    door: &Door,
    tcp: &mut TcpStream,
    heard: &mut Heard,
    mut login: Login,
) -> Result<Login, Trouble> {
    while !login.has_said_all() {
        let answer;
        (login, answer) = hear(door, login, heard.authentication(tcp).await?).await?;
        tcp.write_all(&answer).await?;
    }
    Ok(login)
}

/// The rest of the login: the server proves itself and takes the session.
async fn be_admitted(
    door: &Door,
    from: &mut (impl AsyncRead + Unpin),
    heard: &mut Heard,
    mut login: Login,
) -> Result<(), Trouble> {
    while !login.is_done() {
        (login, _) = hear(door, login, heard.authentication(from).await?).await?;
    }
    heard.until_ready(from).await
}

/// Some milliseconds of computing, and perhaps hundreds of sessions at once: not more than a few at a
/// time, and not where leases are renewed.
async fn hear(door: &Door, mut login: Login, body: BytesMut) -> Result<(Login, Vec<u8>), Trouble> {
    let hear = move || {
        let answer = login.hear(&body);
        answer.map(|answer| (login, answer)).map_err(|e| Trouble::Wrong(e.to_string()))
    };
    // The semaphore is never closed.
    let _place = door.proofs.acquire().await;
    tokio::task::spawn_blocking(hear).await.map_err(|e| Trouble::Wrong(e.to_string()))?
}

/// Begins the login. What can be said of it before the server has asked goes behind the startup packet.
pub(crate) async fn greet(
    door: &Door,
    user: &str,
    scram: bool,
    packet: &mut Vec<u8>,
) -> Result<Pass, String> {
    let password = door.credentials.password(user).await?;
    let mut login = Login::new(password.as_bytes());
    if scram {
        packet.extend(login.greet().map_err(|e| e.to_string())?);
    }
    Ok(Pass { login, password })
}

impl Trouble {
    /// Another try may end better.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Broken(_) | Self::Slow => true,
            Self::Says { code, .. } => ["57P0", "53", "08"].iter().any(|class| code.starts_with(class)),
            Self::Wrong(_) => false,
        }
    }

    pub(crate) fn is_password(&self) -> bool {
        matches!(self, Self::Says { code, .. } if code == sqlstate::INVALID_PASSWORD)
    }
}

/// What a new server says while a session is set up there.
#[derive(Debug)]
struct Heard {
    held: BytesMut,
    key: Option<CancelKey>,
    /// The bodies of ParameterStatus messages.
    parameters: Vec<BytesMut>,
}

impl Heard {
    /// The next message that is an answer.
    async fn next(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Result<(u8, BytesMut), Trouble> {
        loop {
            let size = message_size(&self.held).map_err(|e| Trouble::Wrong(e.to_string()))?;
            let Some(size) = size.filter(|size| *size <= self.held.len()) else {
                if self.held.len() > WHOLE_MAX {
                    return Err(Trouble::Wrong("it says too much".to_owned()));
                }
                if from.read_buf(&mut self.held).await? == 0 {
                    return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                }
                continue;
            };
            let mut message = self.held.split_to(size);
            let body = message.split_off(HEAD);
            match message.first() {
                Some(b'S') => {
                    // The last value of each counts.
                    self.parameters.retain(|other| until_zero(other) != until_zero(&body));
                    self.parameters.push(body);
                }
                Some(b'K') => self.key = CancelKey::parse(&body),
                // Notices, and that it knows an older version of the protocol than the client.
                Some(&NOTICE | b'v') => {}
                Some(&ERROR) => return Err(says(&body)),
                tag => return Ok((tag.copied().unwrap_or_default(), body)),
            }
        }
    }

    async fn authentication(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Result<BytesMut, Trouble> {
        match self.next(from).await? {
            (b'R', body) => Ok(body),
            (tag, _) => Err(Trouble::Wrong(format!("a message of type {tag:#04x} came during the login"))),
        }
    }

    async fn until_ready(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Result<(), Trouble> {
        loop {
            match self.next(from).await? {
                (b'Z', status) if status == b"I"[..] => return Ok(()),
                (b'Z', _) => {
                    return Err(Trouble::Wrong("it is in a transaction that nobody began".to_owned()));
                }
                _ => {}
            }
        }
    }

    /// It has answered all that sets the session up.
    async fn all_ready(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        replay: &Replay,
    ) -> Result<(), Trouble> {
        for _ in 0..replay.readies {
            self.until_ready(from).await?;
        }
        Ok(())
    }

    /// The parameters that the client was told otherwise, and whatever the server has said since.
    fn news(&mut self, tracker: &Tracker) -> BytesMut {
        let mut news = BytesMut::new();
        let news_to_client = |body: &&BytesMut| until_zero(body) != IN_HOT_STANDBY && tracker.is_news(body);
        for body in self.parameters.iter().filter(news_to_client) {
            message(&mut news, b'S', &[body]);
        }
        news.unsplit(std::mem::take(&mut self.held));
        news
    }
}

fn says(body: &[u8]) -> Trouble {
    let field = |kind| String::from_utf8_lossy(error_field(body, kind).unwrap_or_default()).into_owned();
    Trouble::Says { code: field(b'C'), message: field(b'M') }
}
