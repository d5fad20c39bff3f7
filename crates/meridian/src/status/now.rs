//! What an on-call engineer is to read first: who cannot write, since when, and what is done about it.

use meridian_model::Timestamp;
use meridian_model::run::{Run, StepKind};
use meridian_node::status::{GroupStatus, NodeStatus};

use crate::runs::span::{after, ended, origin};
use crate::runs::tell::running;

/// Failovers do not begin by themselves: that is to be read first.
pub(super) fn maintained(node: &NodeStatus) -> String {
    let active = node.maintenance.as_ref().filter(|m| node.at < m.until);
    active
        .map(|m| format!("AUTOMATIC FAILOVER IS OFF: {}", crate::maintenance::text(Some(m))))
        .unwrap_or_default()
}

/// Nobody who answers reaches etcd, so nobody decides anything.
pub(super) fn undecided(nodes: &[&NodeStatus]) -> String {
    if nodes.is_empty() {
        return "NO NODE ANSWERS: is the system up, and are its control addresses reachable from here?\n"
            .to_owned();
    }
    if nodes.iter().any(|node| node.coordination.reachable) {
        return String::new();
    }
    "NO ETCD: no node that answers reaches it, so nothing is decided, and what stands below may be out of date\n"
        .to_owned()
}

/// Nobody writes: since when, why, and what is done. Nothing while somebody does.
pub(super) fn no_writer(node: &NodeStatus, group: &GroupStatus) -> String {
    if group.writer.is_some() {
        return String::new();
    }
    let run = group.runs.first().filter(|run| run.epoch == group.epoch && !run.finished());
    let doing = match run {
        Some(run) => carried_out(run),
        None => format!("No run is under way; {} {}; see `meridian explain`", node.region, group.doing),
    };
    let since = since(group, run).map(|at| format!(" for {:.0} s", after(at, node.at).max(0.0)));
    let (name, reason) = (&group.group, &group.reason);
    format!("NO WRITER of {name}{}: {reason}. {doing}\n", since.unwrap_or_default())
}

/// The last sign of a writer's life: before the run that makes the next one, or of the one whom the record names.
fn since(group: &GroupStatus, run: Option<&Run>) -> Option<Timestamp> {
    let by_run = run.filter(|run| ended(run, StepKind::Promote).is_none()).map(|run| origin(run).0);
    by_run.or_else(|| group.record.as_ref().map(|record| record.renewed_at))
}

fn carried_out(run: &Run) -> String {
    let (id, to) = (&run.id, &run.to);
    if let Some(why) = &run.paused {
        return format!("Run {id}, which makes {to} the writer, is paused ({why}): meridian run resume {id}");
    }
    let steps = running(run).collect::<Vec<_>>().join(", ");
    let steps = if steps.is_empty() { String::new() } else { format!(" (now: {steps})") };
    format!("Run {id} makes {to} the writer{steps}: meridian run watch {id}")
}
