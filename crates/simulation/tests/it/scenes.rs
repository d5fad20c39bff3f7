//! Scenes: one misfortune each, in virtual time, and what must and must not follow from it.

use meridian_failover::{Event, State};
use meridian_model::Epoch;
use meridian_model::database::Replication;
use meridian_model::run::{RunKind, StepKind, StepState};

use super::names::region;
use super::world::{Ms, World};

const QUORUM: Replication = Replication::Quorum { acknowledgers: 1 };
const BOTH: [Replication; 2] = [QUORUM, Replication::Async];

/// Three regions, all well, the first of them the writer in epoch 1.
pub(crate) fn healthy(seed: u64, replication: Replication) -> World {
    let mut world = World::new(seed, 3, replication);
    assert!(world.until(30_000, World::well), "does not begin: {}", world.states());
    world.run(8_000);
    assert_eq!(world.leader(), Some(0));
    world
}

fn epoch(world: &World) -> Epoch {
    world.store.record.as_ref().map_or(Epoch::NONE, |(r, _)| r.epoch)
}

fn isolate(world: &mut World, i: usize) {
    for j in (0..world.nodes.len()).filter(|j| *j != i) {
        world.link[i][j] = false;
        world.link[j][i] = false;
    }
    world.link_etcd[i] = false;
}

/// Nothing has moved: the first reign, one promotion, and writes were acknowledged all the time.
fn undisturbed(world: &World, why: &str) {
    assert_eq!((epoch(world), world.leader()), (Epoch(1), Some(0)), "{why}: {}", world.states());
    let promotions: u32 = world.nodes.iter().map(|n| n.promotions).sum();
    assert_eq!(promotions, 1, "{why}");
}

/// Writes keep being acknowledged, never pausing for longer than `pause`.
fn writes_go_on(world: &mut World, ms: Ms, pause: Ms) {
    for _ in 0..ms / pause {
        let before = world.acked.len();
        world.run(pause);
        assert!(world.acked.len() > before, "no write was acknowledged for {pause} ms at {}", world.now);
    }
}

#[test]
fn a_region_is_lost_and_another_takes_over() {
    for (seed, replication) in (0..20).flat_map(|seed| BOTH.map(|r| (seed, r))) {
        let mut world = healthy(seed, replication);
        let fault = world.now;
        world.crash(0);
        assert!(world.until(9_000, |w| w.leader().is_some()), "nobody writes: {}", world.explain(1));
        let took = world.now - fault;
        assert!((4_000..8_500).contains(&took), "took {took} ms");
        assert!(
            world.until(20_000, |w| w.store.runs.values().any(|(r, _)| r.epoch == Epoch(2) && r.finished()))
        );
        let (run, _) = world.store.runs.values().find(|(r, _)| r.epoch == Epoch(2)).unwrap();
        assert_eq!(
            (run.kind, run.from.clone(), run.takes_over.clone()),
            (RunKind::Failover, Some(region(0)), None)
        );
        assert!(run.cause.contains("alpha is lost") && run.detected_at.is_some(), "{run:?}");
        let StepState::Done { detail, .. } = &run.steps[0].state else { panic!("the fence is not done") };
        assert!(
            detail.contains("sealed: ") && detail.contains("beta") && detail.contains("gamma"),
            "{detail}"
        );
        world.boot(0);
        assert!(world.until(30_000, World::well), "the old primary does not come back: {}", world.states());
        assert_eq!(epoch(&world), Epoch(2), "the way back takes no new epoch");
    }
}

#[test]
fn an_isolated_primary_stops_before_another_begins() {
    for (seed, replication) in (100..110).flat_map(|seed| BOTH.map(|r| (seed, r))) {
        let mut world = healthy(seed, replication);
        let fault = world.now;
        isolate(&mut world, 0);
        assert!(world.until(4_000, |w| w.leader().is_none()), "its gateway stays open");
        assert!(world.until(5_100 - (world.now - fault), |w| w.nodes[0].db.role
            != meridian_model::group::DatabaseRole::Primary));
        let stopped = world.now;
        assert!(world.until(9_000, |w| w.leader().is_some_and(|l| l != 0)));
        assert!(world.now > stopped);
        world.heal();
        assert!(world.until(30_000, World::well), "{}", world.states());
        assert_eq!(epoch(&world), Epoch(2));
    }
}

#[test]
fn what_is_no_failover() {
    for (seed, replication) in (200..206).flat_map(|seed| BOTH.map(|r| (seed, r))) {
        let mut world = healthy(seed, replication);
        isolate(&mut world, 0);
        world.run(2_000);
        world.heal();
        world.run(10_000);
        undisturbed(&world, "a blip of two seconds");

        world.crash(2);
        writes_go_on(&mut world, 20_000, 1_000);
        undisturbed(&world, "the loss of a standby");
        world.boot(2);
        assert!(world.until(20_000, World::well));

        world.etcd_up = false;
        writes_go_on(&mut world, 30_000, 1_000);
        undisturbed(&world, "no etcd for 30 s");
        world.etcd_up = true;
        writes_go_on(&mut world, 10_000, 1_000);
        undisturbed(&world, "etcd comes back");

        world.link_etcd[0] = false;
        writes_go_on(&mut world, 20_000, 1_000);
        undisturbed(&world, "the primary alone cannot reach etcd");
        world.link_etcd[0] = true;
        world.run(10_000);

        world.link[0][1] = false;
        world.run(20_000);
        undisturbed(&world, "one line is cut");
        world.link[0][1] = true;

        world.trouble = 30;
        world.run(20_000);
        world.trouble = 0;
        world.run(10_000);
        undisturbed(&world, "a third of the messages to etcd go wrong");

        world.nodes[1].watch_hangs = true;
        world.nodes[1].lies = true;
        world.run(20_000);
        undisturbed(&world, "a watch that hangs and a region falsely called down");
    }
}

#[test]
fn without_etcd_one_refusal_is_enough_to_stop() {
    let mut world = healthy(300, QUORUM);
    world.crash(2);
    world.run(1_000);
    world.etcd_up = false;
    assert!(world.until(5_000, |w| w.leader().is_none()), "a member that is silent has promised nothing");
    world.run(20_000);
    assert_eq!(epoch(&world), Epoch(1), "and without etcd nobody takes over");
    world.heal();
    assert!(world.until(60_000, World::well), "{}", world.states());
}

#[test]
fn a_crashed_database_is_started_again_within_a_budget() {
    let mut world = healthy(400, QUORUM);
    world.crash_database(0);
    assert!(world.until(3_000, |w| w.leader() == Some(0)));
    assert_eq!(epoch(&world), Epoch(1));
    for _ in 0..2 {
        world.run(1_000);
        world.crash_database(0);
        world.run(20);
    }
    assert!(world.until(12_000, |w| w.leader().is_some_and(|l| l != 0)), "{}", world.states());
    let (run, _) = world.store.runs.values().find(|(r, _)| r.epoch == Epoch(2)).unwrap();
    assert!(run.cause.contains("alpha gave the lease up"), "{}", run.cause);
    assert!(world.until(30_000, World::well), "{}", world.states());
}

#[test]
fn a_holder_that_restarts_at_once_goes_on_in_a_new_epoch() {
    let mut world = healthy(500, QUORUM);
    world.crash(0);
    world.run(500);
    world.boot(0);
    assert!(world.until(20_000, World::well), "{}", world.states());
    let (record, _) = world.store.record.clone().unwrap();
    assert_eq!((record.epoch, record.holder), (Epoch(2), region(0)));
    let (run, _) = world.store.runs.values().find(|(r, _)| r.epoch == Epoch(2)).unwrap();
    assert_eq!(run.kind, RunKind::Resume);
}

#[test]
fn a_claimant_that_dies_before_it_promotes_goes_on_in_the_same_epoch() {
    let mut world = healthy(600, QUORUM);
    world.crash(0);
    assert!(world.until(9_000, |w| epoch(w) == Epoch(2)));
    let (record, _) = world.store.record.clone().unwrap();
    let claimant = super::names::index(&record.holder);
    world.crash(claimant);
    world.run(20_000);
    let other = 3 - claimant;
    assert_eq!(epoch(&world), Epoch(2), "the other one sees nobody: {}", world.explain(other));
    assert!(world.explain(other).contains("is unknown"), "{}", world.explain(other));
    world.boot(claimant);
    assert!(world.until(20_000, |w| w.leader() == Some(claimant)), "{}", world.states());
    let (run, _) = world.store.runs.values().find(|(r, _)| r.to == record.holder).unwrap();
    assert!(run.epoch == Epoch(2) || run.takes_over.is_some(), "{run:?}");
    world.boot(0);
    assert!(world.until(40_000, World::well), "{}", world.states());
}

#[test]
fn another_member_takes_a_run_over() {
    let mut world = World::new(650, 5, Replication::Quorum { acknowledgers: 2 });
    assert!(world.until(30_000, World::well));
    world.crash(0);
    assert!(world.until(12_000, |w| w.leader().is_some_and(|l| l != 0)));
    let second = world.leader().unwrap();
    let done = |w: &World| w.store.runs.values().any(|(r, _)| r.epoch == Epoch(2) && r.finished());
    assert!(!done(&world));
    world.run(400);
    world.crash(second);
    assert!(world.until(30_000, |w| w.leader().is_some_and(|l| l != second)), "{}", world.states());
    let (run, _) = world.store.runs.values().find(|(r, _)| r.epoch > Epoch(2)).unwrap();
    assert_eq!(run.takes_over.as_ref().map(|id| id.as_str()), Some("shop-2-failover"));
    world.heal();
    assert!(world.until(40_000, World::well), "{}", world.states());
}

#[test]
fn a_second_failover_within_the_window_waits_for_a_person() {
    let mut world = World::with_flap_window(700, 3, Replication::Async, std::time::Duration::from_secs(300));
    assert!(world.until(30_000, World::well));
    world.run(3_000);
    world.crash(0);
    assert!(world.until(12_000, |w| w.leader().is_some_and(|l| l != 0)));
    world.boot(0);
    assert!(world.until(30_000, World::well));
    let second = world.leader().unwrap();
    world.crash(second);
    world.run(30_000);
    assert_eq!(epoch(&world), Epoch(2));
    assert!(world.explain(0).contains("unless a person agrees"), "{}", world.explain(0));
    world.tell(0, &Event::PersonAgrees { epoch: Epoch(2), accept_data_loss: false });
    world.tell(3 - second, &Event::PersonAgrees { epoch: Epoch(2), accept_data_loss: false });
    assert!(world.until(10_000, |w| w.leader().is_some()), "{}", world.explain(0));
}

#[test]
fn a_wiped_etcd_begins_nothing_anew() {
    let mut world = healthy(800, QUORUM);
    world.wipe();
    world.run(30_000);
    assert!(world.store.record.is_none(), "somebody made a new record");
    for i in 0..3 {
        world.crash(i);
        world.boot(i);
    }
    world.run(10_000);
    assert!(world.store.record.is_none());
    assert_eq!(world.states(), "Orphaned Orphaned Orphaned");
    assert!(
        world.explain(0).contains("etcd has no record although epoch 1 was seen"),
        "{}",
        world.explain(0)
    );
}

#[test]
fn a_holder_that_comes_back_after_the_seal_raises_the_epoch_without_a_stop() {
    let mut raised = 0;
    for seed in 900..940 {
        let mut world = healthy(seed, QUORUM);
        isolate(&mut world, 0);
        world.until(9_000, |w| {
            w.nodes[1..].iter().any(|n| {
                n.machine.as_ref().is_some_and(|m| matches!(m.state(), State::Sealing | State::Sealed))
            })
        });
        world.heal();
        assert!(world.until(60_000, World::well), "{}", world.states());
        raised += u32::from(world.leader() == Some(0) && world.nodes[0].promotions <= 2);
    }
    // By then the holder has fenced itself, so it either won anew or lost; both must end well.
    assert!(raised <= 40);

    // With the holder alive all the time: a single standby is deceived in both its witnesses.
    let mut world = healthy(950, QUORUM);
    world.seal_by_force(1);
    assert!(world.until(30_000, |w| epoch(w) == Epoch(2)), "{} {}", world.states(), world.explain(1));
    assert!(world.until(30_000, World::well), "{}", world.states());
    assert_eq!((world.leader(), world.nodes[0].promotions), (Some(0), 1), "the writer never stopped");
    let (run, _) = world.store.runs.values().find(|(r, _)| r.epoch == Epoch(2)).unwrap();
    assert!(run.cause.contains("whose writer is well"), "{}", run.cause);
}

#[test]
fn a_loop_that_hangs_cannot_keep_the_database_alive() {
    let mut world = healthy(1_000, Replication::Async);
    world.nodes[0].stalled_until = world.now + 20_000;
    assert!(world.until(3_600, |w| w.leader().is_none()), "the gateway closes by itself");
    assert!(world.until(1_600, |w| w.nodes[0].db.role != meridian_model::group::DatabaseRole::Primary));
    assert!(world.until(60_000, World::well), "{}", world.states());
}

#[test]
fn asked_to_step_down_it_hands_over() {
    let mut world = healthy(1_100, QUORUM);
    world.tell(0, &Event::StepDown { reason: "maintenance".to_owned() });
    let asked = world.now;
    assert!(world.until(6_000, |w| w.leader().is_some_and(|l| l != 0)), "{}", world.states());
    assert!(world.now - asked < 4_000, "a lease that was given up is not waited for");
    assert!(world.until(30_000, World::well), "{}", world.states());
}

#[test]
fn nobody_with_data_left_behind_is_promoted_without_a_word() {
    let mut world = healthy(1_200, Replication::Async);
    // Both standbys fall far behind, then the writer is lost.
    for j in [1, 2] {
        world.link[0][j] = false;
    }
    world.run(12_000);
    world.crash(0);
    world.run(20_000);
    assert_eq!(epoch(&world), Epoch(1));
    let told = [world.explain(1), world.explain(2)].join(" ");
    assert!(told.contains("needs --accept-data-loss"), "{told}");
    for i in [1, 2] {
        world.tell(i, &Event::PersonAgrees { epoch: Epoch(1), accept_data_loss: true });
    }
    assert!(world.until(10_000, |w| w.leader().is_some()), "{}", world.explain(1));
    let (run, _) = world.store.runs.values().find(|(r, _)| r.epoch == Epoch(2)).unwrap();
    assert!(run.cause.contains("a person accepts the loss of data"), "{}", run.cause);
    assert!(run.steps.iter().any(|s| s.kind == StepKind::Promote));
}
