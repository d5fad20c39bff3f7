//! What `GET /v1/status` tells: the facts that `meridian status`, the lab and drills read.

use meridian_model::group::{DatabaseStatus, GroupRecord, MemberReport};
use meridian_model::health::RegionHealth;
use meridian_model::order::{Maintenance, Order, RunWords};
use meridian_model::run::Run;
use meridian_model::traffic::TurnedDial;
use meridian_model::{Epoch, GroupName, Name, RegionName, Timestamp};
use serde::{Deserialize, Serialize};

pub use crate::losses::{Loss, losses_of};

/// The path of it.
pub const STATUS: &str = "/v1/status";

/// All that one node knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Whose node.
    pub region: RegionName,
    /// The version of the program.
    pub version: String,
    /// By its wall clock.
    pub at: Timestamp,
    /// The generation of the snapshot that its data planes answer from.
    pub generation: u64,
    /// Does etcd answer?
    pub coordination: CoordinationStatus,
    /// The state of every region, with evidence.
    pub verdicts: Vec<RegionHealth>,
    /// Every data group.
    pub groups: Vec<GroupStatus>,
    /// Nothing begins by itself until its end.
    #[serde(default)]
    pub maintenance: Option<Maintenance>,
    /// Instances of each service that run here.
    pub compute: Vec<ComputeStatus>,
    /// The share of all users that steering sends to each region now.
    pub traffic: Vec<TrafficShare>,
    /// The dials that were turned and are in force here.
    #[serde(default)]
    pub dials: Vec<TurnedDial>,
}

/// Does etcd answer?
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CoordinationStatus {
    /// It answered within the last few seconds.
    pub reachable: bool,
    /// What was last heard of it.
    pub detail: String,
}

/// One data group as one node sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupName,
    /// The current reign.
    pub epoch: Epoch,
    /// Who may write now.
    pub writer: Option<RegionName>,
    /// Why there is no writer.
    pub reason: String,
    /// The state of this node's machine, as in the transition table.
    pub state: String,
    /// What it does or waits for, in a sentence.
    pub doing: String,
    /// This node's own database.
    pub database: Option<DatabaseStatus>,
    /// The record in etcd.
    pub record: Option<GroupRecord>,
    /// What every member reports.
    pub members: Vec<MemberReport>,
    /// Why the machine acts or does not, rule by rule.
    pub rules: Vec<RuleStatus>,
    /// The last runs, newest first.
    pub runs: Vec<Run>,
    /// What was last ordered of it, and what became of that.
    #[serde(default)]
    pub order: Option<Order>,
    /// What persons have said to these runs.
    #[serde(default)]
    pub words: Vec<RunWords>,
    /// What this region's own database had lost when it came back, newest last.
    #[serde(default)]
    pub losses: Vec<Loss>,
}

/// What one rule says now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuleStatus {
    /// Its name.
    pub rule: String,
    /// It would let a failover begin.
    pub allows: bool,
    /// What that rests on.
    pub evidence: String,
}

/// Instances of a service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ComputeStatus {
    /// The service.
    pub service: Name,
    /// Running now.
    pub running: u32,
    /// Wanted.
    pub wanted: u32,
}

/// A region's part of all users.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrafficShare {
    /// The service.
    pub service: Name,
    /// Where they go.
    pub region: RegionName,
    /// 0 to 1.
    pub share: f64,
}
