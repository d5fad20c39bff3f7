//! `meridian plan show|check|rehearse`: what would be done, in which order, and how long it would take.

mod does;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use meridian_model::plan::{RecoveryPlan, Work};
use meridian_model::run::{Run, RunKind, StepState};
use meridian_model::{GroupName, Name, System};
use meridian_node::Found;
use meridian_planner::{Timeline, freeze, lint, predict};
use serde_json::json;

use crate::output::{Output, print};
use crate::system::{Nodes, Which};
use does::does;

/// Plans: what is done when a region is lost or the writer moves.
#[derive(Args)]
pub(crate) struct PlanArgs {
    #[command(subcommand)]
    command: PlanCommand,
}

#[derive(Subcommand)]
enum PlanCommand {
    /// The steps of a plan, with their predicted times.
    Show(ShowArgs),
    /// Is the plan sound, and does the running system have what it needs? Exit code 1 if not.
    ///
    /// The steps are checked by themselves; and where a node answers, what `meridian doctor` finds about the
    /// plan's data group and about no group in particular is told too.
    Check(ShowArgs),
    // Its help stands at its arguments.
    Rehearse(crate::rehearse::RehearseArgs),
}

#[derive(Args)]
struct ShowArgs {
    /// Which form: of a switchover, or of a failover.
    #[arg(long, value_enum, default_value_t = FormWord::Ungraceful)]
    form: FormWord,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormWord {
    /// The old writer takes part: a switchover.
    Graceful,
    /// The old writer is lost: a failover.
    Ungraceful,
}

pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let which = match &args.command {
        PlanCommand::Show(show) | PlanCommand::Check(show) => &show.which,
        PlanCommand::Rehearse(rehearse) => &rehearse.which,
    };
    let nodes = match which.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    let group = which.group(&nodes.system)?;
    match &args.command {
        PlanCommand::Show(show) => foretell(&nodes, &group, show.form == FormWord::Graceful, which.output),
        PlanCommand::Check(_) => check(&nodes, &group, which.output),
        PlanCommand::Rehearse(rehearse) => crate::rehearse::run(rehearse, &nodes, &group),
    }
}

fn plan_of(system: &System, group: &GroupName) -> anyhow::Result<RecoveryPlan> {
    let found = system.plans.iter().find(|plan| &plan.group == group).cloned();
    let database = system.databases.iter().find(|d| &d.name == group);
    found
        .or_else(|| database.map(|d| meridian_planner::derive(system, d)))
        .ok_or_else(|| anyhow::anyhow!("the spec has no data group `{group}`"))
}

/// Prints the steps with their predicted times, from past runs where there are any.
pub(crate) fn foretell(
    nodes: &Nodes,
    group: &GroupName,
    graceful: bool,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let plan = plan_of(&nodes.system, group)?;
    let works = freeze(&plan, graceful);
    let runs = nodes.group(group).map(|g| g.runs).unwrap_or_default();
    let past = past(&runs);
    let timeline = predict(&nodes.system, &works, &past);
    match output {
        Output::Json => print(&(serde_json::to_string_pretty(&as_json(&plan, &works, &timeline))? + "\n")),
        Output::Table => print(&table(&plan, &works, &timeline, runs.len())),
    }
    Ok(ExitCode::SUCCESS)
}

/// How long each step took in earlier recoveries. A group's first start and the return of the same writer are
/// none: they make or start a database and promote nobody.
pub(crate) fn past<'r>(runs: impl IntoIterator<Item = &'r Run>) -> Vec<(Name, Vec<Duration>)> {
    let mut past: Vec<(Name, Vec<Duration>)> = Vec::new();
    let recoveries = runs.into_iter().filter(|r| matches!(r.kind, RunKind::Failover | RunKind::Switchover));
    for step in recoveries.flat_map(|run| &run.steps) {
        let StepState::Done { since, at, .. } = &step.state else { continue };
        let took = Duration::from_millis(u64::try_from(at.0 - since.0).unwrap_or(0));
        match past.iter_mut().find(|(name, _)| *name == step.work.name) {
            Some((_, all)) => all.push(took),
            None => past.push((step.work.name.clone(), vec![took])),
        }
    }
    past
}

fn table(plan: &RecoveryPlan, works: &[Work], timeline: &Timeline, runs: usize) -> String {
    let mut out = format!("PLAN {} of {}\n", plan.name, plan.group);
    out.push_str("  STEP         BEGINS    TAKES     AFTER                 WHAT IS DONE\n");
    for work in works {
        let step = timeline.steps.iter().find(|s| s.what == work.name.as_str());
        let seconds = |d: Duration| format!("{:.2} s", d.as_secs_f64());
        let (begins, takes) = step.map_or_else(Default::default, |s| (seconds(s.starts), seconds(s.takes)));
        let after: Vec<&str> = work.after.iter().map(Name::as_str).collect();
        out.push_str(&format!(
            "  {:<12} {begins:<9} {takes:<9} {:<21} {}\n",
            work.name,
            after.join(", "),
            does(work)
        ));
    }
    let source = match runs {
        0 => "from the spec and from constants: no run has been seen".to_owned(),
        n => format!("from the spec and from {n} past runs"),
    };
    out.push_str(&format!("  sum          {:.2} s   ({source})\n", timeline.total().as_secs_f64()));
    out
}

fn as_json(plan: &RecoveryPlan, works: &[Work], timeline: &Timeline) -> serde_json::Value {
    let steps = works.iter().map(|work| {
        let step = timeline.steps.iter().find(|s| s.what == work.name.as_str());
        json!({
            "work": work.shown(), "does": does(work),
            "begins_seconds": step.map(|s| s.starts.as_secs_f64()),
            "takes_seconds": step.map(|s| s.takes.as_secs_f64()),
            "stuck_after_seconds": step.and_then(|s| s.stuck_after).map(|d| d.as_secs_f64()),
        })
    });
    json!({
        "plan": plan.name, "group": plan.group, "steps": steps.collect::<Vec<_>>(),
        "total_seconds": timeline.total().as_secs_f64(),
    })
}

/// The linter on both forms, and what the nodes find wrong with the running system.
fn check(nodes: &Nodes, group: &GroupName, output: Output) -> anyhow::Result<ExitCode> {
    let plan = plan_of(&nodes.system, group)?;
    let findings: Vec<_> =
        [true, false].into_iter().flat_map(|graceful| lint(&freeze(&plan, graceful))).collect();
    let live = crate::doctor::ask(nodes).ok().map(|judged| {
        let of_plan = |found: &&Found| found.group.as_ref().is_none_or(|of| of == group);
        judged.findings().filter(of_plan).cloned().collect::<Vec<_>>()
    });
    match output {
        Output::Json => {
            let all: Vec<String> = findings.iter().map(|f| f.message.clone()).collect();
            let told = json!({ "plan": plan.name, "findings": all, "live": live });
            print(&(serde_json::to_string_pretty(&told)? + "\n"));
        }
        Output::Table => {
            findings.iter().for_each(|f| print(&format!("{}\n", f.message)));
            if findings.is_empty() {
                print(&format!("the steps of plan {} are sound\n", plan.name));
            }
            print(&live.as_ref().map_or_else(|| UNSEEN.to_owned(), |found| crate::doctor::lines(found)));
        }
    }
    let fails = live.iter().flatten().any(|found| found.fails);
    Ok(if findings.is_empty() && !fails { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const UNSEEN: &str = "no node answers: what the running system has was not looked at\n";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Both forms in which a plan is printed.
    pub(crate) fn printed(system: &System, plan: &RecoveryPlan) -> String {
        let works = freeze(plan, false);
        let timeline = predict(system, &works, &[]);
        format!("{}{}", table(plan, &works, &timeline, 0), as_json(plan, &works, &timeline))
    }
}
