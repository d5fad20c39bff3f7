//! What a run keeps of the decision that it rests on.

use meridian_failover::{Command, Event, Outcome};
use meridian_model::database::Replication;
use meridian_model::group::{DatabaseRole, GroupRecord, WalPosition};
use meridian_model::health::{Health, RegionHealth};
use meridian_model::order::{Handover, Wish};
use meridian_model::run::{Missing, Run, StepKind, StepState};
use meridian_model::{Epoch, Lsn, Name, Timestamp};

use super::desk::{Desk, record, status};
use super::names::{order, region};

/// The run of the claim that the desk makes, at the latest when the third region has sealed itself.
fn claimed(mut desk: Desk) -> Run {
    let claim = desk.swap().or_else(|| desk.member(2, 1, Some(1), status(DatabaseRole::Standby, 110)).swap());
    claim.expect("a claim").run.expect("its run")
}

#[test]
fn a_failover_keeps_every_rule_with_what_it_said() {
    let evidence = claimed(Desk::sealed()).evidence;
    let names: Vec<&str> = evidence.rules.iter().map(|r| r.rule.as_str()).collect();
    for rule in ["LeaseExpired", "HolderDown", "NoPromise", "Sealed", "ProofOfData", "MostAdvanced"] {
        assert!(names.contains(&rule), "{names:?}");
    }
    assert!(evidence.rules.iter().all(|r| r.allows && !r.evidence.is_empty()), "{:?}", evidence.rules);
    assert_eq!(evidence.last_renewal_at, Some(record(0, 1, 1_024).renewed_at));
    assert_eq!((evidence.missing, evidence.order), (Missing::Nothing, None), "a quorum has everything");
}

#[test]
fn an_asynchronous_failover_says_how_much_may_be_missing() {
    let last = record(0, 1, 2_048);
    let mut desk = Desk::following_by(Replication::Async);
    desk.wait(400).record(Some(last.clone()));
    let mut desk = desk.sealing_after(last);
    desk.done(status(DatabaseRole::Standby, 120));
    assert_eq!(claimed(desk).evidence.missing, Missing::Last { ms: 3_000 });
}

#[test]
fn a_failover_that_a_person_ordered_names_the_order() {
    let mut desk = Desk::following();
    let ordered = order(Wish::Failover { accept_data_loss: true }, Epoch(1));
    desk.say(Event::Ordered(Some(ordered.clone())));
    let mut desk = desk.sealing_after(record(0, 1, 1_024));
    desk.done(status(DatabaseRole::Standby, 120));
    let evidence = claimed(desk).evidence;
    assert_eq!((evidence.order, evidence.missing), (Some(ordered), Missing::Unknown));
}

#[test]
fn a_switchover_keeps_what_the_old_writer_did() {
    let ordered = order(Wish::Switchover { to: region(1) }, Epoch(1));
    let token = Handover {
        order: ordered.id.clone(),
        by: ordered.by.clone(),
        to: region(1),
        end: WalPosition { timeline: 1, lsn: Lsn(100) },
        held_at: Timestamp(10),
        stopped_at: Timestamp(20),
        cut: 2,
        prepared: None,
    };
    let handed = |token: &Handover| GroupRecord {
        released: true,
        handover: Some(token.clone()),
        ..record(0, 1, 2_048)
    };
    let moved = |token: &Handover| {
        let mut desk = Desk::following();
        desk.say(Event::Ordered(Some(ordered.clone()))).record(Some(handed(token)));
        desk.done(status(DatabaseRole::Standby, 150));
        claimed(desk).evidence
    };
    let evidence = moved(&token);
    assert_eq!((evidence.handover.as_ref(), evidence.missing), (Some(&token), Missing::Nothing));
    assert_eq!(evidence.order, Some(ordered.clone()));
    assert_eq!(evidence.rules.len(), 4, "{:?}", evidence.rules);
    let other = Handover { order: Name::new("another").expect("a name"), ..token };
    assert_eq!(moved(&other).order, None, "that order began another move");
}

/// The report of a drill quoted the verdict of the decision for the detection, seconds before.
#[test]
fn a_failover_keeps_the_verdict_by_which_the_loss_was_first_seen() {
    let said = |reason: &str| {
        let down = RegionHealth {
            region: region(0),
            health: Health::Down,
            reason: reason.to_owned(),
            parts: Vec::new(),
        };
        Event::Regions(std::sync::Arc::new(vec![down]))
    };
    let mut desk = Desk::following();
    desk.wait(3_000).say(said("first seen"));
    desk.wait(100).say(said("seen later"));
    let mut desk = desk.sealing_after(record(0, 1, 1_024));
    desk.done(status(DatabaseRole::Standby, 120));
    let run = claimed(desk);
    assert_eq!(run.evidence.detected, "first seen");
    assert!(!run.cause.contains("first seen"), "the decision has its own: {}", run.cause);
}

/// A report told of a loss as detected 72 s after the last renewal: the verdict had flickered since 4 s after it.
#[test]
fn a_verdict_that_flickers_does_not_move_the_detection() {
    let said = |health, reason: &str| {
        let seen = RegionHealth { region: region(0), health, reason: reason.to_owned(), parts: Vec::new() };
        Event::Regions(std::sync::Arc::new(vec![seen]))
    };
    let detected = |between: Health| {
        let mut desk = Desk::following();
        desk.wait(3_000).say(said(Health::Down, "first seen"));
        desk.wait(100).say(said(between, ""));
        desk.wait(100).say(said(Health::Down, "seen later"));
        let mut desk = desk.sealing_after(record(0, 1, 1_024));
        desk.done(status(DatabaseRole::Standby, 120));
        claimed(desk).evidence.detected
    };
    assert_eq!(detected(Health::Unknown), "first seen");
    assert_eq!(detected(Health::Up), "seen later", "it lived in between");
}

#[test]
fn a_renewal_begins_the_detection_anew() {
    let said = |health, reason: &str| {
        let seen = RegionHealth { region: region(0), health, reason: reason.to_owned(), parts: Vec::new() };
        Event::Regions(std::sync::Arc::new(vec![seen]))
    };
    let mut desk = Desk::following();
    desk.wait(1_000).say(said(Health::Down, "first seen"));
    desk.wait(100).record(Some(record(0, 1, 1_024)));
    desk.wait(100).say(said(Health::Unknown, ""));
    desk.wait(3_000).say(said(Health::Down, "seen later"));
    let mut desk = desk.sealing_after(record(0, 1, 1_024));
    desk.done(status(DatabaseRole::Standby, 120));
    assert_eq!(claimed(desk).evidence.detected, "seen later");
}

#[test]
fn a_first_start_has_nobody_to_repoint() {
    let mut desk = Desk::leading();
    let run = desk.out.iter().find_map(|c| match c {
        Command::Journal { attempt, run } => Some((*attempt, run.clone())),
        _ => None,
    });
    let (attempt, _) = run.expect("the promotion is journalled");
    desk.say(Event::Journalled { attempt, outcome: Outcome::Done(50) });
    let repoint = desk.out.iter().find_map(|c| match c {
        Command::Journal { run, .. } => run.of_kind(StepKind::Repoint).cloned(),
        _ => None,
    });
    let StepState::Done { since, at, detail } = repoint.expect("journalled").state else {
        panic!("not done")
    };
    assert_eq!(since, at, "nobody is waited for");
    assert_eq!(detail, "a first start, nobody to repoint; to be copied to: beta, gamma");
}
