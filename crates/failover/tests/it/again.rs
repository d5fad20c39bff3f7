//! Runs in which nobody is recovered: a first start, and the same writer after a restart.

use meridian_failover::{Config, Event, Memory, Plan, State};
use meridian_model::database::Replication;
use meridian_model::group::{DatabaseRole, GroupRecord};
use meridian_model::plan::Task;
use meridian_model::run::{Run, RunKind, StepKind, StepState};
use meridian_model::{Epoch, Share, Timestamp};

use super::desk::{Desk, record, status};
use super::names::{config, plan, region};
use super::walks::memory;

fn turning() -> (Task, Task) {
    let dial = Share::from_percent(10.0);
    (Task::Shift { dial, drain: true }, Task::Scale { service: None, instances: Some(5) })
}

/// A recovery turns dials and starts more instances than usual.
fn recovering(me: usize) -> Config {
    let mut plan: Plan = plan();
    let (shift, scale) = turning();
    for work in &mut plan.ungraceful {
        work.task = match work.task.kind() {
            StepKind::Shift => shift.clone(),
            StepKind::Scale => scale.clone(),
            _ => continue,
        };
    }
    Config { plan, ..config(me, 3, Replication::Quorum { acknowledgers: 1 }) }
}

fn turned(run: &Run) -> (Task, Task) {
    let task = |kind| run.of_kind(kind).unwrap().work.task.clone();
    (task(StepKind::Shift), task(StepKind::Scale))
}

/// The writer of epoch 2 is started again; `last`: the run of its reign.
fn restarted(last: Option<Run>) -> Run {
    let own = Memory { holder: Some(region(1)), ..memory(2) };
    let mut desk = Desk::of(recovering(1), DatabaseRole::Stopped, Some(own));
    desk.record(Some(GroupRecord { run: last.as_ref().map(|run| run.id.clone()), ..record(1, 2, 5) }));
    if let Some(run) = last {
        desk.say(Event::Run(run.into()));
    }
    desk.wait(1_100);
    let run = desk.swap().expect("a claim").run.expect("its run");
    assert_eq!((run.kind, run.epoch), (RunKind::Resume, Epoch(3)));
    run
}

fn failover() -> Run {
    let mut desk = Desk::of(recovering(1), DatabaseRole::Stopped, Some(memory(1)));
    desk.record(Some(record(0, 1, 1_024))).done(status(DatabaseRole::Standby, 100));
    let mut desk = desk.sealing_after(record(0, 1, 1_024));
    desk.done(status(DatabaseRole::Standby, 120));
    desk.member(2, 1, Some(1), status(DatabaseRole::Standby, 110));
    assert_eq!(desk.state(), State::Claiming);
    desk.swap().unwrap().run.unwrap()
}

/// The writer's node was restarted, and a dial that a person had turned back was turned again.
#[test]
fn only_a_recovery_turns_dials_and_asks_for_another_number_of_instances() {
    let usual = (Task::Shift { dial: None, drain: false }, Task::Scale { service: None, instances: None });
    let first = Desk::protected_by(recovering(0));
    let first = first.machine.run().unwrap();
    assert_eq!((first.kind, turned(first)), (RunKind::Start, usual.clone()));
    assert_eq!(turned(&restarted(None)), usual);

    let mut run = failover();
    assert_eq!((run.kind, turned(&run)), (RunKind::Failover, turning()));
    let (since, at) = (Timestamp(0), Timestamp(0));
    for step in &mut run.steps {
        step.state = StepState::Done { since, at, detail: String::new() };
    }
    assert_eq!(turned(&restarted(Some(run.clone()))), usual, "that recovery has ended");
    run.steps.last_mut().unwrap().state = StepState::Pending;
    assert_eq!(turned(&restarted(Some(run))), turning(), "a recovery that was open goes on");
}
