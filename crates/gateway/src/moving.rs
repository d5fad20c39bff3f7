//! A session moves to another server: the gateway logs in there in the client's place and sets up what the
//! session had at its old server. The client notices nothing but a pause.
//!
//! Only a session moves that has nothing under way: no transaction is open, all is answered, and all
//! answers were passed on. So nothing can get lost and nothing is done twice; what the client said
//! meanwhile no server has heard. Such a session moves when the writer does, by plan or not, and also when
//! it merely loses its server. What was acknowledged to it is kept by the new writer, or the failover
//! reports it as lost.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use meridian_model::Moment;
use meridian_telemetry::clock;
use meridian_telemetry::events::{GatewaySessionMoved, GatewaySessionUnmovable};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::door::Door;
use crate::end::{End, Refusal};
use crate::protocol::frame::{HEAD, message_size};
use crate::protocol::message::{ERROR, NOTICE, error_field, message, sqlstate, until_zero};
use crate::protocol::{CancelKey, Login, Tracker, WHOLE_MAX};
use crate::relay::Baggage;
use crate::route::{Port, Target};
use crate::seek::{Caller, Failure, seek_again};
use crate::stream::Client;
use crate::upstream::{ANSWER_MAX, Server, Upstream, reach};
use crate::waiting::Held;
use crate::watch::LastWords;

/// How long the login and setting all up may take.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// A session that loses its server so soon after it moved there does not go back to it in the same epoch:
/// that server takes sessions and drops them.
const REST_MIN: Duration = Duration::from_secs(1);

/// Why a session leaves its server.
#[derive(Debug)]
pub(crate) struct Leave {
    pub(crate) why: String,
    pub(crate) from: Target,
    /// The server left first; what it said at the end.
    pub(crate) lost: Option<Option<LastWords>>,
}

/// With what a session can be moved, if it can.
#[derive(Debug)]
pub(crate) struct Mover {
    caller: Caller,
    moved_at: Option<Moment>,
    /// It calls on the region to which the writer is being moved.
    call: Option<Call>,
}

/// A connection to the gateway of the next writer, which answers when it is the writer: then the session has only
/// the rest of the login before it. Dropped, it is closed.
#[derive(Debug)]
struct Call {
    address: SocketAddr,
    answer: JoinSet<Option<(Upstream, Pass)>>,
}

/// One move.
pub(crate) struct Journey<'a> {
    door: &'a Door,
    pub(crate) caller: &'a Caller,
    user: &'a str,
    tracker: &'a Tracker,
    leave: &'a Leave,
    /// It has only just moved.
    restless: bool,
    /// Taken by the first try.
    call: Mutex<Option<Call>>,
}

/// A login that has begun, and with what.
pub(crate) struct Pass {
    login: Login,
    password: Arc<str>,
}

/// Why a server did not take the session over.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the connection broke while the session was set up: {0}")]
    Broken(#[from] std::io::Error),
    #[error("setting the session up took over {} s", SETTLE_MAX.as_secs())]
    Slow,
    #[error("it says: {message} ({code})")]
    Says { code: String, message: String },
    #[error("{0}")]
    Wrong(String),
}

impl Mover {
    /// Only sessions of the write port whose own gateway this is, and whose password is known.
    pub(crate) fn of(door: &Door, caller: Caller) -> Option<Self> {
        let known = caller.user().is_some_and(|user| door.credentials.know(user));
        let movable = door.port == Port::Write && !caller.hopped && known;
        movable.then_some(Self { caller, moved_at: None, call: None })
    }

    /// Calls on the next writer while the session is held, or no longer when the move was called off.
    pub(crate) fn follow(&mut self, door: &Arc<Door>, next: Option<&Target>, scram: bool) {
        let Some(next) = next else { return self.call = None };
        if self.call.as_ref().is_some_and(|call| call.address == next.address) {
            return;
        }
        let Some(user) = self.caller.user().map(str::to_owned) else { return };
        let (door, target, mut packet) = (Arc::clone(door), next.clone(), self.caller.early_packet());
        let mut answer = JoinSet::new();
        answer.spawn(async move {
            let pass = greet(&door, &user, scram, &mut packet).await.ok()?;
            let upstream = reach(&target, &packet, door.limits.max_wait).await.ok()?;
            Some((upstream, pass))
        });
        self.call = Some(Call { address: next.address, answer });
    }

    /// Brings the session to the writer, as soon as there is one.
    pub(crate) async fn move_on(
        &mut self,
        door: &Door,
        client: &mut Client,
        baggage: &mut Baggage,
        leave: Leave,
    ) -> Result<Server, End> {
        let begun = clock::now();
        let restless = self.moved_at.is_some_and(|at| begun.since(at) < REST_MIN);
        let call = Mutex::new(self.call.take());
        let Baggage { said, tracker, held, .. } = baggage;
        held.get_or_insert_with(|| Held::new(&door.meter));
        let (Some(tracker), Some(user)) = (tracker, self.caller.user()) else {
            return Err(End::Unseated(leave.why));
        };
        let journey = Journey { door, caller: &self.caller, user, tracker, leave: &leave, restless, call };
        let server = seek_again(door, client, &journey, said).await.map_err(|refusal| match refusal {
            Refusal::ClientLeft => End::Client,
            Refusal::Draining => End::Draining,
            refusal => {
                GatewaySessionUnmovable { reason: refusal.word() }.emit(&door.meter, &door.metrics);
                End::Stranded(refusal)
            }
        })?;
        let now = clock::now();
        self.moved_at = Some(now);
        let (backend, reason) = (&server.upstream.target.region, &leave.why);
        GatewaySessionMoved { backend, reason, took: now.since(begun) }.emit(&door.meter, &door.metrics);
        Ok(server)
    }
}

impl Journey<'_> {
    /// Whether the session goes to this server, which has answered.
    pub(crate) fn may_enter(&self, target: &Target, first: bool) -> Result<(), Failure> {
        let Some(words) = self.leave.lost.as_ref().filter(|_| target.epoch == self.leave.from.epoch) else {
            return Ok(());
        };
        // It ended this session by a word of its own and takes it again at once, so it is not being
        // stopped: an administrator wanted the session to end.
        if let Some(words) = words.as_ref().filter(|words| first && words.perhaps_meant) {
            return Err(Failure::Never(Refusal::Terminated(words.message.clone())));
        }
        if self.restless {
            return Err(not_moved(target, "it takes sessions and drops them"));
        }
        Ok(())
    }

    /// The answer of that server, if it has been called on before it was the writer. A call that leads to nothing
    /// costs the time of one that is made now.
    pub(crate) async fn called_on(&self, target: &Target) -> Option<(Upstream, Pass)> {
        let call = self.call.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut call = call.filter(|call| call.address == target.address)?;
        let answer = timeout(ANSWER_MAX, call.answer.join_next()).await.ok()??;
        let (upstream, pass) = answer.ok()??;
        Some((Upstream { target: target.clone(), ..upstream }, pass))
    }

    /// The login to that server.
    pub(crate) async fn greet(&self, target: &Target, packet: &mut Vec<u8>) -> Result<Pass, Failure> {
        let greeted = greet(self.door, self.user, self.tracker.asked_for_scram(), packet).await;
        greeted.map_err(|why| not_moved(target, &why))
    }

    /// Logs in and sets all up. What the client must be told is the first that it will hear from there.
    pub(crate) async fn settle(
        &self,
        upstream: Upstream,
        pass: Pass,
    ) -> Result<(Upstream, Option<CancelKey>), Failure> {
        let target = upstream.target.clone();
        let Pass { login, password } = pass;
        let set_up = timeout(SETTLE_MAX, self.set_up(upstream, login)).await;
        match set_up.unwrap_or(Err(Trouble::Slow)) {
            Ok(settled) => Ok(settled),
            Err(trouble) if trouble.may_pass() => Err(Failure::Again(trouble.to_string())),
            Err(trouble)
                if trouble.is_password() && self.door.credentials.changed(self.user, &password).await =>
            {
                Err(Failure::Again("the password has changed".to_owned()))
            }
            Err(trouble) => Err(not_moved(&target, &trouble.to_string())),
        }
    }

    async fn set_up(
        &self,
        upstream: Upstream,
        login: Login,
    ) -> Result<(Upstream, Option<CancelKey>), Trouble> {
        let Upstream { mut tcp, target, early } = upstream;
        let mut heard = Heard { held: early, key: None, parameters: Vec::new() };
        let login = self.introduce(&mut tcp, &mut heard, login).await?;
        let replay = self.tracker.replay();
        let (mut from, mut to) = tcp.split();
        // Behind the login's last word, without waiting for the server's yes: a round trip less. What the client
        // has asked meanwhile waits for it.
        let said = async { Ok(to.write_all(&replay.bytes).await?) };
        let answered = async {
            self.be_admitted(&mut from, &mut heard, login).await?;
            for _ in 0..replay.readies {
                heard.until_ready(&mut from).await?;
            }
            Ok::<_, Trouble>(())
        };
        tokio::try_join!(said, answered)?;
        Ok((Upstream { tcp, target, early: heard.news(self.tracker) }, heard.key))
    }

    /// The login, until all is said that the gateway has to say in it.
    async fn introduce(
        &self,
        tcp: &mut TcpStream,
        heard: &mut Heard,
        mut login: Login,
    ) -> Result<Login, Trouble> {
        while !login.has_said_all() {
            let answer;
            (login, answer) = self.answer(login, heard.authentication(tcp).await?).await?;
            tcp.write_all(&answer).await?;
        }
        Ok(login)
    }

    /// The rest of the login: the server proves itself and takes the session.
    async fn be_admitted(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        heard: &mut Heard,
        mut login: Login,
    ) -> Result<(), Trouble> {
        while !login.is_done() {
            (login, _) = self.answer(login, heard.authentication(from).await?).await?;
        }
        heard.until_ready(from).await
    }

    /// Some milliseconds of computing, and perhaps hundreds of sessions at once: not more than a few at a
    /// time, and not where leases are renewed.
    async fn answer(&self, mut login: Login, body: BytesMut) -> Result<(Login, Vec<u8>), Trouble> {
        let hear = move || {
            let answer = login.hear(&body);
            answer.map(|answer| (login, answer)).map_err(|e| Trouble::Wrong(e.to_string()))
        };
        // The semaphore is never closed.
        let _place = self.door.proofs.acquire().await;
        tokio::task::spawn_blocking(hear).await.map_err(|e| Trouble::Wrong(e.to_string()))?
    }
}

/// Begins the login. What can be said of it before the server has asked goes behind the startup packet.
async fn greet(door: &Door, user: &str, scram: bool, packet: &mut Vec<u8>) -> Result<Pass, String> {
    let password = door.credentials.password(user).await?;
    let mut login = Login::new(password.as_bytes());
    if scram {
        packet.extend(login.greet().map_err(|e| e.to_string())?);
    }
    Ok(Pass { login, password })
}

fn not_moved(target: &Target, why: &str) -> Failure {
    let why = format!("it could not be moved to the database in `{}`: {why}", target.region);
    Failure::Never(Refusal::NotMoved { why })
}

impl Trouble {
    /// Another try may end better.
    fn may_pass(&self) -> bool {
        match self {
            Self::Broken(_) | Self::Slow => true,
            Self::Says { code, .. } => ["57P0", "53", "08"].iter().any(|class| code.starts_with(class)),
            Self::Wrong(_) => false,
        }
    }

    fn is_password(&self) -> bool {
        matches!(self, Self::Says { code, .. } if code == sqlstate::INVALID_PASSWORD)
    }
}

/// What a new server says while a session is set up there.
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

    /// The parameters that the client was told otherwise, and whatever the server has said since.
    fn news(&mut self, tracker: &Tracker) -> BytesMut {
        let mut news = BytesMut::new();
        for body in self.parameters.iter().filter(|body| tracker.is_news(body)) {
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
