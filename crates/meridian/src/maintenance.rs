//! `meridian maintenance`: nothing begins by itself, until a stated end.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use meridian_model::order::Maintenance;
use meridian_node::status::NodeStatus;
use meridian_node::{MAINTENANCE, MaintenanceAsked};

use crate::output::{No, Output, json, print};
use crate::system::{Person, Which, no_answer};

/// Suspend what begins by itself: failovers and scheduled switchovers. A person's orders still count, and
/// fencing always does.
#[derive(Args)]
pub(crate) struct MaintenanceArgs {
    #[command(subcommand)]
    command: MaintenanceCommand,
}

#[derive(Subcommand)]
enum MaintenanceCommand {
    /// Begin a maintenance; it ends by itself after --for.
    Begin(BeginArgs),
    /// End the maintenance now.
    End(EndArgs),
    /// Is there a maintenance: until when, who began it, and why?
    ///
    /// Exit code: 0 it was told, whether there is one or not; 1 nobody knows, because no node answers or none that
    /// does reaches etcd; 2 bad use.
    Show(ShowArgs),
}

#[derive(Args)]
struct BeginArgs {
    /// For how long, such as `30m`.
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::lab::amounts::some_time)]
    lasts: Duration,
    #[command(flatten)]
    person: Person,
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct EndArgs {
    #[command(flatten)]
    person: Person,
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct ShowArgs {
    #[command(flatten)]
    which: Which,
}

pub(crate) fn run(args: &MaintenanceArgs) -> anyhow::Result<ExitCode> {
    let (which, asked) = match &args.command {
        MaintenanceCommand::Begin(a) => {
            let for_ms = u64::try_from(a.lasts.as_millis()).ok();
            (&a.which, Some((for_ms, &a.person)))
        }
        MaintenanceCommand::End(a) => (&a.which, Some((None, &a.person))),
        MaintenanceCommand::Show(a) => (&a.which, None),
    };
    let nodes = match which.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    let now: Option<Maintenance> = match asked {
        Some((for_ms, person)) => {
            let (by, reason) = (person.by.clone(), person.reason.clone());
            nodes.post(MAINTENANCE, &MaintenanceAsked { for_ms, by, reason })?
        }
        // The best informed one comes first.
        None => known(nodes.statuses().into_iter().next().ok_or_else(no_answer)?)?,
    };
    match which.output {
        Output::Json => print(&json(&now)?),
        Output::Table => print(&text(now.as_ref())),
    }
    Ok(ExitCode::SUCCESS)
}

/// What that node knows. One that does not reach etcd keeps to a maintenance that it has heard of, but cannot know that
/// there is none.
fn known(node: NodeStatus) -> Result<Option<Maintenance>, No> {
    if node.maintenance.is_some() || node.coordination.reachable {
        return Ok(node.maintenance);
    }
    Err(No(format!(
        "whether there is a maintenance is not known: no node that answers reaches etcd ({}: {})",
        node.region, node.coordination.detail
    )))
}

/// What `show` says, and `meridian status` at its top.
pub(crate) fn text(maintenance: Option<&Maintenance>) -> String {
    let Some(maintenance) = maintenance else { return "there is no maintenance\n".to_owned() };
    let until = jiff::Timestamp::from_millisecond(maintenance.until.0).map(|t| t.to_string());
    let until = until.unwrap_or_else(|_| format!("{} ms", maintenance.until.0));
    let word = &maintenance.word;
    let why = if word.reason.is_empty() { String::new() } else { format!(": {}", word.reason) };
    format!("maintenance until {until} ({}{why}): nothing begins by itself\n", word.by)
}

#[cfg(test)]
mod tests {
    use meridian_model::Timestamp;
    use meridian_model::order::Word;

    use super::*;
    use crate::status::tests::node;

    #[test]
    fn without_etcd_nobody_knows_that_there_is_none() {
        let told = |reachable, maintenance: Option<&Maintenance>| {
            known(NodeStatus { maintenance: maintenance.cloned(), ..node("eu", reachable, 2, Some("eu")) })
                .map(|maintenance| text(maintenance.as_ref()))
                .map_err(|no| no.to_string())
        };
        assert_eq!(told(true, None).unwrap(), "there is no maintenance\n");
        let unknown = told(false, None).unwrap_err();
        assert!(unknown.starts_with("whether there is a maintenance is not known"), "{unknown}");
        let word = Word { by: "ana".to_owned(), at: Timestamp(0), reason: String::new() };
        let heard = Maintenance { until: Timestamp(60_000), word };
        assert!(
            told(false, Some(&heard)).unwrap().starts_with("maintenance until 1970-01-01T00:01:00Z (ana)")
        );
    }
}
