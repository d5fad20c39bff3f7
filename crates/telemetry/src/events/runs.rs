//! Runs and their steps.

use std::time::Duration;

use meridian_model::run::{RunKind, StepKind};
use meridian_model::{Epoch, GroupName, RunId};

use crate::metrics::{Metrics, Word};

/// A step of a run began: it was journalled, its first action comes next.
#[derive(Debug)]
pub struct StepStarted<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// In which run.
    pub run: &'a RunId,
    /// Under which reign.
    pub epoch: Epoch,
    /// Which step.
    pub step: StepKind,
}

impl StepStarted<'_> {
    /// Tells it: `info`.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, run, epoch, step } = self;
        metrics.runs().steps.at([group.into(), step_word(step), "started".into()]).inc();
        tracing::info!(target: "meridian::failover", event = "step-started", %group, %run, %epoch, %step, "step started");
    }
}

/// An attempt at a step ended.
#[derive(Debug)]
pub struct StepFinished<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// In which run.
    pub run: &'a RunId,
    /// Under which reign.
    pub epoch: Epoch,
    /// Which step.
    pub step: StepKind,
    /// How long it took.
    pub took: Duration,
    /// What was seen, or why it is tried again.
    pub outcome: Result<&'a str, &'a str>,
}

impl StepFinished<'_> {
    /// Tells it: `info` when done, `warn` when it must be tried again.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, run, epoch, step, took, outcome } = self;
        let word = if outcome.is_ok() { "done" } else { "failed" };
        metrics.runs().steps.at([group.into(), step_word(step), word.into()]).inc();
        match outcome {
            Ok(detail) => {
                metrics.runs().step_seconds.at([group.into(), step_word(step)]).observe(took.as_secs_f64());
                tracing::info!(target: "meridian::failover", event = "step-finished", %group, %run, %epoch, %step, ?took, detail, "step done");
            }
            Err(reason) => {
                tracing::warn!(target: "meridian::failover", event = "step-finished", %group, %run, %epoch, %step, ?took, reason, "step failed, it will be tried again");
            }
        }
    }
}

/// A run ended: the group is protected again.
#[derive(Debug)]
pub struct RunFinished<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// Which run.
    pub run: &'a RunId,
    /// What it was for.
    pub kind: RunKind,
    /// The reign that it made.
    pub epoch: Epoch,
    /// From the claim to the end.
    pub took: Duration,
}

impl RunFinished<'_> {
    /// Tells it: `info`.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, run, kind, epoch, took } = self;
        metrics.runs().runs.at([group.into(), kind_word(kind)]).inc();
        metrics.runs().run_seconds.at([group.into(), kind_word(kind)]).observe(took.as_secs_f64());
        tracing::info!(target: "meridian::failover", event = "run-finished", %group, %run, kind = %kind_word(kind), %epoch, ?took, "protected again");
    }
}

/// A run ended before its end: somebody ended it, a step failed for good, or the next reign goes on with it.
#[derive(Debug)]
pub struct RunEnded<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// Which run.
    pub run: &'a RunId,
    /// Under which reign.
    pub epoch: Epoch,
    /// Why.
    pub reason: &'a str,
}

impl RunEnded<'_> {
    /// Tells it: `info`.
    pub fn emit(self) {
        let Self { group, run, epoch, reason } = self;
        tracing::info!(target: "meridian::failover", event = "run-ended", %group, %run, %epoch, reason, "the run ended before its end");
    }
}

fn step_word(step: StepKind) -> Word {
    Word::Fixed(match step {
        StepKind::Approve => "approve",
        StepKind::Demote => "demote",
        StepKind::Fence => "fence",
        StepKind::Promote => "promote",
        StepKind::Repoint => "repoint",
        StepKind::Scale => "scale",
        StepKind::Shift => "shift",
        StepKind::Dns => "dns",
        StepKind::Verify => "verify",
        StepKind::Protect => "protect",
        StepKind::Wait => "wait",
        StepKind::Notify => "notify",
        StepKind::Exec => "exec",
    })
}

pub(super) fn kind_word(kind: RunKind) -> Word {
    Word::Fixed(match kind {
        RunKind::Start => "start",
        RunKind::Failover => "failover",
        RunKind::Switchover => "switchover",
        RunKind::Resume => "resume",
    })
}
