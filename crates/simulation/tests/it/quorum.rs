//! Whose acknowledgements count while members come and go, and while the spec changes.

use std::collections::BTreeSet;

use meridian_failover::State;
use meridian_model::{Epoch, RegionName};
use meridian_simulation::schedule::{SECOND, Us};
use meridian_simulation::shape::region;
use meridian_simulation::{Kind, Shape, World};

/// Until it is mended.
const ENDLESS: Us = 10_000 * SECOND;

fn healthy(seed: u64, shape: Shape) -> World {
    let mut world = World::new(seed, shape, 2 * SECOND);
    comes(&mut world, 30, World::protected);
    world.run_for(8 * SECOND);
    assert_eq!(world.leader(), Some(0));
    world
}

fn comes(world: &mut World, within: u64, what: impl Fn(&World) -> bool) {
    let came = world.until(within * SECOND, what);
    assert_eq!(world.broken(), None, "{}", world.states());
    assert!(came, "not within {within} s: {}\n{}\n{:?}", world.states(), world.needs(), world.record());
}

/// The record promises that so many of these have each acknowledged write.
fn promises(acknowledgers: u32, candidates: &[usize]) -> impl Fn(&World) -> bool {
    let candidates: BTreeSet<RegionName> = candidates.iter().map(|i| region(*i)).collect();
    move |world| {
        let quorum = world.record().and_then(|record| record.quorum.as_ref());
        quorum.is_some_and(|q| q.acknowledgers == acknowledgers && q.candidates == candidates)
    }
}

/// Clients are told of new writes.
fn writes(world: &mut World) {
    let told = world.told();
    comes(world, 5, |w| w.told() > told + 2);
}

/// Before, the proof wanted to hear of a standby that had been gone for days.
#[test]
fn who_is_gone_for_long_is_not_missed_by_the_next_failover() {
    for seed in 2_000..2_010 {
        let mut world = healthy(seed, Shape::ThreeQuorum);
        assert!(promises(1, &[1, 2])(&world), "{:?}", world.record());
        // The node lives, sees and votes; its database is gone for good.
        world.strike(Kind::ActionsFail(2), ENDLESS);
        world.strike(Kind::DatabaseDies(2), 0);
        comes(&mut world, 10, promises(1, &[1]));
        writes(&mut world);
        world.strike(Kind::RegionDies(0), ENDLESS);
        comes(&mut world, 15, |w| w.leader() == Some(1));
        let quorum = world.record().unwrap().quorum.clone().unwrap();
        assert!(quorum.candidates.contains(&region(0)), "the old writer has all that was acknowledged");
        world.heal();
        comes(&mut world, 60, World::protected);
        comes(&mut world, 10, promises(1, &[0, 2]));
    }
}

/// A standby that was lost while a switchover waited was missed by the next failover all the same.
#[test]
fn who_is_gone_is_not_missed_by_a_failover_from_a_writer_that_waits_to_hand_over() {
    for seed in 2_400..2_410 {
        let mut world = healthy(seed, Shape::ThreePatient);
        world.strike(Kind::Switchover(1), 0);
        comes(&mut world, 2, |w| w.state(0) == Some(State::Preparing));
        world.strike(Kind::ActionsFail(2), ENDLESS);
        world.strike(Kind::DatabaseDies(2), 0);
        comes(&mut world, 8, promises(1, &[1]));
        assert_eq!(world.state(0), Some(State::Preparing));
        writes(&mut world);
        world.strike(Kind::RegionDies(0), ENDLESS);
        comes(&mut world, 15, |w| w.leader() == Some(1));
        world.heal();
        comes(&mut world, 60, World::protected);
    }
}

/// Commits waited for standbys that were gone, although the spec says to go on without them.
#[test]
fn a_writer_that_waits_to_hand_over_goes_on_without_standbys() {
    for seed in 2_410..2_420 {
        let mut world = healthy(seed, Shape::ThreePatient);
        world.strike(Kind::Switchover(1), 0);
        comes(&mut world, 2, |w| w.state(0) == Some(State::Preparing));
        world.strike(Kind::NodeDies(1), ENDLESS);
        world.strike(Kind::NodeDies(2), ENDLESS);
        comes(&mut world, 8, promises(0, &[1, 2]));
        assert_eq!(world.state(0), Some(State::Preparing));
        writes(&mut world);
        world.heal();
        comes(&mut world, 60, World::protected);
    }
}

#[test]
fn the_last_acknowledger_is_never_given_up() {
    let mut world = healthy(2_100, Shape::ThreeQuorum);
    world.strike(Kind::NodeDies(1), ENDLESS);
    comes(&mut world, 10, promises(1, &[2]));
    world.strike(Kind::ActionsFail(2), ENDLESS);
    world.strike(Kind::DatabaseDies(2), 0);
    world.run_for(SECOND);
    let told = world.told();
    world.run_for(10 * SECOND);
    assert_eq!((world.told(), world.leader()), (told, Some(0)), "it leads on and waits");
    assert!(promises(1, &[2])(&world), "{:?}", world.record());
    // The first that comes back counts, whichever it is.
    world.mend(Kind::NodeDies(1));
    comes(&mut world, 20, promises(1, &[1]));
    writes(&mut world);
    world.heal();
    comes(&mut world, 60, World::protected);
    assert!(promises(1, &[1, 2])(&world), "{:?}", world.record());
}

/// A standby that connects and is far behind would only be one more to be heard of.
#[test]
fn who_comes_back_counts_when_it_has_caught_up() {
    let mut world = healthy(2_200, Shape::ThreeQuorum);
    world.strike(Kind::NodeDies(2), 6 * SECOND);
    comes(&mut world, 10, promises(1, &[1]));
    world.strike(Kind::WalStuck(2), 15 * SECOND);
    world.run_for(10 * SECOND);
    assert!(promises(1, &[1])(&world), "it streams and receives nothing: {:?}", world.record());
    comes(&mut world, 20, promises(1, &[1, 2]));
}

#[test]
fn another_number_in_the_spec_is_taken_over_node_by_node() {
    for (seed, wanted) in (2_300..2_306).flat_map(|seed| [1, 3].map(|wanted| (seed, wanted))) {
        let mut world = healthy(seed, Shape::FiveQuorum);
        assert!(promises(2, &[1, 2, 3, 4])(&world), "{:?}", world.record());
        world.strike(Kind::Acknowledgers(wanted), 0);
        for node in [4, 3, 2, 1, 0] {
            world.strike(Kind::NodeDies(node), SECOND / 2);
            world.run_for(2 * SECOND);
        }
        comes(&mut world, 40, World::protected);
        let leader = world.leader().unwrap();
        let others: Vec<usize> = (0..5).filter(|i| *i != leader).collect();
        comes(&mut world, 10, promises(wanted, &others));
        writes(&mut world);
        assert!(world.record().unwrap().epoch > Epoch(1));
    }
}
