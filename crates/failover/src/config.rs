//! What a machine is told once.

use std::time::Duration;

use meridian_model::Timers;
use meridian_model::database::{OnRpoBreach, Replication, SwitchoverLimits};
use meridian_model::name::{GroupName, RegionName};
use meridian_model::plan::Work;

/// A standby that has not streamed for so long leaves the candidates: longer than the restart of a node or of a
/// line takes, and short enough that the next failover need not wait for who is lost for good.
pub const CANDIDATE_GONE: Duration = Duration::from_secs(30);

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
    /// A standby that has not streamed for this long does not count as one that may acknowledge.
    pub candidate_gone: Duration,
    /// What happens while it may be more.
    pub on_rpo_breach: OnRpoBreach,
    /// Every period that safety depends on.
    pub timers: Timers,
    /// Every region with a gateway, this one included: whose transactions a switchover holds.
    pub gateways: Vec<RegionName>,
    /// What a switchover may take.
    pub switchover: SwitchoverLimits,
    /// What is done in a run.
    pub plan: Plan,
}

/// The plan, frozen for both kinds of run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: meridian_model::Name,
    /// The steps when the old writer takes part, in an order in which each can be done.
    pub graceful: Vec<Work>,
    /// The steps when it is lost.
    pub ungraceful: Vec<Work>,
    /// The verdicts alone may begin a failover; else a person's order is needed.
    pub automatic: bool,
    /// A person must agree to each failover.
    pub approval: bool,
}
