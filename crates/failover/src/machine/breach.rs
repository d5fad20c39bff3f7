//! What happens while more could be lost than the objective allows: `onRpoBreach`.
//!
//! **Asynchronous replication.** The lag is measured by the holder: how long ago its own log was no further than
//! what the best standby has flushed. A standby that is not connected counts with what it last had, so with none
//! connected the lag begins to grow with the next write, and `block` then stops writes one RPO later. In a reign in
//! which no standby has been connected yet it grows from the beginning. The breach begins when the lag is over
//! the RPO and ends when it is at most half of it, so that it does not flutter. `warn` tells it. `block` has the
//! gateways of all regions hold new write transactions (the same hold as a switchover's; reads of the read port go on);
//! it is asked for anew all the time, so that a holder that is lost holds nobody for long. `degrade` makes the
//! database read-only for those who do not ask for more.
//!
//! **Quorum replication.** Nothing can be lost; the breach is that too few standbys are left to acknowledge: fewer
//! candidates than the spec wants have streamed within `candidate_gone`. Commits wait by themselves, so
//! `block` and `warn` only tell it. `degrade` goes on without them (`machine/quorum.rs`). It ends when enough
//! standbys have caught up.
//!
//! Nothing here is needed for safety: what is held back, or let through too long, is counted by the rules of a
//! failover all the same.

use std::collections::VecDeque;
use std::time::Duration;

use meridian_model::database::OnRpoBreach;
use meridian_model::group::{DatabaseRole, HoldId};
use meridian_model::{Lsn, Moment};

use super::Machine;
use super::facts::thin_out;
use super::rules::secs;
use crate::command::{Command, DatabaseAction as Action, Level};
use crate::limits::{BLOCK_AGAIN, BLOCK_FOR};
use crate::table::State;

/// The objective for data loss is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpoBreach {
    /// What is done about it, by the spec.
    pub on: OnRpoBreach,
    /// What was measured when it began.
    pub reason: String,
}

/// What is known of it in this reign.
#[derive(Debug, Clone, Default)]
pub(super) struct Breach {
    /// How far the log here was, and when.
    written: VecDeque<(Lsn, Moment)>,
    open: Option<RpoBreach>,
    /// The gateways hold for it, until then.
    held: Option<(HoldId, Moment)>,
    /// Whether the database was made read-only for it.
    read_only: ReadOnly,
}

/// The setting of the database. After a failure the old one or the new one may be in force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ReadOnly {
    #[default]
    No,
    Yes,
    InDoubt,
}

impl Breach {
    /// A reign begins.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The database was started, which takes the setting back.
    pub(super) fn started(&mut self) {
        self.read_only = ReadOnly::No;
    }

    /// This action is about to be commanded.
    pub(super) fn commanded(&mut self, action: &Action) {
        if matches!(action, Action::SetReadOnly(_)) {
            self.read_only = ReadOnly::InDoubt;
        }
    }

    /// The setting is in force.
    pub(super) fn is_set(&mut self, on: bool) {
        self.read_only = if on { ReadOnly::Yes } else { ReadOnly::No };
    }

    /// Somebody else may have ended the hold.
    pub(super) fn hold_anew(&mut self) {
        self.held.iter_mut().for_each(|(_, until)| *until = Moment::ZERO);
    }

    /// How long ago the log here was last no further than that.
    fn lag(&self, furthest: Lsn, now: Moment) -> Duration {
        match self.written.back() {
            Some((end, _)) if *end > furthest => {}
            _ => return Duration::ZERO,
        }
        let had = self.written.iter().rev().find(|(written, _)| *written <= furthest);
        had.or(self.written.front()).map_or(Duration::ZERO, |(_, at)| now.since(*at))
    }
}

impl Machine {
    /// The breach of the RPO that this holder sees, if there is one.
    #[must_use]
    pub const fn rpo_breach(&self) -> Option<&RpoBreach> {
        self.breach.open.as_ref()
    }

    /// The local database has told its state.
    pub(super) fn watch_objective(&mut self) {
        if !self.state.holds() || self.others.is_empty() {
            self.breach.open = None;
            return;
        }
        if self.facts.database.role != DatabaseRole::Primary {
            return;
        }
        let measured = match self.acknowledgers() {
            Some(acknowledgers) => self.too_few(acknowledgers),
            None => self.too_late(),
        };
        self.set_breach(measured);
    }

    /// Asynchronous replication: the best standby lags more than the RPO, or has not come well within it again.
    fn too_late(&mut self) -> Option<String> {
        let (now, rpo) = (self.at.now, self.config.rpo);
        self.breach.written.push_back((self.facts.database.received.lsn, now));
        thin_out(&mut self.breach.written);
        let lag = self.breach.lag(self.standbys.furthest(), now);
        let most = if self.breach.open.is_some() { rpo / 2 } else { rpo };
        (lag > most)
            .then(|| format!("the best standby is {} behind, at most {} may be lost", secs(lag), secs(rpo)))
    }

    /// Quorum replication: too few standbys are left.
    fn too_few(&self, acknowledgers: u32) -> Option<String> {
        let wanted = acknowledgers as usize;
        let quorum = self.quorum_of(self.facts.record.as_ref()?);
        let living = self.standbys.living(quorum.candidates.iter());
        let short = match self.breach.open {
            Some(_) => self.standbys.all_caught_up() < wanted,
            None => living < wanted,
        };
        let gone = secs(self.config.candidate_gone);
        short.then(|| format!("{living} standbys have streamed within {gone}, {wanted} must acknowledge"))
    }

    fn set_breach(&mut self, measured: Option<String>) {
        match (self.breach.open.is_some(), measured) {
            (false, Some(reason)) => {
                self.log(Level::Warn, format!("the RPO is not kept: {reason}"));
                self.breach.open = Some(RpoBreach { on: self.config.on_rpo_breach, reason });
            }
            (true, None) => {
                self.log(Level::Info, "the RPO is kept again".to_owned());
                self.breach.open = None;
            }
            _ => {}
        }
    }

    fn acts_on_breach(&self, on: OnRpoBreach) -> bool {
        self.breach.open.as_ref().is_some_and(|breach| breach.on == on)
    }

    /// Commits need no standby for now.
    pub(super) fn degraded(&self) -> bool {
        self.acknowledgers().is_some() && self.acts_on_breach(OnRpoBreach::Degrade)
    }

    /// The gateways hold new writes while the lag is too great, or no longer.
    pub(super) fn block(&mut self) -> Option<Command> {
        if !self.state.holds() {
            self.breach.held = None;
            return None;
        }
        // A switchover has a hold of its own, once it drains.
        if !matches!(self.state, State::Leading | State::Preparing) {
            return None;
        }
        let epoch = self.lease.reign.as_ref()?.epoch;
        let blocks = self.acknowledgers().is_none() && self.acts_on_breach(OnRpoBreach::Block);
        let held = self.breach.held;
        match held {
            None if !blocks => None,
            Some((hold, _)) if !blocks => {
                self.breach.held = None;
                Some(Command::Unhold { hold })
            }
            Some((held, until))
                if held.epoch == epoch && !self.due(until - BLOCK_AGAIN, "writes are held on") =>
            {
                None
            }
            _ => {
                let (hold, until) = (self.next_hold()?, self.at.now + BLOCK_FOR);
                self.breach.held = Some((hold, until));
                let reason = self.breach.open.as_ref().map_or("", |breach| breach.reason.as_str());
                Some(Command::Hold { hold, until, to: None, reason: format!("writes are held: {reason}") })
            }
        }
    }

    /// The database is to be read-only while the lag is too great, or no longer.
    pub(super) fn read_only_goal(&self) -> Option<Action> {
        let wanted = self.acknowledgers().is_none() && self.acts_on_breach(OnRpoBreach::Degrade);
        let is = if wanted { ReadOnly::Yes } else { ReadOnly::No };
        (self.breach.read_only != is).then_some(Action::SetReadOnly(wanted))
    }

    /// The breach, for people.
    pub(super) fn in_breach(&self) -> String {
        let Some(RpoBreach { on, reason }) = &self.breach.open else { return String::new() };
        let quorum = self.acknowledgers().is_some();
        let done = match on {
            OnRpoBreach::Degrade if quorum => {
                "; commits wait for no standby, and nothing fails over by itself"
            }
            OnRpoBreach::Degrade => "; the database is read-only",
            OnRpoBreach::Warn | OnRpoBreach::Block if quorum => "; commits wait",
            OnRpoBreach::Block => "; new writes are held",
            OnRpoBreach::Warn => "",
        };
        format!("; the RPO is not kept: {reason}{done}")
    }
}
