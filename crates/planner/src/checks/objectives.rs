//! Objectives that the timers can meet.

use std::time::Duration;

use meridian_model::System;
use meridian_model::database::{Database, Replication};
use meridian_model::plan::RecoveryPlan;
use meridian_model::units::duration_text;

use crate::distance::longest_rtt;
use crate::finding::{Finding, Subject};
use crate::plan::freeze;
use crate::timeline::{in_seconds, predict, unplanned};

pub(crate) fn check(system: &System) -> Vec<Finding> {
    let lossy = system.databases.iter().filter(|d| d.replication == Replication::Async);
    let rpo = lossy.filter_map(|d| rpo(system, d)).take(1);
    let waits = system.databases.iter().filter_map(|d| waiting(system, d));
    let moves = system.databases.iter().filter_map(catch_up);
    rto(system).into_iter().chain(rpo).chain(waits).chain(moves).collect()
}

/// What the timers allow at best, and then what each plan makes of it.
fn rto(system: &System) -> Vec<Finding> {
    if system.topology.regions.len() < 2 {
        return Vec::new();
    }
    let rto = system.topology.objectives.rto;
    let best = unplanned(system);
    if best.total() > rto {
        let (total, objective) = (in_seconds(best.total()), in_seconds(rto));
        let message = format!("these timers recover in {total}, and the objective is {objective}");
        let hint = format!("shorten the longest step ({}), or allow {total}", best.longest());
        return vec![Finding::error("rto", Subject::Rto, message).show(best.table()).suggest(hint)];
    }
    system.plans.iter().filter_map(|plan| too_slow(system, plan, rto)).collect()
}

/// A warning only: what a plan waits for is its author's choice.
fn too_slow(system: &System, plan: &RecoveryPlan, rto: Duration) -> Option<Finding> {
    let timeline = predict(system, &freeze(plan, false), &[]);
    (timeline.total() > rto).then(|| {
        let (total, rto) = (in_seconds(timeline.total()), in_seconds(rto));
        let message = format!("this plan recovers in {total}, and the objective is {rto}");
        Finding::warning("plan-rto", Subject::Plan(plan.name.clone()), message)
            .show(timeline.table())
            .suggest(format!(
                "let less stand before traffic (the longest is {}), or allow {total}",
                timeline.longest()
            ))
    })
}

/// With asynchronous replication the loss is known only as well as the writer tells its position, and
/// a writer that is cut off acknowledges for another `gatewayFence`.
fn rpo(system: &System, database: &Database) -> Option<Finding> {
    let rpo = system.topology.objectives.rpo;
    let timers = &system.topology.timers;
    let told = timers.renew_every.saturating_add(longest_rtt(system)).saturating_add(timers.gateway_fence);
    let nothing = rpo.is_zero();
    (nothing || told > rpo).then(|| {
        let name = &database.name;
        let message = if nothing {
            format!("nothing may be lost, and database {name} replicates asynchronously")
        } else {
            let (told, rpo) = (duration_text(told), duration_text(rpo));
            format!("a loss below {rpo} cannot be proven for database {name}: its writer tells its position and is fenced within {told}")
        };
        Finding::error("rpo", Subject::Rpo, message)
            .suggest(format!("write `replication: quorum` in database {name}, or allow more loss"))
    })
}

fn waiting(system: &System, database: &Database) -> Option<Finding> {
    let plan = system.plans.iter().find(|p| p.group == database.name);
    let writable = plan.map_or_else(|| unplanned(system), |plan| predict(system, &freeze(plan, false), &[]));
    let limits = &database.switchover;
    let name = || database.name.clone();
    let failover = (writable.until_writable(), "a failover", Subject::Gateway(name()));
    let switchover =
        (limits.drain.saturating_add(limits.catch_up), "a switchover", Subject::Switchover(name()));
    let (takes, what, subject) = if failover.0 < switchover.0 { switchover } else { failover };
    (database.members.len() > 1 && database.gateway.max_wait < takes).then(|| {
        let (wait, takes) = (duration_text(database.gateway.max_wait), duration_text(takes));
        let message = format!("sessions wait {wait} for a writer, and {what} may take {takes}");
        Finding::warning("gateway-wait", subject, message)
            .suggest(format!("make gateway.maxWait longer than {takes}"))
    })
}

/// A target that is given no time never catches up.
fn catch_up(database: &Database) -> Option<Finding> {
    database.switchover.catch_up.is_zero().then(|| {
        let message = "catchUp is nothing: every switchover would be given up".to_owned();
        Finding::error("catch-up", Subject::Switchover(database.name.clone()), message)
            .suggest("give it a length, or leave it out")
    })
}
