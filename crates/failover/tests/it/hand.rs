//! By hand: the rules that one exact order of events shows.

use meridian_failover::{Command, DatabaseAction, Event, Memory, Outcome, PromiseKept, Rule, State, TABLE};
use meridian_model::database::Replication;
use meridian_model::group::{
    Announcement, DatabaseRole, DatabaseStatus, GroupRecord, Promise, Terms, WalPosition,
};
use meridian_model::run::{StepKind, StepState};
use meridian_model::{Epoch, Lsn, Name, Timestamp};

use super::desk::{Desk, record, status};
use super::names::region;
use super::walks::{late_claim, memory, walked};

/// The walks go where they say, and every one of their moves is in the table.
#[test]
fn the_walks_by_hand_are_rows_of_the_table() {
    let rows: Vec<String> =
        TABLE.iter().map(|row| format!("{} -> {}: {}", row.from, row.to, row.trigger)).collect();
    assert!(walked().iter().all(|walked| rows.contains(walked)));
}

#[test]
fn a_machine_that_wakes_up_late_fences_before_all_else() {
    let mut desk = Desk::leading();
    desk.wait(500);
    let renewal = desk.swap().expect("a renewal");
    desk.now = desk.now + std::time::Duration::from_secs(60);
    desk.say(Event::Swapped { attempt: renewal.attempt, outcome: Outcome::Done(99) });
    assert_eq!(desk.state(), State::Stopped, "the acknowledged renewal is too old to count");
    assert!(matches!(desk.out.first(), Some(Command::CloseWrites { .. })), "{:?}", desk.out);
    assert_eq!(desk.action().map(|(_, action)| action), Some(DatabaseAction::Stop));
}

/// A renewal whose record is held up by etcd's election expires when it should, if it was announced.
#[test]
fn a_lease_is_counted_from_the_announcement_of_the_renewal() {
    for announced in [true, false] {
        let mut desk = Desk::following();
        desk.wait(400);
        if announced {
            let GroupRecord { group, holder, epoch, renewal, .. } = record(0, 1, 2_048);
            desk.say(Event::Announced(Announcement {
                group,
                holder,
                epoch,
                renewal,
                writes: false,
                hands_over: None,
            }));
        }
        // The election takes as long as a lease.
        desk.wait(5_000).record(Some(record(0, 1, 2_048)));
        let lease = desk.explain(Rule::LeaseExpired);
        assert!(!lease.allows, "it is asked first whether that is still so: {}", lease.evidence);
        desk.wait(500);
        if announced {
            desk.confirm(&record(0, 1, 2_048));
        }
        assert_eq!(
            desk.explain(Rule::LeaseExpired).allows,
            announced,
            "{}",
            desk.explain(Rule::LeaseExpired).evidence
        );
    }
}

#[test]
fn a_renewal_is_announced_before_it_is_sent() {
    let mut desk = Desk::leading();
    desk.wait(500);
    let of = |wanted: fn(&Command) -> bool| desk.out.iter().position(wanted).expect("both are sent");
    let announced = of(|c| matches!(c, Command::Announce(_)));
    assert!(announced < of(|c| matches!(c, Command::Swap(_))));
    let renewal = desk.swap().unwrap().record.renewal;
    assert!(
        matches!(&desk.out[announced], Command::Announce(a) if a.renewal == renewal && a.epoch == Epoch(1))
    );
}

#[test]
fn the_right_to_write_counts_from_the_sending_and_not_from_the_answer() {
    let mut desk = Desk::leading();
    desk.wait(500);
    let sent = desk.now;
    let renewal = desk.swap().unwrap();
    desk.now = desk.now + std::time::Duration::from_millis(900);
    desk.say(Event::Swapped { attempt: renewal.attempt, outcome: Outcome::Done(99) });
    let until = desk.out.iter().find_map(|c| match c {
        Command::OpenWrites { until, .. } => Some(*until),
        _ => None,
    });
    assert_eq!(until, Some(sent + std::time::Duration::from_secs(3)));
}

#[test]
fn a_lost_answer_is_recognised_in_the_record_but_not_one_of_an_earlier_life() {
    let mut desk = Desk::leading();
    desk.wait(500);
    let renewal = desk.swap().unwrap();
    desk.swapped(Outcome::Unknown("timed out".to_owned())).wait(2_400);
    let mut stranger = renewal.record.clone();
    stranger.renewal += 1;
    desk.record(Some(stranger)).wait(200);
    assert_eq!(desk.state(), State::WritesClosed, "not our number: it renews nothing");
    let mut desk = Desk::leading();
    desk.wait(500);
    let renewal = desk.swap().unwrap();
    desk.swapped(Outcome::Unknown("timed out".to_owned())).wait(2_400);
    desk.record(Some(renewal.record)).wait(200);
    assert_eq!(desk.state(), State::Leading);
}

#[test]
fn a_promise_is_on_disk_before_it_is_given_and_holds_over_a_restart() {
    let mut desk = Desk::following();
    let promise =
        Promise { group: Name::new("shop").unwrap(), epoch: Epoch(1), holder: region(0), for_ms: 5_000 };
    desk.say(Event::PromiseAsked { ask: 7, promise: promise.clone() });
    let kept = desk.out.iter().position(|c| matches!(c, Command::Remember(m) if m.promise.is_some()));
    let answered =
        desk.out.iter().position(|c| matches!(c, Command::AnswerPromise { ask: 7, granted: true, .. }));
    assert!(kept.unwrap() < answered.unwrap(), "{:?}", desk.out);
    let mut again = Desk::new(
        1,
        DatabaseRole::Stopped,
        Some(Memory {
            promise: Some(PromiseKept { holder: region(0), epoch: Epoch(1), for_ms: 5_000 }),
            ..memory(1)
        }),
    );
    again.record(Some(record(0, 1, 1_024)));
    let told = again.machine.explain(again.now);
    assert!(
        told.rules.iter().any(|r| !r.allows && r.evidence.contains("promised to the holder for 5.0 s")),
        "{told:?}"
    );
}

#[test]
fn what_a_sealed_member_or_an_older_epoch_is_not_promised() {
    let promise = |epoch, holder| Promise {
        group: Name::new("shop").unwrap(),
        epoch: Epoch(epoch),
        holder: region(holder),
        for_ms: 5_000,
    };
    let refused = |desk: &mut Desk, promise, why: &str| {
        desk.say(Event::PromiseAsked { ask: 1, promise });
        let answer = desk.out.iter().find_map(|c| match c {
            Command::AnswerPromise { granted, reason, .. } => Some((*granted, reason.clone())),
            _ => None,
        });
        let (granted, reason) = answer.expect("an answer");
        assert!(!granted && reason.contains(why), "{granted} {reason}");
    };
    refused(&mut Desk::sealed(), promise(1, 0), "sealed for epoch 1");
    refused(&mut Desk::following(), promise(0, 0), "epoch 1 has begun");
    refused(&mut Desk::following(), promise(1, 2), "alpha holds epoch 1");
    refused(&mut Desk::leading(), promise(1, 0), "this member is Leading");
    let endless = Promise { for_ms: 60_000, ..promise(1, 0) };
    refused(&mut Desk::following(), endless, "at most 10000 ms");
}

#[test]
fn a_lower_epoch_is_refused() {
    let mut desk = Desk::following();
    desk.record(Some(record(2, 4, 9_000)));
    assert_eq!(desk.machine.epoch(), Epoch(4));
    desk.record(Some(record(0, 3, 9_999)));
    assert_eq!((desk.machine.epoch(), desk.machine.record().unwrap().epoch), (Epoch(4), Epoch(4)));
    assert!(desk.machine.explain(desk.now).doing.contains("etcd has epoch 3 although epoch 4 was seen"));
}

#[test]
fn the_memory_and_the_fence_come_before_the_promotion() {
    let mut desk = late_claim();
    let at = |desk: &Desk, what: &dyn Fn(&Command) -> bool| desk.out.iter().position(what);
    let fence = at(&desk, &|c| matches!(c, Command::DatabaseFence { at: Some(_) })).expect("a fence");
    let kept = at(&desk, &|c| matches!(c, Command::Remember(m) if m.must_rejoin)).expect("a memory");
    let promote =
        at(&desk, &|c| matches!(c, Command::Database { action: DatabaseAction::Promote { .. }, .. }));
    assert!(fence < promote.unwrap() && kept < promote.unwrap(), "{:?}", desk.out);
    desk.done(status(DatabaseRole::Primary, 120));
    assert_eq!(desk.state(), State::Leading);
    assert!(desk.out.iter().any(|c| matches!(c, Command::OpenWrites { epoch: Epoch(2), .. })));
    assert!(desk.out.iter().any(|c| matches!(c, Command::Journal { .. })), "written beside, not before");
}

#[test]
fn a_full_disk_stops_a_promise_and_a_promotion_but_not_a_fence() {
    let mut desk = Desk::leading();
    desk.say(Event::NotRemembered { reason: "the disk is full".to_owned() });
    desk.wait(4_100);
    assert_eq!(desk.action().map(|(_, action)| action), Some(DatabaseAction::Stop));
    let mut desk = Desk::following();
    desk.say(Event::NotRemembered { reason: "the disk is full".to_owned() });
    let promise =
        Promise { group: Name::new("shop").unwrap(), epoch: Epoch(1), holder: region(0), for_ms: 5_000 };
    desk.say(Event::PromiseAsked { ask: 1, promise });
    assert!(!desk.out.iter().any(|c| matches!(c, Command::AnswerPromise { .. })), "{:?}", desk.out);
}

#[test]
fn a_copy_from_a_side_that_is_no_longer_the_holder_is_broken_off() {
    let mut desk = Desk::new(2, DatabaseRole::Absent, None);
    desk.record(Some(record(0, 1, 5))).member(0, 1, None, status(DatabaseRole::Primary, 10));
    assert!(matches!(desk.action(), Some((_, DatabaseAction::Clone { .. }))));
    desk.record(Some(record(1, 2, 9)));
    assert_eq!(desk.action().map(|(_, action)| action), Some(DatabaseAction::Stop));
    desk.done(status(DatabaseRole::Absent, 0)).member(1, 2, None, status(DatabaseRole::Primary, 10));
    assert_eq!(desk.action().map(|(_, action)| action), Some(DatabaseAction::Clone { source: region(1) }));
}

#[test]
fn a_primary_that_nobody_gave_the_right_is_stopped() {
    let mut desk = Desk::following();
    desk.say(Event::Database(status(DatabaseRole::Primary, 100)));
    assert_eq!(desk.action().map(|(_, action)| action), Some(DatabaseAction::Stop));
}

/// A seal that told a position too low made another member's log look complete.
#[test]
fn a_seal_counts_only_with_the_position_of_a_running_standby() {
    let mut desk = Desk::sealing();
    desk.done(status(DatabaseRole::Starting, 0));
    assert_eq!(desk.state(), State::Sealing);
    desk.wait(300).done(status(DatabaseRole::Standby, 0));
    assert_eq!(desk.state(), State::Sealing, "nothing received is no position");
    desk.wait(600).done(status(DatabaseRole::Standby, 120));
    assert_eq!(desk.state(), State::Sealed);
    let told = desk.out.iter().find_map(|c| match c {
        Command::Report(report) => Some(report.database.received.lsn.0),
        _ => None,
    });
    assert_eq!(told, Some(120));
}

/// While a changed spec has reached one node and not the other, their proofs do not fit together.
#[test]
fn members_with_other_terms_than_the_holder_do_not_take_over() {
    let members: Vec<_> = (0..3).map(region).collect();
    let terms = Terms { lease_ttl_ms: 5_000, members, acknowledgers: Some(1) };
    let with = |terms: Terms| {
        let mut desk = Desk::following();
        desk.record(Some(GroupRecord { terms: Some(terms), ..record(0, 1, 2_048) }));
        desk
    };
    assert!(with(terms.clone()).explain(Rule::SameTerms).allows);
    let fewer = Terms { members: terms.members[..2].to_vec(), ..terms.clone() };
    assert!(!with(fewer).explain(Rule::SameTerms).allows);
    assert!(!with(Terms { acknowledgers: None, ..terms.clone() }).explain(Rule::SameTerms).allows);

    let mut desk = with(Terms { lease_ttl_ms: 10_000, ..terms });
    desk.wait(9_500);
    let lease = desk.explain(Rule::LeaseExpired).evidence;
    assert!(lease.contains("0.5 s left"), "the longer of the two leases counts: {lease}");
}

/// Two members that claim the same epoch number their attempts alike: a loser's announcement is not the
/// winner's.
#[test]
fn only_the_holder_s_own_announcement_counts() {
    let mut desk = Desk::following();
    let GroupRecord { group, epoch, renewal, .. } = record(0, 1, 2_048);
    desk.say(Event::Announced(Announcement {
        group,
        holder: region(2),
        epoch,
        renewal,
        writes: false,
        hands_over: None,
    }));
    desk.wait(4_000).record(Some(record(0, 1, 2_048)));
    let lease = desk.explain(Rule::LeaseExpired).evidence;
    assert!(lease.contains("renewed 0.0 s ago"), "{lease}");
}

/// An asynchronous writer acknowledges for a while after its last renewal, and its own word of how far
/// it was may be old.
#[test]
fn a_possible_loss_is_counted_to_the_end_of_the_writer_s_right() {
    let proof = |wal_age_ms| {
        let last = GroupRecord { wal_age_ms, ..record(0, 1, 2_048) };
        let mut desk = Desk::following_by(Replication::Async);
        desk.wait(400).record(Some(last.clone()));
        let mut desk = desk.sealing_after(last);
        desk.done(status(DatabaseRole::Standby, 120));
        desk.explain(Rule::ProofOfData)
    };
    let fresh = proof(0);
    assert!(fresh.allows && fresh.evidence.contains("the last 3.0 s"), "{}", fresh.evidence);
    let old = proof(2_500);
    assert!(!old.allows && old.evidence.contains("5.5 s"), "{}", old.evidence);
}

/// A standby's process that stood still for seconds heard old renewals when it went on, and took them for new.
#[test]
fn what_waited_while_this_process_stood_still_is_as_old_as_its_silence() {
    let proof = |silent_ms| {
        let last = record(0, 1, 2_048);
        let mut desk = Desk::following_by(Replication::Async);
        desk.wait(400);
        desk.now = desk.now + std::time::Duration::from_millis(silent_ms);
        desk.record(Some(last.clone()));
        let mut desk = desk.sealing_after(last);
        desk.done(status(DatabaseRole::Standby, 120));
        desk.explain(Rule::ProofOfData)
    };
    let awake = proof(500);
    assert!(awake.allows && awake.evidence.contains("the last 3.0 s"), "{}", awake.evidence);
    let stood_still = proof(2_500);
    assert!(!stood_still.allows && stood_still.evidence.contains("5.5 s"), "{}", stood_still.evidence);
}

/// A writer that restarts has not opened its log when it claims its next epoch: told as nothing at all, its log
/// made every standby look complete, and writes of its last life could be lost beyond the RPO.
#[test]
fn a_holder_that_begins_anew_is_as_far_as_it_was() {
    let own = Memory { holder: Some(region(1)), ..memory(2) };
    let mut desk = Desk::new(1, DatabaseRole::Stopped, Some(own));
    let last = record(1, 2, 5);
    desk.record(Some(last.clone())).wait(1_100);
    let claim = desk.swap().expect("a claim of the next epoch").record;
    assert_eq!((claim.epoch, claim.wal), (Epoch(3), last.wal));
    assert_eq!(claim.wal_age_ms, u64::MAX, "for how long it wrote since, nobody knows");

    // It has led in this life, and no renewal has told how far it came then.
    let mut desk = Desk::leading();
    desk.say(Event::Database(status(DatabaseRole::Primary, 90))).wait(4_100);
    assert_eq!(desk.state(), State::Stopped);
    desk.done(status(DatabaseRole::Stopped, 0)).wait(1_100);
    let claim = desk.swap().expect("a claim of the next epoch").record;
    assert_eq!((claim.epoch, claim.wal.lsn.0, claim.wal_age_ms), (Epoch(2), 90, 5_200));
}

/// A standby that slept took its holder for well by an old report, and waited to become its copy for ever, while
/// the holder had lost its disk and given up.
#[test]
fn a_suspicion_ends_when_the_holder_is_no_primary_any_more() {
    let mut desk = Desk::following();
    let cut_off = DatabaseStatus { streaming: false, ..status(DatabaseRole::Standby, 100) };
    desk.member(0, 1, None, status(DatabaseRole::Primary, 120)).say(Event::Database(cut_off));
    desk.now = desk.now + std::time::Duration::from_secs(20);
    desk.record(Some(record(0, 1, 2_048))).regions(2);
    assert_eq!(desk.state(), State::Rejoining, "it ought to stream and does not");
    let (id, _) = desk.action().expect("a rejoin");
    desk.member(0, 1, None, status(DatabaseRole::Stopped, 0));
    assert_eq!(desk.state(), State::Rejoining, "what runs may end");
    desk.say(Event::Finished { id, result: Err("the source does not answer".to_owned()) });
    assert_eq!(desk.state(), State::Following);

    desk.wait(61_000).member(0, 1, None, status(DatabaseRole::Absent, 0)).regions(2);
    assert_eq!(desk.state(), State::Following, "nobody to become a copy of");
}

/// A standby that restarted while etcd was away took the holder's last renewal, from before, for what the holder
/// had written by then.
#[test]
fn a_record_that_may_be_old_does_not_say_how_far_the_holder_is() {
    let lag = |gap: bool| {
        let mut desk = Desk::following_by(Replication::Async);
        desk.wait(400).record(Some(record(0, 1, 2_048)));
        if gap {
            desk.say(Event::Coordination { reachable: false }).wait(14_000);
            desk.say(Event::Coordination { reachable: true });
        }
        desk.wait(100).record(Some(record(0, 1, 3_072))).wait(100);
        let wal = WalPosition { timeline: 1, lsn: Lsn(900) };
        let last = GroupRecord { released: true, wal, ..record(0, 1, 4_096) };
        desk.record(Some(last));
        desk.done(status(DatabaseRole::Standby, 100));
        desk.explain(Rule::ProofOfData)
    };
    assert!(lag(false).allows, "{}", lag(false).evidence);
    assert!(!lag(true).allows && lag(true).evidence.contains("14."), "{}", lag(true).evidence);
}

/// A machine that was replaced comes up under the name of one that may still write.
#[test]
fn another_life_of_the_same_region_waits_for_the_lease_of_the_first() {
    let mut desk = Desk::new(1, DatabaseRole::Absent, None);
    desk.record(Some(record(1, 2, 5))).wait(1_100);
    assert_eq!(desk.state(), State::Resuming);
    assert!(desk.swap().is_none());
    desk.wait(3_000).record(Some(record(1, 2, 1_029))).wait(4_900);
    assert_eq!((desk.state(), desk.swap()), (State::Resuming, None), "the first one lives");
    desk.wait(200);
    assert_eq!(desk.state(), State::Releasing);

    let own = Memory { holder: Some(region(1)), ..memory(2) };
    let mut desk = Desk::new(1, DatabaseRole::Stopped, Some(own));
    desk.record(Some(record(1, 2, 5))).wait(1_100);
    assert!(desk.swap().is_some(), "its own lease it has lost by ending");
}

#[test]
fn a_restart_that_takes_too_long_is_left_to_a_standby_if_there_is_one() {
    for standby in [true, false] {
        let mut desk = Desk::restarting();
        for _ in 0..44 {
            if standby {
                desk.member(1, 1, None, status(DatabaseRole::Standby, 60));
            }
            desk.wait(500);
            if desk.swap().is_some() {
                desk.win();
            }
        }
        let wanted = if standby { State::Releasing } else { State::Restarting };
        assert_eq!(desk.state(), wanted);
    }
}

/// A copy of an older journal entry that came late undid the newer one for ever.
#[test]
fn a_run_that_is_seen_older_than_it_is_is_written_again() {
    let journal = |desk: &Desk| {
        desk.out.iter().find_map(|c| match c {
            Command::Journal { attempt, run } => Some((*attempt, (**run).clone())),
            _ => None,
        })
    };
    // Also when the watch shows the older copy before the newer entry is acknowledged.
    for shown_late in [true, false] {
        let mut desk = Desk::leading();
        let (promoted, _) = journal(&desk).expect("the promotion is journalled");
        desk.say(Event::Journalled { attempt: promoted, outcome: Outcome::Done(49) });
        let (attempt, run) = journal(&desk).expect("on a first start there is nobody to repoint");
        let mut older = run.clone();
        let promote = older.steps.iter_mut().find(|s| s.kind() == StepKind::Promote).unwrap();
        promote.state = StepState::Running { since: Timestamp(0) };
        let acknowledged = Event::Journalled { attempt, outcome: Outcome::Done(50) };
        let shown = if shown_late {
            [acknowledged, Event::Run(run.into()), Event::Run(older.into())].to_vec()
        } else {
            [Event::Run(older.into()), acknowledged].to_vec()
        };
        for event in shown {
            desk.say(event);
            assert_eq!(journal(&desk), None, "it may still be on its way");
        }
        desk.wait(1_000);
        assert!(journal(&desk).is_some());
    }
}

/// A first writer that had no etcd after its claim acknowledged writes, lost its disk, and began with an empty database.
#[test]
fn a_first_database_is_started_when_the_record_says_that_it_was_made() {
    let mut desk = Desk::promoting();
    desk.done(status(DatabaseRole::Stopped, 0));
    assert_eq!(desk.action(), None, "nobody would know of it");
    assert!(desk.swap().is_some_and(|swap| swap.record.made), "{:?}", desk.out);
    let made = desk.swap().unwrap().record;
    desk.win();
    assert!(matches!(desk.asked, Some((_, DatabaseAction::StartPrimary { .. }))), "{:?}", desk.asked);

    // Its disk is lost, before anything else was written down.
    let life = |record: GroupRecord| {
        let mut desk = Desk::new(0, DatabaseRole::Absent, None);
        desk.record(Some(record)).wait(5_100).wait(5_100);
        desk
    };
    assert_eq!(life(made.clone()).state(), State::Releasing, "it would begin with nothing");
    assert_eq!(life(GroupRecord { made: false, ..made }).state(), State::Resuming, "nothing is lost");
}
