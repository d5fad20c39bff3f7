//! `meridian plan show|check|rehearse`: what would be done, in which order, and how long it would take.

mod does;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use meridian_model::plan::{RecoveryPlan, Work};
use meridian_model::run::{Run, RunKind, StepState};
use meridian_model::{GroupName, Name, System};
use meridian_node::Found;
use meridian_planner::{Timeline, TimelineStep, freeze, lint, predict};
use serde_json::json;

use crate::output::{Output, json, print};
use crate::system::{Nodes, Which};
use crate::table::{self, Column};
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
    ///
    /// A spec is enough: nothing need run, and no secret is needed. Where nodes answer, the times of earlier runs
    /// count too.
    ///
    /// Exit code: 0 the plan was shown; 1 the spec has errors; 2 bad use.
    #[command(after_help = table::help("Columns", &PLANNED))]
    Show(ShowArgs),
    /// Is the plan sound, and does the running system have what it needs?
    ///
    /// The steps are checked by themselves, for which a spec is enough; and where a node answers, what `meridian
    /// doctor` finds about the plan's data group and about no group in particular is told too.
    ///
    /// Exit code: 0 the steps are sound and nothing that was looked at fails; 1 not so, or the spec has errors; 2 bad
    /// use.
    Check(ShowArgs),
    // Its help stands at its arguments.
    Rehearse(crate::rehearse::RehearseArgs),
}

/// The steps.
pub(crate) const PLANNED: [Column; 5] = [
    Column("STEP", "its name; also what is waited for before and after the steps"),
    Column("BEGINS", "when it is expected to, counted from the loss of the writer or from the order"),
    Column("TAKES", "how long it is expected to take"),
    Column("AFTER", "the steps that have to be over before it"),
    Column("WHAT IS DONE", "the command, whom it tells, what it asks; of a wait: what its time rests on"),
];

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
    let system = match which.place.system()? {
        Ok(system) => system,
        Err(code) => return Ok(code),
    };
    let group = which.group(&system)?;
    let nodes = Nodes::of(system.clone());
    let graceful = match &args.command {
        PlanCommand::Rehearse(rehearse) => return crate::rehearse::run(rehearse, &nodes?, &group),
        PlanCommand::Check(_) => None,
        PlanCommand::Show(show) => Some(show.form == FormWord::Graceful),
    };
    // A plan is known from the spec alone; what nodes could add, and why they do not.
    let nodes = nodes.map_err(|error| format!("{error:#}"));
    match graceful {
        None => check(&system, &group, nodes, which.output),
        Some(graceful) => {
            let runs = nodes.and_then(|nodes| runs(&nodes, &group));
            foretell(&system, &group, graceful, runs, which.output)
        }
    }
}

/// The group's runs, or why nobody tells them.
pub(crate) fn runs(nodes: &Nodes, group: &GroupName) -> Result<Vec<Run>, String> {
    nodes.group(group).map(|group| group.runs).map_err(|error| error.to_string())
}

fn plan_of(system: &System, group: &GroupName) -> anyhow::Result<RecoveryPlan> {
    let found = system.plans.iter().find(|plan| &plan.group == group).cloned();
    let database = system.databases.iter().find(|d| &d.name == group);
    found
        .or_else(|| database.map(|d| meridian_planner::derive(system, d)))
        .ok_or_else(|| anyhow::anyhow!("the spec has no data group `{group}`"))
}

/// Prints the steps with their predicted times, from past runs where there are any. `runs`: or why nobody tells them.
pub(crate) fn foretell(
    system: &System,
    group: &GroupName,
    graceful: bool,
    runs: Result<Vec<Run>, String>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let plan = plan_of(system, group)?;
    let works = freeze(&plan, graceful);
    let runs = runs.map(|runs| runs.into_iter().filter(is_recovery).collect::<Vec<_>>());
    let timeline = predict(system, &works, &past(runs.iter().flatten()));
    let seen = runs.map(|runs| runs.len());
    match output {
        Output::Json => {
            print(&json(&as_json(&plan, &works, &timeline, &seen))?);
        }
        Output::Table => print(&table(&plan, &works, &timeline, &seen)),
    }
    Ok(ExitCode::SUCCESS)
}

/// A group's first start and the return of the same writer are none: they make or start a database and promote
/// nobody.
fn is_recovery(run: &Run) -> bool {
    matches!(run.kind, RunKind::Failover | RunKind::Switchover)
}

/// How long each step took in earlier recoveries.
pub(crate) fn past<'r>(runs: impl IntoIterator<Item = &'r Run>) -> Vec<(Name, Vec<Duration>)> {
    let mut past: Vec<(Name, Vec<Duration>)> = Vec::new();
    let recoveries = runs.into_iter().filter(|r| is_recovery(r));
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

/// `seen`: how many recoveries the times are from, or why nobody told any.
fn table(plan: &RecoveryPlan, works: &[Work], timeline: &Timeline, seen: &Result<usize, String>) -> String {
    let mut out = format!("PLAN {} of {}\n", plan.name, plan.group);
    let seconds = |d: Duration| format!("{:.2} s", d.as_secs_f64());
    let row = |name: &str, step: Option<&TimelineStep>, after: &[Name], what: &str| {
        let (begins, takes) = step.map_or_else(Default::default, |s| (seconds(s.starts), seconds(s.takes)));
        let after = after.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        [name.to_owned(), begins, takes, after, what.to_owned()]
    };
    // What is waited for before and after the steps is part of the sum.
    let foretold =
        timeline.steps.iter().map(|step| match works.iter().find(|work| work.name.as_str() == step.what) {
            Some(work) => row(&step.what, Some(step), &work.after, &does(work)),
            None => row(&step.what, Some(step), &[], &step.why),
        });
    let untold =
        works.iter().filter(|work| timeline.steps.iter().all(|step| step.what != work.name.as_str()));
    let untold = untold.map(|work| row(work.name.as_str(), None, &work.after, &does(work)));
    out.push_str(&table::text(&PLANNED, &foretold.chain(untold).collect::<Vec<_>>(), 2));
    let source = match seen {
        Ok(0) => "from the spec and from constants: no recovery has been seen",
        Ok(1) => "from the spec and from 1 past run",
        Ok(n) => &format!("from the spec and from {n} past runs"),
        Err(_) => "from the spec and from constants only",
    };
    out.push_str(&format!("  sum          {:.2} s   ({source})\n", timeline.total().as_secs_f64()));
    out + &seen.as_ref().err().map(|why| offline(why)).unwrap_or_default()
}

/// Nobody was asked, or nobody has answered.
fn offline(why: &str) -> String {
    format!("offline: the running system, if there is one, was not looked at ({why})\n")
}

fn as_json(
    plan: &RecoveryPlan,
    works: &[Work],
    timeline: &Timeline,
    seen: &Result<usize, String>,
) -> serde_json::Value {
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
        "past_runs": seen.as_ref().ok(), "offline": seen.as_ref().err(),
    })
}

/// The linter on both forms, and what the nodes find wrong with the running system.
fn check(
    system: &System,
    group: &GroupName,
    nodes: Result<Nodes, String>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let plan = plan_of(system, group)?;
    let findings: Vec<_> =
        [true, false].into_iter().flat_map(|graceful| lint(&freeze(&plan, graceful))).collect();
    let judged = nodes.and_then(|nodes| crate::doctor::ask(&nodes).map_err(|error| error.to_string()));
    let live = judged.map(|judged| {
        let of_plan = |found: &&Found| found.group.as_ref().is_none_or(|of| of == group);
        judged.findings().filter(of_plan).cloned().collect::<Vec<_>>()
    });
    match output {
        Output::Json => {
            let all: Vec<String> = findings.iter().map(|f| f.message.clone()).collect();
            let (found, why) = (live.as_ref().ok(), live.as_ref().err());
            let told = json!({ "plan": plan.name, "findings": all, "live": found, "offline": why });
            print(&json(&told)?);
        }
        Output::Table => {
            findings.iter().for_each(|f| print(&format!("{}\n", f.message)));
            if findings.is_empty() {
                print(&format!("the steps of plan {} are sound\n", plan.name));
            }
            print(&live.as_ref().map_or_else(|why| offline(why), |found| crate::doctor::lines(found, 0)));
        }
    }
    let fails = live.iter().flatten().any(|found| found.fails);
    Ok(if findings.is_empty() && !fails { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Both forms in which a plan is printed.
    pub(crate) fn printed(system: &System, plan: &RecoveryPlan) -> String {
        let works = freeze(plan, false);
        let timeline = predict(system, &works, &[]);
        let seen = Ok(0);
        format!("{}{}", table(plan, &works, &timeline, &seen), as_json(plan, &works, &timeline, &seen))
    }
}
