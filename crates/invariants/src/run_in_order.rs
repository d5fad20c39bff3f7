//! Law 6: the steps of a run are done in order, one at a time, and what is done stays done.

use meridian_model::run::{Run, StepKind, StepState};

use crate::Violation;
use crate::world::World;

/// Checks the law.
///
/// # Errors
/// The run and the step that is out of order.
pub fn check(world: &World) -> Result<(), Violation> {
    for (i, run) in world.runs.iter().enumerate() {
        let earlier = world.runs.iter().take(i).rev().find(|r| r.id == run.id);
        if let Some(evidence) = steps_out_of_order(run).or_else(|| earlier.and_then(|old| undone(old, run))) {
            return Err(Violation::new("run_in_order", evidence));
        }
    }
    Ok(())
}

fn steps_out_of_order(run: &Run) -> Option<String> {
    let kinds: Vec<StepKind> = run.steps.iter().map(|s| s.kind).collect();
    if kinds != StepKind::ALL {
        return Some(format!("run {} has other steps than it should: {kinds:?}", run.id));
    }
    let mut open = None;
    for step in &run.steps {
        match (&step.state, open) {
            (StepState::Done { .. } | StepState::Running { .. }, Some(before)) => {
                return Some(format!("run {}: {} began before {before} was done", run.id, step.kind));
            }
            (StepState::Running { .. } | StepState::Pending, None) => open = Some(step.kind),
            _ => {}
        }
    }
    None
}

/// A step that was done and is not any more, or another reign under the same name.
fn undone(old: &Run, new: &Run) -> Option<String> {
    if old.epoch != new.epoch || old.to != new.to {
        return Some(format!("run {} changed its epoch or its writer", new.id));
    }
    let done = |run: &Run| run.steps.iter().filter(|s| matches!(s.state, StepState::Done { .. })).count();
    (done(new) < done(old)).then(|| format!("run {} has fewer steps done than before", new.id))
}
