//! The two clocks of the house: the boot-time clock to decide by, the wall clock to tell people.
//!
//! `CLOCK_BOOTTIME` never goes back, is not moved by time servers' steps, and also runs while the
//! machine sleeps, so that a lease that ended during a suspend is seen as ended on waking.
//! `std::time::Instant` stops during sleep, which is why clippy bans it in favour of [`now`].

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

#[cfg(test)]
mod tests {
    use super::*;

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
