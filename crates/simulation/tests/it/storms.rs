//! Storms of each shape, and that a seed replays: the many are for `cargo xtask simulate`.

use meridian_failover::Machine;
use meridian_simulation::run::Stage;
use meridian_simulation::{Campaign, Schedule, Shape, run, shrink, story};

/// No law is broken by schedules of this shape.
fn storms(seed: u64, schedules: u64, shape: Shape) {
    let campaign = Campaign { seed, schedules, shapes: vec![shape], threads: 1, serve: Machine::step };
    let (totals, failure) = campaign.run(|_| true);
    let Some(failure) = failure else {
        assert_eq!(totals.schedules, schedules);
        return;
    };
    let mut stage = Stage::default();
    let short = shrink(&failure.schedule, &mut stage);
    panic!("{:?}\n{short:#?}\n{}", failure.broken, story(&short, &mut stage).join("\n"));
}

#[test]
fn three_regions_with_a_quorum() {
    storms(0, 120, Shape::ThreeQuorum);
}

#[test]
fn three_regions_with_a_quorum_in_no_haste() {
    storms(500, 100, Shape::ThreePatient);
}

#[test]
fn three_regions_asynchronous() {
    storms(1_000, 100, Shape::ThreeAsync);
}

#[test]
fn five_regions_with_a_quorum_of_two() {
    storms(2_000, 30, Shape::FiveQuorum);
}

#[test]
fn two_regions_and_a_witness() {
    storms(3_000, 80, Shape::TwoAndWitness);
}

#[test]
fn one_region_alone() {
    storms(4_000, 30, Shape::Alone);
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..12 {
        let schedule = Schedule::new(seed, &Shape::ALL);
        let told = |stage: &mut Stage| story(&schedule, stage);
        let (mut one, mut other) = (Stage::default(), Stage::default());
        assert_eq!(told(&mut one), told(&mut other));
        let (first, again) = (run(&schedule, &mut one), run(&schedule, &mut other));
        assert_eq!(
            (first.events, first.simulated, first.epoch),
            (again.events, again.simulated, again.epoch)
        );
    }
}
