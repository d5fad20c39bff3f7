//! The machine (stub: signatures for the runtime).

use meridian_model::group::GroupRecord;
use meridian_model::run::Run;
use meridian_model::snapshot::GroupState;
use meridian_model::{Epoch, Moment};

use crate::command::Command;
use crate::config::Config;
use crate::event::{At, Event};
use crate::explain::Explanation;
use crate::table::State;

/// The failover machine of one group in one region.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    state: State,
}

impl Machine {
    /// A machine that has seen nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, state: State::Starting }
    }

    /// Takes in what has happened and says what is to be done, in order. Deadlines that have passed
    /// count first, so that a machine that wakes up late fences before it does anything else.
    pub fn step(&mut self, event: Event, at: At) -> Vec<Command> {
        let _ = (event, at);
        Vec::new()
    }

    /// When [`Event::Tick`] is wanted at the latest, and why.
    #[must_use]
    pub fn wake_at(&self) -> Option<(Moment, &'static str)> {
        None
    }

    /// Why this member acts or does not act.
    #[must_use]
    pub fn explain(&self, now: Moment) -> Explanation {
        let _ = now;
        Explanation { state: self.state, doing: String::new(), would_act: false, rules: Vec::new() }
    }

    /// Who writes and who may serve reads, for the snapshot.
    #[must_use]
    pub fn group_state(&self, now: Moment) -> GroupState {
        let _ = now;
        GroupState {
            group: self.config.group.clone(),
            epoch: Epoch::NONE,
            writer: None,
            reason: String::new(),
            readers: Vec::new(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The highest epoch seen.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        Epoch::NONE
    }

    /// The record as last seen.
    #[must_use]
    pub const fn record(&self) -> Option<&GroupRecord> {
        None
    }

    /// The run that belongs to the current record, as far as it is known.
    #[must_use]
    pub const fn run(&self) -> Option<&Run> {
        None
    }
}
