//! A rig: folders, addresses and passwords of a group whose members live on loopback; gone when dropped.

use std::ffi::OsString;
use std::future::Future;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use meridian_actuators::{DatabaseActuator as _, Postgres, PostgresConfig};
use meridian_model::database::{PostgresMember, Replication};
use meridian_model::group::DatabaseStatus;
use meridian_model::{Epoch, GroupName, Moment, RegionName};
use meridian_telemetry::clock;
use rustix::process::Pid;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

pub(crate) const REGIONS: [&str; 3] = ["us-east-1", "eu-central-1", "ap-southeast-1"];
pub(crate) const APP_PASSWORD: &str = "app'pass:word\\1";
pub(crate) const SUPER_PASSWORD: &str = "super:secret\\2";

pub(crate) struct Rig {
    pub(crate) folder: TempDir,
    pub(crate) replication: Replication,
    fsync: &'static str,
    guard: Vec<OsString>,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Rig {
    pub(crate) fn new(replication: Replication) -> Self {
        Self::below(&std::env::temp_dir(), replication)
    }

    pub(crate) fn below(parent: &Path, replication: Replication) -> Self {
        let folder = tempfile::Builder::new().prefix("meridian-actuators-").tempdir_in(parent).unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(folder.path().join("super"), format!("{SUPER_PASSWORD}\n")).unwrap();
        std::fs::write(folder.path().join("app"), APP_PASSWORD).unwrap();
        let addresses = REGIONS.iter().map(|_| free_address()).collect();
        Self { folder, replication, fsync: "off", guard: Vec::new(), addresses }
    }

    /// The same with servers that sync their files, as in production.
    pub(crate) fn durable(mut self) -> Self {
        self.fsync = "on";
        self
    }

    /// The same with guards, whose word commits wait for.
    pub(crate) fn guarded(self) -> Self {
        self.guarded_by(errand("it::fence::errand_guard"))
    }

    pub(crate) fn guarded_by(mut self, command: Vec<OsString>) -> Self {
        self.guard = command;
        self
    }

    pub(crate) fn config(&self, index: usize) -> PostgresConfig {
        let region = |name: &str| RegionName::new(name).unwrap();
        let home = self.folder.path().join(REGIONS[index]);
        let settings = [("fsync", self.fsync), ("shared_buffers", "16MB"), ("max_connections", "20")];
        PostgresConfig {
            group: GroupName::new("orders").unwrap(),
            region: region(REGIONS[index]),
            address: self.addresses[index],
            postgres: PostgresMember {
                // To try another version: MERIDIAN_TEST_POSTGRES=/path/to/bin.
                bin_dir: std::env::var_os("MERIDIAN_TEST_POSTGRES").map(Into::into),
                data_dir: home.join("data"),
                run_as: "postgres".to_owned(),
                superuser: "meridian".to_owned(),
                password_file: self.folder.path().join("super"),
                app_user: "app".to_owned(),
                app_password_file: self.folder.path().join("app"),
                settings: settings.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(),
            },
            dbname: "shop".to_owned(),
            replication: self.replication,
            others: REGIONS.iter().filter(|r| **r != REGIONS[index]).map(|r| region(r)).collect(),
            work_dir: home.join("postgres-orders"),
            kept_wal_dir: home.join("kept-wal"),
            guard: self.guard.clone(),
        }
    }

    pub(crate) fn open(&self, index: usize) -> Postgres {
        Postgres::open(self.config(index)).unwrap()
    }

    /// The first member as a primary.
    pub(crate) async fn primary(&self) -> Postgres {
        let database = self.open(0);
        database.initialise().await.unwrap();
        fence_late(&database);
        database.start_primary(Epoch(1)).await.unwrap();
        database
    }

    /// Another member as a standby of the first, streaming.
    pub(crate) async fn standby(&self, index: usize) -> Postgres {
        let database = self.open(index);
        database.copy_from(self.addresses[0]).await.unwrap();
        database.follow(self.addresses[0], Epoch(1)).await.unwrap();
        until("it streams", || async { database.status().await.streaming }).await;
        database
    }

    pub(crate) async fn app(&self, index: usize) -> Client {
        connect(self.addresses[index], "app", APP_PASSWORD, "shop").await.unwrap()
    }
}

pub(crate) fn fence_late(database: &Postgres) {
    database.fence_at(Some(clock::now() + Duration::from_secs(300)));
}

pub(crate) async fn connect(
    address: SocketAddr,
    user: &str,
    password: &str,
    dbname: &str,
) -> Result<Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host(address.ip().to_string()).port(address.port()).user(user).password(password).dbname(dbname);
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Waits until a condition holds; fails after a minute.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let end = clock::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(clock::now() < end, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

pub(crate) async fn status_until(
    database: &Postgres,
    what: &str,
    condition: impl Fn(&DatabaseStatus) -> bool,
) -> DatabaseStatus {
    until(what, || async { condition(&database.status().await) }).await;
    database.status().await
}

/// Those of the server in `data_dir` whose title says `what`.
pub(crate) fn processes_titled(data_dir: &Path, what: &str) -> Vec<Pid> {
    let says = |p: &PathBuf| std::fs::read_to_string(p.join("cmdline")).is_ok_and(|t| t.contains(what));
    let pid = |p: PathBuf| Pid::from_raw(p.file_name()?.to_str()?.parse().ok()?);
    processes_in(data_dir).into_iter().filter(says).filter_map(pid).collect()
}

/// The processes that have this folder as their working directory.
pub(crate) fn processes_in(folder: &Path) -> Vec<PathBuf> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let all = std::fs::read_dir("/proc").unwrap().flatten().map(|e| e.path());
    all.filter(|p| std::fs::read_link(p.join("cwd")).is_ok_and(|cwd| cwd == folder)).collect()
}

/// A loopback address of its own, so that tests of several runs never meet, and a port that is free.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let ip =
        std::net::Ipv4Addr::new(127, 64 + (pid / 250 % 64) as u8, (pid % 250 + 1) as u8, (n % 250 + 1) as u8);
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// This test program again, running only the test of that name, which takes it as its errand.
pub(crate) fn errand(test: &str) -> Vec<OsString> {
    let me = std::env::current_exe().unwrap();
    let words = ["/usr/bin/env".into(), "MERIDIAN_ERRAND=1".into(), me.into_os_string(), test.into()];
    words.into_iter().chain(["--exact", "--nocapture", "--test-threads=1"].map(Into::into)).collect()
}

/// Whether this process was started by [`errand`].
pub(crate) fn on_errand() -> bool {
    std::env::var_os("MERIDIAN_ERRAND").is_some()
}

/// A guard process that the test itself gives orders to.
pub(crate) struct TestGuard(pub(crate) Child);

impl TestGuard {
    /// Of the servers in `data_dir`.
    pub(crate) fn watching(data_dir: &Path) -> Self {
        let words = errand("it::fence::errand_guard");
        let mut command = Command::new(&words[0]);
        let child = command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut guard = Self(child);
        guard.order(&format!("watch {}", data_dir.display()));
        guard
    }

    /// The same, and it confirms the commits of the first member.
    pub(crate) fn confirming(mut self, rig: &Rig) -> Self {
        self.order(&format!("address {}\nuser meridian\npassword {SUPER_PASSWORD}", rig.addresses[0]));
        self
    }

    pub(crate) fn kill_at(&mut self, at: Moment) {
        self.order(&format!("kill-at {}", at.as_nanos()));
    }

    pub(crate) fn order(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

/// A file system with 12 MiB; only root may mount one.
pub(crate) struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    pub(crate) fn mount(at: &'a Path) -> Option<Self> {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m,mode=755", "none"]).arg(at).output();
        mounted.is_ok_and(|done| done.status.success()).then_some(Self(at))
    }

    pub(crate) fn grow(&self) {
        let grown = Command::new("mount").args(["-o", "remount,size=200m"]).arg(self.0).status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
