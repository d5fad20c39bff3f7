//! The local database: what is wanted of it, one action at a time.

use meridian_model::group::{DatabaseRole, WalPosition};
use meridian_model::name::RegionName;
use meridian_model::{Epoch, Moment};

use super::Machine;
use crate::command::{Command, DatabaseAction as Action};
use crate::limits::{RETRY_FIRST, RETRY_MAX};
use crate::table::State;

/// What is being done with the local database.
#[derive(Debug, Clone, Default)]
pub(super) struct Driver {
    next_id: u64,
    pub(super) running: Option<(u64, Action)>,
    pub(super) retry_at: Option<Moment>,
    pub(super) failures: u32,
    /// What failed or ended on the way to a primary, in this reign.
    pub(super) lost_starts: u32,
    /// Whom the database follows, under which epoch, since when.
    pub(super) followed: Option<(RegionName, Epoch, Moment)>,
    /// Stopping has ended since it was last wanted.
    pub(super) stopped: bool,
    /// Sealed in this process's life: the database is there and cut off.
    pub(super) sealed: bool,
    /// The position that a seal found.
    pub(super) final_position: Option<WalPosition>,
    /// Everything that was handed over has been replayed.
    pub(super) replayed: bool,
    /// The database here has already been the primary of a finished promotion: start it as it is.
    pub(super) start_as_primary: bool,
    pub(super) last_rejoin: Option<Moment>,
}

impl Driver {
    /// A new purpose: earlier failures do not count.
    pub(super) fn fresh(&mut self) {
        self.failures = 0;
        self.retry_at = None;
    }

    /// An action failed: the next try waits, twice as long each time.
    pub(super) fn failed(&mut self, now: Moment) {
        self.running = None;
        let wait = RETRY_FIRST.saturating_mul(1 << self.failures.min(8)).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + wait);
    }
}

impl Machine {
    /// Starts what is wanted, unless something runs; a stop goes before what runs.
    pub(super) fn drive(&mut self) -> Option<Command> {
        let goal = self.goal()?;
        match &self.driver.running {
            Some((_, Action::Stop)) => return None,
            Some(_) if goal != Action::Stop => return None,
            _ => {}
        }
        if let Some(at) = self.driver.retry_at
            && !self.due(at, "a database action is tried again")
        {
            return None;
        }
        self.runner.acted |= matches!(goal, Action::Promote { .. });
        self.quorum_commanded(&goal);
        self.breach.commanded(&goal);
        self.driver.next_id += 1;
        self.driver.running = Some((self.driver.next_id, goal.clone()));
        Some(Command::Database { id: self.driver.next_id, action: goal })
    }

    /// What the database should be doing next; nothing when it is as it should be.
    fn goal(&mut self) -> Option<Action> {
        if !self.facts.started || !self.is_member() {
            return None;
        }
        if self.must_stop() {
            return Some(Action::Stop);
        }
        let record = self.facts.record.as_ref();
        let ready = self.facts.holder_is_primary();
        let (holder, epoch) = record.map(|r| (r.holder.clone(), r.epoch))?;
        match self.state {
            State::Sealing => Some(Action::Seal),
            State::Cloning if ready => Some(Action::Clone { source: holder }),
            State::Rejoining if ready => Some(Action::Rejoin { source: holder, epoch }),
            State::Following => self.follow_goal(holder, epoch),
            State::Promoting => self.promote_goal(),
            State::Restarting => Some(Action::StartPrimary { epoch, quorum: self.same_quorum() }),
            _ if self.leads_as_ever() => self.quorum_goal().or_else(|| self.read_only_goal()),
            State::Preparing | State::Draining | State::HandingOver => self.handing_goal(),
            State::TakingOver => self.replay_goal(),
            _ => None,
        }
    }

    /// The database must end now, whatever else is wanted: the right has ended; or a primary runs that nobody gave it; or a copy is made from a source that
    /// is no longer the holder. Not even a full disk delays it.
    pub(super) fn wants_stop(&self) -> bool {
        self.facts.started && self.is_member() && self.must_stop()
    }

    fn must_stop(&self) -> bool {
        if matches!(self.state, State::Stopped | State::Releasing) && !self.driver.stopped {
            return true;
        }
        let rogue = self.facts.database.role == DatabaseRole::Primary && !self.state.holds();
        rogue || self.copies_from_the_wrong_side()
    }

    fn copies_from_the_wrong_side(&self) -> bool {
        let Some((_, Action::Clone { source } | Action::Rejoin { source, .. })) = &self.driver.running else {
            return false;
        };
        let copies = matches!(self.state, State::Cloning | State::Rejoining);
        !copies || self.facts.record.as_ref().is_none_or(|r| &r.holder != source)
    }

    pub(super) fn follow_goal(&self, upstream: RegionName, epoch: Epoch) -> Option<Action> {
        let follows =
            self.driver.followed.as_ref().is_some_and(|(who, when, _)| *who == upstream && *when == epoch);
        let runs = !matches!(self.facts.database.role, DatabaseRole::Stopped | DatabaseRole::Absent);
        (!(follows && runs)).then_some(Action::Follow { upstream, epoch })
    }

    /// On the way to a primary. Nothing is started unless the lease is fresh enough to be written under.
    fn promote_goal(&mut self) -> Option<Action> {
        let epoch = self.lease.reign.as_ref()?.epoch;
        if !self.may_write() || !self.promotion_is_due() {
            return None;
        }
        match self.facts.database.role {
            DatabaseRole::Absent => self.nothing_was_made().then_some(Action::Initialise),
            // Before it can take a write, the record says that there is one: a disk that is lost later is not taken
            // for one that was never written to.
            _ if self.nothing_was_made() => None,
            DatabaseRole::Stopped if !self.driver.start_as_primary => Some(Action::Seal),
            _ if self.driver.start_as_primary => {
                Some(Action::StartPrimary { epoch, quorum: self.starting_quorum() })
            }
            _ => Some(Action::Promote { epoch, quorum: self.starting_quorum() }),
        }
    }
}
