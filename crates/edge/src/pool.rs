//! Upstream connections of one worker: HTTP/1.1, kept alive, bounded for each address.
//!
//! An address that cannot be connected to is set aside for a short, growing time, so that requests do
//! not all wait for the same dead instance; health checks are slower than the first refused
//! connection. While everything is set aside, the ones set aside are tried again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use meridian_model::Moment;
use meridian_telemetry::clock;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::body::Body;
use crate::limits::Limits;

/// The upstream connections of one worker.
#[derive(Clone)]
pub(crate) struct Pool {
    upstreams: Arc<Mutex<HashMap<SocketAddr, Upstream>>>,
    limits: Limits,
}

#[derive(Default)]
struct Upstream {
    idle: Vec<Idle>,
    /// Busy and idle.
    open: usize,
    failures_in_a_row: u32,
    timeouts_in_a_row: u32,
    aside_until: Moment,
}

struct Idle {
    sender: SendRequest<Body>,
    since: Moment,
}

/// Why there is no connection. Nothing of the request was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no connection to {address} within {within:?}")]
    Timeout { address: SocketAddr, within: Duration },
    #[error("cannot connect to {address}: {source}")]
    Refused { address: SocketAddr, source: std::io::Error },
    #[error("all {limit} connections to {address} are busy")]
    Busy { address: SocketAddr, limit: usize },
    #[error("{address} does not speak HTTP/1.1: {source}")]
    Handshake { address: SocketAddr, source: hyper::Error },
}

/// A connection in use. Dropping it closes it; [`Lease::give_back`] keeps it for the next request.
pub(crate) struct Lease {
    pub(crate) sender: SendRequest<Body>,
    /// It had served before: it may have been closed by the other side meanwhile.
    pub(crate) reused: bool,
    address: SocketAddr,
    pool: Pool,
}

impl Pool {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { upstreams: Arc::default(), limits }
    }

    /// A connection to `address`: an idle one that still stands, else a new one.
    pub(crate) async fn lease(&self, address: SocketAddr) -> Result<Lease, ConnectError> {
        while let Some(mut sender) = self.take_idle(address) {
            if sender.ready().await.is_ok() {
                return Ok(Lease { sender, reused: true, address, pool: self.clone() });
            }
        }
        let opened = self.open(address).await;
        match &opened {
            // That it connects is no answer yet: a frozen process still does.
            Ok(_) | Err(ConnectError::Busy { .. }) => {}
            Err(_) => self.failed(address),
        }
        opened
    }

    /// Not to be asked now, unless there is nothing else.
    pub(crate) fn is_aside(&self, address: SocketAddr, now: Moment) -> bool {
        self.lock().get(&address).is_some_and(|u| now < u.aside_until)
    }

    /// An attempt at `address` came to nothing: set it aside for a while that doubles each time, and
    /// let go of its idle connections, which are no better.
    pub(crate) fn failed(&self, address: SocketAddr) {
        let mut upstreams = self.lock();
        let upstream = upstreams.entry(address).or_default();
        upstream.idle.clear();
        let doublings = upstream.failures_in_a_row.min(ASIDE_DOUBLINGS);
        upstream.failures_in_a_row = upstream.failures_in_a_row.saturating_add(1);
        upstream.aside_until = clock::now() + ASIDE_FIRST * 2_u32.saturating_pow(doublings);
    }

    /// An attempt got no answer in time. One may be slow by itself; several in a row are a failure.
    pub(crate) fn timed_out(&self, address: SocketAddr) {
        let timeouts = {
            let mut upstreams = self.lock();
            let upstream = upstreams.entry(address).or_default();
            upstream.timeouts_in_a_row = upstream.timeouts_in_a_row.saturating_add(1);
            upstream.timeouts_in_a_row
        };
        if timeouts >= TIMEOUTS_MAX {
            self.failed(address);
        }
    }

    /// An answer came from `address`.
    pub(crate) fn worked(&self, address: SocketAddr) {
        if let Some(upstream) = self.lock().get_mut(&address) {
            upstream.failures_in_a_row = 0;
            upstream.timeouts_in_a_row = 0;
            upstream.aside_until = Moment::ZERO;
        }
    }

    /// Forgets addresses that nobody uses, and connections that were idle for too long.
    pub(crate) fn sweep(&self, now: Moment) {
        let kept_for = self.limits.upstream_idle_for;
        self.lock().retain(|_, upstream| {
            upstream.idle.retain(|idle| now.since(idle.since) < kept_for);
            upstream.open > 0 || now < upstream.aside_until
        });
    }

    fn take_idle(&self, address: SocketAddr) -> Option<SendRequest<Body>> {
        let mut upstreams = self.lock();
        let idle = &mut upstreams.get_mut(&address)?.idle;
        let now = clock::now();
        // The youngest first: the old ones may then age until they are swept.
        std::iter::from_fn(|| idle.pop())
            .find(|i| !i.sender.is_closed() && now.since(i.since) < self.limits.upstream_idle_for)
            .map(|i| i.sender)
    }

    async fn open(&self, address: SocketAddr) -> Result<Lease, ConnectError> {
        let counted = Counted::take(self, address)?;
        let within = self.limits.connect;
        let stream = match timeout(within, TcpStream::connect(address)).await {
            Err(_) => return Err(ConnectError::Timeout { address, within }),
            Ok(stream) => stream.map_err(|source| ConnectError::Refused { address, source })?,
        };
        // Without it small requests wait for the acknowledgement of earlier ones; failing is harmless.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ConnectError::Handshake { address, source })?;
        tokio::spawn(async move {
            let _counted = counted;
            if let Err(error) = connection.await {
                tracing::debug!(%address, %error, "an upstream connection ended");
            }
        });
        Ok(Lease { sender, reused: false, address, pool: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Upstream>> {
        self.upstreams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Keeps the connection for another request.
    pub(crate) fn give_back(self) {
        let Self { sender, address, pool, .. } = self;
        if sender.is_closed() {
            return;
        }
        let since = clock::now();
        if let Some(upstream) = pool.lock().get_mut(&address)
            && upstream.idle.len() < pool.limits.upstream_idle
        {
            upstream.idle.push(Idle { sender, since });
        }
    }
}

/// One of the connections that an address may have; returned when dropped.
struct Counted {
    pool: Pool,
    address: SocketAddr,
}

impl Counted {
    fn take(pool: &Pool, address: SocketAddr) -> Result<Self, ConnectError> {
        let limit = pool.limits.upstream_connections;
        let mut upstreams = pool.lock();
        let upstream = upstreams.entry(address).or_default();
        if upstream.open >= limit {
            return Err(ConnectError::Busy { address, limit });
        }
        upstream.open += 1;
        drop(upstreams);
        Ok(Self { pool: pool.clone(), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(upstream) = self.pool.lock().get_mut(&self.address) {
            upstream.open = upstream.open.saturating_sub(1);
        }
    }
}

/// How long an address is set aside after its first failure.
const ASIDE_FIRST: Duration = Duration::from_millis(500);
/// Attempts in a row without an answer after which an address is set aside.
const TIMEOUTS_MAX: u32 = 3;
/// Doublings at most: 8 s.
const ASIDE_DOUBLINGS: u32 = 4;
