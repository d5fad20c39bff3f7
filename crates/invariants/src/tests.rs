//! Every invariant holds in a good world and is broken in one made to break it.

use std::time::Duration;

use meridian_model::health::Health;
use meridian_model::name::RegionName;
use meridian_model::plan::{Task, Work};
use meridian_model::run::{Run, RunKind, Step, StepKind, StepState};
use meridian_model::{Epoch, Moment, Name, Timestamp};
use proptest::prelude::*;

use super::*;

fn name(text: &str) -> RegionName {
    Name::new(text).unwrap()
}

fn at(ms: u64) -> Moment {
    Moment::from_millis(ms)
}

fn writer(region: &str, epoch: u64, from: u64, to: u64) -> WriterClaim {
    WriterClaim { region: name(region), epoch: Epoch(epoch), from: at(from), to: at(to) }
}

fn ack(id: u64, server: &str, sent: u64, acked: u64) -> Ack {
    Ack { id, sent_at: at(sent), acked_at: at(acked), server: Some(name(server)) }
}

/// One after the other.
const STEPS: [StepKind; 7] = [
    StepKind::Fence,
    StepKind::Promote,
    StepKind::Repoint,
    StepKind::Scale,
    StepKind::Shift,
    StepKind::Verify,
    StepKind::Protect,
];

fn step(i: usize, kind: StepKind, state: StepState) -> Step {
    let mut step = Step::plain(kind, state).unwrap();
    step.work.after =
        i.checked_sub(1).and_then(|i| STEPS.get(i)).map(|k| Name::from(*k)).into_iter().collect();
    step
}

/// A run with so many steps done and, if wanted, the next one running.
fn run(done: usize, running: bool) -> Run {
    let t = Timestamp(1);
    let state = |i| match i {
        i if i < done => StepState::Done { since: t, at: t, detail: String::new() },
        i if i == done && running => StepState::Running { since: t },
        _ => StepState::Pending,
    };
    Run {
        from: Some(name("us")),
        steps: STEPS.into_iter().enumerate().map(|(i, kind)| step(i, kind, state(i))).collect(),
        ..Run::begin(name("shop-2-failover"), name("shop"), RunKind::Failover, Epoch(2), name("eu"), t)
    }
}

/// A region loss as it should be.
fn lawful() -> World {
    World {
        acks: vec![ack(1, "us", 0, 10), ack(2, "us", 90, 110), ack(3, "eu", 6_000, 6_050)],
        writers: vec![writer("us", 1, 0, 4_500), writer("eu", 2, 5_500, 20_000)],
        epochs: [("eu", 1, "us"), ("us", 1, "us"), ("eu", 2, "eu"), ("us", 2, "eu")]
            .map(|(by, epoch, holder)| EpochSeen {
                by: by.to_owned(),
                at: at(0),
                epoch: Epoch(epoch),
                holder: Some(name(holder)),
            })
            .to_vec(),
        runs: vec![run(1, true), run(2, true), run(7, false)],
        ledger: Some(Ledger {
            acknowledged: vec![(1, at(10)), (2, at(110)), (3, at(6_050))],
            found: [1, 2, 3].into(),
            allowed_loss: Duration::ZERO,
        }),
        quorums: vec![QuorumSeen {
            epoch: Epoch(2),
            acknowledgers: 1,
            candidates: vec![name("us"), name("ap")],
            lacking: vec![name("ap")],
        }],
        faults: Some(vec![Fault { region: name("us"), from: at(200), to: None, justifies_failover: true }]),
        failovers: vec![(at(5_200), name("us"))],
        snapshots: [(1, 3), (2, 2), (3, 2)]
            .map(|(generation, answers)| SnapshotSeen { region: name("eu"), generation, answers })
            .to_vec(),
        answers: vec![AnswerSeen {
            by: name("eu"),
            offered: vec![name("eu"), name("us")],
            forbidden: vec![name("ap")],
        }],
        begun: vec![Begun { epoch: Epoch(2), holder: name("eu"), able: Vec::new() }],
        repeats: vec![Repeat {
            epoch: Epoch(2),
            after: Duration::from_secs(400),
            window: Duration::from_secs(300),
            agreed: false,
        }],
        follows: vec![FollowSeen { region: name("us"), had_led: false }],
        steps: vec![StepSeen {
            by: name("eu"),
            epoch: Epoch(2),
            current: Epoch(2),
            holder: Some(name("eu")),
        }],
        verdicts: vec![VerdictSeen {
            by: name("eu"),
            region: name("us"),
            health: Health::Down,
            all: 3,
            up: 0,
            down: 2,
            silent: true,
        }],
        seals: vec![SealSeen {
            by: name("eu"),
            holder: name("us"),
            unchanged_for: Some(Duration::from_secs(5)),
            needed: Duration::from_secs(4),
        }],
        calm: Some(Calm {
            protected_after: Some(Duration::from_secs(9)),
            allowed: Duration::from_secs(60),
            state: "protected".to_owned(),
        }),
    }
}

/// A change to a lawful world.
type Harm = fn(&mut World);

#[test]
fn a_lawful_world_breaks_nothing() {
    assert_eq!(all(&lawful()), Vec::new());
    assert_eq!(all(&World::default()), Vec::new());
    assert_eq!(one_writer::most_at_once(&lawful().writers), 1);
}

#[test]
fn every_law_can_be_broken() {
    let harms: [(&str, Harm, &str); 26] = [
        ("one_writer", |w| w.writers[0].to = at(5_600), "could both write for 100ms"),
        ("one_writer", |w| w.writers[1].epoch = Epoch(1), "both wrote in epoch 1"),
        ("epochs_rise", |w| w.epochs.swap(0, 2), "eu showed epoch 1 after epoch 2"),
        ("epochs_rise", |w| w.epochs[3].holder = Some(name("us")), "epoch 2 was held by eu and by us"),
        ("acknowledged_kept", |w| w.ledger.as_mut().unwrap().found = [1, 3].into(), "1 of 3 acknowledged"),
        ("quorum_kept", |w| w.quorums[0].candidates.truncate(1), "1 of us have each"),
        ("fence_before_promote", |w| w.acks.push(ack(4, "us", 6_060, 6_070)), "us acknowledged write 4"),
        (
            "run_in_order",
            |w| w.runs[0].steps[0].state = StepState::Pending,
            "promote began before fence was done",
        ),
        ("run_in_order", |w| drop(w.runs[1].steps.remove(0)), "has 0 steps of the kind fence"),
        (
            "run_in_order",
            |w| {
                w.runs[0].steps[0].state = StepState::Pending;
                w.runs[0].steps[1].work.after.clear();
            },
            "promote began before fence was done",
        ),
        (
            "run_in_order",
            |w| {
                let steps = &mut w.runs[0].steps;
                (steps[1].state, steps[3].state) =
                    (StepState::Pending, StepState::Running { since: Timestamp(1) });
                steps[3].work.after.clear();
            },
            "scale began before promote was done",
        ),
        ("run_in_order", |w| w.runs.swap(1, 2), "fewer steps done"),
        ("no_failover_while_healthy", |w| w.faults = Some(Vec::new()), "moved away from us"),
        ("snapshot_not_emptied", |w| w.snapshots[2].answers = 0, "emptied the answer"),
        ("snapshot_not_emptied", |w| w.snapshots[2].generation = 0, "back to 0"),
        ("fence_before_promote", |w| w.begun[0].able.push(name("us")), "began while us could write"),
        ("flapping_held", |w| w.repeats[0].after = Duration::from_secs(299), "299s after the last"),
        ("dead_needs_evidence", |w| w.verdicts[0].down = 1, "eu calls us down: 1 of 3"),
        ("dead_needs_evidence", |w| w.verdicts[0].silent = false, "is fresh"),
        ("expiry_confirmed", |w| w.seals[0].unchanged_for = None, "had not looked"),
        ("expiry_confirmed", |w| w.seals[0].needed = Duration::from_secs(6), "6s are needed"),
        ("old_primary_rejoins", |w| w.follows[0].had_led = true, "us had been the primary"),
        ("residency_kept", |w| w.answers[0].offered.push(name("ap")), "sent users to ap"),
        (
            "step_in_epoch",
            |w| {
                w.steps[0].by = name("us");
                w.steps[0].epoch = Epoch(1);
            },
            "us began a step of its run of epoch 1 in epoch 2",
        ),
        ("protected_again", |w| w.calm.as_mut().unwrap().protected_after = None, "within 60s"),
        ("run_finishes", |w| w.runs[2] = w.runs[1].clone(), "is not finished"),
    ];
    for (law, harm, words) in harms {
        let mut world = lawful();
        harm(&mut world);
        let broken = all(&world);
        assert_eq!(broken.iter().map(|v| v.invariant).collect::<Vec<_>>(), [law], "{words}");
        assert!(broken[0].evidence.contains(words), "{}", broken[0].evidence);
    }
    assert!(
        LAWS.iter().all(|(law, _)| harms.iter().any(|(harmed, _, _)| harmed == law)),
        "a law nobody breaks"
    );
}

/// A switchover that goes on from a run of the reign before, in which a wait came before the demotion.
#[test]
fn what_counts_as_done_before_the_demotion_was_done_by_the_old_writer() {
    let switchover = |id: &str, epoch, waited: bool, begun: bool| {
        let t = Timestamp(1);
        let state = |done| match done {
            true => StepState::Done { since: t, at: t, detail: String::new() },
            false => StepState::Pending,
        };
        let mut new = Run { id: name(id), epoch: Epoch(epoch), kind: RunKind::Switchover, ..run(0, false) };
        let wait = Task::Wait { for_ms: 1 };
        let wait = Work::new(name("settle"), wait, Duration::from_secs(1));
        let mut demote = Step::plain(StepKind::Demote, state(begun)).unwrap();
        demote.work.after = vec![name("settle")];
        let before = [Step { state: state(waited), ..Step::pending(wait) }, demote];
        new.steps.splice(0..0, before);
        new
    };
    let world = |waited| {
        let old = switchover("shop-1-prepare", 1, waited, false);
        let takes_over = Some(old.id.clone());
        let new = Run { takes_over, ..switchover("shop-2-switchover", 2, true, true) };
        World { runs: vec![old, new], ..World::default() }
    };
    assert_eq!(run_in_order::check(&world(true)), Ok(()));
    let broken = run_in_order::check(&world(false)).unwrap_err();
    assert!(broken.evidence.contains("settle counts as done, and run shop-1-prepare did not do it"));
}

#[test]
fn an_asynchronous_loss_may_reach_back_as_far_as_allowed() {
    let mut world = lawful();
    let ledger = world.ledger.as_mut().unwrap();
    ledger.found = [3].into();
    ledger.allowed_loss = Duration::from_millis(100);
    assert_eq!(acknowledged_kept::check(&world), Ok(()), "100 ms lost, 100 ms allowed");
    world.ledger.as_mut().unwrap().allowed_loss = Duration::from_millis(99);
    assert!(acknowledged_kept::check(&world).is_err());
}

#[test]
fn an_answer_that_travels_late_is_no_late_write() {
    let mut world = lawful();
    world.acks.push(ack(4, "us", 100, 7_000));
    assert_eq!(fence_before_promote::check(&world), Ok(()));
}

#[test]
fn the_way_home_is_no_second_writer() {
    let mut world = lawful();
    world.writers[1].to = at(9_000);
    world.writers.push(writer("us", 3, 9_500, 20_000));
    world.acks.push(ack(4, "us", 9_600, 9_700));
    assert_eq!(fence_before_promote::check(&world), Ok(()));
    assert_eq!(one_writer::check(&world), Ok(()));
}

proptest! {
    /// The law and the count of writers agree on any set of times.
    #[test]
    fn the_count_agrees_with_the_law(spans in proptest::collection::vec((0_u64..3, 0_u64..50, 1_u64..30), 1..8)) {
        let writers: Vec<WriterClaim> = spans.iter().enumerate().map(|(i, (region, from, len))| {
            writer(["us", "eu", "ap"][*region as usize], i as u64 + 1, *from, from + len)
        }).collect();
        let world = World { writers: writers.clone(), ..World::default() };
        prop_assert_eq!(one_writer::check(&world).is_ok(), one_writer::most_at_once(&writers) == 1);
    }
}
