//! Every period that safety and recovery time depend on: defined once, with its default.

use std::time::Duration;

/// The periods of one data group. `planner` checks them against the safety inequality
/// (design, section 4, rule 1) before anything runs with them:
///
/// `gateway_fence <= database_fence` and
/// `database_fence + stop_within + drift * lease_ttl < lease_ttl`.
///
/// All of them are measured from the instant at which the holder *sent* its last renewal that was
/// acknowledged; a claimant counts `lease_ttl` from the instant at which it *observed* that renewal,
/// which is later. So the old writer has stopped before a new one may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// How long a renewal is good for. Default 5 s.
    pub lease_ttl: Duration,
    /// How often the holder renews. Default 500 ms.
    pub renew_every: Duration,
    /// After this long without a renewal the gateway stops taking writes. Default 3 s.
    pub gateway_fence: Duration,
    /// After this long without a renewal PostgreSQL is stopped. Default 4 s.
    pub database_fence: Duration,
    /// The longest that stopping PostgreSQL may take. Default 500 ms.
    pub stop_within: Duration,
    /// How much faster one clock may run than another, in parts per million. Default 500.
    pub clock_drift_ppm: u32,
    /// How often every target is probed. Default 1 s.
    pub probe_every: Duration,
    /// When a probe is given up. Default 1 s.
    pub probe_timeout: Duration,
    /// Failures in a row after which a vantage calls a target down. Default 3.
    pub down_after: u32,
    /// Successes in a row after which a vantage calls a target up again. Default 2.
    pub up_after: u32,
    /// After this long an observation says nothing any more. Default 4 s.
    pub observation_ttl: Duration,
    /// How long the group is held down after a failover that acted: a second one by itself within
    /// this window waits for a person. Default 5 min.
    pub flap_window: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(5),
            renew_every: Duration::from_millis(500),
            gateway_fence: Duration::from_secs(3),
            database_fence: Duration::from_secs(4),
            stop_within: Duration::from_millis(500),
            clock_drift_ppm: 500,
            probe_every: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(1),
            down_after: 3,
            up_after: 2,
            observation_ttl: Duration::from_secs(4),
            flap_window: Duration::from_secs(300),
        }
    }
}

impl Timers {
    /// What clocks may differ by over one lease.
    #[must_use]
    pub fn drift(&self) -> Duration {
        let nanos = self.lease_ttl.as_nanos() * u128::from(self.clock_drift_ppm) / 1_000_000;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The latest instant, counted from its last renewal, at which the old side can still write.
    #[must_use]
    pub fn old_side_stopped_after(&self) -> Duration {
        self.database_fence + self.stop_within + self.drift()
    }
}
