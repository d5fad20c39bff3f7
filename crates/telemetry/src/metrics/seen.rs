//! What a node sees.

use prometheus_client::registry::Registry;

use super::{Counters, Gauges, Seconds};

/// What a node sees: health, lag, snapshots.
pub(crate) struct Seen {
    pub(crate) region_health: Gauges<2>,
    pub(crate) part_health: Gauges<3>,
    pub(crate) verdict_changes: Counters<2>,
    pub(crate) clock_oddities: Counters<1>,
    pub(crate) probes: Counters<3>,
    pub(crate) probe_seconds: Seconds<2>,
    pub(crate) replication_lag_bytes: Gauges<2>,
    pub(crate) replication_lag_milliseconds: Gauges<2>,
    pub(crate) quorum: Quorum,
    pub(crate) snapshots: Counters<1>,
    pub(crate) snapshot_generation: Gauges<0>,
    pub(crate) check_findings: Gauges<3>,
}

/// How well the writer's data is kept.
pub(crate) struct Quorum {
    pub(crate) acknowledgers: Gauges<1>,
    pub(crate) candidates: Gauges<1>,
    pub(crate) rpo_breached: Gauges<1>,
}

impl Seen {
    pub(super) fn declare(r: &mut Registry) -> Self {
        Self {
            region_health: Gauges::declare(
                r,
                "region_health",
                "1 for the state that a region is held to be in, 0 for the others",
                ["target", "health"],
            ),
            part_health: Gauges::declare(
                r,
                "part_health",
                "1 up, 0 down, -1 unknown, by the verdict of all vantage points",
                ["target", "part", "kind"],
            ),
            verdict_changes: Counters::declare(
                r,
                "verdict_changes",
                "Changes of a region's verdict",
                ["target", "health"],
            ),
            clock_oddities: Counters::declare(
                r,
                "clock_oddities",
                "Jumps of the wall clock and stretches in which the node stood still",
                ["kind"],
            ),
            probes: Counters::declare(r, "probes", "Probes by how they ended", ["target", "part", "outcome"]),
            probe_seconds: Seconds::declare(
                r,
                "probe",
                "How long successful probes took",
                ["target", "part"],
            ),
            replication_lag_bytes: Gauges::declare(
                r,
                "replication_lag_bytes",
                "Log that a standby has yet to receive",
                ["group", "target"],
            ),
            replication_lag_milliseconds: Gauges::declare(
                r,
                "replication_lag_milliseconds",
                "Age of the last transaction that a standby has replayed, 0 when all is",
                ["group", "target"],
            ),
            quorum: Quorum::declare(r),
            snapshots: Counters::declare(r, "snapshots", "Snapshots by what became of them", ["outcome"]),
            snapshot_generation: Gauges::declare(
                r,
                "snapshot_generation",
                "The generation that the data planes answer from",
                [],
            ),
            check_findings: Gauges::declare(
                r,
                "check_findings",
                "What a recovery that began now would fail by (severity error) or might (warning)",
                ["check", "subject", "severity"],
            ),
        }
    }
}

impl Quorum {
    fn declare(r: &mut Registry) -> Self {
        Self {
            acknowledgers: Gauges::declare(
                r,
                "quorum_acknowledgers",
                "How many standbys have each acknowledged write for sure, by the record",
                ["group"],
            ),
            candidates: Gauges::declare(
                r,
                "quorum_candidates",
                "How many standbys may acknowledge, by the record",
                ["group"],
            ),
            rpo_breached: Gauges::declare(
                r,
                "rpo_breached",
                "1 while more could be lost than the RPO allows, by the writer's measure",
                ["group"],
            ),
        }
    }
}
