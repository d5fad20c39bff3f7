//! `meridian status`: what every region's node knows, put side by side.

mod group;
mod now;

pub(crate) use group::MEMBERS;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::Args;
use meridian_model::health::{Health, RegionHealth};
use meridian_model::{GroupName, RegionName, Timers};
use meridian_node::status::{GroupStatus, NodeStatus, STATUS};
use serde::Serialize;

use crate::output::{Output, json, print};
use crate::silent::silent;
use crate::system::Which;
use crate::table::{self, Column};

/// The regions.
pub(crate) const REGIONS: [Column; 3] = [
    Column("REGION", "whose node is asked"),
    Column("NODE", "answers, or silent; `answers, no etcd`: what it knows of others may be out of date"),
    Column("SEES", "each region as this node judges it; in brackets what is down in one that is up"),
];

fn columns() -> String {
    format!(
        "{}\n\n{}\n\nTRAFFIC is the share of all users that is sent to each region now; DIAL a dial that was turned.",
        table::help("Regions", &REGIONS),
        table::help("Each data group (GROUP)", &MEMBERS)
    )
}

/// Show regions, verdicts with evidence, writers, lag, traffic and the last run.
///
/// First, in capitals, what keeps clients from writing, if anything does, and what is done about it. The node of every
/// region is asked: of the lab that runs here, or with --spec of the system that it describes, at the control addresses
/// that stand there. With --group only that data group is shown.
///
/// Exit code: 0 every node answers and sees every region up, and every group that is shown has a writer; 1 one of that is
/// not so, or the spec has errors; 2 bad use.
#[derive(Args)]
#[command(after_help = columns())]
pub(crate) struct StatusArgs {
    /// Show every vantage's evidence and every rule.
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    which: Which,
}

/// One region's answer, or why there is none.
#[derive(Serialize)]
struct Answer {
    region: RegionName,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<NodeStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// What was asked and answered.
struct Told {
    answers: Vec<Answer>,
    /// Failovers that are held back, one sentence each.
    held_back: Vec<String>,
    timers: Timers,
    /// By which a command that is told finds the system, and each group.
    words: String,
    words_of: BTreeMap<GroupName, String>,
}

pub(crate) fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let nodes = match args.which.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    let group = args.which.place.group.as_ref().map(|_| args.which.group(&nodes.system)).transpose()?;
    let answer = |(region, answer): (RegionName, Result<NodeStatus, String>)| match answer {
        Ok(mut node) => {
            node.groups.retain(|g| group.as_ref().is_none_or(|only| g.group == *only));
            Answer { region, node: Some(node), problem: None }
        }
        Err(problem) => Answer { region, node: None, problem: Some(problem) },
    };
    let answers: Vec<Answer> = nodes.get(STATUS).into_iter().map(answer).collect();
    let values = answers.iter().filter_map(|a| serde_json::to_value(a.node.as_ref()?).ok());
    let values: Vec<serde_json::Value> = values.collect();
    let held_back = meridian_lab::status::held_back(values.iter(), nodes.system.topology.timers.flap_window);
    let (system, place) = (&nodes.system, &args.which.place);
    let words_of = system.databases.iter().map(|d| (d.name.clone(), place.words(system, Some(&d.name))));
    let told = Told {
        answers,
        held_back,
        timers: system.topology.timers,
        words: place.words(system, None),
        words_of: words_of.collect(),
    };
    match args.which.output {
        Output::Json => print(&json(&told.answers)?),
        Output::Table => print(&table(&told, args.verbose)),
    }
    let well = told.answers.iter().all(|a| a.node.as_ref().is_some_and(all_up));
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn all_up(node: &NodeStatus) -> bool {
    node.verdicts.iter().all(|v| v.health == Health::Up) && node.groups.iter().all(|g| g.writer.is_some())
}

// === the table ===

/// A node, and what it knows of a group.
type Known<'n> = (&'n NodeStatus, &'n GroupStatus);

fn table(told: &Told, verbose: bool) -> String {
    let nodes: Vec<&NodeStatus> = told.answers.iter().filter_map(|a| a.node.as_ref()).collect();
    let names: BTreeSet<_> = nodes.iter().flat_map(|n| &n.groups).map(|g| &g.group).collect();
    let groups: Vec<Vec<Known>> = names.into_iter().map(|name| of(&nodes, name)).collect();
    let mut out = now::undecided(&nodes);
    for (rows, best) in groups.iter().filter_map(|rows| Some((rows, best_of(rows)?))) {
        let words = told.words_of.get(&best.1.group).map_or("", String::as_str);
        out.push_str(&now::no_writer(best, rows, words));
        let silent = silent(best, &nodes, &told.timers);
        out.push_str(&silent.map(|silent| format!("WRITER {}\n", silent.text())).unwrap_or_default());
    }
    let maintained = best_informed(&nodes).map(|node| now::maintained(node, &told.words));
    out.push_str(&maintained.unwrap_or_default());
    let regions: Vec<_> = told.answers.iter().map(region).collect();
    out.push_str(&table::text(&REGIONS, &regions, 0));
    let order: Vec<_> = told.answers.iter().map(|a| &a.region).collect();
    for rows in &groups {
        if let Some(best) = best_of(rows) {
            out.push_str(&group::text(best, rows, &order, verbose));
        }
    }
    for sentence in &told.held_back {
        out.push_str(&format!("{sentence}; a person can agree to it now: meridian failover{}\n", told.words));
    }
    if let Some(node) = best_informed(&nodes) {
        let shares = node.traffic.iter().map(|t| format!("{} {:.0} %", t.region, t.share * 100.0));
        out.push_str(&format!("\nTRAFFIC  {}\n", shares.collect::<Vec<_>>().join(", ")));
        node.dials.iter().for_each(|dial| out.push_str(&crate::dial::line(dial)));
        if verbose {
            out.push_str(&format!("\nEVIDENCE (as the node of {} sees it)\n", node.region));
            out.push_str(&evidence(&node.verdicts));
        }
    }
    out
}

/// Of a group, as [`best_informed`].
fn best_of<'n>(rows: &[Known<'n>]) -> Option<Known<'n>> {
    rows.iter().rev().copied().max_by_key(|(node, group)| (node.coordination.reachable, group.epoch))
}

/// The nodes that know a group, with what they know of it.
fn of<'n>(nodes: &[&'n NodeStatus], name: &GroupName) -> Vec<Known<'n>> {
    nodes.iter().filter_map(|node| Some((*node, node.groups.iter().find(|g| g.group == *name)?))).collect()
}

fn region(answer: &Answer) -> [String; 3] {
    let (state, sees) = match &answer.node {
        Some(node) => {
            let state = if node.coordination.reachable { "answers" } else { "answers, no etcd" };
            (state, node.verdicts.iter().map(judged).collect::<Vec<_>>().join(", "))
        }
        None => ("silent", answer.problem.clone().unwrap_or_default()),
    };
    [answer.region.to_string(), state.to_owned(), sees]
}

/// A region as a node judges it; one that is up may have a part that is down.
fn judged(verdict: &RegionHealth) -> String {
    let down = verdict.parts.iter().filter(|part| part.health == Health::Down);
    let down: Vec<String> = down.map(|part| format!("{} down", part.target.part)).collect();
    let down = if down.is_empty() || verdict.health != Health::Up {
        String::new()
    } else {
        format!(" ({})", down.join(", "))
    };
    format!("{} {}{down}", verdict.region, verdict.health)
}

/// Of those that reach etcd the one that knows the newest reign, the first of them; else of the others. An
/// isolated node answers too, and knows nothing new.
fn best_informed<'a>(nodes: &[&'a NodeStatus]) -> Option<&'a NodeStatus> {
    let epoch = |n: &NodeStatus| n.groups.iter().map(|g| g.epoch).max();
    nodes.iter().rev().copied().max_by_key(|n| (n.coordination.reachable, epoch(n)))
}

fn evidence(verdicts: &[RegionHealth]) -> String {
    let mut out = String::new();
    for region in verdicts {
        out.push_str(&format!("{} is {}: {}\n", region.region, region.health, region.reason));
        for part in &region.parts {
            out.push_str(&format!("    {:<9} {:<8} {}\n", part.target.part, part.health, part.reason));
            for seen in &part.evidence {
                out.push_str(&format!(
                    "        {:<19} {:<8} {} ms ago: {}\n",
                    seen.vantage, seen.health, seen.age_ms, seen.detail
                ));
            }
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests;
