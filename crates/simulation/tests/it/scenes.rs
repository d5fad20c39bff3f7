//! Scenes: one misfortune each, in virtual time, and what must and must not follow from it. Every law holds in
//! all of them.

use meridian_failover::{Event, State};
use meridian_model::Epoch;
use meridian_model::run::{RunKind, StepKind, StepState};
use meridian_simulation::schedule::{SECOND, Us};
use meridian_simulation::shape::{index, region};
use meridian_simulation::{Kind, Shape, World};

const BOTH: [Shape; 2] = [Shape::ThreeQuorum, Shape::ThreeAsync];
/// Until it is mended.
const ENDLESS: Us = 10_000 * SECOND;

/// All well, the first region the writer in epoch 1.
fn healthy(seed: u64, shape: Shape) -> World {
    let mut world = World::new(seed, shape, 2 * SECOND);
    becomes_well(&mut world, 30);
    world.run_for(8 * SECOND);
    assert_eq!(world.leader(), Some(0));
    world
}

fn lawful(world: &World) {
    assert_eq!(world.broken(), None, "{}", world.states());
}

fn becomes_well(world: &mut World, within: u64) {
    assert!(world.until(within * SECOND, World::protected), "{}\n{}", world.states(), world.needs());
    lawful(world);
}

/// Waits for that, and says how many seconds it took.
fn takes(world: &mut World, within: u64, what: impl Fn(&World) -> bool) -> f64 {
    let from = world.now();
    let came = world.until(within * SECOND, what);
    let story = world.told_so_far().join("\n");
    assert!(came, "not within {within} s: {}\n{}\n{story}", world.states(), world.needs());
    lawful(world);
    (world.now() - from) as f64 / SECOND as f64
}

fn epoch(world: &World) -> Epoch {
    world.record().map_or(Epoch::NONE, |record| record.epoch)
}

/// Another region than this one leads.
fn moved(from: usize) -> impl Fn(&World) -> bool {
    move |world| world.leader().is_some_and(|leader| leader != from)
}

/// Nothing has moved: the first reign, and one promotion.
fn undisturbed(world: &World, why: &str) {
    assert_eq!((epoch(world), world.leader()), (Epoch(1), Some(0)), "{why}: {}", world.states());
    assert_eq!((0..3).map(|i| world.promotions(i)).sum::<u32>(), 1, "{why}");
    lawful(world);
}

/// Clients keep being told of writes, never pausing for longer than so many seconds.
fn writes_go_on(world: &mut World, seconds: u64, pause: u64) {
    for _ in 0..seconds / pause {
        let before = world.told();
        world.run_for(pause * SECOND);
        assert!(world.told() > before, "nobody was told of a write for {pause} s: {}", world.states());
    }
}

#[test]
fn a_region_is_lost_and_another_takes_over() {
    for (seed, shape) in (0..20).flat_map(|seed| BOTH.map(|shape| (seed, shape))) {
        let mut world = healthy(seed, shape);
        world.strike(Kind::RegionDies(0), ENDLESS);
        let took = takes(&mut world, 10, |w| w.leader().is_some());
        assert!((4.0..9.5).contains(&took), "took {took} s");
        takes(&mut world, 20, |w| w.run_of(Epoch(2)).is_some_and(meridian_model::run::Run::finished));
        let run = world.run_of(Epoch(2)).unwrap();
        assert_eq!(
            (run.kind, run.from.clone(), run.takes_over.clone()),
            (RunKind::Failover, Some(region(0)), None)
        );
        assert!(run.cause.contains("alpha is lost") && run.detected_at.is_some(), "{run:?}");
        assert!(!run.evidence.detected.is_empty(), "{run:?}");
        let StepState::Done { detail, .. } = &run.steps[0].state else { panic!("the fence is not done") };
        assert!(["sealed: ", "beta", "gamma"].iter().all(|word| detail.contains(word)), "{detail}");
        world.heal();
        becomes_well(&mut world, 30);
        assert_eq!(epoch(&world), Epoch(2), "the way back takes no new epoch");
    }
}

#[test]
fn an_isolated_primary_stops_before_another_begins() {
    for (seed, shape) in (100..110).flat_map(|seed| BOTH.map(|shape| (seed, shape))) {
        let mut world = healthy(seed, shape);
        world.strike(Kind::Isolated(0), ENDLESS);
        let closed = takes(&mut world, 4, |w| w.leader().is_none());
        let stopped = closed + takes(&mut world, 3, |w| !w.is_primary(0));
        assert!(stopped < 5.0, "its database runs for {stopped} s");
        takes(&mut world, 9, moved(0));
        world.heal();
        becomes_well(&mut world, 30);
        assert_eq!(epoch(&world), Epoch(2));
    }
}

#[test]
fn what_is_no_failover() {
    for (seed, shape) in (200..206).flat_map(|seed| BOTH.map(|shape| (seed, shape))) {
        let mut world = healthy(seed, shape);
        world.strike(Kind::Isolated(0), 2 * SECOND);
        world.run_for(12 * SECOND);
        undisturbed(&world, "a blip of two seconds");

        world.strike(Kind::RegionDies(2), ENDLESS);
        writes_go_on(&mut world, 20, 2);
        undisturbed(&world, "the loss of a standby");
        world.heal();
        becomes_well(&mut world, 20);

        world.strike(Kind::EtcdAway, 30 * SECOND);
        writes_go_on(&mut world, 40, 2);
        undisturbed(&world, "no etcd for 30 s, and its return");

        world.strike(Kind::EtcdCut(0), 20 * SECOND);
        writes_go_on(&mut world, 30, 2);
        undisturbed(&world, "the primary alone cannot reach etcd");

        world.strike(Kind::LinkCut(0, 1), 20 * SECOND);
        world.run_for(30 * SECOND);
        undisturbed(&world, "one line is cut one way");

        world.strike(Kind::EtcdTrouble(30), 20 * SECOND);
        world.run_for(30 * SECOND);
        undisturbed(&world, "a third of the requests to etcd go wrong");

        world.strike(Kind::WatchHangs(1), 20 * SECOND);
        world.strike(Kind::Misjudges(1), 20 * SECOND);
        world.run_for(30 * SECOND);
        undisturbed(&world, "a watch that hangs and a vantage that misjudges");
    }
}

#[test]
fn without_etcd_one_refusal_is_enough_to_stop() {
    let mut world = healthy(300, Shape::ThreeQuorum);
    world.strike(Kind::NodeDies(2), ENDLESS);
    world.run_for(SECOND);
    world.strike(Kind::EtcdAway, ENDLESS);
    takes(&mut world, 5, |w| w.leader().is_none());
    world.run_for(20 * SECOND);
    assert_eq!(epoch(&world), Epoch(1), "and without etcd nobody takes over");
    world.heal();
    becomes_well(&mut world, 60);
}

#[test]
fn a_witness_makes_a_majority_of_two_regions() {
    let mut world = healthy(350, Shape::TwoAndWitness);
    world.strike(Kind::RegionDies(0), ENDLESS);
    takes(&mut world, 12, |w| w.leader() == Some(1));
    world.heal();
    becomes_well(&mut world, 60);
    world.strike(Kind::RegionDies(0), ENDLESS);
    world.run_for(2 * SECOND);
    let told = world.told();
    world.run_for(10 * SECOND);
    assert_eq!((world.leader(), world.told()), (Some(1), told), "it leads on, but nobody acknowledges");
    world.heal();
    becomes_well(&mut world, 60);
}

#[test]
fn a_crashed_database_is_started_again_within_a_budget() {
    let mut world = healthy(400, Shape::ThreeQuorum);
    world.strike(Kind::DatabaseDies(0), 0);
    takes(&mut world, 3, |w| w.leader() == Some(0));
    assert_eq!(epoch(&world), Epoch(1));
    for _ in 0..2 {
        takes(&mut world, 3, |w| w.leader() == Some(0));
        world.strike(Kind::DatabaseDies(0), 0);
    }
    takes(&mut world, 12, moved(0));
    let cause = &world.run_of(Epoch(2)).unwrap().cause;
    assert!(cause.contains("alpha gave the lease up"), "{cause}");
    becomes_well(&mut world, 30);
}

#[test]
fn a_holder_that_restarts_at_once_goes_on_in_a_new_epoch() {
    let mut world = healthy(500, Shape::ThreeQuorum);
    world.strike(Kind::NodeDies(0), SECOND / 2);
    becomes_well(&mut world, 20);
    let record = world.record().unwrap();
    assert_eq!((record.epoch, record.holder.clone()), (Epoch(2), region(0)));
    assert_eq!(world.run_of(Epoch(2)).unwrap().kind, RunKind::Resume);
}

#[test]
fn a_claimant_that_dies_before_it_promotes_goes_on_in_the_same_epoch() {
    let mut world = healthy(600, Shape::ThreeQuorum);
    world.strike(Kind::NodeDies(0), ENDLESS);
    takes(&mut world, 10, |w| epoch(w) == Epoch(2));
    let claimant = index(&world.record().unwrap().holder);
    world.strike(Kind::NodeDies(claimant), ENDLESS);
    world.run_for(20 * SECOND);
    let other = 3 - claimant;
    assert_eq!(epoch(&world), Epoch(2), "the other one sees nobody: {}", world.explain(other));
    assert!(world.explain(other).contains("is unknown"), "{}", world.explain(other));
    world.mend(Kind::NodeDies(claimant));
    takes(&mut world, 20, |w| w.leader() == Some(claimant));
    let run = world.run_of(epoch(&world)).unwrap();
    assert!(run.epoch == Epoch(2) || run.takes_over.is_some(), "{run:?}");
    world.heal();
    becomes_well(&mut world, 40);
}

#[test]
fn another_member_takes_a_run_over() {
    let mut world = healthy(650, Shape::FiveQuorum);
    world.strike(Kind::NodeDies(0), ENDLESS);
    takes(&mut world, 12, moved(0));
    let second = world.leader().unwrap();
    assert!(!world.run_of(Epoch(2)).unwrap().finished());
    world.run_for(SECOND * 4 / 10);
    world.strike(Kind::NodeDies(second), ENDLESS);
    takes(&mut world, 30, moved(second));
    let run = world.run_of(epoch(&world)).unwrap();
    assert_eq!(run.takes_over.as_ref().map(|id| id.as_str()), Some("shop-2-failover"));
    world.heal();
    becomes_well(&mut world, 40);
}

#[test]
fn a_second_failover_within_the_window_waits_for_a_person() {
    let mut world = World::new(700, Shape::ThreeAsync, 300 * SECOND);
    becomes_well(&mut world, 30);
    world.run_for(3 * SECOND);
    world.strike(Kind::NodeDies(0), ENDLESS);
    takes(&mut world, 12, moved(0));
    let second = world.leader().unwrap();
    world.heal();
    becomes_well(&mut world, 30);
    world.strike(Kind::NodeDies(second), ENDLESS);
    world.run_for(30 * SECOND);
    assert_eq!(epoch(&world), Epoch(2));
    assert!(world.explain(0).contains("unless a person agrees"), "{}", world.explain(0));
    world.strike(Kind::PersonAgrees(false), 0);
    takes(&mut world, 10, |w| w.leader().is_some());
}

#[test]
fn a_wiped_etcd_begins_nothing_anew() {
    let mut world = healthy(800, Shape::ThreeQuorum);
    world.wipe_etcd();
    world.run_for(30 * SECOND);
    assert!(world.record().is_none(), "somebody made a new record");
    (0..3).for_each(|i| world.strike(Kind::NodeDies(i), SECOND / 10));
    world.run_for(10 * SECOND);
    assert!(world.record().is_none());
    assert_eq!(world.states(), "alpha: Orphaned, beta: Orphaned, gamma: Orphaned");
    let why = world.explain(0);
    assert!(why.contains("etcd has no record although epoch 1 was seen"), "{why}");
}

#[test]
fn a_holder_that_comes_back_after_the_seal_raises_the_epoch_without_a_stop() {
    for seed in 900..940 {
        let mut world = healthy(seed, Shape::ThreeQuorum);
        world.strike(Kind::Isolated(0), ENDLESS);
        let sealing = |w: &World| (1..3).any(|i| matches!(w.state(i), Some(State::Sealing | State::Sealed)));
        takes(&mut world, 9, sealing);
        // By then the holder has fenced itself, so it either wins anew or loses; both must end well.
        world.heal();
        becomes_well(&mut world, 60);
    }
    // With the holder alive all the time: a single standby is deceived in both its witnesses.
    let mut world = healthy(950, Shape::ThreeQuorum);
    world.strike(Kind::NodeDies(1), SECOND / 10);
    world.memory_mut(1).unwrap().sealed = Some(Epoch(1));
    takes(&mut world, 30, |w| epoch(w) == Epoch(2));
    becomes_well(&mut world, 30);
    assert_eq!((world.leader(), world.promotions(0)), (Some(0), 1), "the writer never stopped");
    let cause = &world.run_of(Epoch(2)).unwrap().cause;
    assert!(cause.contains("whose writer is well"), "{cause}");
}

#[test]
fn a_loop_that_hangs_cannot_keep_the_database_alive() {
    for kind in [Kind::LoopStalls(0), Kind::ProcessSleeps(0)] {
        let mut world = healthy(1_000, Shape::ThreeAsync);
        world.strike(kind, 20 * SECOND);
        let closed = takes(&mut world, 4, |w| w.leader().is_none());
        let stopped = closed + takes(&mut world, 5, |w| !w.is_primary(0));
        assert!(stopped < 5.0, "the watchdog or the guard kills it: {stopped} s");
        becomes_well(&mut world, 60);
    }
}

#[test]
fn asked_to_step_down_it_hands_over() {
    let mut world = healthy(1_100, Shape::ThreeQuorum);
    world.tell(0, Event::StepDown { reason: "maintenance".to_owned() });
    let took = takes(&mut world, 6, moved(0));
    assert!(took < 4.0, "a lease that was given up is not waited for: {took} s");
    becomes_well(&mut world, 30);
}

#[test]
fn nobody_with_data_left_behind_is_promoted_without_a_word() {
    let mut world = healthy(1_200, Shape::ThreeAsync);
    // Both standbys fall far behind, then the writer is lost.
    world.strike(Kind::WalStuck(1), ENDLESS);
    world.strike(Kind::WalStuck(2), ENDLESS);
    world.run_for(12 * SECOND);
    world.strike(Kind::NodeDies(0), ENDLESS);
    world.run_for(20 * SECOND);
    assert_eq!(epoch(&world), Epoch(1));
    assert!(world.needs().contains("needs --accept-data-loss"), "{}", world.needs());
    world.strike(Kind::PersonAgrees(true), 0);
    takes(&mut world, 10, |w| w.leader().is_some());
    let run = world.run_of(Epoch(2)).unwrap();
    assert!(run.cause.contains("ada accepts the loss of data"), "{}", run.cause);
    assert!(run.steps.iter().any(|step| step.kind() == StepKind::Promote));
}

/// The writer moves on purpose, in every shape that can, and nothing is lost.
#[test]
fn a_switchover_moves_the_writer_and_comes_home() {
    for shape in [Shape::ThreeQuorum, Shape::ThreeAsync, Shape::FiveQuorum] {
        let mut world = healthy(1_300, shape);
        for (reign, to) in [(2, 1), (3, 0)] {
            world.run_for(2 * SECOND);
            world.listen();
            world.strike(Kind::Switchover(to), 0);
            let pause = takes(&mut world, 10, |w| w.leader() == Some(to));
            assert!(pause < 5.0, "{pause} s");
            assert_eq!(epoch(&world), Epoch(reign));
            becomes_well(&mut world, 60);
            let runs = world.run_of(Epoch(reign)).unwrap();
            assert_eq!((runs.kind, runs.epoch), (RunKind::Switchover, Epoch(reign)));
        }
    }
}

/// What a plan wants before the old writer is demoted is done by it, before anything is held, and stands in the run
/// of the new one.
#[test]
fn the_old_writer_does_what_comes_before_its_demotion() {
    for shape in [Shape::ThreeAsync, Shape::FiveQuorum, Shape::TwoAndWitness] {
        let mut world = healthy(1_310, shape);
        world.strike(Kind::Switchover(1), 0);
        takes(&mut world, 20, |w| w.leader() == Some(1));
        becomes_well(&mut world, 60);
        let run = world.run_of(Epoch(2)).unwrap();
        assert!(run.takes_over.as_ref().is_some_and(|id| id.as_str().contains("-prepare-")), "{run:?}");
        let ended = |name: &str| {
            let step = run.steps.iter().find(|step| step.work.name.as_str() == name);
            match step.map(|step| &step.state) {
                Some(StepState::Done { since, at, .. }) => (*since, *at),
                other => panic!("{name} is {other:?}"),
            }
        };
        assert!(ended("ready").1 <= ended("settle").0, "{run:?}");
        assert!(ended("settle").1 <= ended("demote").0, "{run:?}");
    }
}
