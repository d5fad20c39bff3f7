//! What a drill file says.

use std::path::PathBuf;
use std::time::Duration;

use meridian_model::{RegionName, System};

use crate::faults::Fault;

/// A drill, as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Drill {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// The spec of the system, relative to where the command runs.
    pub system: PathBuf,
    /// The load.
    pub load: LoadSpec,
    /// What happens, in order.
    pub timeline: Vec<Timed>,
    /// When it ends.
    pub until: Until,
    /// When it ends at the latest, counted from the beginning of the load. Default 3 min.
    pub timeout: Duration,
    /// What must hold.
    pub expect: Expect,
}

/// What users do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadSpec {
    /// Requests per second of all populations; each has its share. Default 60/s.
    pub rate: f64,
    /// The share that writes. Default 30 %.
    pub writes: f64,
    /// Users of each population. Default 8.
    pub users: usize,
}

/// An entry of the timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Timed {
    /// When.
    pub when: When,
    /// What.
    pub what: What,
}

/// When an entry of the timeline happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So long after the beginning of the load.
    At(Duration),
    /// So long after the entry before it was carried out.
    After(Duration),
    /// As soon as, after the entry before it, every member streams and no run is open.
    AfterRedundant,
}

/// What happens in an entry of the timeline.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The lab does this.
    Fault(Fault),
    /// The hour of that region comes: the drill has moved it in the schedule.
    Turn(RegionName),
    /// From here on the node that carries a run out is killed between every two steps of it, and started
    /// again each time, until each gap has been hit.
    KillActing,
}

/// What a drill may name of the system that it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Every region.
    pub regions: Vec<RegionName>,
    /// Those that take the writer by the schedule.
    pub scheduled: Vec<RegionName>,
}

impl Names {
    /// Those of that system.
    #[must_use]
    pub fn of(system: &System) -> Self {
        let scheduled = system.topology.schedule.iter().map(|m| m.region.clone()).collect();
        Self { regions: system.region_names().cloned().collect(), scheduled }
    }
}

/// When a drill ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// A further loss could be survived again.
    Protected,
    /// Every member streams again.
    Redundant,
    /// After this long.
    After(Duration),
}

/// What must hold. That there is one writer at most and that no invariant is broken always must.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expect {
    /// Reads are good again within.
    pub rto_read: Option<Duration>,
    /// Writes are good again within.
    pub rto_write: Option<Duration>,
    /// Acknowledged writes lost, at most.
    pub lost_writes: Option<u64>,
    /// The loss as time, at most.
    pub rpo: Option<Duration>,
    /// The most servers that took writes at one instant. Default 1.
    pub max_concurrent_writers: Option<u64>,
    /// Exactly this many failovers.
    pub failovers: Option<u64>,
    /// Exactly this many switchovers that came to their end.
    pub switchovers: Option<u64>,
    /// A failover was wanted, and the flap window alone held it back.
    pub held_back: bool,
    /// Who writes at the end.
    pub writer: Option<RegionName>,
    /// No outage of writes longer than this, for any population.
    pub writes_go_on: Option<Duration>,
    /// No outage of reads longer than this, for any population.
    pub reads_go_on: Option<Duration>,
    /// Requests that users saw fail, at most.
    pub failed_requests: Option<u64>,
    /// How the old writer came back.
    pub rejoined: Option<Rejoined>,
}

/// How an old writer came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejoined {
    /// By `pg_rewind`, or, where nothing had diverged besides, by following; never by a base backup.
    Rewound,
    /// By a new base backup.
    Recloned,
    /// Either way.
    Any,
}

impl Default for LoadSpec {
    fn default() -> Self {
        Self { rate: 60.0, writes: 0.3, users: 8 }
    }
}
