//! `meridian plan show|check|rehearse`: what would be done, in which order, and how long it would take.

mod does;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use meridian_model::plan::{RecoveryPlan, Work};
use meridian_model::run::{Run, RunKind, StepKind, StepState};
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
    /// Times count from the loss of the writer's region (of a switchover: from the order), so that the rows before the
    /// first step say what passes until the run begins: detection, the lease, the decision. The last lines say which
    /// rows add up to the sum; as JSON they are those of `timeline` with `in_sum`.
    ///
    /// Values of `env`, and addresses of messages, are shown as `***` wherever they stand: secrets may be in them. A file
    /// of `envFiles` is shown by its path.
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
    let mut out = format!("PLAN {} of {}; times count from {}\n", plan.name, plan.group, beginning(works));
    // Whole milliseconds, as they are: rounded, the rows would not add up.
    let seconds = |d: Duration| format!("{:.3} s", d.as_secs_f64());
    // What is waited for before and after the steps is part of the sum.
    let rows = timeline.steps.iter().map(|step| {
        let work = work_of(step, works);
        let what = work.map_or_else(|| step.why.clone(), does);
        [
            step.what.clone(),
            seconds(step.starts),
            seconds(step.takes),
            after(step, work, timeline).join(", "),
            what,
        ]
    });
    out.push_str(&table::text(&PLANNED, &rows.collect::<Vec<_>>(), 2));
    let source = match seen {
        Ok(0) => "from the spec and from constants: no recovery has been seen",
        Ok(1) => "from the spec and from 1 past run",
        Ok(n) => &format!("from the spec and from {n} past runs"),
        Err(_) => "from the spec and from constants only",
    };
    let terms = timeline.sum_text(|d| format!("{:.3}", d.as_secs_f64()));
    out.push_str(&format!("  sum          {} = {terms}\n", seconds(timeline.total())));
    let sum: Vec<&str> = timeline.sum().into_iter().map(|s| s.what.as_str()).collect();
    let beside = timeline.steps.iter().map(|s| s.what.as_str()).filter(|what| !sum.contains(what));
    let beside = beside.collect::<Vec<_>>().join(", ");
    if !beside.is_empty() {
        out.push_str(&format!(
            "  not in it    {beside}: beside it or after it, users do not wait for them\n"
        ));
    }
    out.push_str(&format!("  ({source})\n"));
    out + &seen.as_ref().err().map(|why| offline(why)).unwrap_or_default()
}

/// What all times count from.
fn beginning(works: &[Work]) -> &'static str {
    let planned = works.iter().any(|work| work.task.kind() == StepKind::Demote);
    if planned { "the order" } else { "the loss of the writer's region" }
}

/// The step of the plan; none for what comes before and after the run.
fn work_of<'w>(step: &TimelineStep, works: &'w [Work]) -> Option<&'w Work> {
    step.kind.and_then(|_| works.iter().find(|work| work.name.as_str() == step.what))
}

/// What it waits for: the steps that the plan names, else the one at whose end it begins.
fn after<'t>(step: &TimelineStep, work: Option<&'t Work>, timeline: &'t Timeline) -> Vec<&'t str> {
    let named: Vec<&str> = work.iter().flat_map(|work| &work.after).map(Name::as_str).collect();
    if !named.is_empty() {
        return named;
    }
    step.after.and_then(|at| timeline.steps.get(at)).map(|step| step.what.as_str()).into_iter().collect()
}

/// The timeline for programs: all rows of the table, with what comes before and after the run.
pub(crate) fn rows(timeline: &Timeline, works: &[Work]) -> Vec<serde_json::Value> {
    let sum = timeline.sum();
    let row = |s: &TimelineStep| {
        json!({
            "what": s.what, "begins_seconds": s.starts.as_secs_f64(), "seconds": s.takes.as_secs_f64(),
            "after": after(s, work_of(s, works), timeline), "why": s.why,
            "in_sum": sum.iter().any(|of_sum| std::ptr::eq(*of_sum, s)),
        })
    };
    timeline.steps.iter().map(row).collect()
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
        let step = timeline.steps.iter().find(|s| s.kind.is_some() && s.what == work.name.as_str());
        json!({
            "work": work.shown(), "does": does(work),
            "begins_seconds": step.map(|s| s.starts.as_secs_f64()),
            "takes_seconds": step.map(|s| s.takes.as_secs_f64()),
            "stuck_after_seconds": step.and_then(|s| s.stuck_after).map(|d| d.as_secs_f64()),
        })
    });
    json!({
        "plan": plan.name, "group": plan.group, "steps": steps.collect::<Vec<_>>(),
        "timeline": rows(timeline, works), "times_count_from": beginning(works),
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
            print(&live.as_ref().map_or_else(|why| offline(why), |found| crate::doctor::lines(found)));
        }
    }
    let fails = live.iter().flatten().any(|found| found.fails);
    Ok(if findings.is_empty() && !fails { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const SPEC: &str = include_str!("../../../examples/three-regions.yaml");

    /// The rows were rounded, the sum was another one than theirs, and the JSON began at 5.876 s without a word.
    #[test]
    fn the_rows_begin_at_nothing_and_add_up_to_the_sum() {
        let file = meridian_spec::SourceFile { name: "x.yaml".to_owned(), text: SPEC.to_owned() };
        let system = meridian_spec::read(&[file]).unwrap();
        for (graceful, first, from) in
            [(false, "detect", "the loss of the writer's region"), (true, "demote", "the order")]
        {
            let plan = plan_of(&system, &system.databases[0].name).unwrap();
            let works = freeze(&plan, graceful);
            let timeline = predict(&system, &works, &[]);
            let told = as_json(&plan, &works, &timeline, &Ok(0));
            let rows = told["timeline"].as_array().unwrap();
            assert_eq!(
                (rows[0]["what"].as_str(), rows[0]["begins_seconds"].as_f64()),
                (Some(first), Some(0.0))
            );
            assert_eq!(told["times_count_from"], from);
            let sum: f64 =
                rows.iter().filter(|r| r["in_sum"] == true).map(|r| r["seconds"].as_f64().unwrap()).sum();
            assert!((sum - told["total_seconds"].as_f64().unwrap()).abs() < 1e-9, "{told}");
            let waits = |r: &serde_json::Value| r["after"].as_array().is_some_and(|after| !after.is_empty());
            assert!(rows[1..].iter().all(waits), "each says what it waits for: {told}");

            let text = table(&plan, &works, &timeline, &Ok(0));
            let line = text.lines().find(|l| l.starts_with("  sum ")).unwrap();
            let numbers: Vec<f64> =
                line.split([' ', '+', '=']).filter_map(|word| word.parse().ok()).collect();
            let (total, terms) = numbers.split_first().unwrap();
            assert!(terms.len() > 2 && (terms.iter().sum::<f64>() - total).abs() < 1e-9, "{line}");
            assert!(text.lines().next().unwrap().ends_with(from), "{text}");
            assert!(text.lines().nth(2).unwrap().starts_with(&format!("  {first}")), "{text}");
        }
    }

    /// Both forms in which a plan is printed.
    pub(crate) fn printed(system: &System, plan: &RecoveryPlan) -> String {
        let works = freeze(plan, false);
        let timeline = predict(system, &works, &[]);
        let seen = Ok(0);
        format!("{}{}", table(plan, &works, &timeline, &seen), as_json(plan, &works, &timeline, &seen))
    }
}
