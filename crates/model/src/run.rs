//! A run: one execution of a recovery, journalled step by step so that another node can take it over.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::epoch::Epoch;
use crate::moment::Timestamp;
use crate::name::{GroupName, RegionName, RunId};

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// The first reign of a group: nothing to fence.
    Start,
    /// Unplanned: the holder was lost.
    Failover,
    /// The same holder again, after it had to stop.
    Resume,
}

/// One action of a run, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// The old writer is proven unable to write.
    Fence,
    /// The new writer takes writes.
    Promote,
    /// The other standbys follow the new writer.
    Repoint,
    /// The new writer's region gets the compute of a primary.
    Scale,
    /// Steering sends traffic by the new state: DNS, edge and gateway answer from it.
    Shift,
    /// A read and a write through the gateway succeed.
    Verify,
    /// A further loss could be survived: a standby streams from the new writer.
    Protect,
}

impl StepKind {
    /// All, in order.
    pub const ALL: [Self; 7] =
        [Self::Fence, Self::Promote, Self::Repoint, Self::Scale, Self::Shift, Self::Verify, Self::Protect];
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fence => "fence",
            Self::Promote => "promote",
            Self::Repoint => "repoint",
            Self::Scale => "scale",
            Self::Shift => "shift",
            Self::Verify => "verify",
            Self::Protect => "protect",
        })
    }
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum StepState {
    /// Not begun.
    Pending,
    /// Begun: journalled before the first action.
    Running {
        /// When.
        since: Timestamp,
    },
    /// Finished, with what was seen.
    Done {
        /// When it began.
        since: Timestamp,
        /// When it ended.
        at: Timestamp,
        /// What was seen.
        detail: String,
    },
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What.
    pub kind: StepKind,
    /// How far.
    #[serde(flatten)]
    pub state: StepState,
}

/// One execution of a recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its name, unique: group, epoch and kind.
    pub id: RunId,
    /// The group.
    pub group: GroupName,
    /// What for.
    pub kind: RunKind,
    /// The reign that it makes; a step runs only while this is current.
    pub epoch: Epoch,
    /// The writer before.
    pub from: Option<RegionName>,
    /// The writer after.
    pub to: RegionName,
    /// Why, in a sentence, with the evidence.
    pub cause: String,
    /// When the loss was first seen (the verdict).
    pub detected_at: Option<Timestamp>,
    /// When the epoch was won.
    pub decided_at: Timestamp,
    /// In order; done ones first.
    pub steps: Vec<Step>,
    /// The run that this one took over, because its owner was lost before the end.
    pub takes_over: Option<RunId>,
}

impl Run {
    /// All steps are done: the group is protected again.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.steps.iter().all(|s| matches!(s.state, StepState::Done { .. }))
    }
}
