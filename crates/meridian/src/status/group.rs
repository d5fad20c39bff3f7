//! A data group: its members side by side, and its last run.

use meridian_model::RegionName;
use meridian_model::group::{DatabaseStatus, MemberReport};
use meridian_model::run::{Run, StepState};
use meridian_node::status::{GroupStatus, NodeStatus};

use crate::runs::span::after;
use crate::runs::tell::state;
use crate::table::{self, Column, one_line};

/// The members.
pub(crate) const MEMBERS: [Column; 7] = [
    Column("REGION", "whose database"),
    Column("STATE", "Leading: it writes; Following: a standby; all others: docs/failover.md"),
    Column("DATABASE", "primary, standby, starting, stopped, absent; none: it has none; `?`: as last told"),
    Column("EPOCH", "the reign that this node knows; one with a lower number is behind"),
    Column("LOG POSITION", "timeline:LSN of the last that was written (primary) or received (standby)"),
    Column("LAG", "behind by so much; `nothing heard`: by it of the writer; `not seen`: we of it"),
    Column("STREAMING", "yes: the standby receives the writer's log now"),
];

/// The best informed node's view of the group, and what each node that answers says of its own member.
pub(super) fn text(
    (best, group): (&NodeStatus, &GroupStatus),
    rows: &[(&NodeStatus, &GroupStatus)],
    order: &[&RegionName],
    verbose: bool,
) -> String {
    let writer =
        group.writer.as_ref().map_or_else(|| format!("none ({})", group.reason), ToString::to_string);
    let mut out = format!("\nGROUP {}  epoch {}  writer {writer}\n", group.group, group.epoch);
    let silent: Vec<&MemberReport> =
        group.members.iter().filter(|m| rows.iter().all(|(node, _)| node.region != m.region)).collect();
    let answering = rows.iter().map(|row| (&row.0.region, answers(row.0, row.1), Some(row)));
    let unseen = silent.into_iter().map(|report| (&report.region, silent_row(best, report), None));
    let mut all: Vec<_> = answering.chain(unseen).collect();
    // A region that is lost stays in its place.
    all.sort_by_key(|(region, ..)| order.iter().position(|o| o == region).unwrap_or(usize::MAX));
    let cells: Vec<_> = all.iter().map(|(_, cells, _)| cells.clone()).collect();
    let lines = table::lines(&MEMBERS, &cells);
    let below = std::iter::once(None).chain(all.iter().map(|(.., row)| row.filter(|_| verbose)));
    for (line, row) in lines.iter().zip(below) {
        out.push_str(&format!("{line}\n"));
        if let Some((node, member)) = row {
            out.push_str(&why(group, node, member));
        }
    }
    if let Some(run) = group.runs.first() {
        out.push_str(&last_run(run));
    }
    out
}

/// What the node of a member does, and each rule.
fn why(group: &GroupStatus, node: &NodeStatus, member: &GroupStatus) -> String {
    let mut out = format!("    {}\n", member.doing);
    // A writer does not take over from itself.
    let leads = group.writer.as_ref() == Some(&node.region);
    for rule in member.rules.iter().filter(|_| !leads) {
        let word = if rule.allows { "allows" } else { "blocks" };
        out.push_str(&format!("    {word}  {:<22} {}\n", rule.rule, rule.evidence));
    }
    out
}

fn answers(node: &NodeStatus, group: &GroupStatus) -> [String; 7] {
    let [database, position, lag, streaming] = match &group.database {
        Some(database) => of(database),
        None => ["none", "-", "-", "-"].map(str::to_owned),
    };
    let (region, epoch) = (node.region.to_string(), group.epoch.to_string());
    [region, group.state.clone(), database, epoch, position, lag, streaming]
}

/// What is known of a member whose node does not answer: what it reported last through etcd.
fn silent_row(best: &NodeStatus, report: &MemberReport) -> [String; 7] {
    let [database, position, ..] = of(&report.database);
    let unseen = format!("not seen for {:.0} s", after(report.reported_at, best.at).max(0.0));
    let (region, epoch) = (report.region.to_string(), report.epoch.to_string());
    [region, "silent".to_owned(), format!("{database}?"), epoch, position, unseen, "-".to_owned()]
}

fn of(database: &DatabaseStatus) -> [String; 4] {
    [
        format!("{:?}", database.role).to_lowercase(),
        format!("{}:{}", database.received.timeline, database.received.lsn),
        database.lag().map_or_else(|| "-".to_owned(), |lag| lag.to_string()),
        if database.streaming { "yes" } else { "-" }.to_owned(),
    ]
}

fn last_run(run: &Run) -> String {
    let from = run.from.as_ref().map(|f| format!(" from {f}")).unwrap_or_default();
    let (id, kind, to, state, cause) = (&run.id, run.kind, &run.to, state(run), &run.cause);
    let mut out = format!("LAST RUN {id}: {kind}{from} to {to}; {state}; {cause}\n");
    for step in &run.steps {
        let (state, detail) = match &step.state {
            StepState::Pending => ("pending".to_owned(), ""),
            StepState::Running { .. } => ("running".to_owned(), ""),
            StepState::Failed { reason, .. } => ("failed".to_owned(), reason.as_str()),
            StepState::Skipped { reason, .. } => ("skipped".to_owned(), reason.as_str()),
            StepState::Done { since, at, detail } => (format!("{:>6} ms", at.0 - since.0), detail.as_str()),
        };
        let detail = one_line(detail);
        out.push_str(&format!("    {:<8} {state:<10} {detail}\n", step.work.name));
    }
    out
}
