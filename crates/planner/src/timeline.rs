//! What happens when the writer's region is lost, in order, with the time of each step and its reason.
//!
//! The times are upper ends of the usual case, not bounds: they come from the spec where the spec says
//! them, from the catalogue's round trips, and else from measurements that are named with each step.
//! The steps are laid end to end, so that they add up: what runs at the same time as an earlier step
//! (the lease runs out while the loss is being detected) counts only for what it lasts longer.

use std::time::Duration;

use meridian_model::System;
use meridian_model::units::duration_text;

use crate::distance::longest_rtt;

/// One step of a recovery, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineStep {
    /// What happens.
    pub what: &'static str,
    /// How long at most, in the usual case.
    pub takes: Duration,
    /// Why so long, with the source of the figure.
    pub why: String,
}

/// What a recovery from the loss of the writer's region takes, step by step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// In order; they add up.
    pub steps: Vec<TimelineStep>,
}

impl Timeline {
    /// The sum.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.steps.iter().map(|s| s.takes).fold(Duration::ZERO, Duration::saturating_add)
    }

    /// Until the new writer takes writes: the steps before compute and DNS follow.
    #[must_use]
    pub fn until_writable(&self) -> Duration {
        let first = self.steps.iter().take_while(|s| !matches!(s.what, SCALE | DNS));
        first.map(|s| s.takes).fold(Duration::ZERO, Duration::saturating_add)
    }

    /// A line for each step and one for the sum, in columns.
    #[must_use]
    pub fn table(&self) -> Vec<String> {
        let takes = self.steps.iter().map(|s| s.takes).chain([self.total()]);
        let width = takes.map(|takes| in_seconds(takes).len()).max().unwrap_or(0).max(8);
        let line = |what: &str, takes: Duration, why: &str| {
            format!("{what:<8} {:>width$}  {why}", in_seconds(takes)).trim_end().to_owned()
        };
        let steps = self.steps.iter().map(|s| line(s.what, s.takes, &s.why));
        steps.chain([line("sum", self.total(), "")]).collect()
    }
}

/// A duration in seconds (or milliseconds), so that terms and their sum stand in one unit: `3600s`, not `60m`.
#[must_use]
pub fn in_seconds(duration: Duration) -> String {
    match duration.subsec_nanos() {
        0 if duration.as_secs() > 0 => format!("{}s", duration.as_secs()),
        _ => duration_text(duration),
    }
}

/// The timeline of a recovery from the loss of the writer's region.
#[must_use]
pub fn timeline(system: &System) -> Timeline {
    let detect = detect(system);
    let lease = lease(system, detect.takes);
    let steps =
        [Some(detect), Some(lease), Some(decide(system)), Some(promote()), scale(system), dns(system)];
    Timeline { steps: steps.into_iter().flatten().collect() }
}

fn detect(system: &System) -> TimelineStep {
    let timers = &system.topology.timers;
    let (every, timeout) = (duration_text(timers.probe_every), duration_text(timers.probe_timeout));
    TimelineStep {
        what: "detect",
        takes: timers.probe_every.saturating_mul(timers.down_after).saturating_add(timers.probe_timeout),
        why: format!(
            "{} failed probes, one every {every}, the last given up after {timeout}",
            timers.down_after
        ),
    }
}

fn lease(system: &System, detected: Duration) -> TimelineStep {
    let ttl = system.topology.timers.lease_ttl;
    let seen = millis_up(longest_rtt(system));
    TimelineStep {
        what: "lease",
        takes: ttl.saturating_add(seen).saturating_sub(detected),
        why: format!(
            "leaseTtl {} from when the last renewal was seen elsewhere ({} later), less the time to detect",
            duration_text(ttl),
            duration_text(seen)
        ),
    }
}

fn decide(system: &System) -> TimelineStep {
    let rtt = millis_up(longest_rtt(system));
    TimelineStep {
        what: "decide",
        takes: rtt.saturating_mul(DECIDE_ROUND_TRIPS),
        why: format!(
            "seal, claim and journal through etcd: {DECIDE_ROUND_TRIPS} round trips of {}",
            duration_text(rtt)
        ),
    }
}

fn promote() -> TimelineStep {
    TimelineStep {
        what: "promote",
        takes: PROMOTE,
        why: "PostgreSQL from promotion to its first write under load: measured 37 to 460 ms".to_owned(),
    }
}

/// Only when the new writer's region must start more instances.
fn scale(system: &System) -> Option<TimelineStep> {
    let compute = system.services.iter().flat_map(|s| &s.backends).filter_map(|b| b.compute.as_ref());
    let mut grown = compute.filter(|c| c.instances_primary > c.instances_standby);
    grown.next().map(|_| TimelineStep {
        what: SCALE,
        takes: SCALE_UP,
        why: "the instances of a primary start and pass two health checks: assumed".to_owned(),
    })
}

fn dns(system: &System) -> Option<TimelineStep> {
    let slowest = system.services.iter().max_by_key(|s| s.dns_ttl)?;
    Some(TimelineStep {
        what: DNS,
        takes: slowest.dns_ttl,
        why: format!("clients keep the lost region's address: ttl of service {}", slowest.name),
    })
}

/// Up to whole milliseconds, so that tables stay readable.
fn millis_up(duration: Duration) -> Duration {
    let millis = duration.as_micros().div_ceil(1000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

const SCALE: &str = "scale";
const DNS: &str = "dns";
/// Seals are published, the record is claimed, the first step is journalled.
const DECIDE_ROUND_TRIPS: u32 = 3;
/// Above the slowest of the methods measured for this project (PostgreSQL 15, kept-open connections and
/// fresh ones, under load: 37 ms to 460 ms from kill to first write).
const PROMOTE: Duration = Duration::from_millis(500);
/// An assumption: what a small program needs to start and to be seen healthy.
const SCALE_UP: Duration = Duration::from_secs(3);
