//! A switchover that waits long for what its plan wants before the demotion: the writer goes on as ever meanwhile.

use std::time::Duration;

use meridian_failover::{Config, Event, Outcome, State};
use meridian_model::database::{OnRpoBreach, Replication};
use meridian_model::order::{Order, Wish};
use meridian_model::plan::{OnFailure, Task, Work};
use meridian_model::{Epoch, Name};

use super::desk::Desk;
use super::early::journal;
use super::names::{config, order, plan, region};
use super::quorum::{Writer, lags};

const ONE: Replication = Replication::Quorum { acknowledgers: 1 };

/// A writer, ordered by schedule to move after `first`.
fn waits_for(first: Work, replication: Replication, on_rpo_breach: OnRpoBreach) -> Writer {
    let mut plan = plan();
    let demote = plan.graceful.iter_mut().find(|w| w.task == Task::Demote).unwrap();
    demote.after = vec![first.name.clone()];
    plan.graceful.insert(0, first);
    let mut desk = Desk::protected_by(Config { plan, on_rpo_breach, ..config(0, 3, replication) });
    let order = order(Wish::Switchover { to: region(1) }, Epoch(1));
    desk.say(Event::Ordered(Some(Order { by: "schedule".to_owned(), ..order })));
    assert_eq!(desk.state(), State::Preparing, "{:?}", desk.out);
    let (attempt, _) = journal(&desk).expect("its run is journalled");
    desk.say(Event::Journalled { attempt, outcome: Outcome::Done(1) });
    Writer::at(desk)
}

/// A person has a day to answer.
fn approval() -> Work {
    let task = Task::Approve { question: "Now?".to_owned() };
    let work = Work::new(Name::new("ready").unwrap(), task, Duration::from_secs(86_400));
    Work { retries: Some(0), on_failure: OnFailure::Abort, ..work }
}

fn waits(replication: Replication, on_rpo_breach: OnRpoBreach) -> Writer {
    waits_for(approval(), replication, on_rpo_breach)
}

/// The next failover was without a proof: a standby that was lost for good stayed a candidate as long as a person
/// was waited for.
#[test]
fn candidates_leave_and_join_while_a_switchover_waits() {
    let mut writer = waits(ONE, OnRpoBreach::Warn);
    writer.beats(2, &[(1, 60), (2, 60)], 60);
    writer.beats(63, &[(1, 60)], 60);
    assert_eq!(writer.did(), ["set 1 of beta"]);
    writer.done(100);
    writer.beats(2, &[(1, 100)], 120);
    assert_eq!(writer.did(), ["record 1 of beta"]);
    writer.beats(4, &[(1, 120), (2, 120)], 120);
    assert_eq!(writer.did(), ["record 1 of beta gamma", "set 1 of beta gamma"]);
    assert_eq!(writer.desk.state(), State::Preparing);
}

/// Commits waited for nobody as long as a person was waited for.
#[test]
fn a_breach_is_acted_upon_while_a_switchover_waits() {
    let mut writer = waits(ONE, OnRpoBreach::Degrade);
    writer.beats(2, &[(1, 60), (2, 60)], 60);
    writer.beats(63, &[], 60);
    assert_eq!(writer.did(), ["record 0 of beta gamma", "set 0 of beta gamma"]);
    assert_eq!(writer.desk.state(), State::Preparing);
    let doing = writer.desk.machine.explain(writer.desk.now).doing;
    assert!(doing.contains("commits wait for no standby"), "{doing}");

    let mut writer = waits(Replication::Async, OnRpoBreach::Degrade);
    lags(&mut writer, 0, 10, |_| 0);
    assert_eq!(lags(&mut writer, 10, 14, |beat| beat - 9), ["read-only true"]);

    let mut writer = waits(Replication::Async, OnRpoBreach::Block);
    lags(&mut writer, 0, 10, |_| 0);
    let held = "writes are held: the best standby is 5.5 s behind, at most 5.0 s may be lost";
    assert_eq!(lags(&mut writer, 10, 14, |beat| beat - 9), [held]);
    assert_eq!(lags(&mut writer, 24, 20, |_| 6), [held], "it is asked for anew");
    assert_eq!(lags(&mut writer, 44, 4, |_| 4), ["unhold"]);
    assert_eq!(writer.desk.state(), State::Preparing);
}

/// A check that is tried until it succeeds is not waited for without end.
#[test]
fn a_switchover_does_not_wait_without_end() {
    let check = Task::Verify { checks: Vec::new() };
    let check = Work::new(Name::new("ready").unwrap(), check, Duration::from_secs(5));
    let mut writer = waits_for(check, ONE, OnRpoBreach::Warn);
    writer.beats(299, &[(1, 60), (2, 60)], 60);
    assert_eq!((writer.desk.state(), writer.did()), (State::Preparing, Vec::new()));
    writer.beats(2, &[(1, 60), (2, 60)], 60);
    assert_eq!(writer.desk.state(), State::Leading);
    assert_eq!(writer.did(), ["what comes before the demotion is not over after 150.0 s"]);

    // All the time of a step that says how long it may take.
    let mut writer = waits(ONE, OnRpoBreach::Warn);
    writer.beats(400, &[(1, 60), (2, 60)], 60);
    assert_eq!(writer.desk.state(), State::Preparing);
}
