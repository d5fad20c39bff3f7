//! Law 6: a step of a run begins after all that it depends on, and what is done stays done.

use meridian_model::run::{Run, Step, StepState};

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
    let begun = |s: &&Step| !matches!(s.state, StepState::Pending | StepState::Skipped { .. });
    let early = run.steps.iter().filter(begun).find(|step| !run.ready(step))?;
    let waits = early.work.after.iter().find(|name| run.step(name).is_some_and(|s| !s.over()));
    let before = waits.map_or("what it depends on", |name| name.as_str());
    Some(format!("run {}: {} began before {before} was done", run.id, early.work.name))
}

/// A step that was done and is not any more, or another reign under the same name.
fn undone(old: &Run, new: &Run) -> Option<String> {
    if old.epoch != new.epoch || old.to != new.to {
        return Some(format!("run {} changed its epoch or its writer", new.id));
    }
    let done = |run: &Run| run.steps.iter().filter(|s| s.done()).count();
    (done(new) < done(old)).then(|| format!("run {} has fewer steps done than before", new.id))
}
