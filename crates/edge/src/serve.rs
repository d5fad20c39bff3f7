//! The edge as a whole: listeners first, then one worker a core, then the drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meridian_steering::View;
use meridian_telemetry::{Metrics, clock};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::error::Error;
use crate::limits::Limits;
use crate::request::Peer;
use crate::worker::Worker;
use crate::{connection, tls};

/// What the edge needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens for plain HTTP: users, and the edges of other regions.
    pub http: SocketAddr,
    /// Where it listens for HTTPS, if any service has a certificate.
    pub https: SocketAddr,
    /// Threads that work. One for each core is most; 0 counts as 1.
    pub workers: usize,
    /// The bounds of each of them.
    pub limits: Limits,
}

/// An edge whose listeners are open.
pub struct Server {
    addresses: Vec<SocketAddr>,
    listeners: Vec<Listeners>,
    acceptor: Option<TlsAcceptor>,
    limits: Limits,
    views: watch::Receiver<Arc<View>>,
    metrics: Metrics,
}

/// The listeners of one worker.
struct Listeners {
    http: std::net::TcpListener,
    https: Option<std::net::TcpListener>,
}

/// Reads the certificates and opens the listeners.
///
/// # Errors
/// [`Error`] when an address cannot be bound or a certificate cannot be used.
pub async fn bind(
    config: Config,
    views: watch::Receiver<Arc<View>>,
    metrics: Metrics,
) -> Result<Server, Error> {
    let acceptor = tls::acceptor(&views.borrow().system)?;
    let http = claim(config.http)?;
    let https = acceptor.is_some().then(|| claim(config.https)).transpose()?;
    let listeners = (0..config.workers.max(1)).map(|_| {
        let https = https.map(|address| open(address, true)).transpose()?;
        Ok(Listeners { http: open(http, true)?, https })
    });
    let listeners = listeners.collect::<Result<_, Error>>()?;
    let addresses = [Some(http), https].into_iter().flatten().collect();
    Ok(Server { addresses, listeners, acceptor, limits: config.limits, views, metrics })
}

impl Server {
    /// Where it listens: plain HTTP, then HTTPS if it is served.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// Works until `shutdown` becomes true, then drains: no new connections, running requests finish
    /// within [`Limits::drain`].
    ///
    /// # Errors
    /// [`Error::Worker`] when a thread cannot be started.
    pub async fn serve(self, shutdown: watch::Receiver<bool>) -> Result<(), Error> {
        let mut workers = Vec::new();
        for (number, listeners) in self.listeners.into_iter().enumerate() {
            let thread = Thread {
                number,
                listeners,
                acceptor: self.acceptor.clone(),
                worker: Worker::new(self.limits, self.views.clone(), shutdown.clone(), self.metrics.clone()),
            };
            workers.push(thread.start()?);
        }
        tracing::info!(addresses = ?self.addresses, workers = workers.len(), "the edge serves");
        for done in workers {
            // An error means that the thread died; it has said why itself.
            let _ = done.await;
        }
        Ok(())
    }
}

/// One worker and its thread.
struct Thread {
    number: usize,
    listeners: Listeners,
    acceptor: Option<TlsAcceptor>,
    worker: Arc<Worker>,
}

impl Thread {
    fn start(self) -> Result<oneshot::Receiver<()>, Error> {
        let (done, wait) = oneshot::channel();
        let number = self.number;
        let run = move || {
            self.run();
            let _ = done.send(());
        };
        let thread = std::thread::Builder::new().name(format!("edge-{number}"));
        thread.spawn(run).map_err(|source| Error::Worker { worker: number, source })?;
        Ok(wait)
    }

    fn run(self) {
        let number = self.number;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Err(error) = runtime.and_then(|runtime| runtime.block_on(self.work())) {
            tracing::error!(worker = number, %error, "an edge worker has stopped");
        }
    }

    async fn work(self) -> std::io::Result<()> {
        let places = Arc::new(Semaphore::new(self.worker.limits.connections));
        let plain = Door {
            listener: TcpListener::from_std(self.listeners.http)?,
            acceptor: None,
            worker: Arc::clone(&self.worker),
            places: Arc::clone(&places),
        };
        let https = self.listeners.https.map(TcpListener::from_std).transpose()?;
        let secure = https.zip(self.acceptor).map(|(listener, acceptor)| Door {
            listener,
            acceptor: Some(acceptor),
            worker: Arc::clone(&self.worker),
            places,
        });
        let both = async {
            let secure = async {
                if let Some(door) = secure {
                    door.serve().await;
                }
            };
            tokio::join!(plain.serve(), secure);
        };
        tokio::select! {
            () = both => {}
            () = sweep(&self.worker) => {}
        }
        Ok(())
    }
}

/// Closes what has been idle for too long, for ever.
async fn sweep(worker: &Worker) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        worker.pool.sweep(clock::now());
    }
}

/// One listener, its connections, and the end of both.
struct Door {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    worker: Arc<Worker>,
    /// Shared by the doors of a worker.
    places: Arc<Semaphore>,
}

impl Door {
    async fn serve(self) {
        let mut connections = JoinSet::new();
        let mut draining = self.worker.draining.clone();
        loop {
            let accepted = tokio::select! {
                _ = draining.wait_for(|stop| *stop) => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.accept() => accepted,
            };
            if let Some((stream, peer, place)) = accepted {
                let (worker, acceptor) = (Arc::clone(&self.worker), self.acceptor.clone());
                connections.spawn(connect(worker, acceptor, stream, peer, place));
            }
        }
        drop(self.listener);
        let all = async { while connections.join_next().await.is_some() {} };
        // Each connection keeps to the same bound itself; a little more lets it say so.
        if timeout(self.worker.limits.drain + DRAIN_GRACE, all).await.is_err() {
            tracing::warn!("client connections did not end in time and are cut");
        }
    }

    /// The next connection, once there is a place for it.
    async fn accept(&self) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((stream, peer)) => Some((stream, peer, place)),
            // Out of descriptors, or the client is gone already: breathe, then go on.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }
}

async fn connect(
    worker: Arc<Worker>,
    acceptor: Option<TlsAcceptor>,
    stream: TcpStream,
    address: SocketAddr,
    _place: OwnedSemaphorePermit,
) {
    let open = worker.metrics().edge_connections();
    open.inc();
    prepare(&stream);
    match acceptor {
        None => connection::serve(worker, stream, Peer { address, is_tls: false }).await,
        Some(acceptor) => match timeout(worker.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => connection::serve(worker, stream, Peer { address, is_tls: true }).await,
            Ok(Err(error)) => tracing::debug!(client = %address, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(client = %address, "a TLS handshake took too long"),
        },
    }
    open.dec();
}

/// Both settings only make things better; where they fail, nothing is lost.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    // A client that does not take what it asked for is cut off, also one whose window stays shut.
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(CLIENT_STALL));
}

// === Listeners ===

/// Makes sure that nobody else has the address: with `SO_REUSEPORT` alone a second program of the
/// same user would silently share it.
fn claim(address: SocketAddr) -> Result<SocketAddr, Error> {
    let listener = open(address, false)?;
    listener.local_addr().map_err(|source| Error::bind(address, source))
}

fn open(address: SocketAddr, shared: bool) -> Result<std::net::TcpListener, Error> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if shared {
            socket.set_reuse_port(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|source| Error::bind(address, source))
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often idle upstream connections are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// On top of [`Limits::drain`].
const DRAIN_GRACE: Duration = Duration::from_millis(500);
/// How long a client may leave what was sent to it unacknowledged.
const CLIENT_STALL: Duration = Duration::from_secs(30);
