//! The one state that the data planes answer from: immutable, swapped whole, kept on disk.

use serde::{Deserialize, Serialize};

use crate::epoch::Epoch;
use crate::health::{Health, RegionHealth};
use crate::moment::Timestamp;
use crate::name::{GroupName, RegionName};
use crate::traffic::TurnedDial;

/// What a node knows of the whole at one instant. DNS, edge and gateway read only this and the
/// checked spec; they never ask the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Rises with each change on this node; a lower one is refused.
    pub generation: u64,
    /// The region whose node made it.
    pub region: RegionName,
    /// When, for people.
    pub made_at: Timestamp,
    /// Every region, in the order of the spec.
    pub regions: Vec<RegionHealth>,
    /// Every data group.
    pub groups: Vec<GroupState>,
    /// Dials that were turned and are in force, one a region at most.
    #[serde(default)]
    pub dials: Vec<TurnedDial>,
}

impl Snapshot {
    /// The first snapshot of a node: nothing is known.
    #[must_use]
    pub fn unknown(region: RegionName, regions: impl IntoIterator<Item = RegionName>) -> Self {
        let unknown = |region| RegionHealth {
            region,
            health: Health::Unknown,
            reason: "nothing has been observed yet".to_owned(),
            parts: Vec::new(),
        };
        Self {
            generation: 0,
            region,
            made_at: Timestamp(0),
            regions: regions.into_iter().map(unknown).collect(),
            groups: Vec::new(),
            dials: Vec::new(),
        }
    }

    /// The health of that region; unknown when it is not listed.
    #[must_use]
    pub fn health(&self, region: &RegionName) -> Health {
        self.regions.iter().find(|r| &r.region == region).map_or(Health::Unknown, |r| r.health)
    }

    /// How the dial of that region was turned, if it was.
    #[must_use]
    pub fn turned(&self, region: &RegionName) -> Option<&TurnedDial> {
        self.dials.iter().find(|d| &d.region == region)
    }

    /// The state of that group.
    #[must_use]
    pub fn group(&self, group: &GroupName) -> Option<&GroupState> {
        self.groups.iter().find(|g| &g.group == group)
    }
}

/// Who writes and who may serve reads in one data group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupState {
    /// The group.
    pub group: GroupName,
    /// The current reign.
    pub epoch: Epoch,
    /// Who may take writes now; `None` while there is no writer (fenced, claiming, promoting).
    pub writer: Option<RegionName>,
    /// Why there is none.
    pub reason: String,
    /// Members that may serve reads now: standbys that stream and lag less than `max_read_lag`, and
    /// the writer. In no order.
    pub readers: Vec<ReaderState>,
}

/// A member that may serve reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderState {
    /// Where.
    pub region: RegionName,
    /// How far behind, in whole seconds, rounded down: a new snapshot is made only when it matters. The
    /// exact figure is in the status and in the metrics.
    pub lag_s: u64,
}
