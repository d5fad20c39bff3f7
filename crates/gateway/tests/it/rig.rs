//! A gateway in the test's own process, with the view and the fence in the test's hands; and clients.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meridian_gateway::{Config, Credentials, Fence, Listen, Port, Server, bind};
use meridian_model::database::GatewayLimits;
use meridian_model::group::HoldId;
use meridian_model::snapshot::{GroupState, ReaderState};
use meridian_model::{Epoch, GroupName, Moment, Name, RegionName, Snapshot, System};
use meridian_steering::View;
use meridian_telemetry::{Metrics, clock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::SimpleQueryMessage;

use crate::postgres::{PASSWORD, USER};
use crate::system::{self, Place};

/// Longer than anything that works takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn group() -> GroupName {
    Name::new("orders").unwrap()
}

/// The region of the gateway under test, and another one.
pub(crate) fn home() -> RegionName {
    Name::new("us-east-1").unwrap()
}
pub(crate) fn away() -> RegionName {
    Name::new("eu-central-1").unwrap()
}

/// A gateway and the strings that it hangs on.
pub(crate) struct Rig {
    pub(crate) write: SocketAddr,
    pub(crate) read: SocketAddr,
    pub(crate) fence: Arc<Fence>,
    pub(crate) metrics: Metrics,
    here: RegionName,
    system: Arc<System>,
    views: watch::Sender<Arc<View>>,
    stop: watch::Sender<bool>,
    served: JoinHandle<()>,
    /// The password file of the user whose sessions can be moved.
    pub(crate) password: tempfile::NamedTempFile,
    /// The last hold.
    held: Mutex<HoldId>,
}

/// What a rig begins with.
pub(crate) struct Setup {
    pub(crate) here: RegionName,
    pub(crate) home_database: SocketAddr,
    pub(crate) away_database: SocketAddr,
    /// The write port of the other region's gateway.
    pub(crate) away_gateway: SocketAddr,
    pub(crate) limits: GatewayLimits,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) drain: Duration,
    /// The user whose sessions can be moved, and what the gateway believes to be the password.
    pub(crate) known: Option<(&'static str, &'static str)>,
}

impl Setup {
    pub(crate) fn new(home_database: SocketAddr) -> Self {
        Self {
            here: home(),
            home_database,
            away_database: nowhere(),
            away_gateway: nowhere(),
            limits: GatewayLimits::default(),
            tls: None,
            drain: PATIENCE,
            known: None,
        }
    }

    /// A gateway that can move the sessions of [`USER`].
    pub(crate) fn moving(home_database: SocketAddr) -> Self {
        Self { known: Some((USER, PASSWORD)), ..Self::new(home_database) }
    }

    /// A gateway that knows nothing yet.
    pub(crate) async fn build(self) -> Rig {
        let place =
            |name, database, gateway_write| Place { name, database, gateway_write, gateway_read: nowhere() };
        let places = [
            place(home(), self.home_database, self.away_gateway),
            place(away(), self.away_database, self.away_gateway),
        ];
        let system = Arc::new(system::system(&places, self.limits));
        let unknown = Snapshot::unknown(self.here.clone(), [home(), away()]);
        let view = View::new(Arc::clone(&system), self.here.clone(), Arc::new(unknown));
        let (views, viewed) = watch::channel(view);
        let (fence, any) = (Fence::new(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let password = tempfile::NamedTempFile::new().unwrap();
        let known = self.known.map(|(user, word)| {
            std::fs::write(&password, format!("{word}\n")).unwrap();
            (user.to_owned(), password.path().to_owned())
        });
        let credentials = Credentials::from_files(known);
        let listen = Listen { group: group(), write: any, read: any, limits: self.limits, credentials };
        let config =
            Config { databases: vec![listen], fence: Arc::clone(&fence), tls: self.tls, drain: self.drain };
        let metrics = Metrics::new(Some(&self.here));
        let server: Server = bind(config, viewed, metrics.clone()).await.unwrap();
        let address = |port| server.local_address(&group(), port).unwrap();
        let (write, read) = (address(Port::Write), address(Port::Read));
        let (stop, stopped) = watch::channel(false);
        let served = tokio::spawn(server.serve(stopped));
        Rig {
            write,
            read,
            fence,
            metrics,
            here: self.here,
            system,
            views,
            stop,
            served,
            password,
            held: Mutex::default(),
        }
    }
}

impl Rig {
    /// A gateway whose region has the writer, the fence open.
    pub(crate) async fn local(database: SocketAddr) -> Self {
        let rig = Setup::new(database).build().await;
        rig.open();
        rig.view(1, Some(home()), &[home()]);
        rig
    }

    pub(crate) fn open(&self) {
        self.fence.allow_until(&group(), clock::now() + Duration::from_secs(3_600));
    }

    /// From now on nothing begins in that epoch.
    pub(crate) fn hold(&self, epoch: u64) {
        self.hold_until(epoch, clock::now() + Duration::from_secs(3_600));
    }

    pub(crate) fn hold_until(&self, epoch: u64, until: Moment) {
        let mut held = self.held.lock().unwrap();
        *held = HoldId { epoch: Epoch(epoch), attempt: held.attempt + 1 };
        assert!(self.fence.hold(&group(), *held, until, "it is moved"));
    }

    /// Who is held goes on there.
    pub(crate) fn expect(&self, successor: RegionName) {
        self.fence.expect(&group(), *self.held.lock().unwrap(), successor);
    }

    /// The hold ends.
    pub(crate) fn release(&self) {
        self.fence.release(&group(), *self.held.lock().unwrap());
    }

    /// Who writes and who may serve reads from now on.
    pub(crate) fn view(&self, epoch: u64, writer: Option<RegionName>, readers: &[RegionName]) {
        let mut snapshot = Snapshot::unknown(self.here.clone(), [home(), away()]);
        snapshot.groups = vec![GroupState {
            group: group(),
            epoch: Epoch(epoch),
            writer,
            reason: "a test holds it back".to_owned(),
            readers: readers.iter().map(|r| ReaderState { region: r.clone(), lag_s: 0 }).collect(),
        }];
        self.views.send_replace(View::new(Arc::clone(&self.system), self.here.clone(), Arc::new(snapshot)));
    }

    /// Begins the drain.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// The end of the drain.
    pub(crate) async fn stopped(self) {
        self.stop.send_replace(true);
        within("the gateway stops", self.served).await.unwrap();
    }

    /// The end of the drain, with a client that leaves first.
    pub(crate) async fn stopped_after(self, client: TcpStream) {
        drop(client);
        self.stopped().await;
    }

    /// Returns when `/metrics` has that sample.
    pub(crate) async fn metric(&self, name: &str, labels: &str, value: u64) {
        self.metric_where(name, labels, |found| found == value).await;
    }

    /// Returns when `/metrics` has that sample, at least so large.
    pub(crate) async fn metric_at_least(&self, name: &str, labels: &str, value: u64) {
        self.metric_where(name, labels, |found| found >= value).await;
    }

    async fn metric_where(&self, name: &str, labels: &str, wanted: impl Fn(u64) -> bool) {
        let begins = format!("meridian_{name}{{");
        let sample = |line: &str| {
            let value = line.rsplit(' ').next().and_then(|v| v.parse().ok());
            line.starts_with(&begins) && line.contains(labels) && value.is_some_and(&wanted)
        };
        let begin = clock::now();
        while !self.metrics.render().lines().any(sample) {
            let all = self.metrics.render();
            let gateway: Vec<_> = all.lines().filter(|l| l.starts_with("meridian_gateway")).collect();
            assert!(clock::now().since(begin) < PATIENCE, "{name} {labels} is not as wanted: {gateway:#?}");
            tokio::task::yield_now().await;
        }
    }
}

/// An address where nobody listens.
pub(crate) fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

/// Fails the test when it takes too long.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: took over {PATIENCE:?}"))
}

// === Clients ===

/// tokio-postgres. The handle ends when the connection does.
pub(crate) async fn connect(
    address: SocketAddr,
) -> Result<(tokio_postgres::Client, JoinHandle<Result<(), tokio_postgres::Error>>), tokio_postgres::Error> {
    let (client, connection) = config(address).connect(tokio_postgres::NoTls).await?;
    Ok((client, tokio::spawn(connection)))
}

pub(crate) fn config(address: SocketAddr) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config.host(address.ip().to_string()).port(address.port()).dbname("postgres");
    config.user(USER).password(PASSWORD).ssl_mode(tokio_postgres::config::SslMode::Disable);
    config
}

/// One value, by simple query: nothing is under way when it is there. (For others the driver closes a
/// statement behind one's back.)
pub(crate) async fn value(client: &tokio_postgres::Client, sql: &str) -> String {
    let said = client.simple_query(sql).await.unwrap();
    let row = said.iter().find_map(|m| if let SimpleQueryMessage::Row(row) = m { Some(row) } else { None });
    row.unwrap().get(0).unwrap().to_owned()
}

/// What the database said, with its code and its sentence.
pub(crate) fn told(error: &tokio_postgres::Error) -> (String, String) {
    let db = error.as_db_error().unwrap_or_else(|| panic!("not from the server: {error:?}"));
    (db.code().code().to_owned(), db.message().to_owned())
}

pub(crate) fn code_of<T>(result: Result<T, tokio_postgres::Error>) -> String {
    told(&result.err().expect("an error")).0
}

/// psql with these parts of a connection string.
pub(crate) async fn psql(address: SocketAddr, extra: &str, sql: &str) -> Output {
    let target = format!("host={} port={} user={USER} dbname=postgres {extra}", address.ip(), address.port());
    let mut command = Command::new("psql");
    command.args([
        "-X",
        "-A",
        "-t",
        "-v",
        "ON_ERROR_STOP=1",
        "-v",
        "VERBOSITY=verbose",
        "-d",
        &target,
        "-c",
        sql,
    ]);
    command.env("PGPASSWORD", PASSWORD);
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    within("psql", run).await.unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

// === A server of few words, for what PostgreSQL cannot be made to do ===

/// A listener on a free port.
pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Accepts a session and reads its startup packet.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, Vec<u8>) {
    let (mut tcp, _) = within("a session arrives", listener.accept()).await.unwrap();
    let mut word = [0; 4];
    tcp.read_exact(&mut word).await.unwrap();
    let mut packet = vec![0; usize::try_from(u32::from_be_bytes(word)).unwrap() - 4];
    tcp.read_exact(&mut packet).await.unwrap();
    (tcp, packet)
}

/// The next message must be that one.
pub(crate) async fn expect(tcp: &mut TcpStream, tag: u8, body: &[u8]) {
    let said = message(tcp).await.expect("a message, not the end");
    let show = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    assert_eq!((char::from(said.0), show(&said.1)), (char::from(tag), show(body)));
}

/// A message.
pub(crate) fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// AuthenticationOk and ReadyForQuery.
pub(crate) async fn let_in(tcp: &mut TcpStream) {
    tcp.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 0, b'Z', 0, 0, 0, 5, b'I']).await.unwrap();
}

/// A session of our own, byte by byte: connects, sends a startup packet.
pub(crate) async fn raw(address: SocketAddr, pairs: &[u8]) -> TcpStream {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let mut packet = u32::try_from(9 + pairs.len()).unwrap().to_be_bytes().to_vec();
    packet.extend([0, 3, 0, 0]);
    packet.extend_from_slice(pairs);
    packet.push(0);
    tcp.write_all(&packet).await.unwrap();
    tcp
}

/// A client and its server after the server has been sent the client's COMMIT.
pub(crate) async fn committing(write: SocketAddr, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = raw(write, b"user\0ann\0").await;
    let (mut server, _) = accept(listener).await;
    let_in(&mut server).await;
    assert_eq!(message(&mut client).await.unwrap().0, b'R');
    assert_eq!(message(&mut client).await.unwrap().0, b'Z');
    client.write_all(b"Q\0\0\0\x0bCOMMIT\0").await.unwrap();
    assert_eq!(message(&mut server).await.unwrap().0, b'Q');
    (client, server)
}

/// The type byte and body of the next message; `None` at the end.
pub(crate) async fn message(tcp: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    within("a message", async {
        let tag = tcp.read_u8().await.ok()?;
        let length = tcp.read_u32().await.expect("no torn message");
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        tcp.read_exact(&mut body).await.expect("no torn message");
        Some((tag, body))
    })
    .await
}

/// The SQLSTATE of an ErrorResponse.
pub(crate) fn sqlstate((tag, body): (u8, Vec<u8>)) -> String {
    assert_eq!(tag, b'E', "an error, not {body:?}");
    text(meridian_gateway::protocol::message::error_field(&body, b'C').unwrap())
}

/// Views that say nothing.
pub(crate) fn no_views() -> watch::Receiver<Arc<View>> {
    let system = Arc::new(system::system(&[], GatewayLimits::default()));
    watch::channel(View::new(system, home(), Arc::new(Snapshot::unknown(home(), [])))).1
}
