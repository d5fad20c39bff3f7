//! A rehearsal: a plan carried out on a clone, with no effect on production, journalled step by step.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::moment::Timestamp;
use crate::name::{GroupName, Name, RegionName};
use crate::run::{StepKind, StepState};

/// One rehearsal. The last one of each group is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// Its name, unique.
    pub id: Name,
    /// Whose plan.
    pub group: GroupName,
    /// Where: that region's standby is cloned.
    pub region: RegionName,
    /// Who asked.
    pub by: String,
    /// When it began, by that region's wall clock.
    pub begun_at: Timestamp,
    /// When it has ended at the latest, removal included. A record that is older and not ended is of a node
    /// that was lost; what it left is removed when that node starts again.
    pub ends_by: Timestamp,
    /// What is done, in this order: clone, start, the steps of the plan, remove.
    pub steps: Vec<RehearsalStep>,
    /// What was left behind; none while it is under way, or when nobody could look.
    #[serde(default)]
    pub left: Option<LeftBehind>,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
}

impl Rehearsal {
    /// Another one may begin.
    #[must_use]
    pub fn over(&self, now: Timestamp) -> bool {
        self.ended_at.is_some() || now > self.ends_by
    }

    /// It has ended, no step of it has failed, and nothing is left.
    #[must_use]
    pub fn passed(&self) -> bool {
        let failed = |s: &RehearsalStep| matches!(s.state, StepState::Failed { .. });
        let clean = self.left.as_ref().is_some_and(LeftBehind::nothing);
        self.ended_at.is_some() && clean && !self.steps.iter().any(failed)
    }
}

/// One step of a rehearsal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RehearsalStep {
    /// The step's name in the plan, or `clone`, `start`, `remove`.
    pub name: Name,
    /// Its kind in the plan; none: the rehearsal's own.
    #[serde(default)]
    pub kind: Option<StepKind>,
    /// How far it is. `skipped` with its reason: it is not carried out in a rehearsal.
    #[serde(flatten)]
    pub state: StepState,
}

/// What a rehearsal left behind, as was looked up when all was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    /// Processes of the clone and of the copied instances.
    pub processes: u32,
    /// The folder of the clone is still there.
    pub folder: bool,
    /// Replication slots of the standby that were not there before.
    pub slots: Vec<String>,
    /// Addresses of the clone and of the copied instances that still take connections.
    pub ports: Vec<SocketAddr>,
    /// The standby streams from its upstream, as before.
    pub streaming: bool,
}

impl LeftBehind {
    /// Nothing is left, and the standby goes on.
    #[must_use]
    pub const fn nothing(&self) -> bool {
        self.processes == 0
            && !self.folder
            && self.slots.is_empty()
            && self.ports.is_empty()
            && self.streaming
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rehearsal() -> Rehearsal {
        let name = |text: &str| Name::new(text).unwrap();
        let state = StepState::Done { since: Timestamp(1), at: Timestamp(2), detail: String::new() };
        let left =
            LeftBehind { processes: 0, folder: false, slots: Vec::new(), ports: Vec::new(), streaming: true };
        Rehearsal {
            id: name("orders-rehearsal-1"),
            group: name("orders"),
            region: name("eu"),
            by: "me".to_owned(),
            begun_at: Timestamp(0),
            ends_by: Timestamp(10),
            steps: vec![RehearsalStep { name: name("clone"), kind: None, state }],
            left: Some(left),
            ended_at: Some(Timestamp(5)),
        }
    }

    #[test]
    fn it_passes_only_when_it_has_ended_nothing_failed_and_nothing_is_left() {
        assert!(rehearsal().passed());
        let mut under_way = rehearsal();
        under_way.ended_at = None;
        assert!(!under_way.passed() && !under_way.over(Timestamp(10)) && under_way.over(Timestamp(11)));
        let mut failed = rehearsal();
        let (since, at) = (Timestamp(1), Timestamp(2));
        failed.steps[0].state = StepState::Failed { since, at, reason: "no".to_owned() };
        assert!(!failed.passed() && failed.over(Timestamp(6)));
        let mut unclean = rehearsal();
        unclean.left.as_mut().unwrap().folder = true;
        assert!(!unclean.passed());
        unclean.left = None;
        assert!(!unclean.passed(), "what nobody has looked at is not clean");
    }
}
