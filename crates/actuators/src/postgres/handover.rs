//! A planned hand-over, seen from both members: nothing is lost, and the pause is short.
//!
//! The old writer checkpoints while writes go on (so that the checkpoint of its shutdown is short), waits
//! until the successor has everything, and stops in good order. The successor replays beyond the place where
//! that shutdown checkpoint begins: then it has all of the log, and the old one can follow it as it is.
//!
//! The shutdown waits for every standby that is connected, also for one that does not answer. So the
//! others are sent away first; they get the rest from the successor, whose log begins with the same bytes.

use std::sync::PoisonError;
use std::time::Duration;

use meridian_model::group::WalPosition;
use meridian_model::{Lsn, RegionName};
use meridian_telemetry::clock;
use tokio_postgres::SimpleQueryRow;

use super::promote::CHECKPOINT;
use super::server::Ended;
use super::settings::literal;
use super::{Member, QUICK};
use crate::deadline::Deadline;
use crate::error::ActuatorError;
use crate::guard::LEASE_NAME;

impl Member {
    pub(super) async fn prepare_handover(&self, to: &RegionName) -> Result<(), ActuatorError> {
        let _one_at_a_time = self.commands.lock().await;
        self.require_primary(PREPARE).await?;
        self.progress(PREPARE, to).await?;
        // On a connection of its own: whoever gives up waiting leaves it behind with the checkpoint.
        let link = self.link_to(self.config.address);
        link.rows("the checkpoint before a hand-over", "checkpoint", CHECKPOINT).await?;
        self.progress(PREPARE, to).await.map(drop)
    }

    pub(super) async fn catch_up(&self, to: &RegionName, within: Duration) -> Result<(), ActuatorError> {
        let _one_at_a_time = self.commands.lock().await;
        let end = clock::now() + within;
        self.require_primary(CATCH_UP).await?;
        let mark = self.work.value("marking the end of the log", MARK, QUICK.min(within)).await?;
        let mark: Lsn = mark.parse().unwrap_or_default();
        loop {
            let seen = self.progress(CATCH_UP, to).await?;
            if seen.flushed >= mark && seen.replayed >= mark {
                *self.successor.lock().unwrap_or_else(PoisonError::into_inner) = Some(to.clone());
                return Ok(());
            }
            if clock::now() >= end {
                let what = format!("the catching up of {to} with the log to {mark}");
                return Err(ActuatorError::TimedOut { what, after: within, reason: seen.short_of(mark) });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) async fn stop_in_order(&self, within: Duration) -> Result<WalPosition, ActuatorError> {
        let _one_at_a_time = self.commands.lock().await;
        if self.server.child().is_some() {
            self.require_primary(STOP).await?;
            self.send_others_away().await;
            let limit = Deadline::new(within, KILLED);
            let ended = self.server.stop_fast(limit).await?;
            self.watching.close().await;
            if ended == Ended::Killed {
                return Err(limit.passed("a shutdown of PostgreSQL in good order"));
            }
        }
        let control = self.control_data().await?;
        if control.state != SHUT_DOWN {
            let problem = format!("its control file says \"{}\", not \"{SHUT_DOWN}\"", control.state);
            return Err(ActuatorError::WrongState { command: STOP, problem });
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).stopped_at = Some(control.checkpoint);
        Ok(control.checkpoint)
    }

    pub(super) async fn replay_beyond(
        &self,
        place: WalPosition,
        within: Duration,
    ) -> Result<WalPosition, ActuatorError> {
        let _one_at_a_time = self.commands.lock().await;
        let end = clock::now() + within;
        loop {
            let row = self.work.value("asking how far it has replayed", REPLAYED, QUICK.min(within)).await?;
            let replayed: Lsn = row.parse().unwrap_or_default();
            let timeline = self.written_timeline();
            if replayed > place.lsn && timeline >= place.timeline {
                return Ok(WalPosition { timeline, lsn: replayed });
            }
            if clock::now() >= end {
                let what = format!("replaying beyond {} on timeline {}", place.lsn, place.timeline);
                let reason = format!("it has replayed to {replayed} on timeline {timeline}");
                return Err(ActuatorError::TimedOut { what, after: within, reason });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A running primary, else an error.
    pub(super) async fn require_primary(&self, command: &'static str) -> Result<(), ActuatorError> {
        let problem = match self.server.child() {
            None => "it does not run",
            Some(_) if self.in_recovery().await? => "it runs as a standby",
            Some(_) => return Ok(()),
        };
        Err(ActuatorError::WrongState { command, problem: problem.to_owned() })
    }

    /// How far a standby that streams from here is.
    async fn progress(&self, command: &'static str, to: &RegionName) -> Result<Progress, ActuatorError> {
        let sql = format!("{PROGRESS} and application_name = {} limit 1", literal(to.as_str()));
        let rows = self.work.rows("asking how far the successor is", &sql, QUICK).await?;
        rows.first().and_then(Progress::of).ok_or_else(|| {
            let problem = format!("{to} does not stream from here");
            ActuatorError::WrongState { command, problem }
        })
    }

    /// All standbys but the successor. That one of them stays only makes the stop longer. The guard stays:
    /// the last commits need its word.
    async fn send_others_away(&self) {
        let successor = self.successor.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(successor) = successor else { return };
        let sql = format!(
            "select pg_terminate_backend(pid) from pg_stat_replication \
             where application_name not in ({}, '{LEASE_NAME}')",
            literal(successor.as_str())
        );
        if let Err(error) = self.work.rows("sending the other standbys away", &sql, QUICK).await {
            tracing::warn!(%error, "the shutdown waits for all standbys");
        }
    }
}

/// A standby as the primary sees it.
struct Progress {
    flushed: Lsn,
    replayed: Lsn,
}

impl Progress {
    fn of(row: &SimpleQueryRow) -> Option<Self> {
        let lsn = |name: &str| row.get(name)?.parse().ok();
        Some(Self { flushed: lsn("flushed")?, replayed: lsn("replayed").unwrap_or_default() })
    }

    fn short_of(&self, mark: Lsn) -> String {
        let (flushed, replayed) = (mark.bytes_since(self.flushed), mark.bytes_since(self.replayed));
        format!("{flushed} bytes were not flushed there yet, {replayed} not replayed")
    }
}

const PREPARE: &str = "prepare a hand-over";
const CATCH_UP: &str = "let the successor catch up";
const STOP: &str = "stop in order";
/// The state of a primary that was stopped in good order.
pub(super) const SHUT_DOWN: &str = "shut down";
const KILLED: &str = "it was killed, no process of it is left; start it again as it was";
const POLL: Duration = Duration::from_millis(2);
/// A small transaction whose commit flushes all of the log before it, also what sessions with
/// `synchronous_commit = off` have written. It waits for no standby itself.
const MARK: &str = "select pg_logical_emit_message(true, 'meridian', 'hand-over') \
                    from set_config('synchronous_commit', 'local', true)";
const PROGRESS: &str = "select flush_lsn as flushed, replay_lsn as replayed from pg_stat_replication \
                        where state = 'streaming'";
const REPLAYED: &str = "select coalesce(pg_last_wal_replay_lsn(), '0/0')";
