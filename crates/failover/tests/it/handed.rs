//! Switchovers that go wrong half-way, and orders: what a reviewer found.

use meridian_failover::{Command, DatabaseAction, Event, Rule, State};
use meridian_model::database::Replication;
use meridian_model::group::DatabaseRole;
use meridian_model::order::{OrderState, RunWords, Wish, Word};
use meridian_model::run::RunKind;
use meridian_model::{Epoch, Timestamp};

use super::desk::{Desk, record, status};
use super::names::{order, region};
use super::walks::{handed_over, memory};

/// How the order ended, if it did in the last step.
fn ended(desk: &Desk) -> Option<OrderState> {
    desk.out.iter().find_map(|c| match c {
        Command::EndOrder(order) => Some(order.state.clone()),
        _ => None,
    })
}

/// The old writer stopped and died, and the successor lacks the end of its log: it waited for ever, and a person's
/// word did not help.
#[test]
fn a_successor_that_cannot_take_over_leaves_it_to_the_rules() {
    let mut desk = Desk::following();
    desk.record(Some(handed_over()));
    assert_eq!(desk.state(), State::TakingOver);
    assert!(matches!(desk.action(), Some((_, DatabaseAction::Replay { .. }))));
    desk.fail().wait(5_100);
    assert_eq!(desk.state(), State::Following);
    let waits = desk.explain(Rule::Successor);
    assert!(!waits.allows, "the old writer, which has everything, comes first: {}", waits.evidence);
    desk.wait(10_100).regions(9).wait(10);
    assert!(desk.explain(Rule::Successor).allows);
    let consent = order(Wish::Failover { accept_data_loss: true }, Epoch(1));
    desk.say(Event::Ordered(Some(consent)));
    assert_eq!(desk.state(), State::Sealing, "{:?}", desk.explain(Rule::LeaseExpired));
}

#[test]
fn a_successor_whose_node_was_started_again_starts_its_database_first() {
    let mut desk = Desk::with(1, DatabaseRole::Stopped, Some(memory(1)), Replication::Async);
    desk.record(Some(handed_over()));
    assert_eq!(desk.state(), State::TakingOver);
    assert!(matches!(desk.action(), Some((_, DatabaseAction::Follow { .. }))), "{:?}", desk.out);
    desk.done(status(DatabaseRole::Standby, 150));
    assert!(matches!(desk.action(), Some((_, DatabaseAction::Replay { .. }))), "{:?}", desk.out);
}

/// Without etcd nobody could be given the lease, and the writer would have been stopped for nothing.
#[test]
fn a_switchover_is_called_off_when_etcd_goes_away_before_the_stop() {
    for ready in [Desk::preparing, Desk::draining] {
        let mut desk = ready();
        desk.say(Event::Coordination { reachable: false });
        assert_eq!(desk.state(), State::Leading);
        assert!(matches!(ended(&desk), Some(OrderState::Refused { .. })), "{:?}", desk.out);
    }
}

/// What it asked for goes out although the disk with its memory is full.
#[test]
fn calling_off_does_not_wait_for_the_memory() {
    let mut desk = Desk::draining();
    let hold = desk.hold().expect("a hold");
    desk.say(Event::NotRemembered { reason: "no space left".to_owned() });
    desk.say(Event::Coordination { reachable: false });
    assert!(desk.out.contains(&Command::Unhold { hold }), "{:?}", desk.out);
    assert!(ended(&desk).is_some());
}

/// A gateway's answer to a switchover that was called off came while the next one, in the same epoch, waited, and was
/// taken for the answer to that: writes went on there when the database was stopped.
#[test]
fn an_answer_to_an_earlier_hold_is_none_to_the_present_one() {
    let mut desk = Desk::draining();
    let first = desk.hold().expect("a hold");
    desk.say(Event::Coordination { reachable: false }).say(Event::Coordination { reachable: true });
    assert_eq!(desk.state(), State::Leading);
    let again = order(Wish::Switchover { to: region(1) }, Epoch(1));
    let id = meridian_model::Name::new("order-2").unwrap();
    desk.say(Event::Ordered(Some(meridian_model::order::Order { id, ..again })));
    desk.done(status(DatabaseRole::Primary, 50));
    assert_eq!(desk.state(), State::Draining, "{:?}", desk.out);
    let second = desk.hold().expect("a hold");
    assert!(first < second && first.epoch == second.epoch, "{first:?} {second:?}");
    desk.held(first);
    assert!(!matches!(desk.asked, Some((_, DatabaseAction::CatchUp { .. }))), "{:?}", desk.asked);
    desk.held(second);
    assert!(matches!(desk.asked, Some((_, DatabaseAction::CatchUp { .. }))), "{:?}", desk.asked);
}

/// A run that was aborted before its promotion was resumed by its own region, and aborted again, for ever.
#[test]
fn an_aborted_run_is_not_resumed() {
    let mut desk = Desk::promoting();
    let run = desk.machine.run().unwrap().id.clone();
    let word = Word { by: "ada".to_owned(), at: Timestamp(0), reason: "enough".to_owned() };
    desk.say(Event::Words(RunWords { aborted: Some(word), ..RunWords::none(run) })).wait(10);
    assert_eq!(desk.state(), State::Releasing);
    desk.done(status(DatabaseRole::Stopped, 0)).win().wait(10_100);
    assert_eq!(desk.state(), State::Resuming, "nobody took over");
    desk.wait(1_100);
    let claim = desk.swap().expect("a claim");
    let run = claim.run.expect("with a run");
    assert_eq!((run.kind, run.epoch, run.aborted), (RunKind::Resume, Epoch(2), None));
}

/// An order is done when the successor writes, not when the lease was given away.
#[test]
fn an_order_ends_when_it_is_known_who_writes() {
    let released = || {
        let mut desk = Desk::handing_over();
        desk.done(status(DatabaseRole::Stopped, 60)).win();
        assert_eq!(desk.state(), State::Released, "{:?}", desk.out);
        assert_eq!(ended(&desk), None);
        desk
    };
    let mut desk = released();
    desk.record(Some(record(1, 2, 90_000)));
    assert!(matches!(ended(&desk), Some(OrderState::Done { .. })), "{:?}", desk.out);
    let mut desk = released();
    desk.record(Some(record(2, 2, 90_000)));
    assert!(matches!(ended(&desk), Some(OrderState::Refused { .. })), "{:?}", desk.out);
    let mut desk = released();
    desk.wait(10_100);
    assert_eq!(desk.state(), State::Resuming);
    assert!(matches!(ended(&desk), Some(OrderState::Refused { .. })), "{:?}", desk.out);
}

/// Alertmanager sends an alert again as long as it fires.
#[test]
fn an_alert_does_not_move_the_writer_again_and_again() {
    let by = |by: &str| {
        let mut desk = Desk::protected();
        let wish = Wish::Switchover { to: region(1) };
        let order = meridian_model::order::Order { by: by.to_owned(), ..order(wish, Epoch(1)) };
        desk.say(Event::Ordered(Some(order)));
        desk.state()
    };
    assert_eq!(by("alert"), State::Leading, "the first run has only just been decided");
    assert_eq!(by("ada"), State::Preparing, "a person always may");
}

/// Words to other groups' runs are heard by all, and are many.
#[test]
fn words_to_a_known_run_are_not_given_up_for_others() {
    let mut desk = Desk::promoting();
    let run = desk.machine.run().unwrap().id.clone();
    let word = Word { by: "ada".to_owned(), at: Timestamp(0), reason: "enough".to_owned() };
    let words = RunWords { paused: Some(word), ..RunWords::none(run) };
    desk.say(Event::Words(words));
    for n in 0..20 {
        let other = meridian_model::name::RunId::new(&format!("other-{n}-failover")).unwrap();
        desk.say(Event::Words(RunWords::none(other)));
    }
    let paused = |desk: &Desk| desk.machine.run().and_then(|run| run.paused.clone());
    assert!(paused(&desk).is_some_and(|why| why.contains("ada")), "{:?}", desk.machine.run());
}

/// A member's own record that it missed: the successor has long begun.
#[test]
fn a_reign_that_followed_ends_the_order_too() {
    let mut desk = Desk::handing_over();
    desk.done(status(DatabaseRole::Stopped, 60)).wait(10);
    assert_eq!(desk.state(), State::Releasing);
    desk.record(Some(record(1, 2, 90_000)));
    assert!(matches!(ended(&desk), Some(OrderState::Done { .. })), "{:?}", desk.out);
}
