//! A schedule that breaks a law, made as short as it can be and still break it: fewer faults, shorter ones,
//! earlier calm. Whatever still breaks the same law is kept.

use crate::run::{Stage, run};
use crate::schedule::{Fault, MS, SECOND, Schedule};

/// The most schedules that are tried.
const TRIES_MAX: u32 = 4_000;

struct Shrinker<'s> {
    best: Schedule,
    law: &'static str,
    stage: &'s mut Stage,
    tries: u32,
}

/// The shortest schedule that was found, which breaks the same law. One that breaks none stays as it is.
#[must_use]
pub fn shrink(schedule: &Schedule, stage: &mut Stage) -> Schedule {
    let Some(broken) = run(schedule, stage).broken else { return schedule.clone() };
    let mut shrinker = Shrinker { best: schedule.clone(), law: broken.invariant, stage, tries: 0 };
    loop {
        let before = shrinker.best.clone();
        shrinker.fewer_faults();
        shrinker.shorter_faults();
        shrinker.earlier();
        if shrinker.best == before || shrinker.tries >= TRIES_MAX {
            return shrinker.best;
        }
    }
}

impl Shrinker<'_> {
    /// Keeps it if it breaks the same law.
    fn keeps(&mut self, candidate: Schedule) -> bool {
        self.tries += 1;
        let same = self.tries < TRIES_MAX
            && candidate != self.best
            && run(&candidate, self.stage).broken.is_some_and(|broken| broken.invariant == self.law);
        if same {
            self.best = candidate;
        }
        same
    }

    /// Halves first, then one by one.
    fn fewer_faults(&mut self) {
        let mut size = self.best.faults.len().div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while from < self.best.faults.len() {
                let to = (from + size).min(self.best.faults.len());
                let mut candidate = self.best.clone();
                candidate.faults.drain(from..to);
                if !self.keeps(candidate) {
                    from = to;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    fn shorter_faults(&mut self) {
        for number in 0..self.best.faults.len() {
            if self.best.faults[number].for_good() {
                continue;
            }
            while self.best.faults[number].lasts > 50 * MS && self.change(number, |f| f.lasts /= 2) {}
            self.change(number, |f| f.lasts = f.lasts.next_multiple_of(SECOND));
            self.change(number, |f| f.lasts = f.lasts.next_multiple_of(100 * MS));
        }
    }

    /// All of it sooner, and the calm too.
    fn earlier(&mut self) {
        let first = self.best.faults.first().map_or(0, |f| f.at);
        let mut candidate = self.best.clone();
        candidate.faults.iter_mut().for_each(|f| f.at -= first);
        self.keeps(candidate);
        for number in 0..self.best.faults.len() {
            self.change(number, |f| f.at = f.at / SECOND * SECOND);
            self.change(number, |f| f.at = f.at / (100 * MS) * (100 * MS));
        }
        let last = self.best.faults.iter().map(Fault::ends).max().unwrap_or(0);
        let candidate = Schedule { calm_from: last, ..self.best.clone() };
        self.keeps(candidate);
    }

    fn change(&mut self, number: usize, how: impl Fn(&mut Fault)) -> bool {
        let mut candidate = self.best.clone();
        how(&mut candidate.faults[number]);
        candidate.faults.sort_by_key(|f| f.at);
        let last = candidate.faults.iter().map(Fault::ends).max().unwrap_or(0);
        candidate.calm_from = candidate.calm_from.max(last);
        self.keeps(candidate)
    }
}
