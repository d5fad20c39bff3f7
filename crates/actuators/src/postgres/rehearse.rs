//! Cloning the local standby, and making the clone a primary of its own: see [`crate::rehearsal`].
//!
//! None of it waits for a command or holds one up: a failover in the middle of a rehearsal goes on, and
//! what the rehearsal needed of the standby then fails.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meridian_telemetry::clock;

use super::create::{COPY, ROOM_BESIDE};
use super::link::Link;
use super::server::last_words;
use super::settings::rehearsal_hba;
use super::{Member, QUICK};
use crate::deadline::Deadline;
use crate::error::ActuatorError;
use crate::process::{Child, Launch, Output};
use crate::rehearsal::{Clone, Look, Rehearsal, Rehearsed, Stage, remove_noted};

impl Member {
    pub(super) async fn rehearse(
        self: &Arc<Self>,
        workspace: &Path,
        told: &(dyn Fn(Stage) + Send + Sync),
    ) -> Result<Rehearsal, ActuatorError> {
        if self.server.child().is_none() || !self.in_recovery().await? {
            let problem = "only a running standby is cloned".to_owned();
            return Err(ActuatorError::WrongState { command: "rehearse", problem });
        }
        let (group, note) = (self.config.group.clone(), self.rehearsal_note());
        let (workspace, busy) = (workspace.to_owned(), Arc::clone(&self.rehearsing));
        let begun =
            tokio::task::spawn_blocking(move || Clone::begin(&workspace, group.as_str(), note, &busy));
        let mut clone = begun.await.map_err(|_| ActuatorError::ThreadGone("making the clone"))??;
        match self.make(&mut clone, told).await {
            Ok((rehearsed, address, look)) => Ok(Rehearsal { rehearsed, address, clone, look }),
            Err(error) => {
                if let Err(error) = clone.end().await {
                    tracing::warn!(%error, "the next start removes what a rehearsal has left");
                }
                Err(error)
            }
        }
    }

    /// Up to the first write.
    async fn make(
        self: &Arc<Self>,
        clone: &mut Clone,
        told: &(dyn Fn(Stage) + Send + Sync),
    ) -> Result<(Rehearsed, SocketAddr, Look), ActuatorError> {
        self.layout.own(&clone.folder, 0o700)?;
        let slots_before = self.slots().await?;
        let free_bytes = self.check_room_in(&clone.folder).await?;

        told(Stage::Cloning);
        let began = clock::now();
        self.copy_myself(&clone.data_dir()).await?;
        let (clone_took, bytes) = (clock::now().since(began), size_on_disk(&clone.data_dir()));
        told(Stage::Starting);
        let began = clock::now();
        let link = self.start_clone(clone).await?;
        let (start_took, began) = (clock::now().since(began), clock::now());
        told(Stage::Promoting);
        PROMOTE.run("the promotion of the clone", promote(&link)).await?;
        let (promote_took, began) = (clock::now().since(began), clock::now());
        write_and_read(&link).await?;
        let write_took = clock::now().since(began);

        let rehearsed = Rehearsed { clone_took, start_took, promote_took, write_took, bytes, free_bytes };
        let member = Arc::clone(self);
        let look: Look = Box::new(move || Box::pin(async move { member.look_after(&slots_before).await }));
        Ok((rehearsed, link.address(), look))
    }

    /// What a rehearsal of an earlier life has left. That it cannot be removed is no reason not to start.
    pub(super) fn finish_rehearsals(&self) {
        if let Err(error) = remove_noted(&self.rehearsal_note()) {
            tracing::warn!(%error, "remove what a rehearsal has left by hand");
        }
    }

    fn rehearsal_note(&self) -> PathBuf {
        self.layout.work_dir.join("rehearsal")
    }

    async fn slots(&self) -> Result<Vec<String>, ActuatorError> {
        let sql = "select slot_name from pg_replication_slots";
        let rows = self.watching.rows("asking for its slots", sql, QUICK).await?;
        Ok(rows.iter().filter_map(|row| row.get(0)).map(str::to_owned).collect())
    }

    /// The bytes that are free, if they are enough for the clone and for what production may write meanwhile.
    async fn check_room_in(&self, folder: &Path) -> Result<u64, ActuatorError> {
        let size = self.size_of(&self.link_to(self.config.address)).await?;
        let needed = size.saturating_add(ROOM_BESIDE).saturating_add(ROOM_LEFT);
        let free = super::create::free_bytes_of(folder)?;
        if free >= needed {
            return Ok(free);
        }
        let mib = |bytes: u64| bytes >> 20;
        let detail = format!(
            "a clone takes {} MiB and must leave {} MiB to production, {} MiB are free",
            mib(size + ROOM_BESIDE),
            mib(ROOM_LEFT),
            mib(free)
        );
        Err(ActuatorError::DiskFull { path: folder.to_owned(), detail })
    }

    /// The slot that the copy is streamed by is temporary: it ends with its connection.
    async fn copy_myself(&self, target: &Path) -> Result<(), ActuatorError> {
        let conninfo = self.tool_conninfo(self.config.address)?;
        let target = target.to_string_lossy();
        let args = ["-D", &target, "-d", &conninfo, "-X", "stream", "-c", "fast", "-w", "--no-sync"];
        let launch = Launch::tool(self.binaries.program("pg_basebackup"), args);
        let launch = launch.as_user(self.layout.user.clone());
        self.spawner.run("cloning the standby for a rehearsal", launch, COPY).await.map(drop)
    }

    /// Starts it as a standby of nobody; returns when it answers.
    async fn start_clone(&self, clone: &mut Clone) -> Result<Link, ActuatorError> {
        let data_dir = clone.data_dir();
        self.layout.put(&data_dir.join("standby.signal"), "", 0o600)?;
        let hba = clone.folder.join("hba.conf");
        self.layout.put(&hba, rehearsal_hba(), 0o600)?;
        let address = unused_address()?;
        let log = clone.folder.join("log");
        let mut launch =
            Launch::tool(self.binaries.program("postgres"), ["-D".into(), data_dir.into_os_string()]);
        let own = [
            ("hba_file", hba.to_string_lossy().into_owned()),
            ("listen_addresses", address.ip().to_string()),
            ("port", address.port().to_string()),
        ];
        let all = own.iter().map(|(n, v)| (*n, v.as_str())).chain(CUT_OFF);
        launch.args.extend(all.flat_map(|(name, value)| ["-c".into(), format!("{name}={value}").into()]));
        launch.args.extend(self.at_least(&clone.data_dir()).await);
        launch.user.clone_from(&self.layout.user);
        launch.output = Output::Log(log.clone());
        let child = clone.child.insert(self.spawner.spawn(launch, None)?);
        let (superuser, dbname) = (&self.config.postgres.superuser, &self.config.dbname);
        let link = Link::new(address, superuser, &self.password, dbname);
        START.run("the start of the clone", wait_ready(child, &link, &log)).await.map(|()| link)
    }

    async fn look_after(&self, before: &[String]) -> Result<(Vec<String>, bool), ActuatorError> {
        let mut slots = self.slots().await?;
        slots.retain(|slot| !before.contains(slot));
        Ok((slots, self.status().await.streaming))
    }
}

async fn wait_ready(child: &Child, link: &Link, log: &Path) -> Result<(), ActuatorError> {
    while link.rows("asking the clone", "select 1", QUICK).await.is_err() {
        if let Some(exit) = child.exit() {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            return Err(ActuatorError::StartFailed {
                dir: "the clone".into(),
                status: exit.status.to_string(),
                log: last_words(&log, 1200),
            });
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn promote(link: &Link) -> Result<(), ActuatorError> {
    link.rows("promoting the clone", "select pg_promote(false)", QUICK).await?;
    while link.value("asking the clone for its role", "select pg_is_in_recovery()", QUICK).await? == "t" {
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn write_and_read(link: &Link) -> Result<(), ActuatorError> {
    let sql = "create table meridian_rehearsal (n int); insert into meridian_rehearsal values (1)";
    link.rows("the first write in the clone", sql, WRITE).await?;
    let read = link.value("reading it back", "select n from meridian_rehearsal", WRITE).await?;
    link.rows("removing it", "drop table meridian_rehearsal", WRITE).await?;
    if read == "1" {
        return Ok(());
    }
    let problem = format!("it wrote 1 and read {read}");
    Err(ActuatorError::WrongState { command: "rehearse", problem })
}

fn unused_address() -> Result<SocketAddr, ActuatorError> {
    let found = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    found.map_err(|e| ActuatorError::file("looking for a free port on", "loopback", e))
}

fn size_on_disk(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().fold(0, |sum, entry| {
        sum + match entry.metadata() {
            Ok(found) if found.is_dir() => size_on_disk(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        }
    })
}

/// What keeps the clone to itself. A subscription would take changes away from its publisher, and jobs of a
/// scheduler would reach out.
const CUT_OFF: [(&str, &str); 14] = [
    ("primary_conninfo", ""),
    ("primary_slot_name", ""),
    ("synchronous_standby_names", ""),
    ("restore_command", ""),
    ("archive_mode", "off"),
    ("max_logical_replication_workers", "0"),
    ("cron.launch_active_jobs", "off"),
    ("unix_socket_directories", ""),
    ("cluster_name", "meridian rehearsal"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("restart_after_crash", "off"),
    // It is thrown away.
    ("fsync", "off"),
    ("shared_buffers", "32MB"),
];
/// What PostgreSQL may keep for a member that is away, by our default of `max_slot_wal_keep_size`.
const ROOM_LEFT: u64 = 1 << 30;
const POLL: Duration = Duration::from_millis(5);
const WRITE: Duration = Duration::from_secs(30);
const START: Deadline =
    Deadline::new(Duration::from_secs(600), "the log that was written during the copy is replayed first");
const PROMOTE: Deadline = Deadline::new(Duration::from_secs(120), "it has nothing left to replay");
