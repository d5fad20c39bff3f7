//! What `meridian switchover` and `failover` refuse and tell.

use meridian_model::Name;
use meridian_model::plan::OnFailure;
use meridian_model::run::{Step, StepKind};

use super::*;
use crate::runs::fixture::{group, name};

#[test]
fn a_writer_that_resumed_by_itself_is_not_what_was_ordered() {
    let us = || name("us-east-1");
    let run = |kind, from: &str| Run {
        from: Some(name(from)),
        ..Run::begin(name("orders-2"), name("orders"), kind, Epoch(2), us(), Timestamp(0))
    };
    by_itself(&run(RunKind::Switchover, "eu-central-1")).unwrap();
    by_itself(&run(RunKind::Failover, "eu-central-1")).unwrap();
    for other in [run(RunKind::Resume, "us-east-1"), run(RunKind::Failover, "us-east-1")] {
        let told = by_itself(&other).unwrap_err();
        assert!(told.is::<No>(), "exit code 1");
        assert!(
            told.to_string().starts_with("us-east-1 has become the writer of orders by itself in epoch 2")
        );
    }
}

#[test]
fn an_order_that_another_has_replaced_is_not_waited_for() {
    let order = |id: &str, at| Order {
        id: name(id),
        group: name("orders"),
        wish: Wish::Failover { accept_data_loss: true },
        epoch: Epoch(2),
        by: "bob".to_owned(),
        at: Timestamp(at),
        expires_at: Timestamp(60_000),
        state: OrderState::Open,
    };
    let own = order("2-5", 5);
    let mut stood = false;
    let mut look = |seen: Order| {
        let group = GroupStatus { order: Some(seen), ..group(Vec::new(), Vec::new()) };
        replaced(&group, &own, &mut stood).map_err(|error| error.to_string())
    };
    assert_eq!(look(order("2-9", 9)), Ok(()), "an older one, by a clock that is ahead");
    assert_eq!(look(own.clone()), Ok(()));
    assert_eq!(look(order("2-3", 3)), Ok(()), "a node that is behind");
    let told = look(order("2-9", 9)).unwrap_err();
    assert_eq!(told, "order 2-9 of bob has taken the place of this one (2-5)");
}

#[test]
fn a_summary_hides_nothing_and_tells_how_to_go_on() {
    let step = |name: &str| {
        let mut step = Step::plain(StepKind::Promote, StepState::Pending).unwrap();
        step.work.name = Name::new(name).unwrap();
        step.work.on_failure = OnFailure::Continue;
        let at = Timestamp(0);
        step.state = StepState::Failed { since: at, at, reason: "exit 1\nno cache".to_owned() };
        step
    };
    let id = name("orders-2");
    let mut run = Run {
        steps: vec![step("caches")],
        ..Run::begin(id, name("orders"), RunKind::Failover, Epoch(2), name("eu"), Timestamp(0))
    };
    let told = summary(&run, " --lab 2");
    assert!(told.contains("it is protected again; step caches failed: exit 1 | no cache\n"), "{told}");
    assert!(told.ends_with("\nmeridian run show orders-2 --lab 2\n"), "{told}");
    run.paused = Some("step caches failed".to_owned());
    let told = summary(&run, " --lab 2");
    let next = "\nmeridian run resume orders-2 --lab 2\nmeridian run abort orders-2 --lab 2\n";
    assert!(told.contains(next), "{told}");
}

#[test]
fn a_switchover_of_a_lost_writer_names_the_command_for_that() {
    let nodes = crate::system::tests::nodes();
    let now = |silent: Option<u64>, writer: Option<&str>| {
        let silent = silent.map(|s| Silent { writer: name("us"), left: Duration::from_secs(s) });
        let (writer, reason) = (writer.map(name), "its lease is over".to_owned());
        let group = GroupStatus { writer, reason, ..group(Vec::new(), Vec::new()) };
        let now = Now { nodes: &nodes, group, silent, fresh: true, words: " --lab 2" };
        // A failover is for what a switchover cannot do, and for nothing else.
        assert_ne!(now.is_lost().is_ok(), now.hands_over().is_ok());
        let old = Now { fresh: false, group: now.group.clone(), silent: None, ..now };
        assert!(old.is_lost().is_ok(), "who reaches no etcd does not know that somebody writes");
        now.hands_over().map_err(|error| (error.is::<No>(), error.to_string()))
    };
    now(None, Some("us")).unwrap();
    for (silent, writer, why) in [
        (None, None, "orders has no writer: its lease is over. A lost"),
        (Some(3), Some("us"), "us is silent: its lease ends in 3.0 s; nobody else may write before. A lost"),
    ] {
        let (no, told) = now(silent, writer).unwrap_err();
        assert!(no, "exit code 1");
        assert!(told.starts_with(why) && told.contains(": meridian failover --lab 2 ("), "{told}");
    }
}

#[test]
fn patience_has_units_and_a_bare_number_is_seconds() {
    let read = |text| patience(text).map(|d| d.as_secs());
    assert_eq!((read("5m"), read("30s"), read("300")), (Ok(300), Ok(30), Ok(300)));
    assert!(patience("soon").unwrap_err().contains("a time such as"));
}

#[test]
fn an_order_that_is_being_carried_out_is_waited_for_longer_than_it_was_to_last() {
    let given = Order {
        id: name("2-1"),
        group: name("orders"),
        wish: Wish::Switchover { to: name("eu-central-1") },
        epoch: Epoch(2),
        by: "ana".to_owned(),
        at: Timestamp(0),
        expires_at: Timestamp(60_000),
        state: OrderState::Open,
    };
    let shown = |order: &Order| GroupStatus { order: Some(order.clone()), ..group(Vec::new(), Vec::new()) };
    let lost = refused(&shown(&given), &given).unwrap_err().to_string();
    assert!(lost.contains("nobody has begun it within its time"), "{lost}");
    let prolonged = Order { expires_at: Timestamp(clock::wall().0 + 60_000), ..given.clone() };
    refused(&shown(&prolonged), &given).unwrap();
}
