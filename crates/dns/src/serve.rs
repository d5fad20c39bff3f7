//! The name server: sockets first, then workers that answer until they are told to stop.
//!
//! Each worker is a thread of its own with a current-thread runtime, one UDP socket and one TCP
//! listener; the kernel spreads packets and connections over them (`SO_REUSEPORT`). So a busy loop
//! elsewhere in the node cannot delay an answer, and workers share nothing but the compiled zones,
//! which are swapped whole.

use std::net::SocketAddr;
use std::sync::Arc;

use meridian_steering::View;
use meridian_telemetry::Metrics;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::sync::{oneshot, watch};

use crate::error::Error;
use crate::zones::Zones;
use crate::{tcp, udp};

/// What the name server needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens, UDP and TCP. Port 0: any that is free for both.
    pub listen: SocketAddr,
    /// Threads that answer. One for each core is most; 0 counts as 1.
    pub workers: usize,
}

/// A name server whose sockets are open.
pub struct Server {
    address: SocketAddr,
    sockets: Vec<(std::net::UdpSocket, std::net::TcpListener)>,
    views: watch::Receiver<Arc<View>>,
    zones: watch::Sender<Arc<Zones>>,
    metrics: Metrics,
}

/// Opens the sockets and compiles the first answers.
///
/// # Errors
/// [`Error`] when an address cannot be bound or the spec has a name that DNS cannot carry.
pub async fn bind(
    config: Config,
    views: watch::Receiver<Arc<View>>,
    metrics: Metrics,
) -> Result<Server, Error> {
    let zones = Zones::compile(&views.borrow().clone())?;
    let (address, sockets) = open_all(config.listen, config.workers.max(1))?;
    Ok(Server { address, sockets, views, zones: watch::Sender::new(Arc::new(zones)), metrics })
}

impl Server {
    /// Where it listens, UDP and TCP alike.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        vec![self.address]
    }

    /// Answers until `shutdown` becomes true, then lets TCP connections finish what they asked.
    ///
    /// # Errors
    /// [`Error::Worker`] when a thread cannot be started.
    pub async fn serve(self, shutdown: watch::Receiver<bool>) -> Result<(), Error> {
        let mut workers = Vec::new();
        for (number, (udp, tcp)) in self.sockets.into_iter().enumerate() {
            let zones = self.zones.subscribe();
            let worker =
                Worker { number, udp, tcp, zones, metrics: self.metrics.clone(), shutdown: shutdown.clone() };
            workers.push(worker.start()?);
        }
        tracing::info!(address = %self.address, workers = workers.len(), "DNS answers");
        recompile(self.views, self.zones, shutdown).await;
        for done in workers {
            // An error means that the worker died; it has said why itself.
            let _ = done.await;
        }
        Ok(())
    }
}

/// Compiles the answers anew for each view, until the end.
async fn recompile(
    mut views: watch::Receiver<Arc<View>>,
    zones: watch::Sender<Arc<Zones>>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        let changed = tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            changed = views.changed() => changed,
        };
        if changed.is_err() {
            // Nobody will ever tell us more: go on with what we have.
            let _ = shutdown.wait_for(|stop| *stop).await;
            return;
        }
        let view = views.borrow_and_update().clone();
        match Zones::compile(&view) {
            Ok(compiled) => {
                zones.send_replace(Arc::new(compiled));
            }
            Err(error) => tracing::error!(%error, "DNS goes on with its former answers"),
        }
    }
}

/// One thread's part.
struct Worker {
    number: usize,
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
    zones: watch::Receiver<Arc<Zones>>,
    metrics: Metrics,
    shutdown: watch::Receiver<bool>,
}

impl Worker {
    fn start(self) -> Result<oneshot::Receiver<()>, Error> {
        let (done, wait) = oneshot::channel();
        let number = self.number;
        let run = move || {
            self.run();
            let _ = done.send(());
        };
        let thread = std::thread::Builder::new().name(format!("dns-{number}"));
        thread.spawn(run).map_err(|source| Error::Worker { worker: number, source })?;
        Ok(wait)
    }

    fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = runtime.and_then(|runtime| {
            runtime.block_on(async {
                let udp = tokio::net::UdpSocket::from_std(self.udp)?;
                let tcp = tokio::net::TcpListener::from_std(self.tcp)?;
                let answer_udp =
                    udp::answer(udp, self.zones.clone(), self.metrics.clone(), self.shutdown.clone());
                let answer_tcp = tcp::answer(tcp, self.zones, self.metrics, self.shutdown);
                tokio::join!(answer_udp, answer_tcp);
                Ok(())
            })
        });
        if let Err(error) = outcome {
            tracing::error!(worker = self.number, %error, "a DNS worker has stopped");
        }
    }
}

// === Sockets ===

type Pair = (std::net::UdpSocket, std::net::TcpListener);

/// One pair of sockets a worker, all at one address.
fn open_all(listen: SocketAddr, workers: usize) -> Result<(SocketAddr, Vec<Pair>), Error> {
    let address = claim(listen)?;
    let open = |_| {
        let udp = open(address, Type::DGRAM, true).map_err(|e| Error::bind("UDP", address, e))?;
        let tcp = open(address, Type::STREAM, true).map_err(|e| Error::bind("TCP", address, e))?;
        Ok((udp.into(), tcp.into()))
    };
    Ok((address, (0..workers).map(open).collect::<Result<_, Error>>()?))
}

/// Makes sure that nobody else has the address. With `SO_REUSEPORT` alone a second program of the
/// same user would silently share it, and get half of the queries.
fn claim(listen: SocketAddr) -> Result<SocketAddr, Error> {
    let mut tries = 0;
    loop {
        let udp = open(listen, Type::DGRAM, false).map_err(|e| Error::bind("UDP", listen, e))?;
        let address = udp.local_addr().ok().and_then(|a| a.as_socket()).unwrap_or(listen);
        match open(address, Type::STREAM, false) {
            Ok(_) => return Ok(address),
            // Port 0 gave a UDP port whose TCP twin is taken: take another.
            Err(_) if listen.port() == 0 && tries < PORT_TRIES => tries += 1,
            Err(error) => return Err(Error::bind("TCP", address, error)),
        }
    }
}

fn open(address: SocketAddr, kind: Type, shared: bool) -> std::io::Result<Socket> {
    let protocol = if kind == Type::DGRAM { Protocol::UDP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    if kind == Type::STREAM {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 512;
/// How often another free port is tried.
const PORT_TRIES: u32 = 16;
