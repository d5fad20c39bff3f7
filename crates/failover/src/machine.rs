//! The machine: deadlines, then the event, then moves until nothing moves, then orders.
//!
//! Everything it knows is a fact that was told to it ([`facts`]); what it wants follows from the state
//! and the facts each time anew, so that a step after a lost message, a crash or a long sleep is the
//! same step as always. A condition that waits for time notes its moment while it is looked at: that
//! is where [`Machine::wake_at`] comes from, so it cannot forget a deadline nor name one in the past.
//!
//! What a proof of data rests on while members come and go is argued in `machine/quorum.rs`.
//!
//! How writes stay with one writer:
//! - the right to write is counted from the *sending* of the last acknowledged renewal;
//! - deadlines count before the event, so a machine that wakes up late fences first;
//! - a seal is for one epoch and for good. A holder that comes back after a member has sealed itself
//!   raises the epoch (in place, without a stop), and only then does the member follow again. So a
//!   claimant may trust every report of a seal for the epoch it replaces, however old.

use std::sync::Arc;

use meridian_model::group::GroupRecord;
use meridian_model::name::RegionName;
use meridian_model::run::Run;
use meridian_model::{Epoch, Moment, Timestamp};

use crate::command::{Command, Level};
use crate::config::Config;
use crate::event::{At, Event, Memory};
use crate::lease::Lease;
use crate::limits::MOVES_MAX;
use crate::table::{self, State, Trigger};

mod breach;
mod closing;
mod driver;
mod endings;
mod evidence;
mod facts;
mod handover;
mod hold;
mod intake;
mod moves;
mod orders;
mod outcomes;
mod people;
mod quorum;
mod report;
mod rules;
mod runner;
mod runs;
mod steps;
mod successor;
mod view;

pub use breach::RpoBreach;
use driver::Driver;
use facts::Facts;
use runner::Runner;

/// The failover machine of one group in one region.
#[derive(Debug, Clone)]
pub struct Machine {
    config: Arc<Config>,
    /// The roster without this member.
    others: Vec<RegionName>,
    state: State,
    /// When the state was entered.
    since: Moment,
    at: At,
    facts: Facts,
    memory: Memory,
    /// What is on disk, as far as is known.
    kept: Option<Memory>,
    keep_again: Option<Moment>,
    lease: Lease,
    driver: Driver,
    runner: Runner,
    handing: handover::Handing,
    standbys: quorum::Standbys,
    breach: breach::Breach,
    reporter: report::Reporter,
    shown: orders::Shown,
    /// Answers to promises: they wait until memory is kept.
    answers: Vec<Command>,
    /// What else a move asked for directly.
    asides: Vec<Command>,
    /// Sentences for the log.
    logs: Vec<Command>,
    wakes: Vec<(Moment, &'static str)>,
}

impl Machine {
    /// A machine that has seen nothing yet.
    #[must_use]
    pub fn new(config: impl Into<Arc<Config>>) -> Self {
        let config = config.into();
        let others = config.members.iter().filter(|m| **m != config.me).cloned().collect();
        Self {
            config,
            others,
            state: State::Starting,
            since: Moment::ZERO,
            at: At { now: Moment::ZERO, wall: Timestamp(0) },
            facts: Facts::default(),
            memory: Memory::default(),
            kept: None,
            keep_again: None,
            lease: Lease::default(),
            driver: Driver::default(),
            runner: Runner::default(),
            handing: handover::Handing::default(),
            standbys: quorum::Standbys::default(),
            breach: breach::Breach::default(),
            reporter: report::Reporter::default(),
            shown: orders::Shown::default(),
            answers: Vec::new(),
            asides: Vec::new(),
            logs: Vec::new(),
            wakes: Vec::new(),
        }
    }

    /// Takes in what has happened and says what is to be done, in order. Deadlines that have passed
    /// count first, so that a machine that wakes up late fences before it does anything else.
    pub fn step(&mut self, event: Event, at: At) -> Vec<Command> {
        let before = self.at.now;
        self.at = At { now: at.now.max(before), wall: at.wall };
        if before != Moment::ZERO && self.at.now.since(before) > self.config.timers.renew_every * 2 {
            self.facts.was_silent(before, self.at.now);
        }
        self.fence();
        self.take_in(event);
        self.tell_vanished();
        self.move_on();
        self.give_orders()
    }

    /// When [`Event::Tick`] is wanted at the latest, and why. Always later than the last step.
    #[must_use]
    pub fn wake_at(&self) -> Option<(Moment, &'static str)> {
        self.wakes.iter().min().copied()
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The highest epoch seen.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.memory.epoch
    }

    /// The record as last seen.
    #[must_use]
    pub const fn record(&self) -> Option<&GroupRecord> {
        self.facts.record.as_ref()
    }

    /// The run that belongs to the current record, as far as it is known.
    #[must_use]
    pub fn run(&self) -> Option<&Run> {
        let record = self.facts.record.as_ref()?;
        self.runner.of(record.run.as_ref()?)
    }

    /// The run by which this member prepares a switchover; after one that was called off, until its end is journalled.
    #[must_use]
    pub fn preparation(&self) -> Option<&Run> {
        self.runner.preparation()
    }

    fn move_on(&mut self) {
        for _ in 0..MOVES_MAX {
            let before = self.state;
            self.wakes.clear();
            self.fence();
            self.look();
            if self.state == before {
                return;
            }
        }
    }

    /// Makes a move, which must be in the table.
    fn go(&mut self, trigger: Trigger, to: State) {
        let Some(row) = table::row(self.state, trigger, to) else {
            debug_assert!(false, "{} --{trigger}--> {to} is not in the transition table", self.state);
            self.log(Level::Warn, format!("refused a move that is not in the table: {trigger} to {to}"));
            return;
        };
        self.log(Level::Info, format!("{} -> {to}: {trigger}; {}", self.state, row.action));
        self.state = to;
        self.since = self.at.now;
        self.enter(to);
    }

    fn log(&mut self, level: Level, text: String) {
        self.logs.push(Command::Log { level, text });
    }

    /// The moment has come; if not, it is noted as a reason to wake up.
    fn due(&mut self, at: Moment, why: &'static str) -> bool {
        if self.at.now >= at {
            return true;
        }
        self.wakes.push((at, why));
        false
    }

    fn is_member(&self) -> bool {
        self.config.members.contains(&self.config.me)
    }
}
