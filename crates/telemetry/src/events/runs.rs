//! Runs and their steps.

use std::time::Duration;

use meridian_model::run::{RunKind, StepKind};
use meridian_model::{Epoch, GroupName, RunId};

use crate::metrics::Metrics;

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
        metrics.runs().steps.at([group.into(), step.word().into(), "started".into()]).inc();
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
        metrics.runs().steps.at([group.into(), step.word().into(), word.into()]).inc();
        match outcome {
            Ok(detail) => {
                metrics
                    .runs()
                    .step_seconds
                    .at([group.into(), step.word().into()])
                    .observe(took.as_secs_f64());
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
        metrics.runs().runs.at([group.into(), kind.word().into()]).inc();
        metrics.runs().run_seconds.at([group.into(), kind.word().into()]).observe(took.as_secs_f64());
        tracing::info!(target: "meridian::failover", event = "run-finished", %group, %run, %kind, %epoch, ?took, "protected again");
    }
}

/// A run ended before its end: somebody ended it, a step failed for good, or the switchover that it prepares was
/// called off.
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
