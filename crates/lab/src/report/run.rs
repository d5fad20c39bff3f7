//! A run of the recovery machine as a report tells it: in seconds since the load began.

use meridian_model::Timestamp;
use meridian_model::run::{Run, Step, StepState};
use serde::Serialize;

/// A run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RunFact {
    /// Its name.
    pub id: String,
    /// The data group.
    pub group: String,
    /// `failover`, `switchover`, …
    pub kind: String,
    /// The reign that it makes.
    pub epoch: u64,
    /// The writer before.
    pub from: Option<String>,
    /// The writer after.
    pub to: String,
    /// Why, with the evidence of the decision.
    pub cause: String,
    /// The verdict by which the loss was first seen; empty where none was.
    pub detected_by: String,
    /// When that was.
    pub detected_seconds: Option<f64>,
    /// When the epoch was won.
    pub decided_seconds: f64,
    /// The plan whose steps these are.
    pub plan: Option<String>,
    /// Nothing is left to be done.
    pub finished: bool,
    /// It was ended before its end, and why.
    pub aborted: Option<String>,
    /// It waits for a person, and why.
    pub paused: Option<String>,
    /// The run that it took over.
    pub takes_over: Option<String>,
    /// Its steps.
    pub steps: Vec<RunStepFact>,
}

/// One step of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RunStepFact {
    /// Its name.
    pub name: String,
    /// What kind of step it is.
    pub kind: String,
    /// `pending`, `running`, `done`, `failed` or `skipped`.
    pub state: &'static str,
    /// When it began.
    pub began_seconds: Option<f64>,
    /// When it ended.
    pub ended_seconds: Option<f64>,
    /// What was seen, or went wrong.
    pub detail: String,
}

impl RunFact {
    /// `seconds`: since the load began.
    #[must_use]
    pub fn of(run: &Run, seconds: impl Fn(Timestamp) -> f64) -> Self {
        let text = |name: &Option<meridian_model::Name>| name.as_ref().map(ToString::to_string);
        Self {
            id: run.id.to_string(),
            group: run.group.to_string(),
            kind: run.kind.to_string(),
            epoch: run.epoch.0,
            from: text(&run.from),
            to: run.to.to_string(),
            cause: run.cause.clone(),
            detected_by: run.evidence.detected.clone(),
            detected_seconds: run.detected_at.map(&seconds),
            decided_seconds: seconds(run.decided_at),
            plan: text(&run.plan),
            finished: run.finished(),
            aborted: run.aborted.clone(),
            paused: run.paused.clone(),
            takes_over: text(&run.takes_over),
            steps: run.steps.iter().map(|s| step(s, &seconds)).collect(),
        }
    }
}

fn step(step: &Step, seconds: &impl Fn(Timestamp) -> f64) -> RunStepFact {
    let (state, began, ended, detail) = match &step.state {
        StepState::Pending => ("pending", None, None, ""),
        StepState::Running { since } => ("running", Some(*since), None, ""),
        StepState::Done { since, at, detail } => ("done", Some(*since), Some(*at), detail.as_str()),
        StepState::Failed { since, at, reason } => ("failed", Some(*since), Some(*at), reason.as_str()),
        StepState::Skipped { at, reason } => ("skipped", None, Some(*at), reason.as_str()),
    };
    RunStepFact {
        name: step.work.name.to_string(),
        kind: step.kind().to_string(),
        state,
        began_seconds: began.map(seconds),
        ended_seconds: ended.map(seconds),
        detail: detail.to_owned(),
    }
}
