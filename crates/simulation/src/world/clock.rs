//! The clocks of a node: one that never goes back and runs a little wrong, and one that people set.

use meridian_model::{Moment, Timestamp};

use crate::schedule::Us;

/// When the world began, on a wall clock that is right.
const WALL: i64 = 1_700_000_000_000;

/// Both clocks of a node.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    /// The clock showed `base` nanoseconds at the true time `from`, and runs `ppm` too fast since.
    from: Us,
    base: u64,
    ppm: i64,
    /// How wrong the wall clock is, in milliseconds.
    pub(super) wall_wrong: i64,
}

impl Clock {
    pub(super) const fn new(base_ms: u64, ppm: i64) -> Self {
        Self { from: 0, base: base_ms * 1_000_000, ppm, wall_wrong: 0 }
    }

    const fn rate(&self) -> u64 {
        1_000_000_u64.saturating_add_signed(self.ppm)
    }

    pub(super) const fn moment(&self, now: Us) -> Moment {
        Moment::from_nanos(self.base + (now - self.from) * self.rate() / 1_000)
    }

    /// The first true instant at which this moment has come.
    pub(super) const fn when(&self, moment: Moment) -> Us {
        let ahead = moment.as_nanos().saturating_sub(self.base) as u128 * 1_000;
        self.from + ahead.div_ceil(self.rate() as u128) as Us
    }

    pub(super) const fn wall(&self, now: Us) -> Timestamp {
        Timestamp(WALL + (now / 1_000) as i64 + self.wall_wrong)
    }

    /// From now on it runs so many parts per million too fast.
    pub(super) const fn drift(&mut self, now: Us, ppm: i64) {
        self.base = self.moment(now).as_nanos();
        self.from = now;
        self.ppm = ppm;
    }

    pub(super) const fn ppm(&self) -> i64 {
        self.ppm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_come_exactly_when_it_is_said_to() {
        for ppm in [-250, -1, 0, 7, 250] {
            let mut clock = Clock::new(5_000, ppm);
            clock.drift(77_777, ppm);
            for ahead in [1_u64, 999, 1_000, 1_001, 4_000_000_000] {
                let moment = Moment::from_nanos(clock.moment(100_000).as_nanos() + ahead);
                let at = clock.when(moment);
                assert!(clock.moment(at) >= moment && clock.moment(at - 1) < moment, "{ppm} {ahead}");
            }
        }
    }
}
