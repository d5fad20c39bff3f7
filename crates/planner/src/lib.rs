//! Checks of a finished system, and the timeline of a recovery.

use std::time::Duration;

use meridian_model::System;

/// One step of a recovery, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineStep {
    /// What happens.
    pub what: &'static str,
    /// How long at most, in the usual case.
    pub takes: Duration,
    /// Why so long, with the source of the figure.
    pub why: String,
}

/// What a recovery from the loss of the writer's region takes, step by step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// In order; they add up.
    pub steps: Vec<TimelineStep>,
}

impl Timeline {
    /// The sum.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.steps.iter().map(|s| s.takes).sum()
    }
}

/// The timeline of a recovery from the loss of the writer's region.
#[must_use]
pub fn timeline(_system: &System) -> Timeline {
    Timeline { steps: Vec::new() }
}
