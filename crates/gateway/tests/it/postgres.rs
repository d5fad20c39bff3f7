//! Real PostgreSQL servers for the tests: two independent clusters, shared by all tests that run at the
//! same time, and gone with the last of them (also when the test process is killed).

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;

use meridian_telemetry::clock;

pub(crate) const USER: &str = "meridian";
pub(crate) const PASSWORD: &str = "a secret of tests";

/// Two servers that know nothing of each other; each has one table `place` with one row, its name.
pub(crate) struct Pair {
    pub(crate) one: SocketAddr,
    pub(crate) two: SocketAddr,
    stop: Option<mpsc::Sender<()>>,
    keeper: Option<std::thread::JoinHandle<()>>,
}

static PAIR: Mutex<Weak<Pair>> = Mutex::new(Weak::new());

/// The servers of this moment.
pub(crate) fn pair() -> Arc<Pair> {
    let mut shared = PAIR.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pair) = shared.upgrade() {
        return pair;
    }
    let pair = Arc::new(Pair::start([5432, 5433], ""));
    *shared = Arc::downgrade(&pair);
    pair
}

/// Two servers of one test's own, whose commits wait for a synchronous standby that there is not.
pub(crate) fn without_their_standby() -> Pair {
    Pair::start([5434, 5435], "synchronous_standby_names = 'nobody'\n")
}

/// Two servers of one test's own, to be stopped.
pub(crate) fn mortal() -> Pair {
    Pair::start([5436, 5437], "")
}

/// Stops the server that this client is at: `INT` in order, `QUIT` at once.
pub(crate) async fn stop(client: &tokio_postgres::Client, signal: &str) {
    let file = crate::rig::value(client, "select pg_read_file('postmaster.pid')").await;
    run(Command::new("kill").arg(format!("-{signal}")).arg(file.lines().next().unwrap()));
}

impl Pair {
    /// A thread of their own holds the servers: they die with the thread that started them.
    fn start(ports: [u16; 2], settings: &'static str) -> Self {
        let (started, begun) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let keeper = std::thread::spawn(move || {
            remove_what_killed_runs_left();
            let prefix = format!("{PREFIX}{}-", std::process::id());
            let folder = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap();
            give_to_postgres(folder.path());
            let password = folder.path().join("password");
            std::fs::write(&password, PASSWORD).unwrap();
            let one = folder.path().join("one");
            initialise(&one, &password);
            let two = folder.path().join("two");
            run(Command::new("cp").arg("-a").arg(&one).arg(&two));
            let address = free_loopback();
            let servers = [(one, ports[0]), (two, ports[1])]
                .map(|(data, port)| Postgres::start(&data, SocketAddrV4::new(address, port), settings));
            started.send(servers.each_ref().map(|s| s.address)).unwrap();
            // Ends with the message, and with the sender.
            let _ = stopped.recv();
            drop(servers);
        });
        let [one, two] = begun.recv().expect("PostgreSQL starts");
        Self { one, two, stop: Some(stop), keeper: Some(keeper) }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            keeper.join().unwrap();
        }
    }
}

/// Folders are named after the process that made them.
const PREFIX: &str = "meridian-gateway-";

/// The servers of a killed run die with it; its folder stays until the next one.
fn remove_what_killed_runs_left() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another run may be removing it as well.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

struct Postgres {
    child: Child,
    address: SocketAddr,
}

impl Postgres {
    fn start(data: &Path, address: SocketAddrV4, more: &str) -> Self {
        let (ip, port) = (address.ip(), address.port());
        let settings = format!(
            "listen_addresses = '{ip}'\nport = {port}\nunix_socket_directories = ''\nfsync = off\n\
             shared_buffers = 16MB\nmax_connections = 120\nlogging_collector = off\n{more}"
        );
        std::fs::write(data.join("postgresql.auto.conf"), settings).unwrap();
        let mut command = unprivileged(&bin("postgres"));
        let log = std::fs::File::create(data.with_extension("log")).unwrap();
        let child =
            command.arg("-D").arg(data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let server = Self { child: child.unwrap(), address: address.into() };
        let begin = clock::now();
        while !server.answers() {
            let log = || std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
            assert!(
                clock::now().since(begin) < Duration::from_secs(60),
                "PostgreSQL does not start: {}",
                log()
            );
            std::thread::yield_now();
        }
        server
    }

    fn answers(&self) -> bool {
        let (ip, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let mut ready = Command::new(bin("pg_isready"));
        TcpStream::connect(self.address).is_ok()
            && ready.args(["-q", "-h", &ip, "-p", &port]).status().is_ok_and(|s| s.success())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        run(Command::new("kill").args(["-QUIT", &pid]));
        self.child.wait().unwrap();
    }
}

fn initialise(data: &Path, password: &Path) {
    let mut command = unprivileged(&bin("initdb"));
    command.arg("-D").arg(data).args(["-N", "-U", USER, "--auth=scram-sha-256", "-E", "UTF8", "--locale=C"]);
    run(command.arg("--pwfile").arg(password));
}

/// The program as an ordinary user (PostgreSQL refuses root), killed with the thread that starts it.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.arg("--").arg(program).current_dir("/");
    command
}

fn give_to_postgres(folder: &Path) {
    if is_root() {
        run(Command::new("chown").arg("postgres:postgres").arg(folder));
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program of the newest PostgreSQL on this machine, else from the path.
pub(crate) fn bin(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> =
        versions.map(|v| v.path().join("bin").join(name)).filter(|p| p.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}

/// An address of this process's own.
fn free_loopback() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 251, high, low.clamp(1, 254))
}
