//! A switchover seen from the successor, and from those who wait for it.

use meridian_model::Moment;
use meridian_model::group::{DatabaseRole, GroupRecord};

use super::Machine;
use super::rules::{Blocked, Ruling, no, secs};
use crate::command::DatabaseAction as Action;
use crate::table::{State, Trigger};

impl Machine {
    /// The token names this member.
    pub(super) fn handed_to_me(&self, record: &GroupRecord) -> bool {
        record.released && record.handover.as_ref().is_some_and(|token| token.to == self.config.me)
    }

    /// A token gives its successor one lease to go on; then the old writer, which has everything, may have it
    /// back (after two, see `endings.rs`), and the others, which may not, come last.
    pub(super) fn successor_has_time(&self, record: &GroupRecord, now: Moment) -> Ruling {
        let Some(token) = record.handover.as_ref().filter(|_| record.released) else {
            return Ok("the lease was handed to nobody".to_owned());
        };
        let end = self.facts.learned_at + self.lease_ttl(record).saturating_mul(3);
        if now >= end {
            return Ok(format!("{} was handed the lease and has not taken it", token.to));
        }
        let text = format!("the lease was handed to {}, which has {}", token.to, secs(end.since(now)));
        Err(Blocked { evidence: text.into(), until: Some((end, "the successor's time is over")) })
    }

    /// When the successor's own time is over, if there is one.
    fn taken_by(&self) -> Option<Moment> {
        let record = self.facts.record.as_ref().filter(|record| self.handed_to_me(record))?;
        Some(self.facts.learned_at + self.lease_ttl(record))
    }

    /// What was handed over may still be taken.
    pub(super) fn in_time_to_take(&self, now: Moment) -> Result<(), Blocked> {
        match self.taken_by() {
            None => Err(no("nothing was handed to this member")),
            Some(end) if now >= end => Err(no("what was handed over was not taken in time")),
            Some(_) => Ok(()),
        }
    }

    /// Where a member that was handed the lease must get to.
    pub(super) fn replay_goal(&self) -> Option<Action> {
        let record = self.facts.record.as_ref()?;
        let token = record.handover.as_ref()?;
        // Its node was started again meanwhile.
        if self.facts.database.role == DatabaseRole::Stopped {
            return self.follow_goal(record.holder.clone(), record.epoch);
        }
        Some(Action::Replay { beyond: token.end, within: self.config.timers.lease_ttl })
    }

    /// The holder says that it is handing over to this member, with a record that etcd has not shown yet. Taking it at
    /// its word is no risk: a claim is won only if etcd has exactly that record by then.
    pub(super) fn believes_what_is_told(&mut self) -> bool {
        let Some(told) = self.facts.told.take() else { return false };
        let next = |shown: &GroupRecord| {
            (&told.holder, told.epoch) == (&shown.holder, shown.epoch)
                && !shown.released
                && told.renewal > shown.renewal
        };
        let fits = self.handed_to_me(&told) && self.facts.record.as_ref().is_some_and(next);
        if !fits || self.facts.vanished.is_some() {
            return false;
        }
        let learned_at = std::mem::replace(&mut self.facts.learned_at, self.at.now);
        self.facts.shown = self.facts.record.replace(told);
        if self.may_take_over(self.at.now).is_ok() {
            return true;
        }
        self.facts.learned_at = learned_at;
        self.facts.told = self.facts.record.take();
        self.facts.record = self.facts.shown.take();
        false
    }

    /// What only the holder has told counts no longer.
    pub(super) fn believe_etcd_alone(&mut self) {
        if let Some(shown) = self.facts.shown.take() {
            self.facts.record = Some(shown);
        }
    }

    /// A claim of what was handed over is still under way or worth sending.
    pub(super) fn claims_what_was_handed_over(&self) -> bool {
        let handed = self.facts.record.as_ref().is_some_and(|record| self.handed_to_me(record));
        handed && !(self.lease.claimed && self.lease.pending.is_none())
    }

    /// The handed-over log is being replayed.
    pub(super) fn take_over(&mut self) {
        let Some(end) = self.taken_by() else {
            return self.go(Trigger::NewEpoch, State::Starting);
        };
        if self.driver.replayed {
            self.go(Trigger::Replayed, State::Claiming);
        } else if self.due(end, "the time to take what was handed over") {
            self.go(Trigger::SuccessorLate, State::Following);
        }
    }
}
