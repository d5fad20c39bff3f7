//! `meridian run report`: one run from alarm to *protected again*, as a page or as JSON.
//!
//! [`Facts`] is complete and plain: whatever the page shows is in it. Times are what the nodes' wall clocks
//! said; where two regions' clocks are compared, the definitions on the page say so.

mod facts;
mod html;
mod keep;
mod parts;
mod timeline;

pub(crate) use keep::keep;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use meridian_model::RunId;

use super::seen::look;
use crate::output::{json, print};
use crate::system::Place;
use facts::Facts;

#[derive(Args)]
#[command(
    after_help = "The report holds who, what, when and why: every rule that was asked with its evidence, \
each step against what was to be expected, the recovery against the objectives, and how much was lost. The page \
is one file that needs nothing else. No user's data is in it: `meridian run lost` has that. Each node keeps the
reports of runs that have ended in `reports` of its data folder, at least the newest 200.

  meridian run report --to run.html                 the newest run
  meridian run report orders-2-failover --output json"
)]
pub(crate) struct ReportArgs {
    /// Which run. None: the newest.
    run: Option<RunId>,
    /// The form.
    #[arg(long, value_enum, default_value_t = Form::Html)]
    output: Form,
    /// Where it is written; none: standard output.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One page for people.
    Html,
    /// One JSON value for programs.
    Json,
}

pub(crate) fn report(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let nodes = match args.place.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    let seen = look(&nodes, &args.place, args.run.as_ref())?;
    let facts = Facts::of(&nodes.system, &seen);
    let text = match args.output {
        Form::Html => html::html(&facts),
        Form::Json => json(&facts)?,
    };
    match &args.to {
        Some(file) => {
            std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
            print(&format!("the report of run {} is in {}\n", seen.run.id, file.display()));
        }
        None => print(&text),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
pub(super) mod tests;
