//! One schedule from its beginning to its end: the storm, the calm after it, and what the laws say.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use meridian_failover::{At, Command, Event, Machine};
use meridian_invariants::{Calm, Violation};

use crate::schedule::{SECOND, Schedule, Us};
use crate::shape::Shape;
use crate::world::World;

/// When all faults have ended, the system is protected again within this much simulated time.
///
/// The longest way that was seen in a million schedules takes 80 s: a standby that was cut off while it was
/// being copied is examined after 15 s without a stream, its rejoin on suspicion is not repeated for 60 s
/// (`STREAM_PATIENCE` and `REJOIN_AGAIN` in `crates/failover/src/limits.rs`), and each of that may come after a
/// flap window, a promise and a lease that have to end.
pub const PROTECTED_WITHIN: Us = 120 * SECOND;

/// A person looks after this long.
const PERSON_AFTER: Us = 45 * SECOND;
/// The very first start takes at most this long.
const FIRST_START: Us = 60 * SECOND;
/// A healthy system is left alone for this long before a storm.
const SETTLES: Us = 4 * SECOND;
/// A late journal entry is written over within this long.
const LATE_ENTRIES: Us = 10 * SECOND;
/// Once protected again, a client is told of a new write within this long.
const WRITES_WITHIN: Us = 5 * SECOND;

/// What became of a schedule.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The law that was broken, if one was.
    pub broken: Option<Violation>,
    /// How many events it had.
    pub events: u64,
    /// How long it took until the system was protected again.
    pub healed_in: Us,
    /// How long it lasted, in simulated time.
    pub simulated: Us,
    /// The reign at its end.
    pub epoch: u64,
}

/// How a machine is given an event: [`Machine::step`], or that with something around it.
pub type Serve = fn(&mut Machine, Event, At) -> Vec<Command>;

/// Healthy systems to begin with: made once, copied for every schedule.
pub struct Stage {
    warm: BTreeMap<(Shape, u64, Us), World>,
    serve: Serve,
}

impl Default for Stage {
    fn default() -> Self {
        Self::serving(Machine::step)
    }
}

impl Stage {
    /// Machines are served that way.
    #[must_use]
    pub const fn serving(serve: Serve) -> Self {
        Self { warm: BTreeMap::new(), serve }
    }

    /// The world that a schedule begins with.
    ///
    /// # Errors
    /// A system that does not become healthy although nothing is wrong.
    pub fn world(&mut self, schedule: &Schedule) -> Result<World, Violation> {
        let (shape, window) = (schedule.shape, schedule.flap_window);
        let mut world = match schedule.warm {
            None => World::new(schedule.seed, shape, window),
            Some(number) => match self.warm.get(&(shape, number, window)) {
                Some(world) => world.clone(),
                None => {
                    let mut world = World::new(number, shape, window);
                    let well = world.until(FIRST_START, World::protected);
                    world.run_for(SETTLES);
                    if !well || world.broken().is_some() {
                        let evidence = format!("a healthy start does not end well: {}", world.states());
                        return Err(world
                            .broken()
                            .cloned()
                            .unwrap_or(Violation::new("protected_again", evidence)));
                    }
                    self.warm.insert((shape, number, window), world.clone());
                    world
                }
            },
        };
        world.serve = self.serve;
        world.begin(schedule.seed, window, &schedule.faults);
        Ok(world)
    }
}

/// Lets a schedule happen.
#[must_use]
pub fn run(schedule: &Schedule, stage: &mut Stage) -> Outcome {
    match stage.world(schedule) {
        Ok(world) => play(world, schedule).0,
        Err(broken) => Outcome { broken: Some(broken), events: 0, healed_in: 0, simulated: 0, epoch: 0 },
    }
}

/// Lets a schedule happen and tells it, line by line.
#[must_use]
pub fn story(schedule: &Schedule, stage: &mut Stage) -> Vec<String> {
    let Ok(mut world) = stage.world(schedule) else { return Vec::new() };
    world.story = Some(Vec::new());
    let (outcome, world) = play(world, schedule);
    let mut lines = world.story.unwrap_or_default();
    if let Some(broken) = outcome.broken {
        lines.push(format!("BROKEN: {}: {}", broken.invariant, broken.evidence));
    }
    lines
}

/// Lets a schedule happen and gives the moves of all machines, as `From -> To: trigger`.
#[must_use]
pub fn moves(schedule: &Schedule, stage: &mut Stage) -> BTreeSet<String> {
    let Ok(mut world) = stage.world(schedule) else { return BTreeSet::new() };
    world.moves = Some(BTreeSet::new());
    play(world, schedule).1.moves.unwrap_or_default()
}

/// The storm and the calm. A machine that panics has broken a law, too.
fn play(mut world: World, schedule: &Schedule) -> (Outcome, World) {
    let began = world.now;
    let played = catch_unwind(AssertUnwindSafe(|| {
        world.run_until(began + schedule.calm_from);
        heal(&mut world)
    }));
    let healed_in = match &played {
        Ok(healed_in) => *healed_in,
        Err(_) => 0,
    };
    let broken = match played {
        Ok(_) => world.broken().cloned(),
        Err(panic) => Some(Violation::new("machine", format!("it panicked: {}", words(panic.as_ref())))),
    };
    let outcome = Outcome {
        broken,
        events: world.events,
        healed_in,
        simulated: world.now - began,
        epoch: world.record().map_or(0, |record| record.epoch.0),
    };
    (outcome, world)
}

/// Nothing is wrong any more: the system must be protected again, and clients must be told of new writes.
fn heal(world: &mut World) -> Us {
    let calm_from = world.now;
    let well = world.until(PERSON_AFTER, World::protected) || {
        world.person_looks();
        world.until(PROTECTED_WITHIN - PERSON_AFTER, World::protected)
    };
    if world.broken().is_some() || (world.hopeless && !well) {
        return 0;
    }
    let mut healed_in = world.now - calm_from;
    let mut writes = well && told_of_writes(world);
    // It was well for a moment only: a writer that has crashed too often gives its lease up just then.
    while well && !writes && world.now - calm_from < PROTECTED_WITHIN && world.broken().is_none() {
        world.until(calm_from + PROTECTED_WITHIN - world.now, World::protected);
        healed_in = world.now - calm_from;
        writes = told_of_writes(world);
    }
    // A journal entry of before the calm may still come late and undo the last one, which is then written again.
    world.until(LATE_ENTRIES, World::protected);
    if world.broken().is_some() {
        return healed_in;
    }
    let state = if well && !writes {
        format!("no client is told of a write: {}", world.states())
    } else {
        world.needs()
    };
    let protected_after = (well && writes).then(|| Duration::from_micros(healed_in));
    world.end(Calm { protected_after, allowed: Duration::from_micros(PROTECTED_WITHIN), state });
    healed_in
}

/// Are clients told of new writes soon?
fn told_of_writes(world: &mut World) -> bool {
    let told = world.told();
    world.until(WRITES_WITHIN, |world| world.told() > told)
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word").to_owned()
}
