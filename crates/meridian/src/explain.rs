//! `meridian explain`: why the system acts, or does not, rule by rule.

use std::process::ExitCode;

use clap::Args;
use meridian_node::status::NodeStatus;
use serde_json::json;

use crate::output::{Output, json, print};
use crate::system::{Which, no_answer};

/// Why the system acts, or does not: every rule with its evidence, as each region's node sees it.
///
/// For each node a line with its state and what it does or waits for, and a line for each rule that it asks before it
/// takes over or moves the writer: `allows`, or `blocks` with the command by which a person may agree. All have to allow
/// it. The node that is told first is the best informed; docs/failover.md explains states and rules.
///
/// Exit code: 0 the rules were told, whatever they say; 1 no node answers, or the spec has errors; 2 bad use.
#[derive(Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    which: Which,
}

pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let nodes = match args.which.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    let name = args.which.group(&nodes.system)?;
    let statuses = nodes.statuses();
    if statuses.is_empty() {
        return Err(no_answer());
    }
    match args.which.output {
        Output::Json => {
            let one = |node: &NodeStatus| {
                let group = node.groups.iter().find(|g| g.group == name)?;
                Some(json!({
                    "region": node.region, "state": group.state, "doing": group.doing, "rules": group.rules,
                }))
            };
            let all: Vec<_> = statuses.iter().filter_map(one).collect();
            print(&json(&all)?);
        }
        Output::Table => print(&text(&statuses, &name)),
    }
    Ok(ExitCode::SUCCESS)
}

/// How a person agrees to what a rule holds back, if that is for a person to say.
fn person(rule: &str) -> &'static str {
    match rule {
        "FlapWindow" | "Maintenance" => " (a person agrees with: meridian failover)",
        "ProofOfData" => " (a person agrees with: meridian failover --accept-data-loss)",
        _ => "",
    }
}

fn text(statuses: &[NodeStatus], name: &meridian_model::GroupName) -> String {
    let mut out = String::new();
    for node in statuses {
        let Some(group) = node.groups.iter().find(|g| &g.group == name) else { continue };
        out.push_str(&format!("{} ({}): {}\n", node.region, group.state, group.doing));
        // A writer does not take over from itself; what it says of orders counts.
        let leads = group.writer.as_ref() == Some(&node.region);
        let of_orders = ["OrderIsForThisReign", "NoOtherRun", "SuccessorWell"];
        let told = group.rules.iter().filter(|r| !leads || of_orders.contains(&r.rule.as_str()));
        for rule in told {
            let word = if rule.allows { "allows" } else { "blocks" };
            let how = if rule.allows { "" } else { person(&rule.rule) };
            out.push_str(&format!("    {word}  {:<22} {}{how}\n", rule.rule, rule.evidence));
        }
        if leads && group.rules.iter().all(|r| !of_orders.contains(&r.rule.as_str())) {
            out.push_str("    nothing is ordered, and a writer does not take over from itself\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_may_agree_to_is_told_with_the_command() {
        for rule in ["FlapWindow", "Maintenance"] {
            assert!(person(rule).ends_with("meridian failover)"));
        }
        assert!(person("ProofOfData").contains("--accept-data-loss"));
        assert_eq!(person("HolderDown"), "", "a person cannot overrule safety");
    }
}
