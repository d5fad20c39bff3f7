//! From what was seen to what is said: recovery times, gaps, latencies, reigns. Pure: no clock, no I/O.
//!
//! The definitions, which the report repeats:
//!
//! - **Outage** of reads or writes of a population: a stretch of at least [`STALL`] between two good
//!   answers in which somebody failed, or waited for at least [`STALL`]. A single failed request between
//!   good ones is no outage; it is counted as a failed request.
//! - **Recovery time (RTO)**: from the instant before the fault's first effect to the good answer that
//!   ends the last outage; without an outage, to the first good answer to a request made after the
//!   fault. Without a good answer there is none. Of several populations the worst counts.
//! - **Loss (RPO)**: acknowledged ids that the writer's table does not have; as time, from the first of
//!   them that was acknowledged to the fault or the last of them, whichever is later.

pub mod latency;
pub mod outage;
pub mod phases;
pub mod reigns;
pub mod series;
pub mod takeover;

use std::time::Duration;

use meridian_model::{Moment, Timestamp};

pub use latency::{Percentiles, percentiles};
pub use outage::{Outages, Recovery, recovery};
pub use phases::{Phase, PhaseInput, phases};
pub use reigns::{Reign, Reigns, WitnessAck};
pub use series::{Bucket, series};
pub use takeover::{ServerAck, Takeover, takeover};

/// From how long on nobody being served is an outage, and waiting is a stall.
pub const STALL: Duration = Duration::from_secs(1);

/// Ties the two kinds of time together: the same instant on both clocks of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockPair {
    /// By the boot-time clock.
    pub at: Moment,
    /// By the wall clock.
    pub wall: Timestamp,
}

impl ClockPair {
    /// The moment of a wall-clock time, as long as nobody set the wall clock since.
    #[must_use]
    pub fn moment(&self, wall: Timestamp) -> Moment {
        let millis = wall.0.saturating_sub(self.wall.0);
        let distance = Duration::from_millis(millis.unsigned_abs());
        if millis < 0 { self.at - distance } else { self.at + distance }
    }

    /// The wall-clock time of a moment.
    #[must_use]
    pub fn wall(&self, moment: Moment) -> Timestamp {
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        let after = millis(moment.since(self.at));
        Timestamp(self.wall.0.saturating_add(after).saturating_sub(millis(self.at.since(moment))))
    }
}

/// Seconds from `from` to `to`, negative when `to` is earlier, in whole milliseconds.
#[must_use]
pub fn seconds(from: Moment, to: Moment) -> f64 {
    let forward = round(to.since(from));
    if forward > 0.0 { forward } else { -round(from.since(to)) + 0.0 }
}

/// Seconds in whole milliseconds.
#[must_use]
pub fn round(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests;
