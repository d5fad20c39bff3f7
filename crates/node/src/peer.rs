//! One question to another node's control interface, and its answer.
//!
//! Rare calls (promises while etcd is away, the status command), so each opens its own connection: a
//! connection that hangs in a partition is forgotten with its deadline.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::secret::Secret;

/// The most that an answer may hold.
const ANSWER_MAX: usize = 4 << 20;

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
    let late = PeerError::Late { address, deadline };
    tokio::time::timeout(deadline, exchange(address, secret, question)).await.unwrap_or(Err(late))
}

async fn exchange(
    address: SocketAddr,
    secret: &Secret,
    question: Question,
) -> Result<(StatusCode, Bytes), PeerError> {
    let broken = |reason: String| PeerError::Broken { address, reason };
    let stream = TcpStream::connect(address).await.map_err(|e| broken(e.to_string()))?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(|e| broken(e.to_string()))?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(question.method)
        .uri(question.path)
        .header(header::HOST, address.to_string())
        .header(header::AUTHORIZATION, secret.bearer())
        .body(Full::new(Bytes::from(question.body)))
        .map_err(|e| broken(e.to_string()))?;
    let answer = sender.send_request(request).await.map_err(|e| broken(e.to_string()))?;
    let status = answer.status();
    let body =
        Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(|e| broken(e.to_string()))?;
    driver.abort();
    Ok((status, body.to_bytes()))
}
