//! `meridian status`: what every region's node knows, put side by side.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use meridian_model::RegionName;
use meridian_model::health::{Health, RegionHealth};
use meridian_model::run::{Run, StepState};
use meridian_node::status::{GroupStatus, NodeStatus, STATUS};
use serde::Serialize;

use crate::output::{Output, print};
use crate::system::Which;

/// Show regions, verdicts with evidence, writers, lag, traffic and the last run.
///
/// The node of every region is asked: of the lab that runs here, or with --spec of the system that it describes, at the
/// control addresses that stand there. With --group only that data group is shown.
///
/// Exit code: 0 every node answers and sees every region up, and every group that is shown has a writer; 1 one of that is
/// not so, or the spec has errors; 2 bad use.
#[derive(Args)]
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
    let told = Told { answers, held_back };
    match args.which.output {
        Output::Json => print(&(serde_json::to_string_pretty(&told.answers)? + "\n")),
        Output::Table => print(&table(&told, args.verbose)),
    }
    let well = told.answers.iter().all(|a| a.node.as_ref().is_some_and(all_up));
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn all_up(node: &NodeStatus) -> bool {
    node.verdicts.iter().all(|v| v.health == Health::Up) && node.groups.iter().all(|g| g.writer.is_some())
}

// === the table ===

fn table(told: &Told, verbose: bool) -> String {
    let nodes: Vec<&NodeStatus> = told.answers.iter().filter_map(|a| a.node.as_ref()).collect();
    let mut out = best_informed(&nodes).map(maintained).unwrap_or_default();
    out.push_str("REGION              NODE    SEES (each region as this node judges it)\n");
    for answer in &told.answers {
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
    let groups = nodes.iter().flat_map(|n| &n.groups).map(|g| g.group.clone());
    for name in groups.collect::<BTreeSet<_>>() {
        let of_it = |n: &&'_ NodeStatus| n.groups.iter().position(|g| g.group == name);
        let rows: Vec<(&NodeStatus, &GroupStatus)> =
            nodes.iter().filter_map(|n| Some((*n, n.groups.get(of_it(n)?)?))).collect();
        let best = rows.iter().rev().max_by_key(|(node, group)| (node.coordination.reachable, group.epoch));
        if let Some((_, group)) = best {
            out.push_str(&group_table(group, &rows, verbose));
        }
    }
    for sentence in &told.held_back {
        out.push_str(&format!("{sentence}; a person can agree to it now: meridian failover\n"));
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

/// Failovers do not begin by themselves: that is to be read first.
fn maintained(node: &NodeStatus) -> String {
    let active = node.maintenance.as_ref().filter(|m| node.at < m.until);
    active
        .map(|m| format!("AUTOMATIC FAILOVER IS OFF: {}", crate::maintenance::text(Some(m))))
        .unwrap_or_default()
}

/// Of those that reach etcd the one that knows the newest reign, the first of them; else of the others. An
/// isolated node answers too, and knows nothing new.
fn best_informed<'a>(nodes: &[&'a NodeStatus]) -> Option<&'a NodeStatus> {
    let epoch = |n: &NodeStatus| n.groups.iter().map(|g| g.epoch).max();
    nodes.iter().rev().copied().max_by_key(|n| (n.coordination.reachable, epoch(n)))
}

fn group_table(group: &GroupStatus, rows: &[(&NodeStatus, &GroupStatus)], verbose: bool) -> String {
    let writer =
        group.writer.as_ref().map_or_else(|| format!("none ({})", group.reason), ToString::to_string);
    let mut out = format!("\nGROUP {}  epoch {}  writer {writer}\n", group.group, group.epoch);
    out.push_str(
        "REGION              STATE           DATABASE  EPOCH  RECEIVED        LAG       STREAMING\n",
    );
    for (node, member) in rows {
        out.push_str(&member_line(node, member));
        if verbose {
            out.push_str(&format!("    {}\n", member.doing));
            // A writer does not take over from itself.
            let leads = group.writer.as_ref() == Some(&node.region);
            for rule in member.rules.iter().filter(|_| !leads) {
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

fn member_line(node: &NodeStatus, group: &GroupStatus) -> String {
    let (role, received, lag, streaming) = match &group.database {
        Some(db) => (
            format!("{:?}", db.role).to_lowercase(),
            format!("{}:{}", db.received.timeline, db.received.lsn),
            db.replay_lag_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
            if db.streaming { "yes" } else { "-" },
        ),
        None => ("none".to_owned(), "-".to_owned(), "-".to_owned(), "-"),
    };
    format!(
        "{:<19} {:<15} {role:<9} {:<6} {received:<15} {lag:<9} {streaming}\n",
        node.region, group.state, group.epoch
    )
}

fn run_lines(run: &Run) -> String {
    let from = run.from.as_ref().map(|f| format!(" from {f}")).unwrap_or_default();
    let end = match (&run.aborted, &run.paused) {
        (Some(why), _) => format!("ended before its end ({why})"),
        (None, Some(why)) => format!("paused ({why})"),
        (None, None) if run.finished() && run.prepares() => "prepared".to_owned(),
        (None, None) if run.finished() => "protected again".to_owned(),
        (None, None) => "not finished".to_owned(),
    };
    let mut out = format!("LAST RUN {} {:?}{from} to {}: {end}; {}\n", run.id, run.kind, run.to, run.cause);
    for step in &run.steps {
        let (state, detail) = match &step.state {
            StepState::Pending => ("pending".to_owned(), ""),
            StepState::Running { .. } => ("running".to_owned(), ""),
            StepState::Failed { reason, .. } => ("failed".to_owned(), reason.as_str()),
            StepState::Skipped { reason, .. } => ("skipped".to_owned(), reason.as_str()),
            StepState::Done { since, at, detail } => (format!("{:>6} ms", at.0 - since.0), detail.as_str()),
        };
        out.push_str(&format!("    {:<8} {state:<10} {detail}\n", step.work.name));
    }
    out
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
mod tests {
    use super::*;
    use meridian_model::{Epoch, Name, Timestamp};
    use meridian_node::status::{CoordinationStatus, RuleStatus, TrafficShare};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn node(region: &str, reachable: bool, epoch: u64, writer: Option<&str>) -> NodeStatus {
        let rule = RuleStatus { rule: "HolderDown".to_owned(), allows: false, evidence: region.to_owned() };
        let group = GroupStatus {
            group: name("orders"),
            epoch: Epoch(epoch),
            writer: writer.map(name),
            reason: "its lease is over".to_owned(),
            state: "following".to_owned(),
            doing: "waits".to_owned(),
            database: None,
            record: None,
            members: Vec::new(),
            rules: vec![rule],
            runs: Vec::new(),
            order: None,
            words: Vec::new(),
            losses: Vec::new(),
        };
        NodeStatus {
            region: name(region),
            version: String::new(),
            at: Timestamp(0),
            generation: 1,
            coordination: CoordinationStatus { reachable, detail: String::new() },
            verdicts: Vec::new(),
            groups: vec![group],
            maintenance: None,
            compute: Vec::new(),
            traffic: vec![TrafficShare { service: name("shop"), region: name(region), share: 1.0 }],
            dials: Vec::new(),
        }
    }

    #[test]
    fn an_isolated_node_is_not_believed_and_the_writer_has_no_rules() {
        let nodes =
            [node("us", false, 1, None), node("eu", true, 2, Some("eu")), node("ap", true, 1, Some("us"))];
        let answers = nodes.map(|n| Answer { region: n.region.clone(), node: Some(n), problem: None });
        let told = Told { answers: answers.into(), held_back: vec!["held back".to_owned()] };
        let text = table(&told, true);
        assert!(text.contains("GROUP orders  epoch 2  writer eu\n"), "{text}");
        assert!(
            text.contains("TRAFFIC  eu 100 %")
                && text.contains("\nheld back; a person can agree to it now: meridian failover\n"),
            "{text}"
        );
        assert!(text.contains("blocks  HolderDown             us"), "{text}");
        assert!(!text.contains("HolderDown             eu"), "{text}");
    }

    #[test]
    fn an_active_maintenance_stands_at_the_top_and_a_past_one_nowhere() {
        let shown = |at| {
            let word = meridian_model::order::Word {
                by: "ana".to_owned(),
                at: Timestamp(0),
                reason: "new disks".to_owned(),
            };
            let maintenance = Some(meridian_model::order::Maintenance { until: Timestamp(60_000), word });
            let node = NodeStatus { maintenance, at: Timestamp(at), ..node("eu", true, 2, Some("eu")) };
            let answers = vec![Answer { region: name("eu"), node: Some(node), problem: None }];
            table(&Told { answers, held_back: Vec::new() }, false)
        };
        let top = "AUTOMATIC FAILOVER IS OFF: maintenance until 1970-01-01T00:01:00Z (ana: new disks)";
        assert!(shown(59_000).starts_with(top), "{}", shown(59_000));
        assert!(shown(60_000).starts_with("REGION"), "{}", shown(60_000));
    }
}
