//! Many schedules on all cores: seeds are handed out in order, the lowest one that breaks a law is what counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use meridian_invariants::Violation;

use crate::run::{Outcome, Serve, Stage, run};
use crate::schedule::{Schedule, Us};
use crate::shape::Shape;

/// Which schedules are run.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// The first seed.
    pub seed: u64,
    /// How many.
    pub schedules: u64,
    /// Among which systems.
    pub shapes: Vec<Shape>,
    /// On so many threads.
    pub threads: usize,
    /// How machines are served.
    pub serve: Serve,
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Schedules that were run.
    pub schedules: u64,
    /// Their events.
    pub events: u64,
    /// How long all of it lasted, in simulated time.
    pub simulated: Us,
    /// The reigns that began.
    pub epochs: u64,
    /// The longest time until protected again, and the seed that took it.
    pub slowest: (Us, u64),
}

/// A schedule that broke a law.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The schedule.
    pub schedule: Schedule,
    /// The law.
    pub broken: Violation,
}

/// Seeds that a thread takes at a time.
const BATCH: u64 = 16;

impl Campaign {
    /// Runs all of them, or up to the first that breaks a law: the lowest seed that does, on however many threads.
    /// `progress` is called now and then, from any thread, with how many are done; it says whether to go on.
    pub fn run(&self, progress: impl Fn(u64) -> bool + Sync) -> (Totals, Option<Failure>) {
        let (next, end) = (AtomicU64::new(0), AtomicU64::new(self.schedules));
        let found: Mutex<(Totals, Option<Failure>)> = Mutex::default();
        let work = || {
            let mut stage = Stage::serving(self.serve);
            let mut totals = Totals::default();
            loop {
                let from = next.fetch_add(BATCH, Ordering::Relaxed);
                if from >= end.load(Ordering::Relaxed) {
                    break;
                }
                for number in from..(from + BATCH).min(self.schedules) {
                    let schedule = Schedule::new(self.seed.wrapping_add(number), &self.shapes);
                    let outcome = run(&schedule, &mut stage);
                    totals.add(&outcome, schedule.seed);
                    if let Some(broken) = outcome.broken {
                        end.fetch_min(number, Ordering::Relaxed);
                        keep_lowest(&found, Failure { schedule, broken });
                        break;
                    }
                }
                if !progress(from) {
                    end.store(0, Ordering::Relaxed);
                }
            }
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.0.merge(&totals);
        };
        std::thread::scope(|scope| {
            (0..self.threads.max(1)).for_each(|_| {
                scope.spawn(work);
            });
        });
        found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep_lowest(found: &Mutex<(Totals, Option<Failure>)>, failure: Failure) {
    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
    if found.1.as_ref().is_none_or(|known| failure.schedule.seed < known.schedule.seed) {
        found.1 = Some(failure);
    }
}

impl Totals {
    fn add(&mut self, outcome: &Outcome, seed: u64) {
        self.schedules += 1;
        self.events += outcome.events;
        self.simulated += outcome.simulated;
        self.epochs += outcome.epoch;
        self.slowest = self.slowest.max((outcome.healed_in, seed));
    }

    fn merge(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.events += other.events;
        self.simulated += other.simulated;
        self.epochs += other.epochs;
        self.slowest = self.slowest.max(other.slowest);
    }
}
