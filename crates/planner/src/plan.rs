//! Plans: the one that is derived where none is written, what makes a written one whole, and the list of
//! steps that is frozen when a run begins.
//!
//! A plan in the model is whole: it has the machine's own steps too, which nobody writes. A run carries
//! out the steps of its form, in the plan's order; [`freeze`] chooses nothing but that. What must hold for
//! a finished list is checked elsewhere ([`crate::lint()`]), so that this file does not judge itself.

use std::time::Duration;

use meridian_model::database::{Database, SwitchoverLimits};
use meridian_model::plan::{Form, OnFailure, PlannedStep, RecoveryPlan, Task, Trigger, Work, millis};
use meridian_model::run::StepKind;
use meridian_model::{Name, System};

/// The plan of a database for which none is written: demote (when the old writer lives), fence, promote;
/// then repoint beside scale, shift, dns, verify; at last protect. A step that would have nothing to do is
/// left out: `scale` where the system runs no instances, `dns` where it has no service.
#[must_use]
pub fn derive(system: &System, database: &Database) -> RecoveryPlan {
    RecoveryPlan {
        name: database.name.clone(),
        group: database.name.clone(),
        triggers: vec![Trigger::RegionDown],
        steps: derived_steps(system, &database.switchover),
    }
}

/// The steps of the derived plan, which depend on the database only by its limits.
pub(crate) fn derived_steps(system: &System, limits: &SwitchoverLimits) -> Vec<PlannedStep> {
    let backends = || system.services.iter().flat_map(|s| &s.backends);
    let scale = Task::Scale { service: None, instances: None };
    let tasks = [
        Some(Task::Promote),
        backends().any(|b| b.compute.is_some()).then_some(scale),
        Some(Task::Shift { dial: None, drain: false }),
        (!system.services.is_empty()).then_some(Task::Dns),
        Some(Task::Verify { checks: Vec::new() }),
    ];
    let mut steps: Vec<PlannedStep> = Vec::new();
    for task in tasks.into_iter().flatten() {
        let before = steps.last().map(|s| s.work.name.clone());
        steps.push(step(Form::Always, task, before.into_iter().collect()));
    }
    complete(steps, limits)
}

/// Makes a list of steps a whole plan: puts it in an order in which each comes after those that it
/// depends on, and adds the machine's own steps that it does not have. The demotion and the fence come
/// just before the promotion and wait for what that waited for; the other standbys follow after it; and
/// the end of all is that the group is protected again.
///
/// What is whole already is not changed.
#[must_use]
pub fn complete(steps: Vec<PlannedStep>, limits: &SwitchoverLimits) -> Vec<PlannedStep> {
    let mut steps = in_order(steps);
    let has = |steps: &[PlannedStep], kind| steps.iter().any(|s| s.work.task.kind() == kind);
    if !has(&steps, StepKind::Promote) {
        return steps;
    }
    if !has(&steps, StepKind::Fence) {
        stand_before(StepKind::Promote, step(Form::Always, Task::Fence, Vec::new()), &mut steps);
    }
    if !has(&steps, StepKind::Demote) {
        stand_before(StepKind::Fence, demotion(limits), &mut steps);
    }
    if !has(&steps, StepKind::Repoint) {
        let promoted = steps.iter().position(|s| s.work.task.kind() == StepKind::Promote).unwrap_or(0);
        let after = steps.get(promoted).map(|s| s.work.name.clone()).into_iter().collect();
        steps.insert(promoted + 1, step(Form::Always, Task::Repoint, after));
    }
    if !has(&steps, StepKind::Protect) {
        let ends = ends(&steps);
        steps.push(step(Form::Always, Task::Protect, ends));
    }
    steps
}

/// The steps that a run of `plan` carries out: those of its form, each after those that it depends on.
/// Who waited for a step of the other form waits for what that waited for.
#[must_use]
pub fn freeze(plan: &RecoveryPlan, graceful: bool) -> Vec<Work> {
    of_form(&complete(plan.steps.clone(), &SwitchoverLimits::default()), graceful)
}

/// The works of that form.
pub(crate) fn of_form(steps: &[PlannedStep], graceful: bool) -> Vec<Work> {
    let done = |step: &PlannedStep| match step.form {
        Form::Always => true,
        Form::Graceful => graceful,
        Form::Ungraceful => !graceful,
    };
    let dropped = |name: &Name| steps.iter().find(|s| &s.work.name == name).filter(|s| !done(s));
    let followed = |work: &Work| {
        let mut open: Vec<&Name> = work.after.iter().rev().collect();
        let (mut seen, mut after) = (Vec::new(), Vec::new());
        while let Some(name) = open.pop() {
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            match dropped(name) {
                Some(step) => open.extend(step.work.after.iter().rev()),
                None => after.push(name.clone()),
            }
        }
        Work { after, ..work.clone() }
    };
    steps.iter().filter(|s| done(s)).map(|s| followed(&s.work)).collect()
}

/// How long an attempt of such a step may take where nothing else is said.
#[must_use]
pub fn usual_timeout(task: &Task) -> Duration {
    match task {
        Task::Demote => demotion_timeout(&SwitchoverLimits::default()),
        Task::Fence => FENCE,
        Task::Promote => PROMOTE,
        Task::Repoint => REPOINT,
        Task::Scale { .. } => SCALE,
        Task::Shift { .. } | Task::Dns => STEER,
        Task::Verify { .. } => VERIFY,
        Task::Protect => PROTECT,
        Task::Wait { for_ms } => Duration::from_millis(*for_ms).saturating_add(WAIT_OVER),
        Task::Approve { .. } => APPROVE,
        Task::Notify { .. } => NOTIFY,
        Task::Exec(_) => EXEC,
    }
}

/// How long a demotion may take: what the switchover allows, and the stop of PostgreSQL.
#[must_use]
pub fn demotion_timeout(limits: &SwitchoverLimits) -> Duration {
    limits.drain.saturating_add(limits.catch_up).saturating_add(DEMOTE_STOPS)
}

/// Stable: of those that may come next, the first.
fn in_order(mut left: Vec<PlannedStep>) -> Vec<PlannedStep> {
    let mut ordered = Vec::with_capacity(left.len());
    let ready = |left: &[PlannedStep]| {
        let waits = |s: &PlannedStep| s.work.after.iter().any(|a| left.iter().any(|l| &l.work.name == a));
        left.iter().position(|s| !waits(s))
    };
    while let Some(next) = ready(&left) {
        ordered.push(left.remove(next));
    }
    // What is left waits for itself: that is for the linter to tell.
    ordered.extend(left);
    ordered
}

/// Puts `new` just before the step of that kind: it waits for what that waited for, and that for it.
fn stand_before(kind: StepKind, mut new: PlannedStep, steps: &mut Vec<PlannedStep>) {
    let Some(at) = steps.iter().position(|s| s.work.task.kind() == kind) else { return };
    if let Some(next) = steps.get_mut(at) {
        new.work.after = std::mem::replace(&mut next.work.after, vec![new.work.name.clone()]);
    }
    steps.insert(at, new);
}

/// The steps that no other waits for.
fn ends(steps: &[PlannedStep]) -> Vec<Name> {
    let waited_for = |name: &Name| steps.iter().any(|s| s.work.after.contains(name));
    steps.iter().map(|s| &s.work.name).filter(|name| !waited_for(name)).cloned().collect()
}

fn demotion(limits: &SwitchoverLimits) -> PlannedStep {
    let mut made = step(Form::Graceful, Task::Demote, Vec::new());
    made.work.timeout_ms = millis(demotion_timeout(limits));
    made
}

/// A step that nobody has written: named by its kind, tried again until it succeeds.
fn step(form: Form, task: Task, after: Vec<Name>) -> PlannedStep {
    let work = Work {
        name: task.kind().into(),
        timeout_ms: millis(usual_timeout(&task)),
        task,
        after,
        retries: None,
        before: Vec::new(),
        afterwards: Vec::new(),
        on_failure: OnFailure::Pause,
    };
    PlannedStep { form, work }
}

/// After drain and catch-up: PostgreSQL writes its shutdown checkpoint and ends. A second is usual.
const DEMOTE_STOPS: Duration = Duration::from_secs(10);
/// It is proven when the run begins, or the lease was given up; what is left is a write to etcd, and
/// perhaps an election of its leader before it.
const FENCE: Duration = Duration::from_secs(10);
/// Before it opens, PostgreSQL replays all that it has received: under half a second when it has kept up,
/// minutes when it lags.
const PROMOTE: Duration = Duration::from_mins(2);
/// A standby is told its new upstream and restarts its receiver.
const REPOINT: Duration = Duration::from_secs(30);
/// Programs start in seconds, virtual machines in minutes.
const SCALE: Duration = Duration::from_mins(5);
/// The new state is published within a round trip; ten seconds of silence mean that something is broken.
const STEER: Duration = Duration::from_secs(10);
/// A few statements and requests, each given up long before.
const VERIFY: Duration = Duration::from_secs(10);
/// A standby may have to be cloned anew.
const PROTECT: Duration = Duration::from_mins(30);
/// Above the pause itself: the node that ends it may have to take the run over first.
const WAIT_OVER: Duration = Duration::from_secs(10);
/// A person may be asleep; longer than a day is no answer.
const APPROVE: Duration = Duration::from_hours(24);
/// Webhooks answer in a second or two.
const NOTIFY: Duration = Duration::from_secs(10);
/// Somebody else's program: long enough for a script, short enough to be told before it is forgotten.
const EXEC: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests;

/// A person is asked before the promotion: then no failover begins without an order.
#[must_use]
pub fn asks_before_promotion(works: &[Work]) -> bool {
    let promote = works.iter().position(|w| w.task.kind() == StepKind::Promote).unwrap_or(0);
    let mut open: Vec<&Name> = works.get(promote).map(|w| w.after.iter().collect()).unwrap_or_default();
    let mut seen: Vec<&Name> = Vec::new();
    while let Some(name) = open.pop() {
        let Some(work) = works.iter().find(|w| &w.name == name) else { continue };
        if work.task.kind() == StepKind::Approve {
            return true;
        }
        if !seen.contains(&name) {
            seen.push(name);
            open.extend(&work.after);
        }
    }
    false
}
