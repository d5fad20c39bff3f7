//! After the right to write has ended: stopping, giving the lease up, and winning the right anew.

use meridian_model::group::DatabaseRole;

use super::Machine;
use crate::limits::RUN_WAIT;
use crate::table::{State, Trigger};

impl Machine {
    pub(super) fn stop(&mut self) {
        if self.driver.stopped {
            self.go(Trigger::StopDone, State::Starting);
        }
    }

    pub(super) fn resume(&mut self) {
        if self.lease.reign.is_some() {
            return self.go(Trigger::ClaimWon, State::Promoting);
        }
        if !self.is_ours() || self.facts.vanished.is_some() {
            return self.go(Trigger::ClaimLost, State::Starting);
        }
        let known = self.run().is_some() || self.due(self.since + RUN_WAIT, "the run has not been seen");
        let known = known && self.earlier_life_is_over();
        if known && self.facts.database.role == DatabaseRole::Absent && !self.nothing_was_made() {
            self.go(Trigger::DataGone, State::Releasing);
        }
    }

    /// Whether another process of this region may still hold the lease: a machine that was replaced, or a
    /// node that was started twice. What this member's own memory calls its own it has lost by ending;
    /// otherwise the record must stand still for a whole lease, as for everybody else.
    pub(super) fn earlier_life_is_over(&mut self) -> bool {
        let Some(record) = &self.facts.record else { return true };
        if self.facts.own_epoch == Some(record.epoch) || record.released {
            return true;
        }
        let end = self.facts.learned_at + self.lease_ttl(record);
        self.due(end, "another life of this region may hold the lease")
    }

    /// No database was ever started in this group, so none can be lost by making it.
    pub(super) fn nothing_was_made(&self) -> bool {
        self.facts.record.as_ref().is_some_and(|record| !record.made)
    }

    pub(super) fn release(&mut self) {
        let Some(record) = &self.facts.record else { return };
        if record.holder != self.config.me {
            self.go(Trigger::Deposed, State::Starting);
        } else if record.released && self.driver.stopped {
            self.go(Trigger::ReleaseDone, State::Released);
        }
    }

    pub(super) fn stay_released(&mut self) {
        let Some(record) = &self.facts.record else { return };
        if record.holder != self.config.me || !record.released {
            return self.go(Trigger::NewEpoch, State::Starting);
        }
        let can = self.facts.database.role != DatabaseRole::Absent || self.nothing_was_made();
        let patience = self.config.timers.lease_ttl.saturating_mul(2);
        if can && self.due(self.since + patience, "nobody took the group over") {
            self.facts.crashes.clear();
            self.go(Trigger::NobodyTookOver, State::Resuming);
        }
    }
}
