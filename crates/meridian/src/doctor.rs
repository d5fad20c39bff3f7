//! `meridian doctor`: what a recovery that began now would fail by, as the nodes see it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use meridian_model::RegionName;
use meridian_node::{DOCTOR, Diagnosis, Found};
use serde_json::json;

use crate::output::{No, Output, json, print};
use crate::system::{Nodes, Which, known};

/// Would a recovery that began now fail by something that can be seen now?
///
/// The node of every region looks at what it has at home, at its start and then every minute: versions,
/// extensions, settings, roles, certificates (also the edge's), free disk, replication slots and the log that they keep,
/// instances, the answers of its name server, open files. A member that has become something else (a primary, a
/// standby, stopped) is looked at again within seconds; until then it is `member-unknown`, a warning. They share that through etcd, and each of them judges the whole, so
/// that a region that is away is judged by the others.
///
/// FAILS is what a recovery would fail by, or lose by; `warns` is what it may. What is not known is a warning.
/// Each line says what to do, and docs/checks.md explains every check. The same findings are the metric
/// `meridian_check_findings`, for alerts (docs/alerts.yml).
///
/// It also looks whether a recovery could begin at all: etcd, a run that is paused or does not end, maintenance, the
/// flap window, the writer's region, and the files that plans need.
///
/// Exit code: 0 nothing fails (warnings do not count); 1 something fails, or a node does not answer; 2 bad use.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArgs {
    /// Only what is about this region.
    #[arg(long)]
    region: Option<RegionName>,
    #[command(flatten)]
    which: Which,
}

const EXAMPLES: &str = "Examples:
  meridian doctor                                   the lab that runs here
  meridian doctor --spec production.yaml            a system that runs elsewhere
  meridian doctor --region eu-central-1             before a switchover there
  meridian doctor --output json | jq '.findings[] | select(.fails)'";

/// What the nodes answered.
pub(crate) struct Judged {
    /// Of the best informed node: of those that reach etcd, the one that has heard the newest.
    best: Diagnosis,
    /// Those without an answer, and why.
    silent: BTreeMap<RegionName, String>,
}

impl Judged {
    /// That a node is silent is a finding, too, and of the worst.
    fn of(mut best: Diagnosis, silent: BTreeMap<RegionName, String>) -> Self {
        let told = silent.iter().map(|(region, why)| Found {
            fails: true,
            check: "node-silent".to_owned(),
            group: None,
            region: Some(region.clone()),
            subject: region.clone(),
            message: format!("the node of {region} does not answer: {why}"),
            details: Vec::new(),
            suggestion: "look whether it runs, and whether it can be reached from here".to_owned(),
        });
        best.findings.splice(0..0, told);
        Self { best, silent }
    }

    /// The worst first.
    pub(crate) fn findings(&self) -> impl Iterator<Item = &Found> {
        self.best.findings.iter()
    }
}

/// Asks all nodes.
///
/// # Errors
/// None of them answers.
pub(crate) fn ask(nodes: &Nodes) -> anyhow::Result<Judged> {
    let (mut judged, mut silent) = (Vec::new(), BTreeMap::new());
    for (region, answer) in nodes.get::<Diagnosis>(DOCTOR) {
        match answer {
            Ok(diagnosis) => judged.push(diagnosis),
            Err(why) => drop(silent.insert(region, why)),
        }
    }
    match best(judged) {
        Some(best) => Ok(Judged::of(best, silent)),
        None => {
            let all: Vec<String> = silent.iter().map(|(region, why)| format!("{region}: {why}")).collect();
            Err(No(format!("no node answers: is the system up? {}", all.join("; "))).into())
        }
    }
}

fn best(judged: Vec<Diagnosis>) -> Option<Diagnosis> {
    let newest = |d: &Diagnosis| d.looked.iter().map(|l| l.at).max();
    judged.into_iter().rev().max_by_key(|d| (d.reachable, d.looked.len(), newest(d)))
}

pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let nodes = match args.which.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    if let Some(region) = &args.region {
        known(&nodes.system, region)?;
    }
    let group = args.which.place.group.as_ref().map(|_| args.which.group(&nodes.system)).transpose()?;
    let mut judged = ask(&nodes)?;
    let here = |region: &RegionName| args.region.as_ref().is_none_or(|wanted| wanted == region);
    judged.silent.retain(|region, _| here(region));
    judged.best.findings.retain(|found| {
        found.region.as_ref().is_none_or(here)
            && (group.is_none() || found.group.is_none() || found.group == group)
    });
    match args.which.output {
        Output::Json => {
            let told = json!({
                "sound": sound(&judged), "findings": judged.best.findings, "looked": judged.best.looked,
                "judged_by": judged.best.region, "silent": judged.silent,
            });
            print(&json(&told)?);
        }
        Output::Table => print(&table(&judged)),
    }
    Ok(if sound(&judged) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn sound(judged: &Judged) -> bool {
    judged.findings().all(|found| !found.fails)
}

fn table(judged: &Judged) -> String {
    let best = &judged.best;
    let seconds = |looked: &meridian_node::Looked| (best.at.0.saturating_sub(looked.at.0) / 1_000).max(0);
    let looked: Vec<String> =
        best.looked.iter().map(|l| format!("{} {} s ago", l.region, seconds(l))).collect();
    let mut out = format!("As the node of {} judges it; looked at: {}\n", best.region, looked.join(", "));
    if !best.reachable {
        out.push_str("It does not reach etcd: what it knows of other regions may be out of date\n");
    }
    out + &lines(&best.findings) + &age(judged)
}

/// How old the oldest facts are, when that is more than a few seconds, and whether newer ones come.
fn age(judged: &Judged) -> String {
    let best = &judged.best;
    let seconds = |looked: &meridian_node::Looked| best.at.0.saturating_sub(looked.at.0) / 1_000;
    // A silent node tells nothing new, and without etcd none is heard but the one that judges.
    let comes = |looked: &&meridian_node::Looked| {
        !judged.silent.contains_key(&looked.region) && (best.reachable || looked.region == best.region)
    };
    let (newer, stays): (Vec<_>, Vec<_>) = best.looked.iter().partition(comes);
    let mut out = String::new();
    for looked in stays {
        let (region, old) = (&looked.region, seconds(looked));
        out.push_str(&format!(
            "the facts of {region} are {old} s old, and none come until it is heard again\n"
        ));
    }
    let oldest = newer.into_iter().map(seconds).max().unwrap_or(0);
    if oldest >= 10 {
        let again = 60_i64.saturating_sub(oldest).max(10);
        out.push_str(&format!(
            "nodes look every 10 to 60 s, and the oldest facts are {oldest} s old: ask again in {again} s\n"
        ));
    }
    out
}

/// The findings, with what to do, and their number.
pub(crate) fn lines(findings: &[Found]) -> String {
    let mut out = String::new();
    for found in findings {
        let word = if found.fails { "FAILS" } else { "warns" };
        out.push_str(&format!("{word}  {:<22} {}: {}\n", found.check, found.subject, found.message));
        let more = found.details.iter().chain([&found.suggestion]).filter(|line| !line.is_empty());
        more.for_each(|line| out.push_str(&format!("{:30}{line}\n", "")));
    }
    let (fail, warn): (Vec<_>, Vec<_>) = findings.iter().partition(|f| f.fails);
    out.push_str(&match (fail.len(), warn.len()) {
        (0, 0) => "all checks of the running system hold\n".to_owned(),
        (fail, warn) => format!("{fail} checks of the running system fail, {warn} warn\n"),
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::{Name, Timestamp};
    use meridian_node::Looked;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn found(fails: bool, check: &str) -> Found {
        Found {
            fails,
            check: check.to_owned(),
            group: Some(name("orders")),
            region: Some(name("eu")),
            subject: name("orders"),
            message: "something is so".to_owned(),
            details: vec!["a sum".to_owned()],
            suggestion: "do this".to_owned(),
        }
    }

    fn diagnosis(region: &str, reachable: bool, at: i64, findings: Vec<Found>) -> Diagnosis {
        let looked = vec![Looked { region: name("eu"), at: Timestamp(at) }];
        Diagnosis { region: name(region), reachable, at: Timestamp(at + 4_000), looked, findings }
    }

    fn judged(findings: Vec<Found>) -> Judged {
        Judged::of(diagnosis("us", true, 1, findings), BTreeMap::new())
    }

    #[test]
    fn warnings_are_told_and_do_not_count_but_a_failure_and_a_silent_node_do() {
        assert!(sound(&judged(Vec::new())) && sound(&judged(vec![found(false, "checksums")])));
        assert!(!sound(&judged(vec![found(true, "version")])));
        let silent = BTreeMap::from([(name("ap"), "it did not answer".to_owned())]);
        let mut with_silent = Judged::of(diagnosis("us", true, 1, Vec::new()), silent);
        assert!(!sound(&with_silent));
        assert!(table(&with_silent).contains("the node of ap does not answer"));
        assert!(table(&with_silent).contains("\n1 checks of the running system fail, 0 warn\n"));
        // Nobody can tell newer facts of a region whose node is silent.
        with_silent.best.at = Timestamp(101_001);
        with_silent.best.looked[0].region = name("ap");
        let text = table(&with_silent);
        assert!(text.contains("the facts of ap are 101 s old") && !text.contains("ask again"), "{text}");
        let mut late = judged(Vec::new());
        assert!(!table(&late).contains("ask again"));
        late.best.at = Timestamp(45_001);
        assert!(table(&late).contains("the oldest facts are 45 s old: ask again in 15 s"));
        let text = table(&judged(vec![found(true, "version"), found(false, "checksums")]));
        for told in ["us judges", "eu 4 s ago", "FAILS  version", "warns  checksums", "do this", "1 checks"] {
            assert!(text.contains(told), "{told}: {text}");
        }
    }

    #[test]
    fn a_node_that_etcd_answers_is_believed_and_of_these_the_newest() {
        let all = vec![
            diagnosis("us", false, 9, Vec::new()),
            diagnosis("eu", true, 1, Vec::new()),
            diagnosis("ap", true, 2, Vec::new()),
        ];
        assert_eq!(best(all).unwrap().region, name("ap"));
        assert!(best(Vec::new()).is_none());
    }
}
