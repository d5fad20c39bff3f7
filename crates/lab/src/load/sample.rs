//! What the load saw: one small sample a request, the promises that writes were given, and totals.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use meridian_model::Moment;
use meridian_telemetry::clock;

use crate::ledger::{Ack, Ledger, Unacknowledged};

/// Samples that are kept: 56 MB. What comes later is counted in [`Recorded::samples_dropped`].
const SAMPLES_MAX: usize = 1_000_000;

/// Reasons that are told apart; the others are counted together.
pub(super) const REASONS_MAX: usize = 40;

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Reads something.
    Read,
    /// Writes one order.
    Write,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(if *self == Self::Read { "read" } else { "write" })
    }
}

/// How a request ended for its user, after all retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered; a write: acknowledged.
    Ok,
    /// A definite error: nothing was written.
    Refused,
    /// No answer, so a write may or may not have happened.
    Unknown,
    /// Too much was under way already.
    NotSent,
}

impl Outcome {
    /// The user got what it wanted.
    #[must_use]
    pub const fn good(self) -> bool {
        matches!(self, Self::Ok)
    }
}

/// One request, as its user saw it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The population, by its place in the plan.
    pub population: u16,
    /// The region that answered, by its place in the plan.
    pub region: Option<u16>,
    /// What it wanted.
    pub kind: Kind,
    /// How it ended.
    pub outcome: Outcome,
    /// How many times it was tried, the first included.
    pub attempts: u8,
    /// When it was due. Latency counts from here.
    pub intended: Moment,
    /// When it was sent first.
    pub started: Moment,
    /// When it ended.
    pub ended: Moment,
}

impl Sample {
    /// From when it was due to its end.
    #[must_use]
    pub const fn latency(&self) -> Duration {
        self.ended.since(self.intended)
    }
}

/// Totals so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Requests that ended.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
}

/// All that the load saw.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Every request, in the order of their ends.
    pub samples: Vec<Sample>,
    /// Samples beyond the bound.
    pub samples_dropped: u64,
    /// What users were told about their writes.
    pub ledger: Ledger,
    /// Why requests failed in the end, and how many for that reason; at most 40 reasons and one for the rest.
    pub failures: BTreeMap<String, u64>,
}

/// Collects from all users.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    recorded: Recorded,
    progress: Progress,
}

impl Recorder {
    /// A request ended.
    pub(super) fn ended(&self, sample: Sample) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.progress.requests += 1;
        state.progress.failed += u64::from(!sample.outcome.good());
        if state.recorded.samples.len() < SAMPLES_MAX {
            state.recorded.samples.push(sample);
        } else {
            state.recorded.samples_dropped += 1;
        }
    }

    /// An arrival found too much under way.
    pub(super) fn not_sent(&self, population: u16, kind: Kind, intended: Moment) {
        let now = clock::now();
        self.failed_because(format!("{kind}: too many under way already, not sent"));
        self.ended(Sample {
            population,
            region: None,
            kind,
            outcome: Outcome::NotSent,
            attempts: 0,
            intended,
            started: now,
            ended: now,
        });
    }

    /// A request failed for good: why, in the words of its last try.
    pub(super) fn failed_because(&self, reason: String) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = &mut state.recorded.failures;
        let known = failures.len() < REASONS_MAX || failures.contains_key(&reason);
        *failures.entry(if known { reason } else { "another reason".to_owned() }).or_default() += 1;
    }

    /// A write was acknowledged.
    pub(super) fn acknowledged(&self, ack: Ack) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.progress.acknowledged += 1;
        state.recorded.ledger.acknowledged.push(ack);
    }

    /// A write ended without an acknowledgement.
    pub(super) fn unacknowledged(&self, write: Unacknowledged) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.recorded.ledger.unacknowledged.push(write);
    }

    /// Totals so far.
    pub(super) fn progress(&self) -> Progress {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).progress
    }

    /// Everything; the recorder is empty after it.
    pub(super) fn take(&self) -> Recorded {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).recorded)
    }
}
