//! Probes that can succeed, and observations that live until the next one.

use std::time::Duration;

use meridian_model::units::duration_text;
use meridian_model::{System, Timers};

use crate::distance::{Furthest, furthest, longest_rtt};
use crate::finding::{Finding, Subject};

pub(crate) fn check(system: &System) -> Vec<Finding> {
    let timers = &system.topology.timers;
    let far = furthest(system);
    let found = [
        periods(timers),
        overlap(timers),
        far.as_ref().and_then(|pair| too_far(timers, pair)),
        expiry(timers, longest_rtt(system)),
        thresholds(timers),
    ];
    found.into_iter().flatten().collect()
}

/// No period may be nothing.
fn periods(timers: &Timers) -> Option<Finding> {
    let all = [
        ("leaseTtl", timers.lease_ttl),
        ("renewEvery", timers.renew_every),
        ("gatewayFence", timers.gateway_fence),
        ("databaseFence", timers.database_fence),
        ("stopWithin", timers.stop_within),
        ("probeEvery", timers.probe_every),
        ("probeTimeout", timers.probe_timeout),
        ("observationTtl", timers.observation_ttl),
    ];
    let (name, _) = all.into_iter().find(|(_, period)| period.is_zero())?;
    let message = format!("{name} is nothing: work would be done without a pause");
    Some(Finding::error("period", Subject::Timer(name), message).suggest("give it a length, or leave it out"))
}

fn overlap(timers: &Timers) -> Option<Finding> {
    (timers.probe_timeout > timers.probe_every).then(|| {
        let (timeout, every) = (duration_text(timers.probe_timeout), duration_text(timers.probe_every));
        let message = format!("probes pile up: one may take {timeout}, the next begins after {every}");
        Finding::error("probe-overlap", Subject::Timer("probeTimeout"), message)
            .suggest(format!("make probeTimeout at most probeEvery ({every})"))
    })
}

/// A probe needs a few round trips; one that cannot come back in time calls a healthy region down.
fn too_far(timers: &Timers, pair: &Furthest) -> Option<Finding> {
    let needs = pair.rtt.saturating_mul(PROBE_ROUND_TRIPS);
    (needs > timers.probe_timeout).then(|| {
        let timeout = duration_text(timers.probe_timeout);
        let message = format!(
            "a probe between {} and {} needs {} ({PROBE_ROUND_TRIPS} round trips of {}), and is given up after {timeout}",
            pair.from,
            pair.to,
            duration_text(needs),
            duration_text(pair.rtt)
        );
        let finding = if pair.rtt > timers.probe_timeout { Finding::error } else { Finding::warning };
        finding("probe-timeout", Subject::Timer("probeTimeout"), message)
            .suggest(format!("make probeTimeout longer than {}", duration_text(needs)))
    })
}

fn expiry(timers: &Timers, rtt: Duration) -> Option<Finding> {
    let gap = timers.probe_every.saturating_add(timers.probe_timeout).saturating_add(rtt);
    (timers.observation_ttl <= gap).then(|| {
        let (ttl, gap) = (duration_text(timers.observation_ttl), duration_text(gap));
        let message = format!(
            "observations expire after {ttl}, but the next may take {gap}: health would flicker to unknown"
        );
        Finding::error("observation-ttl", Subject::Timer("observationTtl"), message)
            .show(vec![
                "probeEvery + probeTimeout + the longest round trip must be less than observationTtl"
                    .to_owned(),
            ])
            .suggest(format!("make observationTtl longer than {gap}"))
    })
}

fn thresholds(timers: &Timers) -> Option<Finding> {
    (timers.down_after == 1).then(|| {
        let message = "a single lost probe calls a target down".to_owned();
        Finding::warning("threshold", Subject::Timer("downAfter"), message)
            .suggest("two or three tell a blip from a loss")
    })
}

/// Connect, ask, answer; PostgreSQL's own greeting takes about as many.
const PROBE_ROUND_TRIPS: u32 = 3;
