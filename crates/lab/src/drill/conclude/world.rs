//! What was seen, in the words of the safety laws of `meridian_invariants`.

use std::time::Duration;

use meridian_invariants::{Ack, EpochSeen, Fault as FaultSeen, Ledger, Repeat, World, WriterClaim};
use meridian_model::database::Replication;
use meridian_model::run::{Run, RunKind, Step, StepKind};
use meridian_model::{Epoch, RegionName};

use super::Evidence;
use crate::faults::{Fault, FaultPart, FaultRecord};
use crate::ledger;
use crate::measure::Reign;

/// The world of the drill's data group.
pub(super) fn world(evidence: &Evidence<'_>, runs: &[Run]) -> World {
    let seen = evidence.seen;
    let acknowledged = &seen.recorded.ledger.acknowledged;
    let epoch = |e: &super::super::observe::EpochSeen| EpochSeen {
        by: e.vantage.to_string(),
        at: e.at,
        epoch: e.epoch,
        holder: Some(e.holder.clone()),
    };
    let failover = |r: &Run| Some((seen.clock.moment(r.decided_at), r.from.clone()?));
    World {
        acks: (0..).zip(acknowledged).map(|(id, ack)| told(id, ack, &seen.members)).collect(),
        writers: seen.witnessed.reigns.in_order().iter().map(|reign| claim(reign, evidence)).collect(),
        epochs: seen.seen.epochs.iter().map(epoch).collect(),
        runs: runs.to_vec(),
        ledger: Some(against_rows(evidence)),
        faults: Some(faults(evidence)),
        repeats: repeats(evidence, runs),
        failovers: runs.iter().filter(|r| r.kind == RunKind::Failover).filter_map(failover).collect(),
        ..World::default()
    }
}

/// Failovers after one that had promoted somebody. Nobody can agree in a drill.
fn repeats(evidence: &Evidence<'_>, runs: &[Run]) -> Vec<Repeat> {
    let clock = evidence.seen.clock;
    let window = evidence.system.topology.timers.flap_window;
    let failovers: Vec<&Run> = runs.iter().filter(|r| r.kind == RunKind::Failover).collect();
    let repeat = |pair: &[&Run]| {
        let [first, second] = pair else { return None };
        let after = clock.moment(second.decided_at).since(clock.moment(first.decided_at));
        let acted = first.of_kind(StepKind::Promote).is_some_and(Step::done);
        acted.then_some(Repeat { epoch: second.epoch, after, window, agreed: false })
    };
    failovers.windows(2).filter_map(repeat).collect()
}

fn told(id: u64, ack: &ledger::Ack, members: &[(RegionName, std::net::SocketAddr)]) -> Ack {
    let server = ack.by.and_then(|by| members.iter().find(|(_, address)| *address == by.address));
    Ack {
        id,
        sent_at: ack.sent_at,
        acked_at: ack.acknowledged_at,
        server: server.map(|(region, _)| region.clone()),
    }
}

/// A reign of a database as a claim: its epoch is that of the last run that made its region the writer
/// before it began.
fn claim(reign: &Reign, evidence: &Evidence<'_>) -> WriterClaim {
    let clock = evidence.seen.clock;
    let made = |r: &&Run| r.to == reign.region && clock.moment(r.decided_at) <= reign.first;
    let run = evidence.seen.seen.runs.values().filter(made).max_by_key(|r| r.epoch);
    let shown = || evidence.seen.seen.epochs.iter().find(|e| e.holder == reign.region).map(|e| e.epoch);
    WriterClaim {
        region: reign.region.clone(),
        epoch: run.map(|r| r.epoch).or_else(shown).unwrap_or(Epoch::NONE),
        from: reign.first,
        to: reign.last,
    }
}

fn against_rows(evidence: &Evidence<'_>) -> Ledger {
    let rows = &evidence.seen.rows.writer.ids;
    let acknowledged = || (0_u64..).zip(&evidence.seen.recorded.ledger.acknowledged);
    let quorum = evidence.system.databases.first().is_some_and(|d| d.replication != Replication::Async);
    Ledger {
        acknowledged: acknowledged().map(|(id, ack)| (id, ack.acknowledged_at)).collect(),
        found: acknowledged().filter(|(_, ack)| rows.contains(&ack.id)).map(|(id, _)| id).collect(),
        allowed_loss: if quorum { Duration::ZERO } else { evidence.system.topology.objectives.rpo },
    }
}

/// Every fault that hits a region by itself; what lies between two regions justifies no failover.
fn faults(evidence: &Evidence<'_>) -> Vec<FaultSeen> {
    let lease = evidence.system.topology.timers.lease_ttl;
    let played = &evidence.played.faults;
    let seen = |record: &FaultRecord| {
        let (region, takes_writer) = hit(&record.fault)?;
        let to = played
            .iter()
            .find(|later| later.at > record.at && mends(&later.fault, &record.fault))
            .map(|m| m.at);
        // What was killed has to start first, however soon it was started again.
        let killed = matches!(record.fault, Fault::Kill { .. });
        let long = killed || to.is_none_or(|to| to.since(record.at) >= lease);
        Some(FaultSeen {
            region: region.clone(),
            from: record.at,
            to,
            justifies_failover: takes_writer && long,
        })
    };
    played.iter().filter_map(seen).collect()
}

/// The region that a fault hits, and whether a writer there is lost by it.
fn hit(fault: &Fault) -> Option<(&RegionName, bool)> {
    match fault {
        Fault::Kill { region, part } | Fault::Freeze { region, part } => {
            Some((region, !matches!(part, Some(FaultPart::Etcd | FaultPart::App))))
        }
        Fault::Isolate { region } => Some((region, true)),
        Fault::Partition { .. }
        | Fault::Slow { .. }
        | Fault::Restore { .. }
        | Fault::Heal
        | Fault::Switchover { .. }
        | Fault::Failback => None,
    }
}

fn mends(later: &Fault, fault: &Fault) -> bool {
    match (later, fault) {
        (
            Fault::Restore { region: mended },
            Fault::Kill { region, .. } | Fault::Freeze { region, .. } | Fault::Isolate { region },
        ) => mended == region,
        (Fault::Heal, Fault::Isolate { .. }) => true,
        _ => false,
    }
}
