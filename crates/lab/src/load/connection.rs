//! Connections of one user: kept alive, and opened to whichever address answers first.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// The next address is tried when the one before has not connected within this time (RFC 8305, 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Idle connections that a user keeps, as browsers do for one host.
const IDLE_MAX: usize = 6;
/// The largest answer that is read.
const ANSWER_MAX: usize = 256 << 10;

/// Why there is no answer, and whether anything was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// No connection to any address: nothing was sent.
    #[error("no address could be connected to: {0}")]
    Connect(String),
    /// The connection broke after sending had begun.
    #[error("the connection to {address} broke: {what}")]
    Broken {
        /// With whom.
        address: SocketAddr,
        /// What was seen.
        what: String,
    },
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    reused: bool,
}

/// The idle connections of a user.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Connection>>);

impl Pool {
    /// A connection to the first of the addresses that works: an idle one to the first address, else a
    /// new one, raced.
    pub(super) async fn connection(
        &self,
        client: IpAddr,
        addresses: &[SocketAddr],
    ) -> Result<Connection, ExchangeError> {
        let first = addresses.first().ok_or_else(|| ExchangeError::Connect("DNS gave none".to_owned()))?;
        if let Some(idle) = self.idle(*first) {
            return Ok(idle);
        }
        let (address, stream) = race(client, addresses).await?;
        let broken = |what: String| ExchangeError::Broken { address, what };
        stream.set_nodelay(true).map_err(|e| broken(e.to_string()))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(e.to_string()))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%address, %error, "a user's connection ended");
            }
        });
        Ok(Connection { address, sender, reused: false })
    }

    /// Forgets the idle connections to an address that did not answer.
    pub(super) fn forget(&self, address: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|c| c.address != address);
    }

    /// Keeps a connection for the next request.
    pub(super) fn give_back(&self, mut connection: Connection) {
        connection.reused = true;
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && !connection.sender.is_closed() {
            idle.push(connection);
        }
    }

    fn idle(&self, address: SocketAddr) -> Option<Connection> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|c| !c.sender.is_closed());
        let index = idle.iter().position(|c| c.address == address && c.sender.is_ready())?;
        Some(idle.swap_remove(index))
    }
}

impl Connection {
    /// It carried a request before: it may have been closed by the other side meanwhile.
    pub(super) fn reused(&self) -> bool {
        self.reused
    }

    /// Sends the request and reads the whole answer.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, ExchangeError> {
        let address = self.address;
        let broken = |what: String| ExchangeError::Broken { address, what };
        self.sender.ready().await.map_err(|e| broken(e.to_string()))?;
        let answer = self.sender.send_request(request).await.map_err(|e| broken(e.to_string()))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|e| broken(e.to_string()))?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

/// Opens connections one after another, 250 ms apart or as soon as one fails; the first that is open wins.
async fn race(client: IpAddr, addresses: &[SocketAddr]) -> Result<(SocketAddr, TcpStream), ExchangeError> {
    let mut attempts = JoinSet::new();
    let mut left = addresses.iter().copied();
    let mut failures = Vec::new();
    loop {
        let more = left.next().inspect(|address| {
            let address = *address;
            attempts.spawn(async move { (address, connect(client, address).await) });
        });
        let ended = if more.is_some() && left.len() > 0 {
            match tokio::time::timeout(ATTEMPT_DELAY, attempts.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        } else {
            attempts.join_next().await
        };
        match ended {
            Some(Ok((address, Ok(stream)))) => return Ok((address, stream)),
            Some(Ok((address, Err(error)))) => failures.push(format!("{address}: {error}")),
            Some(Err(error)) => failures.push(error.to_string()),
            None => return Err(ExchangeError::Connect(failures.join("; "))),
        }
    }
}

async fn connect(client: IpAddr, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(client, 0))?;
    socket.connect(address).await
}
