//! From when the times of a run are counted: the same in every command and report.

use meridian_model::Timestamp;
use meridian_model::run::{Run, RunKind, StepKind, StepState};

/// From when on clients may not have been able to write, and what that moment was: the last sign of life of the old
/// writer, or the hold of a switchover; where neither is known, the decision.
pub(crate) fn origin(run: &Run) -> (Timestamp, String) {
    if let Some(token) = &run.evidence.handover {
        return (token.held_at, "the hold of new transactions".to_owned());
    }
    match (run.evidence.last_renewal_at, &run.from) {
        (Some(at), Some(from)) => (at, format!("the last renewal of {from} that was seen")),
        _ => (run.decided_at, "the decision".to_owned()),
    }
}

/// For how long clients could not write, in seconds; none before they can again, and where nobody knows since when.
pub(crate) fn writes_again(run: &Run) -> Option<f64> {
    let (from, _) = origin(run);
    let counts = run.kind != RunKind::Start && from != run.decided_at;
    ended(run, StepKind::Promote).filter(|_| counts).map(|at| after(from, at))
}

/// Until a further loss could be survived, in seconds from the same moment; none before.
pub(crate) fn protected_again(run: &Run) -> Option<f64> {
    ended(run, StepKind::Protect).map(|at| after(origin(run).0, at))
}

/// The last end of a step of that kind, when all of them are done.
pub(crate) fn ended(run: &Run, kind: StepKind) -> Option<Timestamp> {
    let ends = run.steps.iter().filter(|s| s.kind() == kind).map(|s| match s.state {
        StepState::Done { at, .. } => Some(at),
        _ => None,
    });
    ends.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// Seconds from one to the other.
pub(crate) fn after(from: Timestamp, to: Timestamp) -> f64 {
    to.0.saturating_sub(from.0) as f64 / 1_000.0
}

/// ISO 8601, UTC, with milliseconds.
pub(crate) fn iso(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.to_string(), |t| format!("{t:.3}"))
}
