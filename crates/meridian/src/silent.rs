//! A writer that is named as such and gives no sign of life: nobody else may write before its lease has ended.

use std::time::Duration;

use meridian_model::health::Health;
use meridian_model::{RegionName, Timers};
use meridian_node::status::{GroupStatus, NodeStatus};

/// So many renewals may be late before anybody wonders.
const RENEWALS: u32 = 3;

/// A writer that may be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Silent {
    /// Which region.
    pub(crate) writer: RegionName,
    /// What is left of its right to write.
    pub(crate) left: Duration,
}

impl Silent {
    /// In a sentence.
    pub(crate) fn text(&self) -> String {
        let left = self.left.as_secs_f64();
        format!("{} is silent: its lease ends in {left:.1} s; nobody else may write before", self.writer)
    }
}

/// The writer, if renewals of its lease are missing, and its node does not answer or all others judge it down. `best`:
/// the best informed node, and what it knows of the group; `nodes`: all that answer.
pub(crate) fn silent(
    (best, group): (&NodeStatus, &GroupStatus),
    nodes: &[&NodeStatus],
    timers: &Timers,
) -> Option<Silent> {
    let writer = group.writer.as_ref()?;
    // What who reaches no etcd knows of renewals is old.
    let record = group.record.as_ref().filter(|r| r.holder == *writer && best.coordination.reachable)?;
    let age = u64::try_from(best.at.0.saturating_sub(record.renewed_at.0)).unwrap_or(0);
    let age = Duration::from_millis(age);
    if age <= timers.renew_every * RENEWALS {
        return None;
    }
    let answers = nodes.iter().any(|node| node.region == *writer && node.coordination.reachable);
    let others: Vec<_> = nodes.iter().filter(|node| node.region != *writer).collect();
    let down =
        |node: &&&NodeStatus| node.verdicts.iter().any(|v| v.region == *writer && v.health == Health::Down);
    if answers && (others.is_empty() || !others.iter().all(down)) {
        return None;
    }
    Some(Silent { writer: writer.clone(), left: timers.lease_ttl.saturating_sub(age) })
}
