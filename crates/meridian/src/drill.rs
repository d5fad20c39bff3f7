//! `meridian drill`: real faults with measurement, from a file.
//!
//! Exit codes: 0 every expectation held, 1 one did not (the report says which) or it could not be measured, 2 bad
//! use, 130 interrupted.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use meridian_lab::LabOptions;
use meridian_lab::drill::file::{self, Drill, Names};
use meridian_lab::drill::{self, Options};
use meridian_lab::report::{self, Facts, Paper};
use meridian_model::System;
use meridian_spec::{Diagnostic, SourceFile};
use tokio::signal::unix::{SignalKind, signal};

use crate::output::Output;

/// Where reports are kept when nobody says otherwise.
const REPORTS: &str = "target/reports";

#[derive(Args)]
pub(crate) struct DrillArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring the system up on this machine, put users on it, break it as the file says, and measure.
    Run(RunArgs),
    /// Minimum, median and maximum of each figure over several reports.
    Summary(SummaryArgs),
}

const SHIPPED: &str = "Drills that come with Meridian, in drills/:
  region-loss, region-loss-quorum     the writer's region loses power
  partition, freeze-primary           it is cut off, or stands still and wakes up
  two-region-witness                  two regions and a witness: the writer's is lost, later the witness
  failback                            a lost region comes back, is rewound, and the writer goes home
  switchover, follow-the-sun          the writer moves on purpose, by a person or by the schedule
  resume-run                          the acting node is killed between every two steps of a run
  flap                                the writer comes and goes: one failover, then it is held down
  blip, slow-link, standby-loss       no reason to fail over
  etcd-member-loss, etcd-outage       nor is the loss of etcd

An entry of a timeline has `at: 10s`, `after: 15s` or `after: redundant`, and one of
  kill: REGION, freeze: REGION        with `part: postgres|etcd|node|app` only that
  restore: REGION                     what was killed or frozen goes on
  isolate: REGION, heal: all          cut off from everybody; the network is whole again
  partition: [REGION, REGION]         with `oneWay: true` only what the first one sends is lost
  slow: [REGION, REGION]              with `rtt: 300ms`, `loss: 1%`, `bandwidth: 10MiB/s`
  switchover: REGION, failback: home  the writer is ordered to move
  turn: REGION                        its hour in the schedule is moved to this time
  killActing: between-steps           kills the node that carries the run out, after each step

Expectations: rtoRead, rtoWrite, readsGoOn, writesGoOn, rpo, lostWrites, failedRequests, failovers,
switchovers, maxConcurrentWriters, rejoined, writer, heldBack.";

#[derive(Args)]
#[command(after_help = SHIPPED)]
struct RunArgs {
    /// The drill, such as `drills/region-loss.yaml`.
    file: PathBuf,
    /// Run it on this system instead of the one that the file names.
    #[arg(long)]
    spec: Option<PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// The folder for report.html and report.json; default `target/reports/NAME`.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// The number of the lab, 10 to 250. [default: the lowest that nobody runs or has data of]
    #[arg(long, value_name = "NUMBER", value_parser = crate::lab::amounts::lab_number)]
    lab: Option<u8>,
    /// The seed of jitter, loss and the arrival of requests.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the lab's data afterwards, to look into it. Every drill has a folder of its own and begins afresh.
    #[arg(long)]
    keep: bool,
}

#[derive(Args)]
struct SummaryArgs {
    /// report.json files, of one drill or of several.
    #[arg(required = true)]
    reports: Vec<PathBuf>,
    /// How the summary is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: DrillArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Run(args) => run_drill(args),
        Command::Summary(args) => summary(&args),
    }
}

fn run_drill(args: RunArgs) -> anyhow::Result<ExitCode> {
    let source = read_source(&args.file)?;
    let Some((mut drill, system)) = told(read(source, args.spec.as_deref())) else {
        return Ok(ExitCode::FAILURE);
    };
    if let Some(spec) = &args.spec {
        drill.system.clone_from(spec);
    }
    for warning in crate::lab::beside::warnings() {
        progress(&drill.name, &warning);
    }
    let facts = measure(&drill, &system, &args)?;
    let folder = args.report.unwrap_or_else(|| Path::new(REPORTS).join(&drill.name));
    let page = report::write(&facts, &folder)?;
    print(&facts, &page, args.output)?;
    Ok(if facts.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A drill and its system, or `spec` instead of the one that it names; every fault of both.
pub(crate) fn read(source: SourceFile, spec: Option<&Path>) -> Result<(Drill, System), Vec<Diagnostic>> {
    let first = file::read(source.clone(), None);
    let named = || file::system_of(source.clone());
    let Some(path) = spec.map(Path::to_owned).or_else(named) else {
        return Err(first.err().unwrap_or_default());
    };
    let files = match crate::check::read_specs(&[path]) {
        Ok(files) => files,
        Err(error) => return Err(file::without_system(source, &format!("{error:#}"))),
    };
    let of_drill = || first.err().unwrap_or_default();
    let system = meridian_spec::read(&files)
        .map_err(|faults| of_drill().into_iter().chain(faults).collect::<Vec<_>>())?;
    Ok((file::read(source, Some(&Names::of(&system)))?, system))
}

/// Runs the drill until its end, or until somebody interrupts it: then the lab is taken down all the same.
fn measure(drill: &Drill, system: &System, args: &RunArgs) -> anyhow::Result<Facts> {
    let lab = LabOptions {
        number: args.lab,
        seed: args.seed,
        fresh: true,
        own_name: Some(format!("drill-{}", drill.name)),
        temporary: !args.keep,
        ..LabOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let name = drill.name.clone();
    let tell = move |line: &str| progress(&name, line);
    runtime.block_on(async {
        let (asked, stop) = tokio::sync::watch::channel(0);
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        for kind in kinds {
            let (mut signals, asked) = (signal(kind)?, asked.clone());
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    asked.send_modify(|times| *times += 1);
                }
            });
        }
        let options = Options { lab, keep: args.keep };
        drill::run(drill, system, options, &tell, stop).await.context("the drill could not be measured")
    })
}

#[expect(clippy::print_stderr, reason = "progress belongs on the terminal, not into the answer")]
fn progress(name: &str, line: &str) {
    eprintln!("{name}: {line}");
}

fn read_source(path: &Path) -> anyhow::Result<SourceFile> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(SourceFile { name: path.display().to_string(), text })
}

/// The value, or none after every fault was printed.
#[expect(clippy::print_stderr, reason = "faults of the input belong on the terminal")]
fn told<T>(read: Result<T, Vec<Diagnostic>>) -> Option<T> {
    let colour = std::io::stderr().is_terminal();
    read.map_err(|faults| faults.iter().for_each(|fault| eprintln!("{}", fault.render(colour)))).ok()
}

fn print(facts: &Facts, page: &Path, output: Output) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, facts)?;
            writeln!(out)?;
        }
        Output::Table => {
            // A file, a pipe: nothing has a width there.
            let width = rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col.into());
            let paper = width.map_or(Paper::File, |columns| Paper::Terminal { columns });
            write!(out, "{}", report::table(facts, paper))?;
            writeln!(out, "\nreport: {}", page.display())?;
        }
    }
    Ok(())
}

fn summary(args: &SummaryArgs) -> anyhow::Result<ExitCode> {
    let read = |path: &PathBuf| -> anyhow::Result<serde_json::Value> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no report of a drill", path.display()))
    };
    let reports = args.reports.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let drills = report::summary(&reports);
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, &drills)?;
            writeln!(out)?;
        }
        Output::Table => write!(out, "{}", report::summary_table(&drills))?,
    }
    let all = drills.values().all(|d| d.passed == d.runs);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
