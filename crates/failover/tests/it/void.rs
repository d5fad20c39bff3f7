//! Orders that nobody has ended when their reign did: the next holder ends them.

use meridian_failover::{Command, DatabaseAction, Event, Memory, State};
use meridian_model::database::Replication;
use meridian_model::group::DatabaseRole;
use meridian_model::order::{Order, OrderState, Wish};
use meridian_model::{Epoch, Name};

use super::desk::{Desk, record, status};
use super::names::{order, region};
use super::walks::{handed_over, memory};

fn to_the_second(epoch: u64) -> Order {
    order(Wish::Switchover { to: region(1) }, Epoch(epoch))
}

fn ended(desk: &Desk) -> Vec<Order> {
    let ended = desk.out.iter().filter_map(|c| match c {
        Command::EndOrder(order) => Some(order.clone()),
        _ => None,
    });
    ended.collect()
}

/// The one order that was ended in the last step, and why it was refused, if so.
fn end_of(desk: &Desk) -> (Name, Option<String>) {
    match ended(desk).as_slice() {
        [Order { id, state: OrderState::Done { .. }, .. }] => (id.clone(), None),
        [Order { id, state: OrderState::Refused { reason, .. }, .. }] => (id.clone(), Some(reason.clone())),
        other => panic!("{other:?}"),
    }
}

/// Time passes, and every renewal succeeds; what was ended meanwhile.
fn live(desk: &mut Desk, ms: u64) -> Vec<Order> {
    let mut all = Vec::new();
    for _ in 0..ms / 100 {
        desk.wait(100);
        all.extend(ended(desk));
        if desk.swap().is_some() {
            desk.win();
            all.extend(ended(desk));
        }
    }
    assert_eq!(desk.state(), State::Leading);
    all
}

/// It stayed open in etcd until it expired, and nothing was rehearsed so long.
#[test]
fn a_writer_that_resumed_by_itself_refuses_what_was_ordered_before() {
    for wish in [Wish::Switchover { to: region(1) }, Wish::Failover { accept_data_loss: false }] {
        let memory = Memory { epoch: Epoch(1), holder: Some(region(0)), ..Memory::default() };
        let mut desk = Desk::new(0, DatabaseRole::Stopped, Some(memory));
        desk.say(Event::Ordered(Some(order(wish, Epoch(1)))));
        desk.record(Some(record(0, 1, 1_024)));
        assert_eq!(desk.state(), State::Resuming);
        desk.win();
        assert_eq!((desk.state(), ended(&desk)), (State::Promoting, Vec::new()), "not before it writes");
        desk.done(status(DatabaseRole::Standby, 100)).done(status(DatabaseRole::Primary, 120));
        assert_eq!(desk.state(), State::Leading);
        let (id, why) = end_of(&desk);
        assert_eq!(id, Name::new("order-1").unwrap());
        let why = why.expect("refused");
        assert!(why.starts_with("it was given in epoch 1, and now it is 2: the order is void"), "{why}");
    }
}

/// The old writer was lost after it had handed over: the order was carried out.
#[test]
fn a_successor_ends_the_order_by_which_it_became_the_writer() {
    let mut desk = Desk::with(1, DatabaseRole::Stopped, Some(memory(1)), Replication::Async);
    desk.say(Event::Ordered(Some(to_the_second(1))));
    desk.record(Some(handed_over())).done(status(DatabaseRole::Standby, 150));
    assert!(matches!(desk.action(), Some((_, DatabaseAction::Replay { .. }))), "{:?}", desk.out);
    desk.done(status(DatabaseRole::Standby, 200)).win();
    assert_eq!((desk.state(), ended(&desk)), (State::Promoting, Vec::new()));
    desk.done(status(DatabaseRole::Primary, 210));
    assert_eq!(desk.state(), State::Leading);
    assert_eq!(end_of(&desk), (Name::new("order-1").unwrap(), None));
}

/// A failover by a person's order ended for nobody.
#[test]
fn a_failover_ends_the_order_that_let_it_begin() {
    let mut desk = Desk::following();
    desk.say(Event::Ordered(Some(order(Wish::Failover { accept_data_loss: false }, Epoch(1)))));
    let mut desk = desk.sealing_after(record(0, 1, 1_024));
    desk.done(status(DatabaseRole::Standby, 120));
    desk.member(2, 1, Some(1), status(DatabaseRole::Standby, 120)).win();
    desk.done(status(DatabaseRole::Primary, 130));
    assert_eq!(desk.state(), State::Leading);
    assert_eq!(end_of(&desk), (Name::new("order-1").unwrap(), None));
}

/// What etcd did not take is written again; and no order of this reign is touched.
#[test]
fn an_end_is_said_until_etcd_shows_it() {
    let mut desk = Desk::protected();
    desk.say(Event::Ordered(Some(to_the_second(0))));
    let first = ended(&desk);
    assert_eq!(first.len(), 1, "{:?}", desk.out);
    assert_eq!(live(&mut desk, 4_900), []);
    assert_eq!(live(&mut desk, 200), first, "the same once more");
    desk.say(Event::Ordered(first.first().cloned()));
    assert_eq!(live(&mut desk, 20_000), []);
    let consent = Order {
        id: Name::new("next").unwrap(),
        ..order(Wish::Failover { accept_data_loss: false }, Epoch(1))
    };
    desk.say(Event::Ordered(Some(consent)));
    assert_eq!(live(&mut desk, 10_000), [], "it is for this reign");
}
