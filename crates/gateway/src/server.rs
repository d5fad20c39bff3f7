//! The ports of the gateway: bound early, served late, drained last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meridian_model::database::GatewayLimits;
use meridian_model::{GroupName, RegionName, System};
use meridian_steering::View;
use meridian_telemetry::Metrics;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::cancel::Cancels;
use crate::credentials::Credentials;
use crate::door::{Door, Phase};
use crate::fence::Fence;
use crate::route::{self, Port, Routes};
use crate::session;
use crate::stream::tune;
use crate::waiting::Room;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1_024;
/// Connections of one port that have not said yet what they want. More are closed at once.
const PORCH_MAX: usize = 256;
/// Clients of one port without a seat that may take their time to read why they are refused. More are
/// closed at once.
const FAREWELLS_MAX: usize = 64;
/// Sessions of one port with a silent client that move at the same time; the others of that kind queue.
const SILENT_MAX: usize = 8;
/// Logins of one port that compute at the same time.
const PROOFS_MAX: usize = 2;
/// The pause after a failed accept (no file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long sessions have for their last words when the drain's time is over.
const LAST_WORDS_MAX: Duration = Duration::from_millis(1_500);
/// What TLS clients of PostgreSQL call the protocol (ALPN).
const ALPN: &[u8] = b"postgresql";

/// What a gateway needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// What it listens on.
    pub databases: Vec<Listen>,
    /// What holds the local writer back.
    pub fence: Arc<Fence>,
    /// Certificates; none: a client that asks for TLS is told no.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// How long sessions in a transaction may go on at shutdown. Default 10 s.
    pub drain: Duration,
}

/// The two ports of one database.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The data group.
    pub group: GroupName,
    /// Leads to the writer.
    pub write: SocketAddr,
    /// Leads to the nearest database that may serve reads.
    pub read: SocketAddr,
    /// How much at once.
    pub limits: GatewayLimits,
    /// The users whose sessions can be moved to another writer.
    pub credentials: Credentials,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port cannot be had.
    #[error(
        "the gateway cannot listen on {address} (the {port} port of database `{group}`): {source}; \
         free that address (`ss -ltnp` shows who has it), or change the gateway's port in the spec"
    )]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// For which database.
        group: GroupName,
        /// `write` or `read`.
        port: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// One port that is listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalAddress {
    /// The data group.
    pub group: GroupName,
    /// Which of its two ports.
    pub port: Port,
    /// Where, with the port that was given for 0.
    pub address: SocketAddr,
}

/// A gateway whose ports are bound.
pub struct Server {
    doors: Vec<(TcpListener, Arc<Door>)>,
    addresses: Vec<LocalAddress>,
    keepers: JoinSet<()>,
    phase: watch::Sender<Phase>,
    drain: Duration,
}

// === impl Listen ===

impl Listen {
    /// The ports of all databases of the spec in that region: the first on the node's gateway ports, each
    /// further one two ports higher than the one before.
    #[must_use]
    pub fn of(system: &System, region: &RegionName) -> Vec<Self> {
        let node = system.region(region).map(|region| &region.node);
        let listen = |(nth, database): (u16, &meridian_model::Database)| {
            node.map(|node| Self {
                group: database.name.clone(),
                write: route::nth(node.gateway_write, nth),
                read: route::nth(node.gateway_read, nth),
                limits: database.gateway,
                credentials: Credentials::of(database, region),
            })
        };
        (0..).zip(&system.databases).filter_map(listen).collect()
    }
}

// === impl Config ===

impl Config {
    /// For all databases of the spec.
    #[must_use]
    pub fn new(system: &System, here: &RegionName, fence: Arc<Fence>) -> Self {
        Self { databases: Listen::of(system, here), fence, tls: None, drain: Duration::from_secs(10) }
    }
}

// === impl Server ===

/// Binds all ports and begins to follow the views.
///
/// # Errors
/// [`Error::Bind`] names the address and what to do.
pub async fn bind(
    config: Config,
    views: watch::Receiver<Arc<View>>,
    metrics: Metrics,
) -> Result<Server, Error> {
    let (phase, phases) = watch::channel(Phase::Serving);
    let drain = config.drain;
    let mut server =
        Server { doors: Vec::new(), addresses: Vec::new(), keepers: JoinSet::new(), phase, drain };
    let cancels = Arc::new(Cancels::default());
    let tls = config.tls.map(acceptor);
    for database in config.databases {
        database.credentials.read().await;
        let gate = config.fence.gate(&database.group);
        let (routes_out, routes) = watch::channel(Arc::new(Routes::none()));
        server.keepers.spawn(route::keep(
            database.group.clone(),
            views.clone(),
            Arc::clone(&gate),
            routes_out,
        ));
        let seats = Arc::new(Semaphore::new(usize::try_from(database.limits.max_sessions).unwrap_or(500)));
        let room = Room::new(&database.limits);
        for port in [Port::Write, Port::Read] {
            let door = Door {
                port,
                group: database.group.clone(),
                limits: database.limits,
                tls: tls.clone(),
                gate: Arc::clone(&gate),
                routes: routes.clone(),
                phase: phases.clone(),
                seats: Arc::clone(&seats),
                porch: Arc::new(Semaphore::new(PORCH_MAX)),
                farewells: Semaphore::new(FAREWELLS_MAX),
                room: Arc::clone(&room),
                cancels: Arc::clone(&cancels),
                credentials: database.credentials.clone(),
                silent: Semaphore::new(SILENT_MAX),
                proofs: Semaphore::new(PROOFS_MAX),
                meter: metrics.gateway_meter(&database.group, port),
                metrics: metrics.clone(),
            };
            let address = if port == Port::Write { database.write } else { database.read };
            server.add(door, address)?;
        }
    }
    Ok(server)
}

impl Server {
    fn add(&mut self, door: Door, address: SocketAddr) -> Result<(), Error> {
        let bind =
            |source| Error::Bind { address, group: door.group.clone(), port: door.port.word(), source };
        let listener = listen(address).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        self.addresses.push(LocalAddress { group: door.group.clone(), port: door.port, address });
        self.doors.push((listener, Arc::new(door)));
        Ok(())
    }

    /// What it listens on: for each database the write port, then the read port.
    #[must_use]
    pub fn local_addresses(&self) -> &[LocalAddress] {
        &self.addresses
    }

    /// Where that port of that database is.
    #[must_use]
    pub fn local_address(&self, group: &GroupName, port: Port) -> Option<SocketAddr> {
        self.addresses.iter().find(|a| &a.group == group && a.port == port).map(|a| a.address)
    }

    /// Takes sessions until `shutdown` turns true (or its sender is gone). Then it stops listening and
    /// ends sessions as they become idle, and the rest when the drain's time is over; returns when all
    /// are gone.
    pub async fn serve(self, mut shutdown: watch::Receiver<bool>) {
        let Self { doors, mut keepers, phase, drain, .. } = self;
        let mut accepting = JoinSet::new();
        for (listener, door) in doors {
            accepting.spawn(accept(listener, door));
        }
        // An error means that nobody is left who could ask for anything else.
        let _ = shutdown.wait_for(|stop| *stop).await;
        phase.send_replace(Phase::Draining);
        if timeout(drain, emptied(&mut accepting)).await.is_err() {
            phase.send_replace(Phase::Ending);
            let _ = timeout(LAST_WORDS_MAX, emptied(&mut accepting)).await;
        }
        accepting.shutdown().await;
        keepers.shutdown().await;
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

async fn emptied(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

/// Accepts until the drain begins, then waits for its sessions.
async fn accept(listener: TcpListener, door: Arc<Door>) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = door.draining() => break,
            Some(_) = sessions.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => welcome(&mut sessions, &door, tcp),
                Err(error) => {
                    tracing::warn!(target: "meridian::gateway", %error, "accept failed");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    emptied(&mut sessions).await;
}

fn welcome(sessions: &mut JoinSet<()>, door: &Arc<Door>, tcp: TcpStream) {
    let Ok(porch) = Arc::clone(&door.porch).try_acquire_owned() else {
        tracing::debug!(target: "meridian::gateway", "closed a connection: too many have not said what they want");
        return;
    };
    if tune(&tcp).is_ok() {
        sessions.spawn(session::run(Arc::clone(door), tcp, porch));
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Clients that ask with ALPN ask for `postgresql`; others do not ask.
fn acceptor(config: Arc<rustls::ServerConfig>) -> TlsAcceptor {
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols = vec![ALPN.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
