//! Questions to another node's control interface, and their answers.
//!
//! Rare calls (promises while etcd is away, the status command) each open their own connection: a
//! connection that hangs in a partition is forgotten with its deadline. An [`Asker`] keeps one for questions
//! that must not wait for a connection, and replaces it after a failure; a [`Line`] is an asker for what is told
//! several times a second.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::secret::Secret;

/// The most that an answer may hold.
const ANSWER_MAX: usize = 4 << 20;
/// A line is opened anew when what was said had no answer for so long.
const SAID_WITHIN: Duration = Duration::from_secs(1);

/// Why a peer gave no usable answer. None of them says anything about what the peer did.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The deadline passed.
    #[error("{address} did not answer within {deadline:?}")]
    Late {
        /// Who was asked.
        address: SocketAddr,
        /// How long was waited.
        deadline: Duration,
    },
    /// The connection could not be made or broke.
    #[error("cannot talk to {address}: {reason}")]
    Broken {
        /// Who was asked.
        address: SocketAddr,
        /// What the system or the protocol said.
        reason: String,
    },
}

/// A question: method, path and body.
pub struct Question {
    /// GET or POST.
    pub method: Method,
    /// The path, such as `/v1/status`.
    pub path: &'static str,
    /// JSON, or nothing.
    pub body: Vec<u8>,
}

/// Asks `address`, within `deadline` from dialling to the last byte.
///
/// # Errors
/// [`PeerError`] when no whole answer came in time.
pub async fn ask(
    address: SocketAddr,
    secret: &Secret,
    question: Question,
    deadline: Duration,
) -> Result<(StatusCode, Bytes), PeerError> {
    Asker::new(address, secret.clone()).ask(&question, deadline).await
}

/// Asks one peer, over one connection as long as that works. What it asks may arrive twice.
pub(crate) struct Asker {
    address: SocketAddr,
    secret: Secret,
    kept: Option<Connection>,
}

impl Asker {
    /// Not connected yet.
    pub(crate) const fn new(address: SocketAddr, secret: Secret) -> Self {
        Self { address, secret, kept: None }
    }

    /// So that the next question need not wait for a connection. Says whether there is one; what is wrong shows when
    /// something is asked.
    pub(crate) async fn connect(&mut self, deadline: Duration) -> bool {
        if self.kept.as_ref().is_none_or(|kept| kept.sender.is_closed())
            && let Ok(Ok(opened)) = tokio::time::timeout(deadline, Connection::open(self.address)).await
        {
            self.kept = Some(opened);
        }
        self.kept.is_some()
    }

    /// # Errors
    /// [`PeerError`] when no whole answer came within `deadline`.
    pub(crate) async fn ask(
        &mut self,
        question: &Question,
        deadline: Duration,
    ) -> Result<(StatusCode, Bytes), PeerError> {
        let late = PeerError::Late { address: self.address, deadline };
        tokio::time::timeout(deadline, self.exchange(question)).await.unwrap_or(Err(late))
    }

    async fn exchange(&mut self, question: &Question) -> Result<(StatusCode, Bytes), PeerError> {
        // A connection that has rested may have been closed over there meanwhile.
        if let Some(mut connection) = self.kept.take()
            && let Ok(answer) = connection.exchange(&self.secret, question).await
        {
            self.kept = Some(connection);
            return Ok(answer);
        }
        let mut connection = Connection::open(self.address).await?;
        let answer = connection.exchange(&self.secret, question).await?;
        self.kept = Some(connection);
        Ok(answer)
    }
}

/// A connection that is kept. Dropping it closes it.
struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<Result<(), hyper::Error>>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, PeerError> {
        let broken = |reason: String| PeerError::Broken { address, reason };
        let stream = TcpStream::connect(address).await.map_err(|e| broken(e.to_string()))?;
        stream.set_nodelay(true).map_err(|e| broken(e.to_string()))?;
        let io = TokioIo::new(stream);
        let (sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(|e| broken(e.to_string()))?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self { address, sender, _driver: driver })
    }

    async fn exchange(
        &mut self,
        secret: &Secret,
        question: &Question,
    ) -> Result<(StatusCode, Bytes), PeerError> {
        let address = self.address;
        let broken = |reason: String| PeerError::Broken { address, reason };
        let request = Request::builder()
            .method(question.method.clone())
            .uri(question.path)
            .header(header::HOST, address.to_string())
            .header(header::AUTHORIZATION, secret.bearer())
            .body(Full::new(Bytes::from(question.body.clone())))
            .map_err(|e| broken(e.to_string()))?;
        self.sender.ready().await.map_err(|e| broken(e.to_string()))?;
        let answer = self.sender.send_request(request).await.map_err(|e| broken(e.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX)
            .collect()
            .await
            .map_err(|e| broken(e.to_string()))?;
        Ok((status, body.to_bytes()))
    }
}

/// A kept connection to one peer, for what only matters while it is new: what could not be sent before
/// the next comes is replaced by it.
pub(crate) struct Line(watch::Sender<Option<Vec<u8>>>);

impl Line {
    /// Opens a line on which `path` is posted to; it ends when the `Line` is dropped.
    pub(crate) fn new(address: SocketAddr, secret: Secret, path: &'static str) -> Self {
        let (sender, news) = watch::channel(None);
        tokio::spawn(keep_posting(address, secret, path, news));
        Self(sender)
    }

    /// Opens the connection, if there is none, before there is something to say.
    pub(crate) fn open(&self) {
        self.0.send_replace(None);
    }

    /// Says this as soon as the line is free.
    pub(crate) fn say(&self, body: Vec<u8>) {
        self.0.send_replace(Some(body));
    }
}

async fn keep_posting(
    address: SocketAddr,
    secret: Secret,
    path: &'static str,
    mut news: watch::Receiver<Option<Vec<u8>>>,
) {
    let mut peer = Asker::new(address, secret);
    while news.changed().await.is_ok() {
        let Some(body) = news.borrow_and_update().clone() else {
            peer.connect(SAID_WITHIN).await;
            continue;
        };
        match peer.ask(&Question { method: Method::POST, path, body }, SAID_WITHIN).await {
            Ok((status, _)) if status.is_success() => {}
            Ok((status, _)) => {
                tracing::debug!(%address, path, %status, "a peer did not take what it was told");
            }
            Err(error) => tracing::debug!(%address, path, %error, "a peer could not be told"),
        }
    }
}
