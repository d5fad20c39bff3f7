//! `meridian explain`: why the system acts, or does not, rule by rule.

use std::process::ExitCode;

use clap::Args;
use meridian_node::status::{GroupStatus, NodeStatus, RuleStatus};
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
        Output::Table => {
            print(&text(&statuses, &name, &args.which.place.words(&nodes.system, Some(&name))));
        }
    }
    Ok(ExitCode::SUCCESS)
}

const FAILOVER: &str = "meridian failover";
const ACCEPT: &str = "meridian failover --accept-data-loss";

/// The command by which a person agrees to what a rule holds back, if that is for a person to say.
fn agrees(rule: &str) -> Option<&'static str> {
    match rule {
        "FlapWindow" | "Maintenance" | "Approved" => Some(FAILOVER),
        "ProofOfData" => Some(ACCEPT),
        _ => None,
    }
}

/// What keeps the writer from being replaced.
pub(crate) struct HeldUp {
    /// Who is the nearest to it, and which rules block: what is new when this changes.
    pub(crate) what: Vec<String>,
    /// The rules with their evidence, and the command that helps, if one does.
    pub(crate) text: String,
}

/// The same rules as the table tells, of the member that the fewest of them hold back. What comes after the seal says
/// nothing of a member that is not allowed to seal itself: its proof is still to come. None: no rule blocks it, or
/// nobody who answers could take over.
pub(crate) fn held_up<'n>(
    known: impl Iterator<Item = (&'n NodeStatus, &'n GroupStatus)>,
    words: &str,
) -> Option<HeldUp> {
    let able = known.filter(|(node, group)| {
        let holds = group.record.as_ref().is_some_and(|record| record.holder == node.region);
        !holds && group.state != "Idle" && !group.rules.is_empty()
    });
    let blocked = |(node, group): (&'n NodeStatus, &'n GroupStatus)| (node, decisive(&group.rules));
    let (node, rules) = able.map(blocked).min_by_key(|(_, rules)| rules.len())?;
    if rules.is_empty() {
        return None;
    }
    let evidence: Vec<_> = rules.iter().map(|r| format!("{}: {}", r.rule, r.evidence)).collect();
    let by_person: Option<Vec<_>> = rules.iter().map(|r| agrees(&r.rule)).collect();
    let how = match by_person {
        Some(commands) => {
            let command = if commands.contains(&ACCEPT) { ACCEPT } else { FAILOVER };
            format!(". A person agrees with: {command}{words}")
        }
        None => format!("; see `meridian explain{words}`"),
    };
    let names = rules.iter().map(|r| r.rule.clone());
    Some(HeldUp {
        what: std::iter::once(node.region.to_string()).chain(names).collect(),
        text: format!("{} does not take over: {}{how}", node.region, evidence.join("; ")),
    })
}

fn decisive(rules: &[RuleStatus]) -> Vec<&RuleStatus> {
    let seal = rules.iter().position(|r| r.rule == "Sealed").unwrap_or(rules.len());
    let (before, after) = rules.split_at(seal);
    let blocks = |rules: &'_ [RuleStatus]| rules.iter().any(|r| !r.allows);
    let counts = if blocks(before) { before } else { after };
    counts.iter().filter(|r| !r.allows).collect()
}

fn text(statuses: &[NodeStatus], name: &meridian_model::GroupName, words: &str) -> String {
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
            let how = agrees(&rule.rule).filter(|_| !rule.allows);
            let how = how.map(|how| format!(" (a person agrees with: {how}{words})")).unwrap_or_default();
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
    use crate::runs::fixture::{group, name, node};

    fn rules(blocked: &[&str]) -> Vec<RuleStatus> {
        let all = ["LeaseExpired", "FlapWindow", "Maintenance", "Sealed", "ProofOfData", "MostAdvanced"];
        let rule = |rule: &str| RuleStatus {
            rule: rule.to_owned(),
            allows: !blocked.contains(&rule),
            evidence: format!("why {rule}"),
        };
        all.iter().map(|name| rule(name)).collect()
    }

    fn seen(region: &str, blocked: &[&str]) -> NodeStatus {
        let group = GroupStatus { rules: rules(blocked), ..group(Vec::new(), Vec::new()) };
        node(region, vec![group])
    }

    fn told(nodes: &[NodeStatus]) -> Option<String> {
        held_up(nodes.iter().map(|node| (node, &node.groups[0])), " --lab 2").map(|held| held.text)
    }

    #[test]
    fn what_a_person_may_agree_to_is_told_with_the_command() {
        let table = |blocked| text(&[seen("eu", &[blocked])], &name("orders"), " --lab 2");
        for rule in ["FlapWindow", "Maintenance"] {
            let told = table(rule);
            assert!(
                told.contains(&format!("why {rule} (a person agrees with: meridian failover --lab 2)\n")),
                "{told}"
            );
        }
        assert!(table("ProofOfData").contains("meridian failover --accept-data-loss --lab 2)\n"));
        assert!(!table("LeaseExpired").contains("a person"), "a person cannot overrule safety");
    }

    #[test]
    fn the_member_that_is_nearest_to_taking_over_tells_what_holds_it_up() {
        let eu = seen("eu", &["ProofOfData"]);
        let ap = seen("ap", &["ProofOfData", "MostAdvanced"]);
        let of_eu = "eu does not take over: ProofOfData: why ProofOfData. A person agrees with: meridian failover \
                     --accept-data-loss --lab 2";
        assert_eq!(told(&[ap.clone(), eu]).as_deref(), Some(of_eu));
        assert_eq!(told(&[seen("eu", &[]), ap]), None, "eu takes over");
        assert_eq!(told(&[]), None);
        let idle = GroupStatus { state: "Idle".to_owned(), ..seen("us", &["FlapWindow"]).groups[0].clone() };
        assert_eq!(told(&[node("us", vec![idle])]), None, "it has no database");
    }

    /// Before the seal there is no proof yet: to give up data for that would be wrong.
    #[test]
    fn the_loss_of_data_is_proposed_only_where_nothing_else_is_missing() {
        let flap = told(&[seen("eu", &["FlapWindow", "Sealed", "ProofOfData"])]).unwrap();
        assert_eq!(
            flap,
            "eu does not take over: FlapWindow: why FlapWindow. A person agrees with: meridian failover --lab 2"
        );
        for blocked in [&["Sealed", "ProofOfData"], &["LeaseExpired", "FlapWindow"]] {
            let text = told(&[seen("eu", blocked)]).unwrap();
            assert!(text.ends_with("; see `meridian explain --lab 2`"), "{text}");
        }
    }
}
