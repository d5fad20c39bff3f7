//! News that come by another way than etcd, or late: what a member makes of them.

use meridian_failover::{Command, Event, Level, Rule, State};
use meridian_model::Epoch;
use meridian_model::database::Replication;
use meridian_model::group::{Announcement, DatabaseRole, GroupRecord};

use super::desk::{Desk, record, status};
use super::names::region;

/// A switchover's pause ends elsewhere when the new writer says that it writes, not when etcd shows it.
#[test]
fn the_word_of_the_holder_leads_clients_to_it() {
    let mut desk = Desk::following();
    let claimed = record(2, 2, 4_096);
    desk.record(Some(claimed.clone()));
    assert_eq!(desk.writer(), None, "it is being promoted");
    let GroupRecord { group, holder, epoch, renewal, .. } = claimed;
    let word = Announcement { group, holder: region(0), epoch, renewal, writes: true, hands_over: None };
    desk.say(Event::Announced(word.clone()));
    assert_eq!(desk.writer(), None, "only the holder can say so");
    desk.say(Event::Announced(Announcement { holder, ..word }));
    assert_eq!(desk.writer(), Some(region(2)));
}

/// A promise to the new holder told its epoch before etcd's watch did: a warning that a person must look came and was
/// void a moment later.
#[test]
fn a_record_that_is_a_moment_behind_is_no_warning() {
    let warned = |desk: &Desk| {
        desk.out
            .iter()
            .any(|c| matches!(c, Command::Log { level: Level::Warn, text } if text.contains("was it wiped")))
    };
    let behind = || {
        let mut desk = Desk::following();
        desk.record(Some(record(2, 2, 2_048))).record(Some(record(0, 1, 4_096)));
        desk
    };
    let mut desk = behind();
    assert!(!warned(&desk), "{:?}", desk.out);
    desk.record(Some(record(2, 2, 6_000))).wait(5_000);
    assert!(!warned(&desk), "it was true for a moment only");
    let mut desk = behind();
    let mut seen = false;
    for _ in 0..30 {
        desk.wait(100);
        seen |= warned(&desk);
    }
    assert!(seen, "it stays so");
}

#[test]
fn whoever_opens_writes_says_so_at_once() {
    let desk = Desk::leading();
    let of = |wanted: fn(&Command) -> bool| desk.out.iter().position(wanted).expect("both are sent");
    let opened = of(|c| matches!(c, Command::OpenWrites { .. }));
    let said = of(|c| matches!(c, Command::Announce(a) if a.writes && a.epoch == Epoch(1)));
    assert!(opened < said, "a session must not arrive before the gate is open");
}

/// The writer's loss takes etcd away for an election: nobody could be heard meanwhile, and the first who hears
/// again must not take the others for gone. It lost what a member that was further still had.
#[test]
fn after_an_election_the_positions_of_the_others_are_waited_for() {
    let claims = |election_ms: u64, wait_ms: u64| {
        let last = record(0, 1, 1_024);
        let mut desk = Desk::following_by(Replication::Async);
        desk.member(2, 1, None, status(DatabaseRole::Standby, 110));
        desk.say(Event::Coordination { reachable: false }).wait(election_ms).confirm(&last);
        desk.say(Event::Coordination { reachable: true });
        desk.wait(100).regions(0);
        assert_eq!(desk.state(), State::Sealing);
        desk.done(status(DatabaseRole::Standby, 100)).wait(wait_ms);
        desk.explain(Rule::MostAdvanced)
    };
    let waits = claims(7_000, 0);
    assert!(!waits.allows && waits.evidence.contains("waits 1.5 s for the position"), "{}", waits.evidence);
    let alone = claims(7_000, 1_600);
    assert!(alone.allows, "not for ever: {}", alone.evidence);
}
