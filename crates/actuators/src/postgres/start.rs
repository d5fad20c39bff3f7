//! Starting: as a primary on command, as a standby with an upstream or with none.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use meridian_model::Epoch;
use meridian_telemetry::clock;
use rustix::process::Signal;

use super::layout::HBA;
use super::ledger::LEDGER;
use super::server::{Ticket, last_words};
use super::{Member, QUICK, cluster};
use crate::deadline::Deadline;
use crate::error::ActuatorError;
use crate::process::{Child, DeathSignal, Exit, Launch, Output};

/// As what a server is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    Primary,
    Standby(Option<SocketAddr>),
}

impl Member {
    pub(super) async fn start_primary(self: &Arc<Self>, epoch: Epoch) -> Result<(), ActuatorError> {
        let _one_at_a_time = self.commands.lock().await;
        let ticket = self.server.ticket();
        self.require_guarded_fence().await?;
        self.require_data("start as a primary")?;
        self.layout.raise_epoch(epoch)?;
        if self.server.child().is_some() {
            return match self.in_recovery().await? {
                false => self.take_writes().await,
                true => {
                    Err(wrong("start as a primary", "it runs as a standby; promote it, or stop it first"))
                }
            };
        }
        self.start(As::Primary, ticket).await?;
        self.renew_ledger_in_background(false);
        self.take_writes().await
    }

    async fn take_writes(&self) -> Result<(), ActuatorError> {
        self.make_slots_for_others().await?;
        self.first_commit().await
    }

    pub(super) async fn follow(&self, upstream: SocketAddr, epoch: Epoch) -> Result<(), ActuatorError> {
        let _one_at_a_time = self.commands.lock().await;
        let ticket = self.server.ticket();
        self.require_data("follow")?;
        self.layout.raise_epoch(epoch)?;
        self.forget_names();
        self.read_only.store(false, Ordering::SeqCst);
        self.run_as_standby("follow", Some(upstream), ticket).await?;
        self.drop_slots().await;
        Ok(())
    }

    pub(super) async fn seal(&self) -> Result<(), ActuatorError> {
        let _one_at_a_time = self.commands.lock().await;
        let ticket = self.server.ticket();
        self.require_data("seal")?;
        self.run_as_standby("seal", None, ticket).await?;
        self.end_receivers().await?;
        FINAL.run("finding the final place of the log", self.reach_final_place()).await
    }

    /// Reconfigures the running standby, or starts one.
    pub(super) async fn run_as_standby(
        &self,
        command: &'static str,
        upstream: Option<SocketAddr>,
        ticket: Ticket,
    ) -> Result<(), ActuatorError> {
        let Some(child) = self.server.child() else {
            return self.start(As::Standby(upstream), ticket).await;
        };
        // A server that does not answer yet was started as a standby, or is found out at the next try.
        if let Ok(false) = self.in_recovery().await {
            return Err(wrong(command, "it runs as a primary; stop it first"));
        }
        self.configure(upstream)?;
        child.signal(Signal::HUP);
        Ok(())
    }

    /// From nothing to answering. A primary that does not make it is killed; a standby goes on trying.
    pub(super) async fn start(&self, role: As, ticket: Ticket) -> Result<(), ActuatorError> {
        self.server.halt_aside(false).await?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).stopped_at = None;
        if role != As::Primary {
            self.forget_names();
        }
        self.forgetting.store(false, Ordering::SeqCst);
        self.read_only.store(false, Ordering::SeqCst);
        self.forget_ledger_unless_kept()?;
        let upstream = if let As::Standby(upstream) = role { upstream } else { None };
        self.configure(upstream)?;
        self.layout.signal_standby(role != As::Primary)?;
        let started = self.launch(role, ticket).await;
        let signalled = self.layout.signal_standby(true);
        self.server.started();
        if started.is_err() && role == As::Primary {
            self.server.halt_aside(false).await?;
        }
        started.and(signalled)
    }

    /// Whether the running server is a standby.
    pub(super) async fn in_recovery(&self) -> Result<bool, ActuatorError> {
        Ok(self.work.value("asking for its role", "select pg_is_in_recovery()", QUICK).await? == "t")
    }

    async fn launch(&self, role: As, ticket: Ticket) -> Result<(), ActuatorError> {
        self.check_port()?;
        let offset = self.rotate_log()?;
        self.work.close().await;
        let mut launch = self.command_line();
        if role != As::Primary {
            launch.args.extend(self.at_least(&self.layout.data_dir).await);
        }
        let allowed = || if role == As::Primary { self.require_fence() } else { Ok(()) };
        let child = self.server.spawn(ticket, launch, allowed)?;
        let limit = if role == As::Primary { START_PRIMARY } else { START_STANDBY };
        limit.run("the start of PostgreSQL", self.wait_ready(&child, role, offset)).await
    }

    /// Polls until it answers in its role, or has ended.
    async fn wait_ready(&self, child: &Arc<Child>, role: As, offset: u64) -> Result<(), ActuatorError> {
        let began = clock::now();
        loop {
            if let Some(exit) = child.exit() {
                return Err(self.why_it_ended(&exit, offset));
            }
            if self.in_recovery().await.is_ok_and(|standby| standby == (role != As::Primary)) {
                return Ok(());
            }
            let patience = if clock::now().since(began) < Duration::from_secs(1) { 5 } else { 50 };
            tokio::time::sleep(Duration::from_millis(patience)).await;
        }
    }

    fn command_line(&self) -> Launch {
        let data_dir = &self.layout.data_dir;
        let mut args: Vec<OsString> = vec!["-D".into(), data_dir.into()];
        let mut set = |name: &str, value: &str| {
            args.push("-c".into());
            args.push(format!("{name}={value}").into());
        };
        set("listen_addresses", &self.config.address.ip().to_string());
        set("port", &self.config.address.port().to_string());
        set("unix_socket_directories", "");
        set("hba_file", &data_dir.join(HBA).to_string_lossy());
        // A crash ends the postmaster too, so that we know and decide; it would re-read standby.signal.
        set("restart_after_crash", "off");
        set("log_destination", "stderr");
        set("logging_collector", "off");
        // Sealing finds the receiver by its title.
        set("update_process_title", "on");
        let mut launch = Launch::tool(self.binaries.program("postgres"), args);
        launch.user.clone_from(&self.layout.user);
        launch.output = Output::Log(self.layout.log());
        launch.death_signal = if self.guard.is_some() { DeathSignal::Quit } else { DeathSignal::Kill };
        launch
    }

    /// Ends the receivers and waits until there is none. The password file is gone already, so one that
    /// starts with the old setting cannot get in: when none is seen now, none receives any more.
    async fn end_receivers(&self) -> Result<(), ActuatorError> {
        let data_dir = &self.layout.data_dir;
        let ended = async {
            loop {
                match cluster::processes_titled(data_dir, "walreceiver") {
                    Ok(receivers) if receivers.is_empty() => return Ok(()),
                    Ok(receivers) => {
                        receivers.into_iter().for_each(|pid| cluster::signal(pid, data_dir, Signal::TERM));
                    }
                    Err(error) => tracing::warn!(%error, "the receivers of replication cannot be looked for"),
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        SEAL.run("ending the receiver of replication", ended).await
    }

    /// A standby needs no slots of its own making; they would hold log for ever.
    pub(super) async fn drop_slots(&self) {
        let sql = format!(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots \
             where (slot_type = 'physical' or slot_name = '{LEDGER}') \
               and not temporary and not active and pg_is_in_recovery()"
        );
        if let Err(error) = self.work.rows("dropping unused slots", &sql, QUICK).await {
            tracing::debug!(%error, "unused slots stay until the next follow");
        }
    }

    /// Waits until the server answers as a standby whose position is the end of its log. Needs the
    /// receivers to be gone. Replay that somebody paused is resumed where it must go on for that.
    async fn reach_final_place(&self) -> Result<(), ActuatorError> {
        loop {
            if self.server.child().is_none() {
                return Err(wrong("seal", "PostgreSQL ended in the meantime; its log says why; try again"));
            }
            match self.work.value("asking whether its place is final", FINALITY, QUICK).await.as_deref() {
                Ok("final") => return Ok(()),
                Ok("primary") => return Err(wrong("seal", "it runs as a primary; stop it first")),
                Ok("paused") => {
                    tracing::warn!(
                        "replay was paused; it is resumed, so that the log is replayed to its end"
                    );
                    self.work.rows("resuming replay", "select pg_wal_replay_resume()", QUICK).await?;
                }
                Ok(_replaying) => {}
                Err(error) => tracing::debug!(%error, "it does not answer yet"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn check_port(&self) -> Result<(), ActuatorError> {
        let address = self.config.address;
        match TcpListener::bind(address) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {
                Err(ActuatorError::PortInUse { address: address.to_string() })
            }
            Err(e) => Err(ActuatorError::file("listening on", address.to_string(), e)),
        }
    }

    /// One old log is kept. Gives where the new words will begin.
    fn rotate_log(&self) -> Result<u64, ActuatorError> {
        let log = self.layout.log();
        let size = std::fs::metadata(&log).map_or(0, |found| found.len());
        if size < LOG_BYTES {
            return Ok(size);
        }
        std::fs::rename(&log, self.layout.work_dir.join("postgres.log.1"))
            .map_err(|e| ActuatorError::file("putting aside", &log, e))?;
        Ok(0)
    }

    fn why_it_ended(&self, exit: &Exit, offset: u64) -> ActuatorError {
        let log = self.server.log_since(offset);
        if log.contains("Address already in use") {
            return ActuatorError::PortInUse { address: self.config.address.to_string() };
        }
        let dir = self.layout.data_dir.clone();
        if log.contains("No space left on device") {
            return ActuatorError::DiskFull { path: dir, detail: last_words(&log, 300) };
        }
        ActuatorError::StartFailed { dir, status: exit.status.to_string(), log: last_words(&log, LAST_WORDS) }
    }
}

fn wrong(command: &'static str, problem: &str) -> ActuatorError {
    ActuatorError::WrongState { command, problem: problem.to_owned() }
}

const START_PRIMARY: Deadline =
    Deadline::new(Duration::from_secs(120), "the log since the last checkpoint is replayed first");
const START_STANDBY: Deadline = Deadline::new(
    Duration::from_secs(15),
    "a standby answers when it has reached a consistent place; it goes on trying",
);
const SEAL: Deadline =
    Deadline::new(Duration::from_secs(3), "the receiver ends at once unless it is stopped or its disk hangs");
const FINAL: Deadline =
    Deadline::new(Duration::from_secs(15), "the log is replayed to its end first; it goes on, seal again");
/// Whether the further of received and replayed is the end of the log on this disk.
///
/// A server that has asked for streaming since its start (then there is a received place) had replayed all
/// that was on its disk before, and counts each byte that it received and flushed since. One that has not
/// knows only what it replayed, and that is the end once the startup process waits for a log to come from
/// anywhere: PostgreSQL 13 and later call that wait `RecoveryRetrieveRetryInterval`.
const FINALITY: &str = "
  select case when not pg_is_in_recovery() then 'primary'
              when pg_last_wal_receive_lsn() is not null then 'final'
              when pg_last_wal_replay_lsn() is not null and exists (
                     select from pg_stat_activity
                      where backend_type = 'startup' and wait_event = 'RecoveryRetrieveRetryInterval')
              then 'final'
              when pg_is_wal_replay_paused() then 'paused'
              else 'replaying' end";
const LOG_BYTES: u64 = 16 << 20;
const LAST_WORDS: usize = 1200;
