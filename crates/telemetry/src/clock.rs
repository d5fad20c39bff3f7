//! The two clocks of the house: the boot-time clock to decide by, the wall clock to tell people.
//!
//! `CLOCK_BOOTTIME` never goes back, is not moved by time servers' steps, and also runs while the
//! machine sleeps, so that a lease that ended during a suspend is seen as ended on waking.
//! `std::time::Instant` stops during sleep, which is why clippy bans it in favour of [`now`].

use std::time::Duration;

use meridian_model::{Moment, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since boot, sleep included.
#[must_use]
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Moment::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Milliseconds since 1970 (UTC), as the machine believes. For journals, logs and reports only.
#[must_use]
pub fn wall() -> Timestamp {
    let time = clock_gettime(ClockId::Realtime);
    Timestamp(time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000))
}

/// Something about time that people should know of; no decision rests on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// The wall clock was set, by so many milliseconds (forward is positive).
    Jumped(i64),
    /// Nobody looked for so long: the machine slept, was frozen, or had no processor time to give.
    StoodStill(Duration),
}

/// Compares the two clocks, from one look to the next.
#[derive(Debug, Default)]
pub struct Watch(Option<(Moment, Timestamp)>);

impl Watch {
    /// What is odd since the last look, which should have been about `every` ago.
    pub fn look(&mut self, now: Moment, wall: Timestamp, every: Duration) -> Vec<Oddity> {
        let Some((then, wall_then)) = self.0.replace((now, wall)) else { return Vec::new() };
        let passed = now.since(then);
        let by = (wall.0 - wall_then.0) - i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let jumped = (by.unsigned_abs() >= JUMP_MS).then_some(Oddity::Jumped(by));
        let late = passed.saturating_sub(every);
        jumped.into_iter().chain((late >= STILL).then_some(Oddity::StoodStill(late))).collect()
    }
}

/// A smaller step of the wall clock is not told: time servers slew by milliseconds.
const JUMP_MS: u64 = 1_000;
/// A loop that comes later than this has missed renewals.
const STILL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_and_a_node_that_stands_still_are_seen_once() {
        let every = Duration::from_millis(250);
        let mut watch = Watch::default();
        let mut look = |now, wall| watch.look(Moment::from_millis(now), Timestamp(wall), every);
        assert_eq!(look(1_000, 5_000), []);
        assert_eq!(look(1_250, 5_251), [], "a slew is nothing");
        assert_eq!(look(1_500, 3_605_501), [Oddity::Jumped(3_600_000)]);
        assert_eq!(look(1_750, 3_605_751), [], "it is told once");
        assert_eq!(look(2_000, 1), [Oddity::Jumped(-3_606_000)]);
        assert_eq!(look(6_250, 4_251), [Oddity::StoodStill(Duration::from_secs(4))]);
        assert_eq!(look(6_500, 4_501), []);
    }

    #[test]
    fn boot_time_rises_and_matches_the_kernel_s_own_figure() {
        let before = now();
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let after = now();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "hundredths of a second are compared")]
        let seconds = |m: Moment| m.as_nanos() as f64 / 1e9;
        assert!(seconds(before) <= uptime + 0.02 && uptime <= seconds(after) + 0.02, "{before:?} {uptime}");
        assert!(after > before);
    }

    #[test]
    fn wall_time_is_what_the_standard_library_says() {
        let std = || {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            i64::try_from(since.as_millis()).unwrap()
        };
        let (before, wall, after) = (std(), wall().0, std());
        assert!(before <= wall && wall <= after, "{before} {wall} {after}");
    }
}
