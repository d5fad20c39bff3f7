//! `meridian switchover`, `failover`, `failback`: a person moves the writer.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use meridian_model::order::{Order, OrderState, Wish};
use meridian_model::run::{Run, RunKind, StepState};
use meridian_model::{Epoch, GroupName, RegionName, Timestamp};
use meridian_node::status::GroupStatus;
use meridian_node::{ORDERS, OrderAsked};
use meridian_telemetry::clock;
use serde_json::json;

use crate::output::{No, Output, json, print};
use crate::system::{Nodes, Person, Which, known};

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
    begin(&args.how, true, to, |nodes, group| {
        if nodes.group(group)?.writer.as_ref() == to {
            return Err(No(format!("{} is the writer of {group} already", args.to)).into());
        }
        Ok(Wish::Switchover { to: args.to.clone() })
    })
}

pub(crate) fn failback(args: &FailbackArgs) -> anyhow::Result<ExitCode> {
    begin(&args.how, true, None, |nodes, group| Ok(Wish::Switchover { to: home(nodes, group)? }))
}

pub(crate) fn failover(args: &FailoverArgs) -> anyhow::Result<ExitCode> {
    let accept_data_loss = args.accept_data_loss;
    begin(&args.how, false, None, |nodes, group| {
        if let Some(writer) = nodes.group(group)?.writer {
            let text =
                format!("{writer} writes and is well; move it without loss: meridian switchover --to REGION");
            return Err(No(text).into());
        }
        Ok(Wish::Failover { accept_data_loss })
    })
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
    wish: impl FnOnce(&Nodes, &GroupName) -> anyhow::Result<Wish>,
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
    let wish = wish(&nodes, &group)?;
    let order = OrderAsked { group: group.clone(), wish, by: how.person.by.clone(), lasts_ms: None };
    let order: Order = nodes.post(ORDERS, &order)?;
    if how.no_wait {
        match how.which.output {
            Output::Json => print(&json(&order)?),
            Output::Table => print(&format!("order {} was taken\n", order.id)),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let run = follow(&nodes, &order, how.patience)?;
    match how.which.output {
        Output::Json => print(&json(&json!({ "order": order, "run": run }))?),
        Output::Table => print(&summary(&run)),
    }
    Ok(if run.finished() && run.aborted.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits for the run that carries an order out, and tells each step as it ends.
fn follow(nodes: &Nodes, order: &Order, patience: Duration) -> anyhow::Result<Run> {
    let end = clock::now() + patience;
    let mut told = BTreeSet::new();
    loop {
        let group = nodes.group(&order.group).ok();
        if let Some(group) = &group {
            refused(group, order)?;
            prepared(group, order).iter().for_each(|run| tell(run, &mut told));
            if let Some(run) = run_of(group, order.epoch) {
                by_itself(&run)?;
                tell(&run, &mut told);
                if run.finished() || run.paused.is_some() {
                    return Ok(run);
                }
            }
        }
        if clock::now() >= end {
            let last = group.map_or_else(|| "no node answers".to_owned(), |g| g.doing);
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
                format!("{}{name}{} {} ms: {detail}", bold.0, bold.1, at.0 - since.0)
            }
            StepState::Failed { reason, .. } => format!("{}{name}{} failed: {reason}", bold.0, bold.1),
            StepState::Skipped { reason, .. } => format!("{}{name}{} skipped: {reason}", bold.0, bold.1),
            StepState::Running { .. } | StepState::Pending => continue,
        };
        if told.insert(name.to_string()) {
            let _ = writeln!(out, "{line}");
        }
    }
}

/// The run in two lines.
fn summary(run: &Run) -> String {
    let end = match (&run.aborted, &run.paused) {
        (Some(why), _) => format!("was ended before its end: {why}"),
        (None, Some(why)) => format!("is paused: {why}"),
        (None, None) => "is protected again".to_owned(),
    };
    let from = run.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
    format!(
        "{} moved{from} to {} in epoch {}; it {end}\nmeridian run show {}\n",
        run.group, run.to, run.epoch, run.id
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::fixture::{group, name};

    #[test]
    fn a_writer_that_resumed_by_itself_is_not_what_was_ordered() {
        let us = || name("us-east-1");
        let run = |kind, from: &str| Run {
            from: Some(name(from)),
            ..Run::begin(name("orders-2"), name("orders"), kind, Epoch(2), us(), Timestamp(0))
        };
        by_itself(&run(RunKind::Switchover, "eu-central-1")).unwrap();
        by_itself(&run(RunKind::Failover, "eu-central-1")).unwrap();
        for other in [run(RunKind::Resume, "us-east-1"), run(RunKind::Failover, "us-east-1")] {
            let told = by_itself(&other).unwrap_err();
            assert!(told.is::<No>(), "exit code 1");
            assert!(
                told.to_string()
                    .starts_with("us-east-1 has become the writer of orders by itself in epoch 2")
            );
        }
    }

    #[test]
    fn patience_has_units_and_a_bare_number_is_seconds() {
        let read = |text| patience(text).map(|d| d.as_secs());
        assert_eq!((read("5m"), read("30s"), read("300")), (Ok(300), Ok(30), Ok(300)));
        assert!(patience("soon").unwrap_err().contains("a time such as"));
    }

    #[test]
    fn an_order_that_is_being_carried_out_is_waited_for_longer_than_it_was_to_last() {
        let given = Order {
            id: name("2-1"),
            group: name("orders"),
            wish: Wish::Switchover { to: name("eu-central-1") },
            epoch: Epoch(2),
            by: "ana".to_owned(),
            at: Timestamp(0),
            expires_at: Timestamp(60_000),
            state: OrderState::Open,
        };
        let shown =
            |order: &Order| GroupStatus { order: Some(order.clone()), ..group(Vec::new(), Vec::new()) };
        let lost = refused(&shown(&given), &given).unwrap_err().to_string();
        assert!(lost.contains("nobody has begun it within its time"), "{lost}");
        let prolonged = Order { expires_at: Timestamp(clock::wall().0 + 60_000), ..given.clone() };
        refused(&shown(&prolonged), &given).unwrap();
    }
}
