//! What an on-call engineer is to read first: who cannot write, since when, and what is done about it.

use meridian_model::Timestamp;
use meridian_model::run::{Run, StepKind};
use meridian_node::status::{GroupStatus, NodeStatus};

use super::Known;
use crate::explain::held_up;
use crate::runs::span::{after, ended, origin};
use crate::runs::tell::running;
use crate::table::one_line;

/// Failovers do not begin by themselves: that is to be read first.
pub(super) fn maintained(node: &NodeStatus, words: &str) -> String {
    let active = node.maintenance.as_ref().filter(|m| node.at < m.until);
    let text = active.map(|m| {
        let text = crate::maintenance::text(Some(m));
        format!("AUTOMATIC FAILOVER IS OFF: {}; end it: meridian maintenance end{words}\n", text.trim_end())
    });
    text.unwrap_or_default()
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

/// Nobody writes: since when, why, and what is done, or what keeps it from being done. Nothing while somebody does.
/// `rows`: the nodes that answer.
pub(super) fn no_writer((node, group): Known, rows: &[Known], words: &str) -> String {
    if group.writer.is_some() {
        return String::new();
    }
    // A run whose promotion is done, or whose region is gone, makes nobody the writer any more.
    let makes_one = |run: &&Run| {
        let promotes = !run.finished() && ended(run, StepKind::Promote).is_none();
        run.epoch == group.epoch && promotes && rows.iter().any(|(node, _)| node.region == run.to)
    };
    let run = group.runs.first().filter(makes_one);
    let doing = match run {
        Some(run) => carried_out(run, words),
        None => held_up(rows.iter().copied(), words).map_or_else(
            || format!("{} {}; see `meridian explain{words}`", node.region, group.doing),
            |held| held.text,
        ),
    };
    let since = since(group, run).map(|at| format!(" for {:.0} s", after(at, node.at).max(0.0)));
    let (name, reason) = (&group.group, &group.reason);
    format!("NO WRITER of {name}{}: {reason}. {doing}\n", since.unwrap_or_default())
}

/// The last sign of a writer's life: before the run that makes the next one, or of the one whom the record names.
fn since(group: &GroupStatus, run: Option<&Run>) -> Option<Timestamp> {
    let by_run = run.map(|run| origin(run).0);
    by_run.or_else(|| group.record.as_ref().map(|record| record.renewed_at))
}

fn carried_out(run: &Run, words: &str) -> String {
    let (id, to) = (&run.id, &run.to);
    if let Some(why) = &run.paused {
        let why = one_line(why);
        return format!(
            "Run {id}, which makes {to} the writer, is paused ({why}): meridian run resume {id}{words}"
        );
    }
    let steps = running(run).collect::<Vec<_>>().join(", ");
    let steps = if steps.is_empty() { String::new() } else { format!(" (now: {steps})") };
    format!("Run {id} makes {to} the writer{steps}: meridian run watch {id}{words}")
}
