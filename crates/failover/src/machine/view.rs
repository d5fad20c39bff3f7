//! What others may see: the group's state for the snapshot, and a sentence about this member.

use std::time::Duration;

use meridian_model::group::{DatabaseRole, GroupRecord, MemberReport};
use meridian_model::name::RegionName;
use meridian_model::snapshot::{GroupState, ReaderState};
use meridian_model::{Epoch, Moment};

use super::Machine;
use super::rules::secs;
use super::runner::promoted;
use crate::table::State;

impl Machine {
    /// Who writes and who may serve reads, for the snapshot.
    #[must_use]
    pub fn group_state(&self, now: Moment) -> GroupState {
        let (writer, reason) = match self.writer(now) {
            Ok(writer) => (Some(writer), String::new()),
            Err(reason) => (None, reason),
        };
        let epoch = self.facts.record.as_ref().map_or(Epoch::NONE, |r| r.epoch);
        GroupState {
            group: self.config.group.clone(),
            epoch,
            readers: self.readers(now, writer.as_ref()),
            writer,
            reason,
        }
    }

    fn writer(&self, now: Moment) -> Result<RegionName, String> {
        let record = self.facts.record.as_ref().ok_or("the group has no writer yet")?;
        if record.holder == self.config.me {
            return match self.state {
                state if state.serves() => Ok(self.config.me.clone()),
                _ => Err(self.doing(now, None)),
            };
        }
        if record.released {
            return Err(match &record.handover {
                Some(token) => format!("{} has handed over to {}", record.holder, token.to),
                None => format!("{} has given the lease up", record.holder),
            });
        }
        // Without etcd, or after a promise, silence of the record says nothing: stay with what was true.
        let silent = now >= self.facts.learned_at + self.lease_ttl(record);
        if silent && self.facts.coordination && now >= self.facts.promised_until {
            return Err(format!("{} has not renewed its lease", record.holder));
        }
        if self.has_begun(record) {
            Ok(record.holder.clone())
        } else {
            Err(format!("{} is being promoted", record.holder))
        }
    }

    /// The holder has been made the primary of this reign: by its own word, its run, or its report.
    fn has_begun(&self, record: &GroupRecord) -> bool {
        let by_run = self.run().map(promoted);
        let report = self.facts.members.get(&record.holder).map(|m| &m.report);
        let leads = |r: &MemberReport| r.database.role == DatabaseRole::Primary;
        let by_report = report.is_some_and(|r| leads(r) && r.epoch == record.epoch);
        // A holder that has only raised the epoch is the writer as before.
        let as_before = by_run.is_none() && report.is_some_and(leads);
        self.facts.says_it_writes(record) || by_report || by_run == Some(true) || as_before
    }

    fn readers(&self, now: Moment, writer: Option<&RegionName>) -> Vec<ReaderState> {
        let reader = |region: &RegionName, lag_s| ReaderState { region: region.clone(), lag_s };
        let standbys = self.config.members.iter().filter(|m| Some(*m) != writer);
        let standbys = standbys.filter_map(|m| Some(reader(m, self.read_lag(m, now)?)));
        writer.map(|w| reader(w, 0)).into_iter().chain(standbys).collect()
    }

    /// How far a standby's reads are behind, if it may serve any. One that lost its upstream goes on
    /// serving until what it has is too old: reads survive the loss of the writer.
    fn read_lag(&self, region: &RegionName, now: Moment) -> Option<u64> {
        let (database, heard, well_at) = if *region == self.config.me {
            (&self.facts.database, now, self.facts.last_streamed)
        } else {
            let seen = self.facts.members.get(region)?;
            (&seen.report.database, seen.at, seen.well_at)
        };
        if database.role != DatabaseRole::Standby {
            return None;
        }
        let limit = self.config.max_read_lag;
        // Old reports count against a member only while etcd could have brought newer ones.
        let silent = if self.facts.coordination { now.since(heard) } else { Duration::ZERO };
        let streamed = if database.streaming { heard } else { well_at? };
        // Both grow together once the upstream is lost; they must not be added.
        let behind = Duration::from_millis(database.replay_lag_ms.unwrap_or(0)).max(heard.since(streamed));
        let lag = behind + silent;
        let allowed = silent <= limit && lag <= limit;
        allowed.then(|| lag.saturating_sub(silent).as_secs())
    }

    fn successor(&self) -> String {
        self.handing.now.as_ref().map_or_else(|| "nobody".to_owned(), |hand| hand.to.to_string())
    }

    /// One sentence: what it does or waits for.
    pub(super) fn doing(&self, now: Moment, blocked: Option<String>) -> String {
        let record = self.facts.record.as_ref();
        let holder = record.map_or_else(|| "nobody".to_owned(), |r| r.holder.to_string());
        let epoch = record.map_or(Epoch::NONE, |r| r.epoch);
        let why = blocked.unwrap_or_else(|| "every rule allows it".to_owned());
        let retry = self.driver.retry_at.filter(|at| *at > now).map_or_else(String::new, |at| {
            format!(
                "; the database refused {} times, next try in {}",
                self.driver.failures,
                secs(at.since(now))
            )
        });
        let text = match self.state {
            State::Starting if self.facts.record_known => "takes stock".to_owned(),
            State::Starting => "waits to hear of the record from etcd".to_owned(),
            State::Idle => format!("has no database of this group; {holder} holds epoch {epoch}"),
            State::Waiting => format!("waits for {} to begin the first epoch", self.config.initial_primary),
            State::Orphaned => self.facts.vanished.clone().unwrap_or_default(),
            State::Bootstrapping => "claims the first epoch".to_owned(),
            State::Cloning => format!("copies the database from {holder}"),
            State::Following => format!("follows {holder} in epoch {epoch}; does not take over: {why}"),
            State::Sealing => format!("drops its connection to {holder} for good"),
            State::Sealed => format!("is sealed for epoch {epoch}; does not claim: {why}"),
            State::TakingOver => format!("takes over from {holder}: replays its log to the end"),
            State::Preparing => {
                let (to, early) = (self.successor(), self.early_under_way());
                let standing = format!("{}{}", self.acknowledged_by(), self.in_breach());
                format!("writes in epoch {epoch}; prepares to hand over to {to}{early}{standing}")
            }
            State::Draining => {
                format!(
                    "writes in epoch {epoch}; holds new transactions to hand over to {}",
                    self.successor()
                )
            }
            State::HandingOver => format!("stops in order to hand over to {}", self.successor()),
            State::Claiming => format!("claims epoch {}", epoch.next()),
            State::Promoting => format!("is being promoted for epoch {epoch}"),
            State::Leading => {
                format!("writes in epoch {epoch}{}{}", self.acknowledged_by(), self.in_breach())
            }
            State::WritesClosed => format!("takes no writes: no renewal of epoch {epoch} in time"),
            State::Restarting => "the database crashed and is started again".to_owned(),
            State::Stopped => format!("is being stopped: its right to write in epoch {epoch} has ended"),
            State::Resuming => format!("its right to write ended with epoch {epoch} and is being won anew"),
            State::Releasing => format!("gives the lease of epoch {epoch} up"),
            State::Released => {
                format!("has given the lease of epoch {epoch} up, another member should take over")
            }
            State::Rejoining => format!("becomes a copy of {holder}"),
        };
        format!("{text}{retry}")
    }
}
