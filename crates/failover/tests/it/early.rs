//! What a plan wants before the old writer is demoted: done by the old writer, journalled, and handed on.

use meridian_failover::{Command, Config, DatabaseAction, Event, Memory, Outcome, Plan, State};
use meridian_model::database::Replication;
use meridian_model::group::{DatabaseRole, GroupRecord, WalPosition};
use meridian_model::order::{Handover, Order, OrderState, RunWords, Wish, Word};
use meridian_model::plan::{OnFailure, Task, Work};
use meridian_model::run::{Missing, Run, RunKind, Step, StepState};
use meridian_model::{Epoch, Lsn, Name, Timestamp};

use super::desk::{Desk, record, status};
use super::names::{config, order, plan, region};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The usual plan, and before the demotion a check and then a short wait.
fn early_plan(on_failure: OnFailure) -> Plan {
    let work = |text: &str, task, after: &[&str]| Work {
        name: name(text),
        task,
        after: after.iter().map(|n| name(n)).collect(),
        timeout_ms: 1_000,
        retries: Some(0),
        before: Vec::new(),
        afterwards: Vec::new(),
        on_failure,
    };
    let mut plan = plan();
    let demote = plan.graceful.iter_mut().find(|w| w.task == Task::Demote).unwrap();
    demote.after = vec![name("settle")];
    let ready = work("ready", Task::Verify { checks: Vec::new() }, &[]);
    let settle = work("settle", Task::Wait { for_ms: 300 }, &["ready"]);
    plan.graceful.splice(0..0, [ready, settle]);
    plan
}

fn quorum(me: usize, plan: Plan) -> Config {
    Config { plan, ..config(me, 3, Replication::Quorum { acknowledgers: 1 }) }
}

/// The writer, with such a plan, just ordered to move to the second region.
fn ordered(plan: Plan, by: &str) -> Desk {
    let mut desk = Desk::protected_by(quorum(0, plan));
    let order = order(Wish::Switchover { to: region(1) }, Epoch(1));
    let order = Order { by: by.to_owned(), ..order };
    desk.asked = None;
    desk.say(Event::Ordered(Some(order)));
    assert_eq!(desk.state(), State::Preparing, "{:?}", desk.out);
    desk
}

pub(crate) fn journal(desk: &Desk) -> Option<(u64, Run)> {
    desk.out.iter().find_map(|c| match c {
        Command::Journal { attempt, run } => Some((*attempt, Run::clone(run))),
        _ => None,
    })
}

fn journalled(desk: &mut Desk) -> Run {
    let (attempt, run) = journal(desk).expect("a journal entry");
    desk.say(Event::Journalled { attempt, outcome: Outcome::Done(1) });
    run
}

fn steps(desk: &Desk) -> Vec<String> {
    let names = desk.out.iter().filter_map(|c| match c {
        Command::Step { step, .. } => Some(step.to_string()),
        _ => None,
    });
    names.collect()
}

/// The first step ends so.
fn ready_ends(desk: &mut Desk, well: bool) {
    let run = journalled(desk);
    assert_eq!(steps(desk), ["ready"]);
    let (run, step) = (run.id, name("ready"));
    desk.say(if well {
        Event::StepDone { run, step, detail: "it is ready".to_owned() }
    } else {
        Event::StepFailed { run, step, reason: "it is not ready".to_owned() }
    });
}

fn refused(desk: &Desk) -> Option<String> {
    desk.out.iter().find_map(|c| match c {
        Command::EndOrder(order) => match &order.state {
            OrderState::Refused { reason, .. } => Some(reason.clone()),
            _ => None,
        },
        _ => None,
    })
}

fn word() -> Word {
    Word { by: "bob".to_owned(), at: Timestamp(0), reason: "not today".to_owned() }
}

#[test]
fn what_comes_before_the_demotion_is_done_before_anything_is_held_and_named_in_the_token() {
    let mut desk = ordered(early_plan(OnFailure::Pause), "ada");
    let (_, run) = journal(&desk).expect("its run is journalled before anything is done");
    assert_eq!((run.kind, run.epoch), (RunKind::Switchover, Epoch(1)));
    assert_eq!((run.from.clone(), run.to.clone()), (Some(region(0)), region(1)));
    assert_eq!((steps(&desk), &desk.asked), (Vec::new(), &None));
    ready_ends(&mut desk, true);
    journalled(&mut desk);
    desk.wait(299);
    assert_eq!((desk.state(), &desk.asked), (State::Preparing, &None), "it waits for the second one");
    desk.wait(1);
    let over = journalled(&mut desk);
    let names: Vec<&str> = over.steps.iter().map(|s| s.work.name.as_str()).collect();
    assert_eq!(names, ["ready", "settle"], "it does no more than that");
    assert!(over.finished() && over.prepares() && over.steps.iter().all(Step::done), "{over:?}");
    assert_eq!((&over.aborted, over.evidence.missing), (&None, Missing::Nothing));
    assert_eq!(
        desk.asked.clone().map(|(_, action)| action),
        Some(DatabaseAction::PrepareHandover { to: region(1) })
    );
    desk.done(status(DatabaseRole::Primary, 50));
    desk.held(desk.hold().expect("a hold"));
    desk.done(status(DatabaseRole::Primary, 50)).done(status(DatabaseRole::Stopped, 50));
    let token = desk.swap().expect("a release").record.handover.expect("a token");
    assert_eq!(token.prepared, Some(run.id));
}

#[test]
fn an_order_does_not_expire_while_it_is_carried_out() {
    let prolonged = |desk: &Desk| {
        let mut all = desk.out.iter().filter_map(|c| match c {
            Command::ProlongOrder(order) => Some((order.state.clone(), order.expires_at.0)),
            _ => None,
        });
        all.next()
    };
    let mut desk = Desk::protected_by(quorum(0, early_plan(OnFailure::Pause)));
    let order = order(Wish::Switchover { to: region(1) }, Epoch(1));
    desk.say(Event::Ordered(Some(Order { expires_at: Timestamp(30_000), ..order })));
    assert_eq!((desk.state(), prolonged(&desk)), (State::Preparing, None), "half of a minute is left");
    for (wall, until) in [(1, 60_001), (30_001, 60_001), (30_002, 90_002), (60_003, 120_003)] {
        desk.wall = Timestamp(wall);
        desk.wait(1);
        let anew = (until == wall + 60_000).then_some((OrderState::Open, until));
        assert_eq!((desk.state(), prolonged(&desk)), (State::Preparing, anew), "at {wall}");
    }
}

/// The sum of all their tries was beyond what a time can hold, and the writer's loop ended with a panic.
#[test]
fn steps_before_the_demotion_may_take_as_long_as_a_spec_can_say() {
    let mut plan = early_plan(OnFailure::Pause);
    for work in plan.graceful.iter_mut().filter(|w| !w.task.kind().machines_own()) {
        (work.timeout_ms, work.retries) = (u64::MAX, Some(u32::MAX));
    }
    let mut desk = ordered(plan, "ada");
    journalled(&mut desk);
    desk.wait(1_000);
    assert_eq!(desk.state(), State::Preparing);
}

#[test]
fn a_step_before_the_demotion_that_fails_calls_the_switchover_off() {
    for on_failure in [OnFailure::Pause, OnFailure::Abort] {
        let mut desk = ordered(early_plan(on_failure), "ada");
        ready_ends(&mut desk, false);
        assert_eq!((desk.state(), &desk.asked), (State::Leading, &None), "{on_failure:?}");
        assert_eq!(refused(&desk).as_deref(), Some("step ready failed: it is not ready"));
        assert!(!desk.out.iter().any(|c| matches!(c, Command::Unhold { .. })), "nothing was held");
        let run = journal(&desk).expect("its end is journalled").1;
        assert!(run.finished() && run.aborted.unwrap().contains("it is not ready"));
    }
    let mut desk = ordered(early_plan(OnFailure::Continue), "ada");
    ready_ends(&mut desk, false);
    journalled(&mut desk);
    desk.wait(300);
    journalled(&mut desk);
    assert!(matches!(desk.asked, Some((_, DatabaseAction::PrepareHandover { .. }))), "{:?}", desk.asked);
}

/// A late copy of an older entry undid the end of the run that had made the reign, and nobody looked after that one any
/// more.
#[test]
fn a_preparation_that_was_called_off_gives_its_place_back() {
    let mut desk = ordered(early_plan(OnFailure::Pause), "ada");
    let made = desk.machine.run().expect("the run of this reign").clone();
    assert!(made.finished() && desk.machine.preparation().is_some());
    ready_ends(&mut desk, false);
    journalled(&mut desk);
    desk.wait(300);
    assert!(desk.machine.preparation().is_none());
    let mut older = made.clone();
    older.steps.last_mut().unwrap().state = StepState::Pending;
    desk.say(Event::Run(older.into())).wait(2_000);
    assert_eq!(journal(&desk).map(|(_, run)| run), Some(made), "{:?}", desk.out);
}

#[test]
fn persons_and_what_cannot_wait_end_the_preparation() {
    let mut desk = ordered(early_plan(OnFailure::Pause), "ada");
    let run = journalled(&mut desk).id;
    desk.say(Event::Words(RunWords { paused: Some(word()), ..RunWords::none(run.clone()) }));
    journalled(&mut desk);
    let done = Event::StepDone { run: run.clone(), step: name("ready"), detail: String::new() };
    desk.say(done);
    journalled(&mut desk);
    desk.wait(1_000);
    assert_eq!((desk.state(), steps(&desk), &desk.asked), (State::Preparing, Vec::new(), &None));
    desk.say(Event::Words(RunWords { aborted: Some(word()), ..RunWords::none(run) })).wait(1);
    assert_eq!(desk.state(), State::Leading);

    let mut desk = ordered(early_plan(OnFailure::Pause), "ada");
    desk.say(Event::StepDown { reason: "an upgrade".to_owned() });
    assert_eq!(refused(&desk).as_deref(), Some("the node was asked to give the lease up"));
    desk.wait(1);
    assert_eq!(desk.state(), State::Releasing, "{:?}", desk.out);

    // Meanwhile the successor has lost its connection.
    let mut desk = ordered(early_plan(OnFailure::Pause), "ada");
    ready_ends(&mut desk, true);
    journalled(&mut desk);
    desk.member(1, 1, None, status(DatabaseRole::Stopped, 50)).wait(300);
    journalled(&mut desk);
    assert_eq!(desk.state(), State::Leading);
}

#[test]
fn an_approval_before_the_demotion_is_given_by_the_person_who_ordered_it() {
    for (by, waits) in [("ada", false), ("schedule", true)] {
        let mut plan = early_plan(OnFailure::Pause);
        plan.graceful[0].task = Task::Approve { question: "Now?".to_owned() };
        let mut desk = ordered(plan, by);
        journalled(&mut desk);
        let agreed = journal(&desk).is_some_and(|(_, run)| run.steps[0].done());
        assert_eq!(agreed, !waits, "{by}");
        if waits {
            let run = name("shop-1-prepare-order-1");
            let approved = vec![(name("ready"), word())];
            desk.say(Event::Words(RunWords { approved, ..RunWords::none(run) }));
            assert!(journal(&desk).is_some_and(|(_, run)| run.steps[0].done()), "{:?}", desk.out);
        }
    }
    let mut plan = early_plan(OnFailure::Abort);
    plan.graceful[0].task = Task::Approve { question: "Now?".to_owned() };
    let mut desk = ordered(plan, "schedule");
    journalled(&mut desk);
    desk.wait(1_000).wait(1);
    assert_eq!(refused(&desk).as_deref(), Some("step ready failed: nobody agreed within 1.0 s"));
}

/// A standby that is handed the lease with this token; `seen`: what it has seen of the preparation.
fn claimed(prepared: Option<Name>, seen: Option<Run>) -> Run {
    let memory = Memory { epoch: Epoch(1), holder: Some(region(0)), ..Memory::default() };
    let config = quorum(1, early_plan(OnFailure::Pause));
    let mut desk = Desk::of(config, DatabaseRole::Stopped, Some(memory));
    desk.record(Some(record(0, 1, 1_024))).done(status(DatabaseRole::Standby, 100));
    if let Some(run) = seen {
        desk.say(Event::Run(run.into()));
    }
    let token = Handover {
        order: name("order-1"),
        by: "ada".to_owned(),
        to: region(1),
        end: WalPosition { timeline: 1, lsn: Lsn(100) },
        held_at: Timestamp(7),
        stopped_at: Timestamp(8),
        cut: 0,
        prepared,
    };
    desk.record(Some(GroupRecord { released: true, handover: Some(token), ..record(0, 1, 2_048) }));
    desk.done(status(DatabaseRole::Standby, 150));
    assert_eq!(desk.state(), State::Claiming);
    desk.swap().unwrap().run.unwrap()
}

#[test]
fn the_successor_s_run_begins_with_what_the_old_writer_did() {
    let mut desk = ordered(early_plan(OnFailure::Pause), "ada");
    ready_ends(&mut desk, true);
    journalled(&mut desk);
    desk.wait(300);
    let over = journalled(&mut desk);
    let id = over.id.clone();
    let detail = |run: &Run, step: &str| match &run.step(&name(step)).unwrap().state {
        StepState::Done { detail, .. } => detail.clone(),
        other => panic!("{step} is {other:?}"),
    };
    for seen in [Some(over), None] {
        let known = seen.is_some();
        let run = claimed(Some(id.clone()), seen);
        assert_eq!((run.epoch, run.takes_over.as_ref()), (Epoch(2), Some(&id)));
        let wanted = if known { "it is ready" } else { "the old writer did it before it stopped" };
        assert_eq!(detail(&run, "ready"), wanted);
        let before: Vec<&str> = run.steps.iter().filter(|s| s.done()).map(|s| s.work.name.as_str()).collect();
        assert_eq!(before, ["ready", "settle", "demote", "fence"]);
        assert!(matches!(run.step(&name("promote")).unwrap().state, StepState::Running { .. }));
        assert!(run.steps.iter().skip(5).all(|s| s.state == StepState::Pending), "{run:?}");
    }
    // The spec of the old writer had no such steps.
    let run = claimed(None, None);
    assert_eq!(run.steps.first().map(|s| s.work.name.as_str()), Some("demote"));
    assert!(run.steps.iter().all(|s| s.work.after.iter().all(|name| run.step(name).is_some())), "{run:?}");
}

/// The spec of the old writer's plan wanted something else before.
#[test]
fn the_successor_s_run_leaves_out_what_only_its_own_plan_wants_before_the_demotion() {
    let mut desk = ordered(early_plan(OnFailure::Pause), "ada");
    let mut prepared = journalled(&mut desk);
    let (since, at, id) = (Timestamp(1), Timestamp(2), prepared.id.clone());
    prepared.steps.remove(0);
    prepared.steps[0].state = StepState::Done { since, at, detail: "waited".to_owned() };
    let run = claimed(Some(id), Some(prepared));
    let names: Vec<&str> = run.steps.iter().map(|s| s.work.name.as_str()).collect();
    assert_eq!(names[..3], ["settle", "demote", "fence"]);
    assert!(run.steps[0].done() && run.steps[0].work.after.is_empty(), "{run:?}");
}

/// The old writer died while it prepared: the run stayed open, and persons were asked in vain.
#[test]
fn the_next_run_takes_over_a_preparation_that_is_not_over() {
    let mut desk = ordered(early_plan(OnFailure::Pause), "ada");
    let prepared = journalled(&mut desk);
    let over = Run { aborted: Some("called off".to_owned()), ..prepared.clone() };
    for (seen, taken) in [(prepared.clone(), Some(prepared.id)), (over, None)] {
        let mut desk = Desk::following();
        desk.say(Event::Run(seen.into()));
        let mut desk = desk.sealing_after(record(0, 1, 1_024));
        desk.done(status(DatabaseRole::Standby, 120));
        desk.member(2, 1, Some(1), status(DatabaseRole::Standby, 110));
        let run = desk.swap().expect("a claim").run.expect("its run");
        assert_eq!((run.kind, run.takes_over.clone()), (RunKind::Failover, taken));
        assert!(run.step(&name("ready")).is_none());
    }
}

/// A pause that comes while the last step is under way holds the demotion back.
#[test]
fn a_preparation_that_is_paused_is_not_over() {
    let mut desk = ordered(early_plan(OnFailure::Pause), "ada");
    ready_ends(&mut desk, true);
    let run = journalled(&mut desk).id;
    desk.say(Event::Words(RunWords { paused: Some(word()), ..RunWords::none(run.clone()) }));
    journalled(&mut desk);
    desk.wait(300);
    let over = journalled(&mut desk);
    assert!(over.steps.iter().all(Step::done) && !over.finished(), "{over:?}");
    desk.wait(1_000);
    assert_eq!((desk.state(), &desk.asked), (State::Preparing, &None));
    desk.say(Event::Words(RunWords { resumed: 1, ..RunWords::none(run) }));
    assert!(journalled(&mut desk).finished());
    assert!(matches!(desk.asked, Some((_, DatabaseAction::PrepareHandover { .. }))), "{:?}", desk.out);
}

/// An alert that goes on firing repeated what comes before the demotion, also what tells people, once a minute.
#[test]
fn an_alert_does_not_repeat_a_preparation_that_failed() {
    let mut desk = Desk::protected_by(quorum(0, early_plan(OnFailure::Abort)));
    let fires = |desk: &mut Desk, minutes: i64| {
        let order = order(Wish::Switchover { to: region(1) }, Epoch(1));
        let (id, by) = (name(&format!("order-{minutes}")), "alert".to_owned());
        desk.wall = Timestamp(minutes * 60_000);
        desk.say(Event::Ordered(Some(Order { id, by, ..order })));
    };
    fires(&mut desk, 60);
    assert_eq!(desk.state(), State::Preparing, "{:?}", desk.out);
    ready_ends(&mut desk, false);
    journalled(&mut desk);
    assert_eq!(desk.state(), State::Leading);
    fires(&mut desk, 61);
    let why = refused(&desk).expect("a refusal");
    assert!(why.contains("the last run was only 60.0 s ago"), "{why}");
    fires(&mut desk, 120);
    assert_eq!(desk.state(), State::Preparing, "{:?}", desk.out);
}
