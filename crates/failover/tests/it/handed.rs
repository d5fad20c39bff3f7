//! Switchovers that go wrong half-way, and orders: what a reviewer found.

use meridian_failover::{Command, DatabaseAction, Event, Expect, Outcome, Rule, State};
use meridian_model::database::Replication;
use meridian_model::group::{Announcement, DatabaseRole, GroupRecord};
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
    desk.done(status(DatabaseRole::Primary, 50));
    desk.say(Event::Coordination { reachable: false }).say(Event::Coordination { reachable: true });
    assert_eq!(desk.state(), State::Leading);
    let again = order(Wish::Switchover { to: region(1) }, Epoch(1));
    let id = meridian_model::Name::new("order-2").unwrap();
    desk.say(Event::Ordered(Some(meridian_model::order::Order { id, ..again })));
    desk.done(status(DatabaseRole::Primary, 50));
    assert_eq!(desk.state(), State::Draining, "{:?}", desk.out);
    let second = desk.hold().expect("a hold");
    assert!(first < second && first.epoch == second.epoch, "{first:?} {second:?}");
    desk.done(status(DatabaseRole::Primary, 50)).held(first);
    assert_eq!(desk.state(), State::Draining, "nobody has answered to this one");
    desk.held(second);
    assert_eq!(desk.state(), State::HandingOver);
}

/// The successor catches up while transactions end; when they take long it may lack much again.
#[test]
fn a_successor_that_caught_up_long_ago_does_so_again_before_the_stop() {
    let mut desk = Desk::draining();
    let hold = desk.hold().expect("a hold");
    assert!(matches!(desk.action(), Some((_, DatabaseAction::CatchUp { .. }))), "at once: {:?}", desk.out);
    desk.done(status(DatabaseRole::Primary, 50)).wait(1_100);
    assert_eq!((desk.state(), desk.action()), (State::Draining, None), "first they must end");
    desk.held(hold);
    assert_eq!(desk.state(), State::Draining);
    assert!(matches!(desk.action(), Some((_, DatabaseAction::CatchUp { .. }))), "{:?}", desk.out);
    desk.done(status(DatabaseRole::Primary, 50));
    assert_eq!(desk.state(), State::HandingOver);
}

/// What the holder tells of the record by which it hands over to this member.
fn told(record: GroupRecord) -> Event {
    let GroupRecord { group, holder, epoch, renewal, .. } = record.clone();
    let hands_over = Some(Box::new(record));
    Event::Announced(Announcement { group, holder, epoch, renewal, writes: false, hands_over })
}

/// It costs the way from the old writer to etcd and back less. The claim is good only if etcd has that record.
#[test]
fn a_successor_takes_the_old_writer_s_word_and_claims_by_it() {
    let mut desk = Desk::following();
    let revision = 11;
    desk.say(told(handed_over()));
    assert_eq!(desk.state(), State::TakingOver);
    desk.done(status(DatabaseRole::Standby, 150));
    assert_eq!(desk.state(), State::Claiming);
    let claim = desk.swap().expect("a claim");
    assert_eq!(claim.expect, Expect::Told(Box::new(handed_over()), revision));
    assert_eq!((claim.record.epoch, claim.run.unwrap().kind), (Epoch(2), RunKind::Switchover));

    // Etcd did not have it yet: as if nothing had been said, until it has.
    desk.swapped(Outcome::Lost);
    assert_eq!(desk.state(), State::Following);
    assert!(desk.machine.record().is_some_and(|record| !record.released), "{:?}", desk.machine.record());
    desk.record(Some(handed_over()));
    assert_eq!(desk.state(), State::TakingOver);
    desk.done(status(DatabaseRole::Standby, 150));
    assert_eq!(desk.swap().expect("a claim").expect, Expect::Revision(revision + 1));
    desk.win();
    assert_eq!(desk.state(), State::Promoting);
}

#[test]
fn a_word_that_is_old_or_not_the_holder_s_hands_nothing_over() {
    let to_another = |mut record: GroupRecord| {
        record.handover.as_mut().unwrap().to = region(2);
        record
    };
    let words = [
        GroupRecord { holder: region(2), ..handed_over() },
        GroupRecord { epoch: Epoch(2), ..handed_over() },
        GroupRecord { renewal: 1_024, ..handed_over() },
        GroupRecord { released: false, ..handed_over() },
        to_another(handed_over()),
    ];
    for word in words {
        let mut desk = Desk::following();
        desk.say(told(word.clone()));
        assert_eq!(desk.state(), State::Following, "{word:?}");
    }
    let mut desk = Desk::following();
    desk.say(Event::Coordination { reachable: false }).say(told(handed_over()));
    assert_eq!(desk.state(), State::Following, "nothing could be claimed");
    desk.say(Event::Coordination { reachable: true });
    assert_eq!(desk.state(), State::TakingOver);
}

#[test]
fn the_old_writer_tells_of_its_hand_over_when_it_has_stopped() {
    let mut desk = Desk::handing_over();
    assert!(!desk.out.iter().any(|c| matches!(c, Command::Announce(a) if a.hands_over.is_some())));
    desk.done(status(DatabaseRole::Stopped, 60));
    let release = desk.swap().expect("a release").record;
    let said = |c: &Command| matches!(c, Command::Announce(a) if a.hands_over.as_deref() == Some(&release));
    assert!(desk.out.iter().any(said), "{:?}", desk.out);
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
