//! Law 6: a step of a run begins after all that it depends on, and what is done stays done.
//!
//! What safety needs holds whatever the plan says of dependencies: a run that does not only prepare one has a fence,
//! a promotion and a protection, nothing is promoted before the fence is done, and neither compute nor traffic comes before the
//! promotion. What a switchover says was done before the old writer's demotion, the run that it took over did.

use meridian_model::run::{Run, RunKind, Step, StepKind, StepState};

use crate::Violation;
use crate::world::World;

/// Checks the law.
///
/// # Errors
/// The run and the step that is out of order.
pub fn check(world: &World) -> Result<(), Violation> {
    for (i, run) in world.runs.iter().enumerate() {
        let earlier = world.runs.iter().take(i).rev().find(|r| r.id == run.id);
        let wrong = incomplete(run).or_else(|| unsafe_order(run)).or_else(|| steps_out_of_order(run));
        let prepared = run.takes_over.as_ref().filter(|_| run.kind == RunKind::Switchover);
        let prepared = prepared.and_then(|id| world.runs.iter().take(i).rev().find(|r| r.id == *id));
        let wrong = wrong.or_else(|| prepared.and_then(|old| not_done_before(old, run)));
        if let Some(evidence) = wrong.or_else(|| earlier.and_then(|old| undone(old, run))) {
            return Err(Violation::new("run_in_order", evidence));
        }
    }
    Ok(())
}

/// Each of these stands once in every run that does not only prepare a switchover.
const NEEDED: [StepKind; 3] = [StepKind::Fence, StepKind::Promote, StepKind::Protect];
/// What comes after the promotion, always.
const AFTER_PROMOTION: [StepKind; 5] =
    [StepKind::Repoint, StepKind::Scale, StepKind::Shift, StepKind::Dns, StepKind::Protect];

fn incomplete(run: &Run) -> Option<String> {
    let times = |kind: StepKind| run.steps.iter().filter(|s| s.kind() == kind).count();
    let kind = NEEDED.into_iter().filter(|_| !run.prepares()).find(|kind| times(*kind) != 1)?;
    Some(format!("run {} has {} steps of the kind {kind}, it needs one", run.id, times(kind)))
}

fn unsafe_order(run: &Run) -> Option<String> {
    let done = |kind| run.of_kind(kind).is_some_and(Step::done);
    let before = |step: &Step| match step.kind() {
        StepKind::Promote => Some(StepKind::Fence),
        kind if AFTER_PROMOTION.contains(&kind) => Some(StepKind::Promote),
        _ => None,
    };
    run.steps.iter().filter(begun).find_map(|step| {
        let needs = before(step).filter(|kind| !done(*kind))?;
        Some(format!("run {}: {} began before {needs} was done", run.id, step.work.name))
    })
}

fn begun(step: &&Step) -> bool {
    !matches!(step.state, StepState::Pending | StepState::Skipped { .. })
}

fn steps_out_of_order(run: &Run) -> Option<String> {
    let early = run.steps.iter().filter(begun).find(|step| !run.ready(step))?;
    let waits = early.work.after.iter().find(|name| run.step(name).is_some_and(|s| !s.over()));
    let before = waits.map_or("what it depends on", |name| name.as_str());
    Some(format!("run {}: {} began before {before} was done", run.id, early.work.name))
}

/// A step before the demotion that counts as over although the run that was taken over did not end it.
fn not_done_before(old: &Run, new: &Run) -> Option<String> {
    let demote = new.of_kind(StepKind::Demote).filter(|s| s.done())?;
    let mut early: Vec<_> = demote.work.after.iter().collect();
    // Each stands after those that it depends on.
    for step in new.steps.iter().rev() {
        if early.contains(&&step.work.name) {
            early.extend(&step.work.after);
        }
    }
    let lied = |s: &&Step| s.over() && old.step(&s.work.name).is_some_and(|before| !before.over());
    let step = new.steps.iter().filter(|s| early.contains(&&s.work.name)).find(lied)?;
    Some(format!("run {}: {} counts as done, and run {} did not do it", new.id, step.work.name, old.id))
}

/// A step that was done and is not any more, or another reign under the same name.
fn undone(old: &Run, new: &Run) -> Option<String> {
    if old.epoch != new.epoch || old.to != new.to {
        return Some(format!("run {} changed its epoch or its writer", new.id));
    }
    let done = |run: &Run| run.steps.iter().filter(|s| s.done()).count();
    (done(new) < done(old)).then(|| format!("run {} has fewer steps done than before", new.id))
}
