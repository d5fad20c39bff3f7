//! `meridian status`: what every region's node knows, put side by side.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use http::{Method, StatusCode};
use meridian_lab::control::{self, Client};
use meridian_model::health::{Health, RegionHealth};
use meridian_model::run::{Run, StepState};
use meridian_model::{RegionName, System};
use meridian_node::peer::{Question, ask};
use meridian_node::secret::Secret;
use meridian_node::status::{GroupStatus, NodeStatus};
use serde::Serialize;

use crate::output::Output;

/// How long one node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Show regions, verdicts with evidence, writers, lag, traffic and the last run.
///
/// Without a spec it asks the lab that runs on this machine. With one it asks the node of every region
/// at the control address that the spec gives.
#[derive(Args)]
pub(crate) struct StatusArgs {
    /// The spec: one or more YAML files. None: the running lab.
    spec: Vec<PathBuf>,
    /// Which lab, when several run: its number or name.
    #[arg(long, conflicts_with = "spec")]
    lab: Option<String>,
    /// Show every vantage's evidence and every rule.
    #[arg(long, short)]
    verbose: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
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

#[expect(clippy::print_stdout, reason = "printing is what this command is for")]
pub(crate) fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let answers = if args.spec.is_empty() {
        of_lab(args.lab.as_deref())?
    } else {
        let Some(system) = crate::check::read_or_report(&args.spec)? else { return Ok(ExitCode::FAILURE) };
        of_system(&system)?
    };
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&answers)?),
        Output::Table => print!("{}", table(&answers, args.verbose)),
    }
    let well = answers.iter().all(|a| a.node.as_ref().is_some_and(all_up));
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn all_up(node: &NodeStatus) -> bool {
    node.verdicts.iter().all(|v| v.health == Health::Up) && node.groups.iter().all(|g| g.writer.is_some())
}

fn of_lab(lab: Option<&str>) -> anyhow::Result<Vec<Answer>> {
    let holder = control::choose(&control::running(), lab)
        .context("without a spec this asks a lab; name the spec to ask the nodes of a real system")?;
    let status = Client::connect(&holder.dir)?.status()?;
    let answer = |region: meridian_lab::RegionStatus| {
        let node = region.node.map(serde_json::from_value).transpose();
        match node {
            Ok(Some(node)) => Answer { region: region.region, node: Some(node), problem: None },
            Ok(None) => Answer { region: region.region, node: None, problem: Some(region.condition) },
            Err(error) => Answer { region: region.region, node: None, problem: Some(error.to_string()) },
        }
    };
    Ok(status.regions.into_iter().map(answer).collect())
}

fn of_system(system: &System) -> anyhow::Result<Vec<Answer>> {
    let secret = Secret::read(&system.topology.coordination.control_secret_file)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut answers = Vec::new();
        for region in &system.topology.regions {
            let question = Question { method: Method::GET, path: "/v1/status", body: Vec::new() };
            let answer = ask(region.node.control, &secret, question, ANSWER_WITHIN).await;
            let (node, problem) = match answer {
                Ok((StatusCode::OK, body)) => match serde_json::from_slice(&body) {
                    Ok(node) => (Some(node), None),
                    Err(error) => (None, Some(format!("its answer cannot be read: {error}"))),
                },
                Ok((status, body)) => {
                    (None, Some(format!("{status}: {}", String::from_utf8_lossy(&body).trim())))
                }
                Err(error) => (None, Some(error.to_string())),
            };
            answers.push(Answer { region: region.name.clone(), node, problem });
        }
        Ok(answers)
    })
}

// === the table ===

fn table(answers: &[Answer], verbose: bool) -> String {
    let mut out = String::from("REGION              NODE    SEES (each region as this node judges it)\n");
    for answer in answers {
        let sees = match &answer.node {
            Some(node) => node
                .verdicts
                .iter()
                .map(|v| format!("{} {}", v.region, v.health))
                .collect::<Vec<_>>()
                .join(", "),
            None => answer.problem.clone().unwrap_or_default(),
        };
        let state = if answer.node.is_some() { "answers" } else { "silent" };
        out.push_str(&format!("{:<19} {state:<7} {sees}\n", answer.region));
    }
    let nodes: Vec<&NodeStatus> = answers.iter().filter_map(|a| a.node.as_ref()).collect();
    for (index, group) in nodes.first().map(|n| n.groups.as_slice()).unwrap_or_default().iter().enumerate() {
        let rows: Vec<(&NodeStatus, &GroupStatus)> =
            nodes.iter().filter_map(|n| n.groups.get(index).map(|g| (*n, g))).collect();
        out.push_str(&group_table(group, &rows, verbose));
    }
    if let Some(node) = nodes.first() {
        let shares = node.traffic.iter().map(|t| format!("{} {:.0} %", t.region, t.share * 100.0));
        out.push_str(&format!("\nTRAFFIC  {}\n", shares.collect::<Vec<_>>().join(", ")));
        if verbose {
            out.push_str(&evidence(&node.verdicts));
        }
    }
    out
}

fn group_table(group: &GroupStatus, rows: &[(&NodeStatus, &GroupStatus)], verbose: bool) -> String {
    let writer =
        group.writer.as_ref().map_or_else(|| format!("none ({})", group.reason), ToString::to_string);
    let mut out = format!("\nGROUP {}  epoch {}  writer {writer}\n", group.group, group.epoch);
    out.push_str(
        "REGION              STATE           DATABASE  EPOCH  RECEIVED        LAG       STREAMING\n",
    );
    for (node, group) in rows {
        let (role, received, lag, streaming) = match &group.database {
            Some(db) => (
                format!("{:?}", db.role).to_lowercase(),
                format!("{}:{}", db.received.timeline, db.received.lsn),
                db.replay_lag_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
                if db.streaming { "yes" } else { "-" },
            ),
            None => ("none".to_owned(), "-".to_owned(), "-".to_owned(), "-"),
        };
        out.push_str(&format!(
            "{:<19} {:<15} {role:<9} {:<6} {received:<15} {lag:<9} {streaming}\n",
            node.region, group.state, group.epoch
        ));
        if verbose {
            out.push_str(&format!("    {}\n", group.doing));
            for rule in &group.rules {
                let word = if rule.allows { "allows" } else { "blocks" };
                out.push_str(&format!("    {word}  {:<22} {}\n", rule.rule, rule.evidence));
            }
        }
    }
    if let Some(run) = group.runs.first() {
        out.push_str(&run_lines(run));
    }
    out
}

fn run_lines(run: &Run) -> String {
    let from = run.from.as_ref().map(|f| format!(" from {f}")).unwrap_or_default();
    let end = if run.finished() { "protected again" } else { "not finished" };
    let mut out = format!("LAST RUN {} {:?}{from} to {}: {end}; {}\n", run.id, run.kind, run.to, run.cause);
    for step in &run.steps {
        let (state, detail) = match &step.state {
            StepState::Pending => ("pending".to_owned(), ""),
            StepState::Running { .. } => ("running".to_owned(), ""),
            StepState::Done { since, at, detail } => (format!("{:>6} ms", at.0 - since.0), detail.as_str()),
        };
        out.push_str(&format!("    {:<8} {state:<10} {detail}\n", step.kind));
    }
    out
}

fn evidence(verdicts: &[RegionHealth]) -> String {
    let mut out = String::from("\nEVIDENCE (as the first node that answers sees it)\n");
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
