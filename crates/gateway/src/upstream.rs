//! The server's side of a session: a connection that has given its first sign of life.
//!
//! A server counts as reached only when it has answered the startup packet: the kernel of a frozen
//! machine still accepts connections, and a server that starts or stops says so in its first message.
//! Until then the client has said nothing but its startup packet, so another try is safe.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::hold::Turns;
use crate::protocol::message::{self, error_field, sqlstate};
use crate::protocol::{CancelKey, Frames, WHOLE_MAX};
use crate::route::Target;
use crate::stream::tune;

/// How long connecting may take: over twice the longest round trip between two cloud regions.
pub(crate) const CONNECT_MAX: Duration = Duration::from_millis(1_500);
/// How long the first message may take after that; another gateway may stand between.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(3);

/// A server that has answered.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) tcp: TcpStream,
    pub(crate) target: Target,
    /// Its first message, and perhaps more.
    pub(crate) early: BytesMut,
}

/// A server that a session is at, and its turns there if it is a writer.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) upstream: Upstream,
    pub(crate) turns: Option<Turns>,
    /// The key to cancel with there, when the gateway has logged in itself.
    pub(crate) key: Option<CancelKey>,
}

/// Why a server cannot take a session now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReachError {
    #[error("connecting took over {} ms", CONNECT_MAX.as_millis())]
    ConnectTimeout,
    #[error("connecting failed: {0}")]
    Connect(#[source] std::io::Error),
    #[error("connected, but no answer within {} s", .0.as_secs())]
    AnswerTimeout(Duration),
    #[error("connected, but the connection broke before an answer: {0}")]
    Answer(#[source] std::io::Error),
    #[error("connected, but the answer was no message of PostgreSQL")]
    Nonsense,
    #[error("it says: {0}")]
    NotNow(String),
}

/// Connects, says `startup`, and awaits the first message for as long as `patience`.
pub(crate) async fn reach(
    target: &Target,
    startup: &[u8],
    patience: Duration,
) -> Result<Upstream, ReachError> {
    let connected = timeout(CONNECT_MAX, TcpStream::connect(target.address)).await;
    let mut tcp = connected.map_err(|_| ReachError::ConnectTimeout)?.map_err(ReachError::Connect)?;
    tune(&tcp).map_err(ReachError::Connect)?;
    let answered = timeout(patience, first_message(&mut tcp, startup)).await;
    let early = answered.map_err(|_| ReachError::AnswerTimeout(patience))??;
    Ok(Upstream { tcp, target: target.clone(), early })
}

async fn first_message(tcp: &mut TcpStream, startup: &[u8]) -> Result<BytesMut, ReachError> {
    tcp.write_all(startup).await.map_err(ReachError::Answer)?;
    let mut early = BytesMut::with_capacity(512);
    let (mut frames, mut first) = (Frames::default(), None);
    while first.is_none() && early.len() <= WHOLE_MAX {
        if tcp.read_buf(&mut early).await.map_err(ReachError::Answer)? == 0 {
            return Err(ReachError::Answer(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let note = |tag, body: &[u8]| {
            first.get_or_insert_with(|| (tag == message::ERROR).then(|| not_now(body)).flatten());
        };
        frames.scan(&early, note).map_err(|_| ReachError::Nonsense)?;
    }
    match first.flatten() {
        Some(says) => Err(ReachError::NotNow(says)),
        None => Ok(early),
    }
}

/// What the server says, if it says that it is not there yet or not any more.
fn not_now(body: &[u8]) -> Option<String> {
    let code = error_field(body, b'C')?;
    let says = String::from_utf8_lossy(error_field(body, b'M').unwrap_or_default()).into_owned();
    (code == sqlstate::CANNOT_CONNECT_NOW.as_bytes()).then_some(says)
}
