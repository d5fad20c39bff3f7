//! `meridian run list|show|watch|report|lost|approve|pause|resume|abort`: the runs of a system, and words to
//! them.

mod lost;
mod report;
mod seen;

pub(crate) use report::keep as keep_reports;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use meridian_model::order::RunWords;
use meridian_model::run::{Run, Step, StepState};
use meridian_model::{Epoch, Name, RunId, Timestamp};
use meridian_node::status::GroupStatus;
use meridian_node::{SayWord, WORDS, WordAsked};

use crate::output::{No, Output, print};
use crate::system::{Person, Which};
use seen::{Expected, Seen, look};

/// How often `watch` looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Subcommand)]
pub(crate) enum RunCommand {
    /// The last runs, newest first.
    List(ListArgs),
    /// One run with its steps, each beside what was expected of it, and what the run cost; without a name the
    /// newest.
    Show(OneArgs),
    /// Show a run until it ends.
    ///
    /// Exit code: 0 it came to its end; 1 it was ended before, or no node answers; 2 bad use.
    Watch(OneArgs),
    /// The whole story of a run as one page, or as JSON.
    Report(report::ReportArgs),
    /// The transactions that a run cost: their tables and keys, and values on request.
    Lost(lost::LostArgs),
    /// Agree to a step that waits for a person.
    Approve(ApproveArgs),
    /// Begin no further step.
    Pause(SayArgs),
    /// Go on; a step that has failed is tried again.
    Resume(SayArgs),
    /// End a run before its end; what was done stays done.
    Abort(SayArgs),
}

#[derive(Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
pub(crate) struct OneArgs {
    /// Which run. None: the newest.
    run: Option<RunId>,
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
pub(crate) struct SayArgs {
    /// Which run.
    run: RunId,
    #[command(flatten)]
    person: Person,
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
pub(crate) struct ApproveArgs {
    /// The step, as `run show` names it.
    step: Name,
    #[command(flatten)]
    say: SayArgs,
}

pub(crate) fn run(command: &RunCommand) -> anyhow::Result<ExitCode> {
    match command {
        RunCommand::List(args) => list(args),
        RunCommand::Show(args) => show(args),
        RunCommand::Watch(args) => watch(args),
        RunCommand::Report(args) => report::report(args),
        RunCommand::Lost(args) => lost::lost(args),
        RunCommand::Approve(args) => say(&args.say, SayWord::Approve, Some(args.step.clone())),
        RunCommand::Pause(args) => say(args, SayWord::Pause, None),
        RunCommand::Resume(args) => say(args, SayWord::Resume, None),
        RunCommand::Abort(args) => say(args, SayWord::Abort, None),
    }
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let nodes = match args.which.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    let group = args.which.group(&nodes.system)?;
    let group = nodes.group(&group)?;
    let runs = &group.runs;
    match args.which.output {
        Output::Json => print(&(serde_json::to_string_pretty(runs)? + "\n")),
        Output::Table => print(&table(runs, group.epoch)),
    }
    Ok(ExitCode::SUCCESS)
}

fn table(runs: &[Run], epoch: Epoch) -> String {
    let mut out = String::from(
        "RUN                              KIND        EPOCH  TO                  TOOK       STATE\n",
    );
    for run in runs {
        let took = took(run).map_or_else(|| "-".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1_000.0));
        let kind = format!("{:?}", run.kind).to_lowercase();
        out.push_str(&format!(
            "{:<32} {kind:<11} {:<6} {:<19} {took:<10} {}\n",
            run.id,
            run.epoch,
            run.to,
            ended(run, epoch, runs).unwrap_or_else(|| state(run))
        ));
    }
    out
}

/// From the claim to the last step's end, in milliseconds.
fn took(run: &Run) -> Option<i64> {
    let ends = run.steps.iter().filter_map(|s| match s.state {
        StepState::Done { at, .. } | StepState::Failed { at, .. } => Some(at.0),
        _ => None,
    });
    run.finished().then(|| ends.max().unwrap_or(run.decided_at.0) - run.decided_at.0)
}

fn state(run: &Run) -> String {
    match (&run.aborted, &run.paused) {
        (Some(why), _) => format!("aborted: {why}"),
        (None, Some(why)) => format!("paused: {why}"),
        (None, None) if run.finished() && run.prepares() => "prepared".to_owned(),
        (None, None) if run.finished() => "protected again".to_owned(),
        (None, None) => {
            let running: Vec<&str> = running(run).collect();
            format!("running: {}", running.join(", "))
        }
    }
}

/// A run of an earlier reign that was not finished: nobody does anything for it any more. What a preparation has done
/// counts in the switchover that takes it over.
fn ended(run: &Run, epoch: Epoch, runs: &[Run]) -> Option<String> {
    if !run.ended_before(epoch) {
        return None;
    }
    match runs.iter().find(|later| later.takes_over.as_ref() == Some(&run.id)) {
        Some(_) if run.prepares() => None,
        Some(later) => Some(format!("ended: epoch {epoch} has begun; {} takes it over", later.id)),
        None => Some(format!("ended: epoch {epoch} has begun")),
    }
}

fn running(run: &Run) -> impl Iterator<Item = &str> {
    run.steps.iter().filter(|s| matches!(s.state, StepState::Running { .. })).map(|s| s.work.name.as_str())
}

fn show(args: &OneArgs) -> anyhow::Result<ExitCode> {
    let nodes = match args.which.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    let seen = look(&nodes, &args.which.place, args.run.as_ref())?;
    match args.which.output {
        Output::Json => print(&(serde_json::to_string_pretty(&seen)? + "\n")),
        Output::Table => print(&whole(&seen)),
    }
    Ok(ExitCode::SUCCESS)
}

fn watch(args: &OneArgs) -> anyhow::Result<ExitCode> {
    let nodes = match args.which.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    // How long a step has been stuck changes all the time; that it is so is news.
    let stuck = |seen: &Seen| seen.progress.iter().map(|e| e.stuck.is_some()).collect::<Vec<_>>();
    let mut last = None;
    loop {
        let seen = look(&nodes, &args.which.place, args.run.as_ref())?;
        let news = Some((seen.run.clone(), stuck(&seen)));
        if last != news {
            match args.which.output {
                Output::Json => print(&(serde_json::to_string(&seen)? + "\n")),
                Output::Table => print(&whole(&seen)),
            }
        }
        // Who watches what is newest watches the switchover, too, that a preparation is for.
        let goes_on = args.run.is_none() && seen.goes_on;
        if seen.ended.is_some() {
            return Ok(ExitCode::FAILURE);
        }
        if seen.run.finished() && (seen.run.aborted.is_some() || !goes_on) {
            return Ok(if seen.run.aborted.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
        last = news;
        nodes.pause(LOOK_EVERY);
    }
}

/// A run and its steps, times counted from the decision.
fn whole(seen: &Seen) -> String {
    let run = &seen.run;
    let kind = format!("{:?}", run.kind).to_lowercase();
    let from = run.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
    let state = seen.ended.clone().unwrap_or_else(|| state(run));
    let mut out = format!("RUN {}: {kind}{from} to {} in epoch {}; {state}\n", run.id, run.to, run.epoch);
    out.push_str(&format!("  why     {}\n", run.cause));
    if let Some(plan) = &run.plan {
        out.push_str(&format!("  plan    {plan}\n"));
    }
    if let Some(before) = &run.takes_over {
        out.push_str(&format!("  takes over {before}\n"));
    }
    for cost in seen.cost() {
        out.push_str(&format!("  cost    {cost}\n"));
    }
    out.push_str("  STEP         BEGAN      TOOK       EXPECTED          STATE     WHAT WAS SEEN\n");
    for step in &run.steps {
        let expected = seen.expected(step.work.name.as_str());
        let [began, took, word, detail] = columns(run, step, expected.and_then(|e| e.stuck.as_deref()));
        let expected = expected.map(Expected::text).unwrap_or_default();
        out.push_str(&format!(
            "  {:<12} {began:<10} {took:<10} {expected:<17} {word:<9} {detail}\n",
            step.work.name
        ));
    }
    out
}

/// When a step began, how long it took, how far it is, and what was seen.
fn columns(run: &Run, step: &Step, stuck: Option<&str>) -> [String; 4] {
    let after = |t: Timestamp| format!("{:+.2} s", (t.0 - run.decided_at.0) as f64 / 1_000.0);
    let took = |a: Timestamp, b: Timestamp| format!("{:.2} s", (b.0 - a.0) as f64 / 1_000.0);
    let none = String::new;
    let (began, took, word, detail) = match &step.state {
        StepState::Pending => (none(), none(), "pending", waits(run, &step.work.after)),
        StepState::Running { since } => {
            (after(*since), none(), "running", stuck.unwrap_or_default().to_owned())
        }
        StepState::Done { since, at, detail } => (after(*since), took(*since, *at), "done", detail.clone()),
        StepState::Failed { since, at, reason } => {
            (after(*since), took(*since, *at), "failed", reason.clone())
        }
        StepState::Skipped { at, reason } => (after(*at), none(), "skipped", reason.clone()),
    };
    [began, took, word.to_owned(), detail]
}

/// What a step waits for.
fn waits(run: &Run, after: &[Name]) -> String {
    let open = after.iter().filter(|name| run.step(name).is_some_and(|s| !s.over()));
    let open: Vec<&str> = open.map(Name::as_str).collect();
    if open.is_empty() { String::new() } else { format!("after {}", open.join(", ")) }
}

fn say(args: &SayArgs, say: SayWord, step: Option<Name>) -> anyhow::Result<ExitCode> {
    let nodes = match args.which.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    let groups: Vec<GroupStatus> = nodes.statuses().into_iter().flat_map(|node| node.groups).collect();
    if let Some(why) = too_late(&groups, &args.run) {
        return Err(No(format!("nothing was said to run {}: {why}", args.run)).into());
    }
    let (by, reason) = (args.person.by.clone(), args.person.reason.clone());
    let word = WordAsked { run: args.run.clone(), say, step, by, reason };
    let words: RunWords = nodes.post(WORDS, &word)?;
    match args.which.output {
        Output::Json => print(&(serde_json::to_string_pretty(&words)? + "\n")),
        Output::Table => print(&format!("said to run {}\n", words.run)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Why a word to that run changes nothing any more, as the best informed node that knows it tells.
fn too_late(groups: &[GroupStatus], id: &RunId) -> Option<String> {
    let known = |group: &'_ GroupStatus| group.runs.iter().find(|run| &run.id == id).cloned();
    let (group, run) = groups.iter().find_map(|group| Some((group, known(group)?)))?;
    ended(&run, group.epoch, &group.runs)
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
