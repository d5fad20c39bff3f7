//! From state to state: one function a state, and what is done on entering one.

use meridian_model::group::DatabaseRole;
use meridian_model::health::Health;
use meridian_model::{Epoch, Moment};

use super::Machine;
use super::rules::Blocked;
use crate::limits::{
    CRASH_WINDOW, CRASHES_MAX, FOLLOW_TRIES, PROMOTE_TRIES, REJOIN_AGAIN, RESTART_PATIENCE, STREAM_PATIENCE,
};
use crate::table::{State, Trigger};

impl Machine {
    /// Deadlines of the right to write: the gateway first, then the database.
    pub(super) fn fence(&mut self) {
        let Some(base) = self.base() else { return };
        let timers = self.config.timers;
        if !self.state.holds() {
            return;
        }
        if self.due(base + timers.database_fence, "the database fence") {
            self.go(Trigger::LeaseLapsed, State::Stopped);
        } else if self.state.serves() && self.due(base + timers.gateway_fence, "the gateway fence") {
            self.go(Trigger::RenewalOverdue, State::WritesClosed);
        }
    }

    /// From when the right to write is counted; `None` without a reign.
    pub(super) fn base(&self) -> Option<Moment> {
        self.lease.reign.as_ref().map(|reign| reign.base(&self.others, self.at.now))
    }

    /// The lease is good enough that clients may write.
    pub(super) fn may_write(&self) -> bool {
        self.base().is_some_and(|base| self.at.now < base + self.config.timers.gateway_fence)
    }

    /// Looks at the facts from where it stands and makes at most one move.
    pub(super) fn look(&mut self) {
        if !self.facts.started {
            return;
        }
        self.expire_attempt();
        match self.state {
            State::Starting => self.take_stock(),
            State::Idle => {}
            State::Waiting | State::Orphaned => self.wait_for_a_record(),
            State::Bootstrapping => self.bootstrap(),
            State::Cloning | State::Rejoining => self.copy(),
            State::Following => self.follow(),
            State::Sealing => self.seal(),
            State::Sealed => self.wait_to_claim(),
            State::Claiming => self.claim(),
            State::Promoting => self.promote(),
            State::TakingOver => self.take_over(),
            State::Leading
            | State::Preparing
            | State::Draining
            | State::HandingOver
            | State::WritesClosed
            | State::Restarting => self.lead(),
            State::Stopped => self.stop(),
            State::Resuming => self.resume(),
            State::Releasing => self.release(),
            State::Released => self.stay_released(),
        }
    }

    /// Called by the driver's outcome: the database takes writes.
    pub(super) fn database_leads(&mut self) {
        match self.state {
            State::Promoting => {
                self.promote_step_done();
                self.go(Trigger::PromoteDone, State::Leading);
            }
            State::Restarting => self.go(Trigger::RestartDone, State::Leading),
            _ => {}
        }
    }

    /// Called by the driver's outcome: the database is a copy of the holder's.
    pub(super) fn database_copied(&mut self) {
        self.memory.must_rejoin = false;
        self.facts.diverged = false;
        self.driver.followed = None;
        self.driver.start_as_primary = false;
        match self.state {
            State::Cloning => self.go(Trigger::CloneDone, State::Following),
            State::Rejoining => self.go(Trigger::RejoinDone, State::Following),
            _ => {}
        }
    }

    /// What a state begins with.
    pub(super) fn enter(&mut self, state: State) {
        self.driver.fresh();
        if !matches!(state, State::TakingOver | State::Claiming) {
            self.believe_etcd_alone();
        }
        match state {
            State::Sealing => {
                self.memory.sealed = self.facts.record.as_ref().map(|r| r.epoch);
                self.driver.sealed = false;
                self.driver.final_position = None;
            }
            State::Promoting => {
                self.driver.lost_starts = 0;
                self.standbys.forget();
                self.breach.forget();
                self.begin_promotion();
            }
            State::Restarting => self.standbys.reconnect(self.at.now),
            State::Leading => self.breach.hold_anew(),
            State::Stopped | State::Releasing => {
                self.lease.reign = None;
                self.facts.step_down = false;
                self.runner.pause();
                if self.handing.token().is_some() && state == State::Releasing {
                    // What is under way may still be answered; the release goes after it at once.
                    self.lease.last_sent = None;
                } else {
                    self.lease.set_aside();
                    self.driver.stopped = false;
                }
            }
            State::Draining => self.begin_draining(),
            State::TakingOver => {
                self.driver.replayed = false;
                // A claim by the old writer's word may have come before what it told of: the next one need not wait.
                self.lease.last_sent = None;
            }
            State::Claiming => self.lease.claimed = false,
            State::Resuming => self.lease.last_sent = None,
            _ => {}
        }
        let handing = matches!(
            state,
            State::Preparing | State::Draining | State::HandingOver | State::Releasing | State::Released
        );
        if !handing {
            self.conclude_handing(state);
        }
    }

    /// What must be remembered before the database can become a primary.
    fn begin_promotion(&mut self) {
        let done = self.runner.current.as_ref().is_some_and(super::runner::promoted);
        let first = self.lease.reign.as_ref().is_some_and(|r| r.epoch == Epoch(1));
        let has_data = self.facts.database.role != DatabaseRole::Absent;
        self.driver.start_as_primary |= done || (first && has_data);
        self.memory.must_rejoin = true;
        self.memory.holder = Some(self.config.me.clone());
    }

    // === taking stock ===

    fn take_stock(&mut self) {
        if !self.is_member() {
            return self.go(Trigger::NotAMember, State::Idle);
        }
        if !self.facts.record_known {
            return;
        }
        if self.facts.vanished.is_some() {
            return self.go(Trigger::RecordVanished, State::Orphaned);
        }
        let Some(record) = &self.facts.record else {
            let first = self.config.initial_primary == self.config.me;
            let to = if first { State::Bootstrapping } else { State::Waiting };
            return self.go(Trigger::NoRecordYet, to);
        };
        if record.holder == self.config.me {
            let (trigger, to) = if record.released {
                (Trigger::GivenUp, State::Released)
            } else {
                (Trigger::RecordIsOurs, State::Resuming)
            };
            return self.go(trigger, to);
        }
        let to = if self.facts.database.role == DatabaseRole::Absent {
            State::Cloning
        } else if self.memory.must_rejoin {
            State::Rejoining
        } else if self.memory.sealed == Some(record.epoch) {
            State::Sealing
        } else {
            State::Following
        };
        self.go(Trigger::RecordIsTheirs, to);
    }

    fn wait_for_a_record(&mut self) {
        if self.facts.record.is_some() && self.facts.vanished.is_none() {
            self.go(Trigger::RecordAppeared, State::Starting);
        }
    }

    /// The record names this region (an old attempt of an earlier life came through).
    pub(super) fn is_ours(&self) -> bool {
        self.facts.record.as_ref().is_some_and(|r| r.holder == self.config.me)
    }

    // === a standby ===

    fn copy(&mut self) {
        if self.is_ours() {
            return self.go(Trigger::RecordIsOurs, State::Starting);
        }
        // A re-clone that broke off after it had removed what was there.
        if self.state == State::Rejoining
            && self.facts.database.role == DatabaseRole::Absent
            && self.driver.running.is_none()
        {
            self.memory.must_rejoin = false;
            return self.go(Trigger::DataGone, State::Cloning);
        }
        let suspected = self.state == State::Rejoining && !self.memory.must_rejoin && !self.facts.diverged;
        // A holder that is no primary any more is nobody's source: to wait for it here would be to wait for ever,
        // perhaps with the last copy of the data.
        let hopeless = self.driver.running.is_none() && !self.facts.holder_is_primary();
        if suspected && (self.driver.failures > 0 || hopeless) {
            self.go(Trigger::RejoinFailed, State::Following);
        }
    }

    fn follow(&mut self) {
        if self.is_ours() {
            return self.go(Trigger::RecordIsOurs, State::Starting);
        }
        if self.facts.database.role == DatabaseRole::Absent {
            return self.go(Trigger::DataGone, State::Cloning);
        }
        if self.facts.diverged || self.seems_diverged() {
            return self.go(Trigger::Diverged, State::Rejoining);
        }
        if self.may_take_over(self.at.now).is_ok() || self.believes_what_is_told() {
            return self.go(Trigger::HandedOver, State::TakingOver);
        }
        match self.may_seal(self.at.now) {
            Ok(()) => self.go(Trigger::HolderLost, State::Sealing),
            Err(blocked) => self.note(&blocked),
        }
    }

    /// It ought to stream and does not, or cannot even start.
    fn seems_diverged(&mut self) -> bool {
        let ttl = self.config.timers.observation_ttl;
        let Some(record) = &self.facts.record else { return false };
        let well = self.facts.health(&record.holder, self.at.now, ttl) == Health::Up;
        if !well
            || !self.facts.coordination
            || !self.facts.holder_is_primary()
            || self.facts.database.streaming
        {
            return false;
        }
        if self.driver.last_rejoin.is_some_and(|last| self.at.now < last + REJOIN_AGAIN) {
            return false;
        }
        if self.driver.failures >= FOLLOW_TRIES {
            return true;
        }
        let streamed = self.facts.last_streamed;
        let Some((_, _, followed)) = self.driver.followed else { return false };
        let since = streamed.map_or(followed, |s| s.max(followed));
        self.due(since + STREAM_PATIENCE, "a standby that does not stream is examined")
    }

    fn note(&mut self, blocked: &Blocked) {
        if let Some((at, why)) = blocked.until {
            self.due(at, why);
        }
    }

    // === taking over ===

    /// The epoch that this member has sealed itself for is over.
    fn seal_is_over(&self) -> bool {
        self.facts.record.as_ref().is_some_and(|r| self.memory.sealed != Some(r.epoch))
    }

    fn seal(&mut self) {
        if self.seal_is_over() {
            self.go(Trigger::NewEpoch, State::Starting);
        } else if self.driver.sealed {
            self.go(Trigger::SealDone, State::Sealed);
        }
    }

    fn wait_to_claim(&mut self) {
        if self.lease.reign.is_some() {
            self.go(Trigger::ClaimWon, State::Promoting);
        } else if self.seal_is_over() {
            self.go(Trigger::NewEpoch, State::Starting);
        } else {
            match self.may_claim(self.at.now) {
                Ok(()) => self.go(Trigger::RulesAllow, State::Claiming),
                Err(blocked) => self.note(&blocked),
            }
        }
    }

    fn claim(&mut self) {
        if self.lease.reign.is_some() {
            return self.go(Trigger::ClaimWon, State::Promoting);
        }
        let sealed = self.driver.sealed && !self.seal_is_over();
        if sealed && self.lease.claimed && self.lease.pending.is_none() {
            self.go(Trigger::ClaimLost, State::Sealed);
        } else if !sealed && !self.claims_what_was_handed_over() {
            self.go(Trigger::ClaimLost, State::Starting);
        }
    }

    fn bootstrap(&mut self) {
        if self.lease.reign.is_some() {
            self.go(Trigger::ClaimWon, State::Promoting);
        } else if self.facts.record.is_some() {
            self.go(Trigger::ClaimLost, State::Starting);
        }
    }

    fn promote(&mut self) {
        if self.deposed() {
            self.go(Trigger::Deposed, State::Stopped);
        } else if self.driver.lost_starts >= PROMOTE_TRIES {
            self.go(Trigger::PromoteFailed, State::Releasing);
        } else if self.run_aborted() {
            self.go(Trigger::RunAborted, State::Releasing);
        }
    }

    // === the writer ===

    /// The record says something else than our reign. A record that vanished says nothing.
    pub(super) fn deposed(&self) -> bool {
        let (Some(record), Some(reign)) = (&self.facts.record, &self.lease.reign) else { return false };
        record.holder != self.config.me || record.epoch != reign.epoch || record.released
    }

    fn lead(&mut self) {
        if self.deposed() {
            return self.go(Trigger::Deposed, State::Stopped);
        }
        let may_release = matches!(self.state, State::Leading | State::WritesClosed | State::Restarting);
        if may_release && self.crashed_too_often() {
            return self.go(Trigger::CrashedTooOften, State::Releasing);
        }
        if self.state == State::Restarting && self.takes_too_long() {
            return self.go(Trigger::CrashedTooOften, State::Releasing);
        }
        let stopped = self.facts.database.role == DatabaseRole::Stopped;
        match self.state {
            State::Restarting => {}
            State::HandingOver => self.hand_over(),
            _ if stopped => self.go(Trigger::DatabaseCrashed, State::Restarting),
            State::Preparing | State::Draining => {
                self.prolong_order();
                self.hand_over();
            }
            _ if self.facts.step_down => self.go(Trigger::AskedToStepDown, State::Releasing),
            State::WritesClosed if self.may_write() => self.go(Trigger::Renewed, State::Leading),
            State::Leading => self.consider_order(),
            _ => {}
        }
    }

    /// The restart goes on and on while another member could take over.
    fn takes_too_long(&mut self) -> bool {
        let ttl = self.config.timers.observation_ttl;
        let now = self.at.now;
        let mut others = self.facts.members.values().filter(|m| self.others.contains(&m.report.region));
        let somebody =
            others.any(|m| now.since(m.at) <= ttl && m.report.database.role == DatabaseRole::Standby);
        somebody && self.due(self.since + RESTART_PATIENCE, "the database takes too long to start")
    }

    fn crashed_too_often(&self) -> bool {
        let recent = self.facts.crashes.iter().filter(|at| self.at.now.since(**at) < CRASH_WINDOW);
        recent.count() > CRASHES_MAX
    }
}
