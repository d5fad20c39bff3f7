//! What the server says about itself, made honest.
//!
//! Three figures need care. The *timeline* that a standby has received is not in the control file until
//! the next restart point, and its receiver is gone once it is sealed: segment files tell, because none
//! of a timeline exists before its log is written. The *received place* is the further of flushed and
//! replayed, since either may be behind after a restart. The *lag* is 0 only while the upstream is heard.

use std::time::Duration;

use meridian_model::group::{DatabaseRole, DatabaseStatus, StandbyStatus, WalPosition};
use meridian_model::{Lsn, Moment, RegionName};
use meridian_telemetry::clock;
use tokio_postgres::SimpleQueryRow;

use super::layout::DataDir;
use super::settings::acknowledgers_of;
use super::stuck::Stuck;
use super::{Member, control};

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When it was last a primary or a standby that streams, and how far behind it was then.
    streaming: Option<(Moment, Duration)>,
    /// When it was last a primary: it lacked nothing then.
    led: Option<Moment>,
    /// Commits that wait for the guard.
    stuck: Stuck,
    /// Where the checkpoint of the last shutdown in order begins, until the next start.
    pub(super) stopped_at: Option<WalPosition>,
    /// Where replay has paused for no reason of ours.
    pub(super) pause_judged: Option<Lsn>,
}

impl Seen {
    /// While it streams: what the server says. Later: that, and the time since. A primary lacks nothing, so one that
    /// becomes a standby is behind since then, and not since it was a standby before.
    fn lag(&mut self, now: Moment, standby: bool, streaming: bool, behind_ms: Option<u64>) -> Option<u64> {
        if !standby {
            (self.streaming, self.led) = (Some((now, Duration::ZERO)), Some(now));
            return None;
        }
        // The last transaction that it replayed may be of its time as a standby before.
        let since_led = self.led.and_then(|led| u64::try_from(now.since(led).as_millis()).ok());
        let behind_ms = behind_ms.map(|ms| ms.min(since_led.unwrap_or(u64::MAX)));
        if streaming {
            self.streaming = behind_ms.map(|ms| (now, Duration::from_millis(ms)));
            return behind_ms;
        }
        let (at, behind) = self.streaming?;
        u64::try_from((now.since(at) + behind).as_millis()).ok()
    }
}

impl Member {
    pub(super) async fn status(&self) -> DatabaseStatus {
        if self.server.child().is_none() {
            let role = match self.layout.look() {
                Ok(DataDir::Absent) => DatabaseRole::Absent,
                _ => DatabaseRole::Stopped,
            };
            let seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let received = seen.stopped_at.unwrap_or_default();
            return DatabaseStatus { received, ..DatabaseStatus::stopped(role) };
        }
        match self.watching.rows("asking for its status", STATUS, WITHIN).await {
            Ok(rows) => {
                let read = self.read(&rows);
                if let (Some(status), Some("t")) = (&read, rows.first().and_then(|row| row.get("paused"))) {
                    self.look_at_pause(status.replayed).await;
                }
                read.unwrap_or_else(|| DatabaseStatus::stopped(DatabaseRole::Starting))
            }
            Err(error) => {
                tracing::debug!(%error, "no status");
                DatabaseStatus::stopped(DatabaseRole::Starting)
            }
        }
    }

    fn read(&self, rows: &[SimpleQueryRow]) -> Option<DatabaseStatus> {
        let (first, standbys) = rows.split_first()?;
        let standby = first.get("standby")? == "t";
        let lsn = |name: &str| first.get(name).and_then(|text| text.parse::<Lsn>().ok());
        let timeline =
            first.get("timeline").and_then(|t| t.parse().ok()).unwrap_or(0).max(self.written_timeline());
        let replayed = lsn("replayed").unwrap_or_default();
        let received = lsn("received").unwrap_or_default().max(replayed);
        if !standby {
            self.look_after_the_guard(first.get("waiting").unwrap_or_default());
        }
        let acknowledgers = first.get("names").and_then(acknowledgers_of).filter(|_| !standby);
        let streaming = standby && first.get("streaming") == Some("t");
        let behind = first.get("behind_ms").and_then(|t| t.parse().ok());
        Some(DatabaseStatus {
            role: if standby { DatabaseRole::Standby } else { DatabaseRole::Primary },
            received: WalPosition { timeline, lsn: received },
            replayed: if standby { replayed } else { received },
            streaming,
            replay_lag_ms: self.lag(standby, streaming, behind),
            acknowledgers,
            standbys: standbys.iter().filter_map(standby_of).collect(),
        })
    }

    fn look_after_the_guard(&self, waiting: &str) {
        let Some(guard) = self.guard.as_ref().filter(|_| self.config.leased()) else { return };
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if seen.stuck.look(waiting, clock::now()) {
            tracing::error!(
                "the guard process confirms no commits though it lives; it is killed and replaced"
            );
            guard.replace();
        }
    }

    fn lag(&self, standby: bool, streaming: bool, behind_ms: Option<u64>) -> Option<u64> {
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.lag(clock::now(), standby, streaming, behind_ms)
    }

    /// The highest timeline of which there is a segment file.
    pub(super) fn written_timeline(&self) -> u32 {
        let Ok(files) = std::fs::read_dir(self.layout.data_dir.join("pg_wal")) else { return 0 };
        let timeline = |name: &str| control::segment(name, 16 << 20).map(|(timeline, _)| timeline);
        files.flatten().filter_map(|file| timeline(file.file_name().to_str()?)).max().unwrap_or(0)
    }
}

fn standby_of(row: &SimpleQueryRow) -> Option<StandbyStatus> {
    Some(StandbyStatus {
        region: RegionName::new(row.get("region")?).ok()?,
        flushed: row.get("received")?.parse().ok()?,
        synchronous: row.get("synchronous") == Some("t"),
    })
}

/// On a machine with nothing to spare a new session alone takes a second.
const WITHIN: Duration = Duration::from_secs(2);

/// The first row is the server itself, the others are its standbys. The guard, which is connected as one too,
/// is left out by its name, which no region can have.
///
/// Lag: everything received was replayed and the upstream was heard within 2.5 s (it speaks at least
/// every 1.5 s): 0. Otherwise the older of the last message and the last replayed transaction counts.
const STATUS: &str = "
  with me as (select pg_is_in_recovery() as standby),
       lsn as (select case when standby then pg_last_wal_receive_lsn() else pg_current_wal_flush_lsn() end as received,
                      case when standby then pg_last_wal_replay_lsn() end as replayed from me),
       receiver as (select status = 'streaming' as streaming, received_tli, last_msg_receipt_time as heard
                      from pg_stat_wal_receiver)
  select me.standby, lsn.received, lsn.replayed, null as region, null as synchronous,
         current_setting('synchronous_standby_names') as names,
         (select string_agg(pid || ':' || backend_xid, ' ') from pg_stat_activity where wait_event = 'SyncRep') as waiting,
         coalesce(receiver.streaming, false) as streaming,
         case when me.standby then pg_is_wal_replay_paused() end as paused,
         greatest((select timeline_id from pg_control_checkpoint()), receiver.received_tli) as timeline,
         case when clock_timestamp() - receiver.heard > interval '2.5 s'
              then ceil(1000 * extract(epoch from clock_timestamp() - receiver.heard))
              when lsn.received <= lsn.replayed then 0
              else greatest(0, ceil(1000 * extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())))
         end::bigint as behind_ms
    from me cross join lsn left join receiver on true;
  select application_name as region, flush_lsn as received, sync_state in ('sync', 'quorum') as synchronous
    from pg_stat_replication where state = 'streaming' and flush_lsn is not null and not pg_is_in_recovery()";

#[cfg(test)]
mod tests {
    use super::*;

    /// `nothing heard for 23 s` was told of a member that had been the writer until seconds before.
    #[test]
    fn a_writer_that_becomes_a_standby_is_behind_since_it_wrote() {
        let at = Moment::from_millis;
        let mut seen = Seen::default();
        assert_eq!(seen.lag(at(1_000), true, true, Some(200)), Some(200));
        assert_eq!(seen.lag(at(3_000), true, false, None), Some(2_200), "it has heard nothing since");
        assert_eq!(seen.lag(at(20_000), false, false, None), None);
        assert_eq!(seen.lag(at(23_500), true, false, None), Some(3_500));
        assert_eq!(seen.lag(at(24_000), true, true, Some(60_000)), Some(4_000), "of an old transaction");
        assert_eq!(seen.lag(at(24_500), true, true, Some(0)), Some(0));
        assert_eq!(seen.lag(at(25_000), true, true, None), None);
        assert_eq!(seen.lag(at(26_000), true, false, None), None, "nothing is known of it");
    }
}
