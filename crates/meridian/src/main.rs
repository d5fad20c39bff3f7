//! The one binary: a file per subcommand, and the one place where errors are printed.
//!
//! Exit codes: 0 fine, 1 the answer is no (a check that found faults, a drill that failed), 2 bad use.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod check;
mod drill;
mod lab;
mod output;
mod run;
mod schema;
mod status;

/// Makes an application multi-region: steers users, keeps one writer, recovers from the loss of a region
/// and measures how long it took and what was lost.
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 100, after_help = FIRST_STEPS)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const FIRST_STEPS: &str = "First steps:
  meridian check examples/three-regions.yaml        is the spec sound?
  meridian lab up examples/three-regions.yaml       the whole system on this machine
  meridian lab kill us-east-1                       in another terminal: lose a region
  meridian status                                   what every region knows
  meridian drill run drills/region-loss.yaml        the same, scripted and measured";

#[derive(Subcommand)]
enum Command {
    /// Parse and validate specs: every error at once, each with its place.
    Check(check::CheckArgs),
    /// Print the JSON Schema of specs, for editors.
    Schema(schema::SchemaArgs),
    /// Run the node of one region, as in production.
    Run(run::RunArgs),
    /// Show regions, verdicts with evidence, writers, lag, traffic and the last run.
    Status(status::StatusArgs),
    /// The whole system on this machine: bring it up, break it, watch it.
    Lab(lab::LabArgs),
    /// Started by a node beside its PostgreSQL; not for people.
    #[command(hide = true, name = meridian_node::GUARD)]
    Guard,
    /// Real faults with measurement, from a file.
    Drill(drill::DrillArgs),
}

#[expect(clippy::print_stderr, reason = "the one place where errors are printed")]
fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Check(args) => check::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Run(args) => run::run(args),
        Command::Status(args) => status::run(args),
        Command::Lab(args) => lab::run(args),
        Command::Guard => {
            meridian_node::guard(std::io::stdin().lock()).map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        Command::Drill(args) => drill::run(args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("meridian: {error:#}");
        ExitCode::from(2)
    })
}
