//! Objectives that the timers can meet.

use meridian_model::System;
use meridian_model::database::{Database, Replication};
use meridian_model::units::duration_text;

use crate::distance::longest_rtt;
use crate::finding::{Finding, Subject};
use crate::timeline::{in_seconds, timeline};

pub(crate) fn check(system: &System) -> Vec<Finding> {
    let lossy = system.databases.iter().filter(|d| d.replication == Replication::Async);
    let rpo = lossy.filter_map(|d| rpo(system, d)).take(1);
    let waits = system.databases.iter().filter_map(|d| waiting(system, d));
    rto(system).into_iter().chain(rpo).chain(waits).collect()
}

fn rto(system: &System) -> Option<Finding> {
    if system.topology.regions.len() < 2 {
        return None;
    }
    let timeline = timeline(system);
    let (total, rto) = (timeline.total(), system.topology.objectives.rto);
    (total > rto).then(|| {
        let (total, rto) = (in_seconds(total), in_seconds(rto));
        let longest = timeline.steps.iter().max_by_key(|s| s.takes).map_or("", |s| s.what);
        let message = format!("these timers recover in {total}, and the objective is {rto}");
        Finding::error("rto", Subject::Rto, message)
            .show(timeline.table())
            .suggest(format!("shorten the longest step ({longest}), or allow {total}"))
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
    let writable = timeline(system).until_writable();
    (database.members.len() > 1 && database.gateway.max_wait < writable).then(|| {
        let (wait, writable) = (duration_text(database.gateway.max_wait), duration_text(writable));
        let message = format!("sessions wait {wait} for a writer, and a failover takes {writable}");
        Finding::warning("gateway-wait", Subject::Gateway(database.name.clone()), message)
            .suggest(format!("make gateway.maxWait longer than {writable}"))
    })
}
