//! What the lab sees of its regions from outside, through each node's `GET /v1/status`.

use meridian_model::{GroupName, RegionName, Timestamp};
use serde::{Deserialize, Serialize};

/// The whole lab at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabStatus {
    /// The name of the topology.
    pub name: String,
    /// The number of the lab: the second octet of its addresses.
    pub number: u8,
    /// Its state folder.
    pub dir: std::path::PathBuf,
    /// When, by the wall clock.
    pub at: Timestamp,
    /// Everything that should work does.
    pub healthy: bool,
    /// What is missing, one sentence each.
    pub missing: Vec<String>,
    /// The regions, in the order of the spec.
    pub regions: Vec<RegionStatus>,
    /// Faults on the network now, one sentence each.
    pub network_faults: Vec<String>,
}

/// One region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionStatus {
    /// Which.
    pub region: RegionName,
    /// `running`, `killed`, `frozen`, `starting`; what the lab did to it.
    pub condition: String,
    /// Processes that belong to it.
    pub processes: usize,
    /// The node answered; its whole answer.
    pub node: Option<serde_json::Value>,
    /// What most nodes hold it to be: `up`, `down`, `unknown`.
    pub verdict: String,
    /// Each group that it is a member of.
    pub groups: Vec<GroupRow>,
}

/// One database member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Which group.
    pub group: GroupName,
    /// `primary`, `standby`, …
    pub role: String,
    /// The epoch that it knows.
    pub epoch: u64,
    /// Who writes, as this node knows.
    pub writer: Option<RegionName>,
    /// Why nobody does.
    pub reason: String,
    /// A standby that receives, or a primary.
    pub streaming: bool,
    /// How far behind, in milliseconds.
    pub lag_ms: Option<u64>,
    /// The log position, as text.
    pub lsn: String,
}
