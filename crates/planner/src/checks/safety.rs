//! Never two writers: the inequality of design, section 4, rule 1, and the renewals that feed it.

use std::time::Duration;

use meridian_model::units::duration_text;
use meridian_model::{System, Timers};

use crate::distance::longest_rtt;
use crate::finding::{Finding, Subject};
use crate::timeline::in_seconds;

pub(crate) fn check(system: &System) -> Vec<Finding> {
    let timers = &system.topology.timers;
    let rtt = longest_rtt(system);
    let found = [inequality(timers), fences_in_order(timers), renewals(timers, rtt), election(timers, rtt)];
    found.into_iter().flatten().collect()
}

/// The old side has stopped before the new side may begin.
fn inequality(timers: &Timers) -> Option<Finding> {
    let stopped = timers.database_fence.saturating_add(timers.stop_within).saturating_add(timers.drift());
    (stopped >= timers.lease_ttl).then(|| {
        let message = "two writers are possible: the old side may still write when the new side may begin";
        let least = duration_text(stopped.saturating_add(Duration::from_millis(100)));
        Finding::error("safety-inequality", Subject::Timer("leaseTtl"), message.to_owned())
            .show(sum(timers, stopped))
            .suggest(format!("make leaseTtl longer (at least {least}) or databaseFence shorter"))
    })
}

fn sum(timers: &Timers, stopped: Duration) -> Vec<String> {
    let ppm = timers.clock_drift_ppm;
    let line =
        |sign: &str, takes: Duration, what: String| format!("{sign} {:>10}  {what}", in_seconds(takes));
    vec![
        line(" ", timers.database_fence, "databaseFence: PostgreSQL is told to stop".to_owned()),
        line("+", timers.stop_within, "stopWithin: it has stopped".to_owned()),
        line("+", timers.drift(), format!("clocks differ by clockDriftPpm {ppm} over one lease")),
        line("=", stopped, "the old side can no longer write".to_owned()),
        line("<", timers.lease_ttl, "leaseTtl: the new side may begin; the sum must be less".to_owned()),
    ]
}

fn fences_in_order(timers: &Timers) -> Option<Finding> {
    (timers.gateway_fence > timers.database_fence).then(|| {
        let (gateway, database) = (duration_text(timers.gateway_fence), duration_text(timers.database_fence));
        let message =
            format!("the gateway would close ({gateway}) after the database was stopped ({database})");
        Finding::error("fence-order", Subject::Timer("gatewayFence"), message)
            .suggest(format!("make gatewayFence at most databaseFence ({database})"))
    })
}

/// One lost renewal must not close the gateway.
fn renewals(timers: &Timers, rtt: Duration) -> Option<Finding> {
    let two_tries = timers.renew_every.saturating_mul(2).saturating_add(rtt);
    (two_tries >= timers.gateway_fence).then(|| {
        let message = "one lost renewal closes the gateway: there is no time for a second one".to_owned();
        Finding::error("renewal", Subject::Timer("renewEvery"), message)
            .show(vec![
                format!(
                    "  {:>8}  two periods of renewEvery",
                    duration_text(timers.renew_every.saturating_mul(2))
                ),
                format!("+ {:>8}  the longest round trip between regions", duration_text(rtt)),
                format!("= {:>8}  the second renewal is acknowledged", duration_text(two_tries)),
                format!("< {:>8}  gatewayFence; the sum must be less", duration_text(timers.gateway_fence)),
            ])
            .suggest("renew more often, or make gatewayFence (and what follows it) longer")
    })
}

/// An election of etcd's leader should pass without closing the gateway.
fn election(timers: &Timers, rtt: Duration) -> Option<Finding> {
    let after = timers.renew_every.saturating_add(ETCD_ELECTION).saturating_add(rtt);
    (after >= timers.gateway_fence && renewals(timers, rtt).is_none()).then(|| {
        let (after, fence) = (duration_text(after), duration_text(timers.gateway_fence));
        let message = format!(
            "an election of etcd's leader may hold up writes: renewed after {after}, gatewayFence {fence}"
        );
        Finding::warning("election", Subject::Timer("gatewayFence"), message)
            .suggest("make gatewayFence longer, and databaseFence and leaseTtl with it")
    })
}

/// etcd's default election timeout is 1 s, and a round takes at most twice that.
const ETCD_ELECTION: Duration = Duration::from_secs(2);
