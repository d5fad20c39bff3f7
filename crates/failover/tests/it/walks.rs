//! The moves that no storm is sure to make, walked by hand. `simulation` includes this file, too: there the
//! rows that storms walk and these together must be the whole table.

use std::collections::BTreeSet;

use meridian_failover::{Command, Event, Memory, Outcome, Purpose, State};
use meridian_model::group::{DatabaseRole, DatabaseStatus, GroupRecord, WalPosition};
use meridian_model::order::{Handover, RunWords, Word};
use meridian_model::run::RunKind;
use meridian_model::{Epoch, Lsn, Name, Timestamp};

use super::desk::{Desk, record, status};
use super::names::region;

pub(crate) fn memory(epoch: u64) -> Memory {
    Memory { epoch: Epoch(epoch), holder: Some(region(0)), ..Memory::default() }
}

fn step_down() -> Event {
    Event::StepDown { reason: "maintenance".to_owned() }
}

/// The moves that the desks below make.
pub(crate) fn walked() -> BTreeSet<String> {
    let alone = vec![late_claim(), crashes_while_closed()];
    let desks = [standbys(), successors(), writers(), handing_over(), alone];
    desks.into_iter().flatten().flat_map(|d| d.moves).collect()
}

/// Ways of a member that does not write, each ending in a move of interest.
fn standbys() -> Vec<Desk> {
    let mut desks = Vec::new();
    let mut go = |mut desk: Desk, last: &dyn Fn(&mut Desk)| {
        last(&mut desk);
        desks.push(desk);
    };
    let ours = |desk: &mut Desk| {
        desk.record(Some(record(1, 2, 90_000)));
    };
    go(Desk::new(3, DatabaseRole::Absent, None), &|_| {});
    go(Desk::new(0, DatabaseRole::Absent, None), &|d| {
        d.record(None).record(Some(record(1, 1, 5)));
    });
    go(Desk::new(1, DatabaseRole::Absent, None), &|d| {
        d.record(Some(record(0, 1, 5)));
        ours(d);
    });
    go(Desk::new(1, DatabaseRole::Stopped, None), &|d| {
        d.record(Some(record(0, 1, 5)));
        assert_eq!(d.state(), State::Rejoining, "data without a memory may have been a primary's");
        ours(d);
    });
    go(Desk::new(1, DatabaseRole::Stopped, None), &|d| {
        d.record(Some(record(0, 1, 5))).say(Event::Database(status(DatabaseRole::Absent, 0)));
        assert_eq!(d.state(), State::Cloning, "a copy anew broke off");
    });
    go(Desk::following(), &ours);
    go(Desk::following(), &|d| {
        d.say(Event::Database(status(DatabaseRole::Absent, 0)));
    });
    go(Desk::new(1, DatabaseRole::Stopped, Some(memory(3))), &|d| {
        d.record(None).record(Some(record(0, 3, 5)));
    });
    go(Desk::new(1, DatabaseRole::Absent, Some(memory(2))), &|d| {
        d.record(Some(record(1, 2, 5))).wait(5_100);
    });
    go(Desk::new(1, DatabaseRole::Stopped, Some(memory(2))), &|d| {
        d.record(Some(record(1, 2, 5)));
        assert_eq!(d.state(), State::Resuming, "the lease is its own from before the restart");
        d.record(Some(record(0, 3, 9)));
    });
    go(Desk::new(1, DatabaseRole::Stopped, Some(memory(2))), &|d| {
        d.record(Some(GroupRecord { released: true, ..record(1, 2, 5) }));
        assert_eq!(d.state(), State::Released, "it was given up before the restart");
    });
    let sealed = Memory { sealed: Some(Epoch(1)), ..memory(1) };
    go(Desk::new(1, DatabaseRole::Stopped, Some(sealed)), &|d| {
        d.record(Some(record(0, 1, 5)));
        assert_eq!(d.state(), State::Sealing, "a seal holds over a restart");
        d.record(Some(record(2, 2, 9)));
    });
    desks
}

/// Ways of a writer, each ending in a move of interest.
fn writers() -> Vec<Desk> {
    let mut desks = Vec::new();
    let mut go = |mut desk: Desk, last: &dyn Fn(&mut Desk)| {
        last(&mut desk);
        desks.push(desk);
    };
    let deposed = |desk: &mut Desk| {
        desk.record(Some(record(1, 2, 90_000)));
    };
    for desk in [Desk::promoting(), Desk::leading(), Desk::writes_closed(), Desk::restarting()] {
        go(desk, &deposed);
    }
    for desk in [Desk::leading(), Desk::writes_closed()] {
        go(desk, &|d| {
            d.say(step_down());
            deposed(d);
        });
    }
    go(Desk::restarting(), &|d| {
        d.wait(4_100);
    });
    go(Desk::restarting(), &|d| {
        d.fail().wait(300).fail();
    });
    go(Desk::writes_closed(), &|d| {
        for _ in 0..3 {
            d.say(Event::Database(status(DatabaseRole::Primary, 50)));
            d.say(Event::Database(status(DatabaseRole::Stopped, 0)));
        }
    });
    go(Desk::promoting(), &|d| {
        d.wait(4_100);
    });
    go(Desk::promoting(), &|d| {
        d.fail().wait(300).fail().wait(600).fail();
        assert_eq!(d.state(), State::Releasing);
    });
    go(Desk::leading(), &|d| {
        d.say(step_down()).done(status(DatabaseRole::Stopped, 0)).wait(500).win().wait(10_100);
        assert_eq!(d.state(), State::Resuming, "nobody took over");
    });
    go(Desk::leading(), &|d| {
        for _ in 0..2 {
            d.say(Event::Database(status(DatabaseRole::Stopped, 0))).done(status(DatabaseRole::Primary, 60));
        }
        d.say(Event::Database(status(DatabaseRole::Stopped, 0)));
    });
    go(Desk::leading(), &|d| {
        d.say(step_down()).done(status(DatabaseRole::Stopped, 0)).wait(500).win();
        assert_eq!(d.state(), State::Released);
        deposed(d);
    });
    desks
}

/// The first region has handed over to the second.
pub(crate) fn handed_over() -> GroupRecord {
    let token = Handover {
        order: Name::new("order-1").unwrap(),
        by: "ada".to_owned(),
        to: region(1),
        end: WalPosition { timeline: 1, lsn: Lsn(100) },
        held_at: Timestamp(0),
        stopped_at: Timestamp(0),
        cut: 0,
        prepared: None,
    };
    GroupRecord { released: true, handover: Some(token), ..record(0, 1, 2_048) }
}

/// Ways of a standby that suspects itself, or is handed the lease.
fn successors() -> Vec<Desk> {
    let mut desks = Vec::new();
    let mut go = |mut desk: Desk, last: &dyn Fn(&mut Desk)| {
        last(&mut desk);
        desks.push(desk);
    };
    go(Desk::following(), &|d| {
        d.say(Event::Database(DatabaseStatus { streaming: false, ..status(DatabaseRole::Standby, 100) }));
        for second in 0..20 {
            if d.state() != State::Following {
                break;
            }
            d.member(0, 1, None, status(DatabaseRole::Primary, 100)).regions(9);
            d.record(Some(record(0, 1, 2_048 + second))).wait(1_000);
        }
        assert_eq!(d.state(), State::Rejoining, "it ought to stream and does not");
        d.fail();
    });
    let handed = handed_over();
    go(Desk::following(), &|d| {
        d.record(Some(handed.clone()));
        assert_eq!(d.state(), State::TakingOver);
        d.record(Some(record(2, 2, 9_000)));
    });
    go(Desk::following(), &|d| {
        d.record(Some(handed.clone())).wait(5_100);
        assert_eq!(d.state(), State::Following, "its time is over");
    });
    go(Desk::following(), &|d| {
        d.record(Some(handed.clone())).done(status(DatabaseRole::Standby, 150));
        assert_eq!(d.state(), State::Claiming);
        assert_eq!(d.swap().unwrap().run.unwrap().kind, RunKind::Switchover);
        d.swapped(Outcome::Lost).record(Some(record(2, 2, 9_000)));
    });
    desks
}

/// Ways of a writer that is to hand over.
fn handing_over() -> Vec<Desk> {
    let mut desks = Vec::new();
    let mut go = |mut desk: Desk, last: &dyn Fn(&mut Desk)| {
        last(&mut desk);
        desks.push(desk);
    };
    let deposed = |desk: &mut Desk| {
        desk.record(Some(record(1, 2, 90_000)));
    };
    for ready in [Desk::preparing, Desk::draining, Desk::handing_over] {
        go(ready(), &deposed);
        go(ready(), &|d| {
            d.wait(4_100);
        });
        go(ready(), &|d| {
            d.say(Event::Database(status(DatabaseRole::Stopped, 0)));
        });
        go(ready(), &|d| {
            d.wait(3_100);
        });
    }
    go(Desk::preparing(), &|d| {
        d.fail();
    });
    go(Desk::draining(), &|d| {
        let hold = d.hold().expect("a hold");
        d.wait(2_100);
        assert!(d.out.contains(&Command::CutSessions), "{:?}", d.out);
        d.fail();
        assert!(d.out.contains(&Command::Unhold { hold }), "{:?}", d.out);
    });
    go(Desk::handing_over(), &|d| {
        d.fail();
        assert_eq!(d.state(), State::Restarting);
    });
    go(Desk::promoting(), &|d| {
        let run = d.machine.run().unwrap().id.clone();
        let word = Word { by: "ada".to_owned(), at: Timestamp(0), reason: "enough".to_owned() };
        d.say(Event::Words(RunWords { aborted: Some(word), ..RunWords::none(run) })).wait(10);
        assert_eq!(d.state(), State::Releasing);
    });
    desks
}

/// Three crashes, the last of them while the gateway is closed.
fn crashes_while_closed() -> Desk {
    let mut desk = Desk::leading();
    for _ in 0..2 {
        desk.say(Event::Database(status(DatabaseRole::Stopped, 0))).done(status(DatabaseRole::Primary, 60));
        assert_eq!(desk.state(), State::Leading);
    }
    desk.wait(3_100).say(Event::Database(status(DatabaseRole::Stopped, 0)));
    assert_eq!(desk.state(), State::Releasing);
    desk
}

/// A claim without an answer that shows in the record after the machine had given it up.
pub(crate) fn late_claim() -> Desk {
    let mut desk = Desk::sealed();
    desk.member(2, 1, Some(1), status(DatabaseRole::Standby, 120));
    assert_eq!(desk.state(), State::Claiming);
    let claim = desk.swap().unwrap();
    assert_eq!((claim.purpose, claim.record.epoch), (Purpose::Claim, Epoch(2)));
    desk.say(Event::Coordination { reachable: false });
    let (attempt, outcome) = (claim.attempt, Outcome::Unknown("timed out".to_owned()));
    desk.say(Event::Swapped { attempt, outcome });
    assert_eq!(desk.state(), State::Sealed);
    desk.record(Some(claim.record));
    assert_eq!(desk.state(), State::Promoting);
    desk
}
