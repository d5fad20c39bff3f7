//! `meridian run list|show|watch|report|lost|approve|pause|resume|abort`: the runs of a system, and words to
//! them.

pub(crate) mod lost;
mod report;
mod seen;
pub(crate) mod span;
pub(crate) mod tell;
mod watch;

pub(crate) use report::keep as keep_reports;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use meridian_model::order::RunWords;
use meridian_model::run::Run;
use meridian_model::{Name, RunId};
use meridian_node::status::GroupStatus;
use meridian_node::{SayWord, WORDS, WordAsked};

use serde::Serialize;

use crate::output::{No, Output, json, print};
use crate::system::{Person, Which};
use crate::table::help;
use seen::look;
use tell::{COUNTED, RUNS, STEPS, ended, whole};

#[derive(Subcommand)]
pub(crate) enum RunCommand {
    /// The last runs, newest first.
    List(ListArgs),
    /// One run with its steps, each beside what was expected of it, and what the run cost; without a name the
    /// newest.
    Show(OneArgs),
    /// Show a run until it ends; without a name the one that is under way, or else the next that begins.
    ///
    /// It is shown anew whenever something of it has changed. When no run is under way, it is said so, and the next one is
    /// waited for. Ctrl-C ends the watching; the run goes on.
    ///
    /// Exit code: 0 it came to its end; 1 it was ended before, none has begun within --patience, or no node answers; 2 bad
    /// use.
    Watch(watch::WatchArgs),
    /// The whole story of a run as one page, or as JSON.
    Report(report::ReportArgs),
    /// The transactions that a run cost: their tables and keys, and values on request.
    Lost(lost::LostArgs),
    /// Agree to a step that waits for a person.
    Approve(ApproveArgs),
    /// Begin no further step of a run, until `resume`; what is under way goes on.
    Pause(SayArgs),
    /// Let a run go on that is paused; a step that has failed is tried again.
    Resume(SayArgs),
    /// End a run before its end; what was done stays done.
    Abort(SayArgs),
}

fn list_help() -> String {
    format!("{}\n\n{COUNTED}", help("Columns", &RUNS))
}

fn steps_help() -> String {
    format!("{}\n\n{COUNTED}", help("Columns", &STEPS))
}

#[derive(Args)]
#[command(after_help = list_help())]
pub(crate) struct ListArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
#[command(after_help = steps_help())]
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
        RunCommand::Watch(args) => watch::watch(args),
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
        Output::Json => print(&json(&runs.iter().map(Listed::of).collect::<Vec<_>>())?),
        Output::Table => print(&tell::list(runs, group.epoch)),
    }
    Ok(ExitCode::SUCCESS)
}

/// A run in the list for programs.
#[derive(Serialize)]
struct Listed<'r> {
    #[serde(flatten)]
    run: &'r Run,
    writes_again_seconds: Option<f64>,
    protected_again_seconds: Option<f64>,
}

impl<'r> Listed<'r> {
    fn of(run: &'r Run) -> Self {
        let (writes_again_seconds, protected_again_seconds) =
            (span::writes_again(run), span::protected_again(run));
        Self { run, writes_again_seconds, protected_again_seconds }
    }
}

fn show(args: &OneArgs) -> anyhow::Result<ExitCode> {
    let nodes = match args.which.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    let seen = look(&nodes, &args.which.place, args.run.as_ref())?;
    match args.which.output {
        Output::Json => print(&json(&seen)?),
        Output::Table => print(&whole(&seen)),
    }
    Ok(ExitCode::SUCCESS)
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
        Output::Json => print(&json(&words)?),
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
