//! When steps begin and end.

use meridian_failover::{Command, Config, DatabaseAction, Event, Memory, Outcome, Plan, State};
use meridian_model::database::Replication;
use meridian_model::group::DatabaseRole;
use meridian_model::order::{RunWords, Wish, Word};
use meridian_model::plan::Task;
use meridian_model::run::{Run, StepState};
use meridian_model::{Epoch, Name, Timestamp};

use super::desk::{Desk, record, status};
use super::names::{config, order, plan, region};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The usual plan; before the promotion of a failover a check, and a person who agrees by what it has shown.
fn asking() -> Plan {
    let mut plan = plan();
    let work = |text: &str, task, after: &[&str]| {
        let mut work = plan.ungraceful[0].clone();
        (work.name, work.task) = (name(text), task);
        work.after = after.iter().map(|n| name(n)).collect();
        work
    };
    let ready = work("ready", Task::Verify { checks: Vec::new() }, &["fence"]);
    let agree = work("agree", Task::Approve { question: "Go?".to_owned() }, &["ready"]);
    let promote = plan.ungraceful.iter().position(|w| w.task == Task::Promote).unwrap();
    plan.ungraceful[promote].after = vec![name("agree")];
    plan.ungraceful.splice(promote..promote, [ready, agree]);
    Plan { approval: true, ..plan }
}

/// The second region, about to promote by that plan after the loss of the first.
fn failing_over(plan: Plan) -> Desk {
    let memory = Memory { epoch: Epoch(1), holder: Some(region(0)), ..Memory::default() };
    let config = Config { plan, ..config(1, 3, Replication::Quorum { acknowledgers: 1 }) };
    let mut desk = Desk::of(config, DatabaseRole::Stopped, Some(memory));
    desk.record(Some(record(0, 1, 1_024))).done(status(DatabaseRole::Standby, 100));
    desk.say(Event::Ordered(Some(order(Wish::Failover { accept_data_loss: false }, Epoch(1)))));
    let mut desk = desk.sealing_after(record(0, 1, 1_024));
    desk.done(status(DatabaseRole::Standby, 120));
    desk.member(2, 1, Some(1), status(DatabaseRole::Standby, 120));
    assert_eq!(desk.state(), State::Claiming, "{:?}", desk.machine.explain(desk.now));
    desk.asked = None;
    desk.win();
    assert_eq!(desk.state(), State::Promoting);
    desk
}

fn state(run: &Run, step: &str) -> StepState {
    run.step(&name(step)).unwrap().state.clone()
}

fn of_the_run(desk: &Desk, step: &str) -> StepState {
    state(desk.machine.run().unwrap(), step)
}

fn commanded(desk: &Desk) -> Option<(Run, Name)> {
    desk.out.iter().find_map(|c| match c {
        Command::Step { step, run } => Some((Run::clone(run), step.clone())),
        _ => None,
    })
}

fn ended(desk: &Desk) -> Vec<(Name, Name)> {
    let ended = desk.out.iter().filter_map(|c| match c {
        Command::EndStep { run, step } => Some((run.clone(), step.clone())),
        _ => None,
    });
    ended.collect()
}

fn aborted(run: Name) -> Event {
    let word = Word { by: "ada".to_owned(), at: Timestamp(0), reason: "enough".to_owned() };
    Event::Words(RunWords { aborted: Some(word), ..RunWords::none(run) })
}

/// The approval was done with the claim, and the promotion did not wait for what the person wanted to see first.
#[test]
fn an_approval_is_not_given_before_what_it_depends_on_is_over() {
    let mut desk = failing_over(asking());
    assert!(matches!(of_the_run(&desk, "fence"), StepState::Done { .. }));
    let (run, step) = commanded(&desk).expect("what comes before the approval");
    assert_eq!(step, name("ready"));
    assert_eq!((state(&run, "agree"), state(&run, "promote")), (StepState::Pending, StepState::Pending));
    assert_eq!(desk.asked, None, "nothing is promoted");
    desk.say(Event::StepDone { run: run.id, step, detail: "it is ready".to_owned() }).obey();
    let StepState::Done { detail, .. } = of_the_run(&desk, "agree") else { panic!("{:?}", desk.out) };
    assert_eq!(detail, "ada agreed", "by the order");
    assert!(matches!(desk.asked, Some((_, DatabaseAction::Promote { .. }))), "{:?}", desk.asked);
}

#[test]
fn an_approval_that_depends_on_nothing_is_given_with_the_claim() {
    let mut plan = asking();
    let agree = plan.ungraceful.iter_mut().find(|w| w.name == name("agree")).unwrap();
    agree.after = vec![name("fence")];
    let desk = failing_over(plan);
    assert!(matches!(of_the_run(&desk, "agree"), StepState::Done { .. }));
    assert!(matches!(of_the_run(&desk, "promote"), StepState::Running { .. }));
}

/// The program of a step went on although its run had been ended.
#[test]
fn what_is_being_carried_out_ends_with_its_run() {
    // A person ends the run.
    let mut desk = failing_over(asking());
    let (run, step) = commanded(&desk).expect("a step");
    desk.say(aborted(run.id.clone()));
    assert_eq!(ended(&desk), [(run.id.clone(), step)]);
    desk.say(aborted(run.id)).wait(10);
    assert_eq!(ended(&desk), [], "once");

    // The reign ends.
    let mut desk = failing_over(asking());
    let (run, step) = commanded(&desk).expect("a step");
    desk.record(Some(record(2, 3, 90_000)));
    assert_eq!(ended(&desk), [(run.id, step)]);

    // It has answered already.
    let mut desk = failing_over(asking());
    let (run, step) = commanded(&desk).expect("a step");
    desk.say(Event::StepFailed { run: run.id.clone(), step: step.clone(), reason: "bad luck".to_owned() });
    desk.say(aborted(run.id));
    assert_eq!(ended(&desk), []);

    // A step before a demotion that is called off.
    let mut plan = plan();
    let mut ready = plan.graceful[0].clone();
    (ready.name, ready.task) = (name("ready"), Task::Verify { checks: Vec::new() });
    plan.graceful[0].after = vec![name("ready")];
    plan.graceful.insert(0, ready);
    let config = Config { plan, ..config(0, 3, Replication::Quorum { acknowledgers: 1 }) };
    let mut desk = Desk::protected_by(config);
    desk.say(Event::Ordered(Some(order(Wish::Switchover { to: region(1) }, Epoch(1)))));
    let prepares = desk.machine.preparation().expect("its run").id.clone();
    let attempt = desk.out.iter().find_map(|c| match c {
        Command::Journal { attempt, .. } => Some(*attempt),
        _ => None,
    });
    desk.say(Event::Journalled { attempt: attempt.expect("its entry"), outcome: Outcome::Done(1) });
    let (run, step) = commanded(&desk).expect("a step");
    assert_eq!(run.id, prepares);
    desk.say(Event::Coordination { reachable: false });
    assert_eq!((desk.state(), ended(&desk)), (State::Leading, vec![(prepares, step)]));
}
