//! What a machine is told once.

use std::time::Duration;

use meridian_model::Timers;
use meridian_model::database::Replication;
use meridian_model::name::{GroupName, RegionName};

/// What a machine is told once. It knows members by name only; addresses are the runtime's.
#[derive(Debug, Clone)]
pub struct Config {
    /// The group.
    pub group: GroupName,
    /// The region whose node this is.
    pub me: RegionName,
    /// The group's roster: regions with a database, in the order of the spec (it breaks ties).
    pub members: Vec<RegionName>,
    /// Who begins the first reign.
    pub initial_primary: RegionName,
    /// How commits reach the replicas.
    pub replication: Replication,
    /// The data that may be lost, as time: how far an asynchronous standby may lag and still be promoted.
    pub rpo: Duration,
    /// A standby further behind serves no reads.
    pub max_read_lag: Duration,
    /// Every period that safety depends on.
    pub timers: Timers,
}
