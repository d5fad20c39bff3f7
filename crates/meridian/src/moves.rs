//! `meridian switchover`, `failover`, `failback`: a person moves the writer.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use meridian_model::order::{Order, OrderState, Wish};
use meridian_model::run::{Run, RunKind, StepState};
use meridian_model::{Epoch, GroupName, RegionName, Timestamp};
use meridian_node::status::{GroupStatus, NodeStatus};
use meridian_node::{ORDERS, OrderAsked, Taken};
use meridian_telemetry::clock;
use serde_json::json;

use crate::output::{No, Output, json, print};
use crate::runs::tell::passed_over;
use crate::silent::{Silent, silent};
use crate::system::{Nodes, Person, Which, known, no_answer};
use crate::table::one_line;

mod waits;

/// How often the system is looked at while it works.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Move the writer to another region. Nothing is lost, and clients see a pause, no error.
///
/// The writer's node checks that the successor is up, streams and is close behind; then it has the
/// gateways of all regions hold new transactions, stops its database in good order and hands over. What does
/// not go well is called off, and everything is as before.
///
/// Exit code: 0 the group is protected again (with --no-wait: the order was taken); 1 it was refused, called off, paused
/// or not finished in time, or no node answers; 2 bad use, such as a region that there is not.
#[derive(Args)]
pub(crate) struct SwitchoverArgs {
    /// Where the writer goes.
    #[arg(long)]
    to: RegionName,
    #[command(flatten)]
    how: How,
}

/// Bring the writer back to the region that the spec begins with: a switchover.
///
/// Exit code: as that of `meridian switchover`.
#[derive(Args)]
pub(crate) struct FailbackArgs {
    #[command(flatten)]
    how: How,
}

/// Replace a lost writer although a rule holds that back: the flap window, maintenance, a plan that waits
/// for a person, or data that may be missing.
///
/// It does not shorten what safety needs: the lost writer's right to write must have ended.
///
/// Exit code: as that of `meridian switchover`; 1 also when the writer is well.
#[derive(Args)]
pub(crate) struct FailoverArgs {
    /// Go on without proof that every acknowledged write is there. For this failover only, and recorded.
    #[arg(long)]
    accept_data_loss: bool,
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
struct How {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    person: Person,
    /// Print the steps and their predicted times, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Return when the order was taken, without waiting for its end.
    #[arg(long)]
    no_wait: bool,
    /// How long to wait until the group is protected again.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = patience)]
    patience: Duration,
}

/// `30s`, `5m`; a bare number is seconds.
fn patience(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).or_else(|_| crate::lab::amounts::duration(text))
}

pub(crate) fn switchover(args: &SwitchoverArgs) -> anyhow::Result<ExitCode> {
    let to = Some(&args.to);
    begin(&args.how, true, to, |now| {
        now.hands_over()?;
        if now.group.writer.as_ref() == to {
            return Err(No(format!("{} is the writer of {} already", args.to, now.group.group)).into());
        }
        Ok(Wish::Switchover { to: args.to.clone() })
    })
}

pub(crate) fn failback(args: &FailbackArgs) -> anyhow::Result<ExitCode> {
    begin(&args.how, true, None, |now| {
        now.hands_over()?;
        Ok(Wish::Switchover { to: home(now.nodes, &now.group.group)? })
    })
}

pub(crate) fn failover(args: &FailoverArgs) -> anyhow::Result<ExitCode> {
    let accept_data_loss = args.accept_data_loss;
    begin(&args.how, false, None, |now| {
        now.is_lost()?;
        Ok(Wish::Failover { accept_data_loss })
    })
}

/// A group as it is when something is about to be ordered of it.
struct Now<'n> {
    nodes: &'n Nodes,
    group: GroupStatus,
    silent: Option<Silent>,
    /// Who tells this reaches etcd: else it is old.
    fresh: bool,
    words: &'n str,
}

impl<'n> Now<'n> {
    fn look(nodes: &'n Nodes, name: &GroupName, words: &'n str) -> anyhow::Result<Self> {
        let statuses = nodes.statuses();
        let (best, group) = best(&statuses, name).ok_or_else(no_answer)?;
        let all: Vec<&NodeStatus> = statuses.iter().collect();
        let silent = silent((best, group), &all, &nodes.system.topology.timers);
        Ok(Self { nodes, group: group.clone(), silent, fresh: best.coordination.reachable, words })
    }

    /// Nobody is known to write.
    fn is_lost(&self) -> anyhow::Result<()> {
        let writer = self.group.writer.as_ref().filter(|_| self.fresh && self.silent.is_none());
        let Some(writer) = writer else { return Ok(()) };
        let words = self.words;
        Err(No(format!(
            "{writer} writes and is well; move it without loss: meridian switchover --to REGION{words}"
        ))
        .into())
    }

    /// There is a writer that can hand over.
    fn hands_over(&self) -> anyhow::Result<()> {
        let why = match (&self.silent, &self.group.writer) {
            (Some(silent), _) => silent.text(),
            (None, None) => format!("{} has no writer: {}", self.group.group, self.group.reason),
            (None, Some(_)) => return Ok(()),
        };
        let words = self.words;
        Err(No(format!(
            "{why}. A lost writer cannot hand over; the command for that is: meridian failover{words} (what is done \
             about it: meridian status{words})"
        ))
        .into())
    }
}

/// The group as the first of these nodes that knows it sees it.
fn best<'n>(statuses: &'n [NodeStatus], name: &GroupName) -> Option<(&'n NodeStatus, &'n GroupStatus)> {
    statuses.iter().find_map(|node| Some((node, node.groups.iter().find(|g| g.group == *name)?)))
}

/// Where the writer is at home.
fn home(nodes: &Nodes, group: &GroupName) -> anyhow::Result<RegionName> {
    let database = nodes.system.databases.iter().find(|d| &d.name == group);
    let home = database.and_then(|database| nodes.system.home(database));
    home.cloned().ok_or_else(|| anyhow::anyhow!("{group} has no home"))
}

fn begin(
    how: &How,
    graceful: bool,
    to: Option<&RegionName>,
    wish: impl FnOnce(&Now) -> anyhow::Result<Wish>,
) -> anyhow::Result<ExitCode> {
    let nodes = match how.which.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    let group = how.which.group(&nodes.system)?;
    to.map(|region| known(&nodes.system, region)).transpose()?;
    if how.dry_run {
        let runs = crate::plan::runs(&nodes, &group);
        return crate::plan::foretell(&nodes.system, &group, graceful, runs, how.which.output);
    }
    let words = how.which.place.words(&nodes.system, Some(&group));
    let wish = wish(&Now::look(&nodes, &group, &words)?)?;
    let order = OrderAsked { group: group.clone(), wish, by: how.person.by.clone(), lasts_ms: None };
    let taken: Taken = nodes.post(ORDERS, &order)?;
    if let Some(other) = &taken.instead_of {
        let _ =
            writeln!(std::io::stderr().lock(), "it takes the place of order {} of {}", other.id, other.by);
    }
    if how.no_wait {
        let id = &taken.order.id;
        match how.which.output {
            Output::Json => print(&json(&taken)?),
            Output::Table => print(&format!("order {id} was taken; follow it: meridian run watch{words}\n")),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let order = taken.order;
    let run = follow(&nodes, &order, how.patience, &words)?;
    match how.which.output {
        Output::Json => print(&json(&json!({ "order": order, "run": run }))?),
        Output::Table => print(&summary(&run, &words)),
    }
    Ok(if run.finished() && run.aborted.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits for the run that carries an order out, and tells each step as it ends.
fn follow(nodes: &Nodes, order: &Order, patience: Duration, words: &str) -> anyhow::Result<Run> {
    let end = clock::now() + patience;
    let (mut told, mut waits, mut stood) = (BTreeSet::new(), waits::Waits::begin(), false);
    loop {
        let statuses = nodes.statuses();
        let group = best(&statuses, &order.group).map(|(_, group)| group);
        if let Some(group) = group {
            refused(group, order)?;
            replaced(group, order, &mut stood)?;
            prepared(group, order).iter().for_each(|run| tell(run, &mut told));
            if let Some(run) = run_of(group, order.epoch) {
                by_itself(&run)?;
                tell(&run, &mut told);
                if run.finished() || run.paused.is_some() {
                    return Ok(run);
                }
            } else {
                waits.tell(&statuses, order, &nodes.system.topology.timers, words);
            }
        }
        if clock::now() >= end {
            let last = group.map_or_else(|| "no node answers".to_owned(), |g| g.doing.clone());
            return Err(No(format!("not finished within {} s: {last}", patience.as_secs())).into());
        }
        nodes.pause(LOOK_EVERY);
    }
}

fn refused(group: &GroupStatus, order: &Order) -> anyhow::Result<()> {
    let Some(seen) = group.order.as_ref().filter(|seen| seen.id == order.id) else { return Ok(()) };
    match &seen.state {
        OrderState::Refused { reason, .. } => Err(No(format!("refused: {reason}")).into()),
        OrderState::Open if group.epoch == order.epoch && clock::wall() > expired(seen) => {
            Err(No(format!("nobody has begun it within its time; {}", group.doing)).into())
        }
        _ => Ok(()),
    }
}

/// Another order has taken the place of this one. `stood`: this one was seen there; before, another may be an older one.
fn replaced(group: &GroupStatus, order: &Order, stood: &mut bool) -> anyhow::Result<()> {
    let Some(seen) = &group.order else { return Ok(()) };
    *stood |= seen.id == order.id;
    if *stood && seen.id != order.id && seen.epoch == order.epoch && seen.at > order.at {
        let (id, by) = (&seen.id, &seen.by);
        return Err(No(format!("order {id} of {by} has taken the place of this one ({})", order.id)).into());
    }
    Ok(())
}

/// An order that nobody has begun (who carries it out prolongs it): a little after its end, for clocks differ.
fn expired(order: &Order) -> Timestamp {
    Timestamp(order.expires_at.0.saturating_add(3_000))
}

/// What the old writer does before its demotion, as far as it is.
fn prepared(group: &GroupStatus, order: &Order) -> Option<Run> {
    let of_order = |run: &&Run| run.epoch == order.epoch && run.id.as_str().ends_with(order.id.as_str());
    let mut run = group.runs.iter().find(of_order)?.clone();
    run.steps.retain(|step| !matches!(step.state, StepState::Skipped { .. }));
    Some(run)
}

/// The first run of a later reign.
fn run_of(group: &GroupStatus, epoch: Epoch) -> Option<Run> {
    group.runs.iter().filter(|run| run.epoch > epoch).min_by_key(|run| run.epoch).cloned()
}

/// A reign that no order began: its region went on, or was the first. The order was for the reign before, so nobody
/// carries it out any more.
fn by_itself(run: &Run) -> anyhow::Result<()> {
    let moved = run.from.as_ref().is_none_or(|from| *from != run.to);
    if moved && !matches!(run.kind, RunKind::Resume | RunKind::Start) {
        return Ok(());
    }
    let (to, epoch, group) = (&run.to, run.epoch, &run.group);
    Err(No(format!(
        "{to} has become the writer of {group} by itself in epoch {epoch}, before the order was carried out; the \
         order was for an earlier epoch and is void: see `meridian status`, and order it again if it is still wanted"
    ))
    .into())
}

/// Steps that have ended since the last look, on standard error.
fn tell(run: &Run, told: &mut BTreeSet<String>) {
    let mut out = std::io::stderr().lock();
    let bold = if out.is_terminal() { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
    for step in run.steps.iter().filter(|s| !matches!(s.state, StepState::Pending)) {
        let name = &step.work.name;
        let line = match &step.state {
            StepState::Done { since, at, detail } => {
                format!("{}{name}{} {} ms: {}", bold.0, bold.1, at.0 - since.0, one_line(detail))
            }
            StepState::Failed { reason, .. } => {
                format!("{}{name}{} failed: {}", bold.0, bold.1, one_line(reason))
            }
            StepState::Skipped { reason, .. } => format!("{}{name}{} skipped: {reason}", bold.0, bold.1),
            StepState::Running { .. } | StepState::Pending => continue,
        };
        if told.insert(name.to_string()) {
            let _ = writeln!(out, "{line}");
        }
    }
}

/// The run in a few lines.
fn summary(run: &Run, words: &str) -> String {
    let id = &run.id;
    let (end, next) = match (&run.aborted, &run.paused) {
        (Some(why), _) => (format!("was ended before its end: {}", one_line(why)), String::new()),
        (None, Some(why)) => (
            format!("is paused: {}", one_line(why)),
            format!("meridian run resume {id}{words}\nmeridian run abort {id}{words}\n"),
        ),
        (None, None) => (format!("is protected again{}", passed_over(run)), String::new()),
    };
    let from = run.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
    format!(
        "{} moved{from} to {} in epoch {}; it {end}\n{next}meridian run show {id}{words}\n",
        run.group, run.to, run.epoch
    )
}

#[cfg(test)]
mod tests;
