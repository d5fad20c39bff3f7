//! `meridian plan rehearse`: the plan on a clone of a standby, followed to its end.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use meridian_model::rehearsal::{Rehearsal, RehearsalStep};
use meridian_model::run::StepState;
use meridian_model::{GroupName, RegionName};
use meridian_node::{REHEARSALS, RehearsalAsked};
use meridian_telemetry::clock;

use crate::output::{No, Output, json, print};
use crate::plan::FormWord;
use crate::system::{Nodes, Which, known};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How much longer than its own limit it is followed.
const PATIENCE: Duration = Duration::from_secs(150);

/// Carry the plan out on a clone of a standby, with no effect on production.
///
/// The node of that region copies its standby beside it, promotes the copy, writes to it and reads it, starts
/// copies of the application's instances that talk to it, and checks that they are well. Then everything is
/// removed, and it is looked whether anything is left: processes, the folder, replication slots, open ports.
/// The clone follows nobody, is followed by nobody, listens on loopback and archives nothing.
///
/// What would reach out is named and not carried out: the old writer is not touched, traffic and names stay,
/// nobody is asked or told, no program is run. Copied instances run the same command as real ones: if yours
/// reach others than the database (queues, mail, payment), use --no-instances.
///
/// It needs room for a copy of the database beside what production may write, which is looked at first, and it
/// reads the standby's disk. One at a time; refused while a run or an order is under way, and given up when
/// one begins. Each step is journalled.
///
/// Exit code: 0 every step was carried out or named, and nothing is left; 1 a step failed, or it was refused, or the
/// node does not answer; 2 bad use; 130 interrupted (the rehearsal itself goes on).
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RehearseArgs {
    /// Whose standby is cloned. None: that of the region which could take the writer best.
    #[arg(long, value_name = "REGION")]
    to: Option<RegionName>,
    /// Which form: of a switchover, or of a failover.
    #[arg(long, value_enum, default_value_t = FormWord::Ungraceful)]
    form: FormWord,
    /// Start no copies of the application's instances.
    #[arg(long)]
    no_instances: bool,
    /// How long it may take, such as `1h`; 12 hours at most.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = crate::lab::amounts::duration)]
    within: Duration,
    /// Who asks, for the journal. Without it: the user of this session, before `sudo`.
    #[arg(long, default_value_t = crate::system::user())]
    by: String,
    #[command(flatten)]
    pub(crate) which: Which,
}

const EXAMPLES: &str = "Examples:
  meridian plan rehearse                            on the best standby
  meridian plan rehearse --to ap-southeast-1 --no-instances
  meridian plan rehearse --output json              every step with its times";

pub(crate) fn run(args: &RehearseArgs, nodes: &Nodes, group: &GroupName) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.within <= meridian_node::WITHIN_MAX,
        "--within is 12 hours at most: a rehearsal that takes longer holds a copy of the database for too long"
    );
    let to = match &args.to {
        Some(region) => known(&nodes.system, region)?.name.clone(),
        None => successor(nodes, group)?,
    };
    let asked = RehearsalAsked {
        group: group.clone(),
        graceful: args.form == FormWord::Graceful,
        instances: !args.no_instances,
        within_ms: u64::try_from(args.within.as_millis()).unwrap_or(u64::MAX),
        by: args.by.clone(),
    };
    let begun: Rehearsal = nodes.post_to(&to, REHEARSALS, &asked)?;
    let Some(ended) = follow(nodes, &begun, args.within + PATIENCE)? else {
        crate::lab::tell(&goes_on(&begun));
        return Ok(ExitCode::from(crate::INTERRUPTED));
    };
    match args.which.output {
        Output::Json => print(&json(&ended)?),
        Output::Table => print(&table(&ended)),
    }
    Ok(if ended.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The standby that streams and is least behind.
fn successor(nodes: &Nodes, group: &GroupName) -> anyhow::Result<RegionName> {
    let status = nodes.group(group)?;
    let able =
        status.members.iter().filter(|m| m.database.streaming && Some(&m.region) != status.writer.as_ref());
    let best = able.min_by_key(|m| m.database.replay_lag_ms.unwrap_or(u64::MAX));
    let none = || No(format!("no standby of {group} streams: there is nothing to rehearse with"));
    Ok(best.ok_or_else(none)?.region.clone())
}

/// Who no longer looks on does not end it.
fn goes_on(begun: &Rehearsal) -> String {
    let Rehearsal { id, region, group, .. } = begun;
    format!(
        "rehearsal {id} goes on in {region}, until {} at the latest; nothing ends it but its last step, a run or an \
         order of {group}, or the end of that node. `GET {REHEARSALS}` at a node tells its steps and its end; until \
         then another `meridian plan rehearse` of {group} is refused",
        crate::runs::span::iso(begun.ends_by)
    )
}

/// Waits for its end, and tells each step as it ends. The node that carries it out tells the newest. None: somebody
/// interrupted it.
fn follow(nodes: &Nodes, begun: &Rehearsal, patience: Duration) -> anyhow::Result<Option<Rehearsal>> {
    let end = clock::now() + patience;
    let mut interrupts = nodes.interrupts()?;
    let mut told = BTreeSet::new();
    loop {
        let answers = nodes.get::<Vec<Rehearsal>>(REHEARSALS);
        let all = answers.into_iter().filter_map(|(_, answer)| answer.ok()).flatten();
        let same = all.filter(|rehearsal| rehearsal.id == begun.id);
        let furthest = same.max_by_key(|rehearsal| (rehearsal.ended_at, ended(rehearsal)));
        if let Some(rehearsal) = furthest {
            tell(&rehearsal, &mut told);
            if rehearsal.ended_at.is_some() {
                return Ok(Some(rehearsal));
            }
        }
        if clock::now() >= end {
            let text = format!(
                "rehearsal {} in {} has told no end; what it leaves is removed when that node starts again",
                begun.id, begun.region
            );
            return Err(No(text).into());
        }
        if nodes.interrupted_within(LOOK_EVERY, &mut interrupts) {
            return Ok(None);
        }
    }
}

/// How many of its steps are over.
fn ended(rehearsal: &Rehearsal) -> usize {
    let open = |s: &RehearsalStep| matches!(s.state, StepState::Pending | StepState::Running { .. });
    rehearsal.steps.iter().filter(|step| !open(step)).count()
}

/// Steps that have ended since the last look, on standard error.
fn tell(rehearsal: &Rehearsal, told: &mut BTreeSet<String>) {
    let mut out = std::io::stderr().lock();
    for step in &rehearsal.steps {
        let carried_out = matches!(step.state, StepState::Done { .. } | StepState::Failed { .. });
        if carried_out && told.insert(step.name.to_string()) {
            let _nobody_reads = writeln!(out, "{}", line(step));
        }
    }
}

fn line(step: &RehearsalStep) -> String {
    let (state, detail) = match &step.state {
        StepState::Pending => ("pending".to_owned(), ""),
        StepState::Running { .. } => ("running".to_owned(), ""),
        StepState::Failed { reason, .. } => ("FAILED".to_owned(), reason.as_str()),
        StepState::Skipped { reason, .. } => ("-".to_owned(), reason.as_str()),
        StepState::Done { since, at, detail } => (format!("{} ms", at.0 - since.0), detail.as_str()),
    };
    format!("{:<12} {state:>9}  {detail}", step.name)
}

fn table(rehearsal: &Rehearsal) -> String {
    let mut out = format!("REHEARSAL {} of {} in {}\n", rehearsal.id, rehearsal.group, rehearsal.region);
    rehearsal.steps.iter().for_each(|step| out.push_str(&format!("  {}\n", line(step))));
    let took = rehearsal.ended_at.map_or(0, |at| at.0 - rehearsal.begun_at.0);
    let word = if rehearsal.passed() { "passed" } else { "FAILED" };
    out.push_str(&format!("  {word} in {:.1} s\n", took as f64 / 1_000.0));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::rehearsal::LeftBehind;
    use meridian_model::{Name, Timestamp};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn rehearsal() -> Rehearsal {
        let step = |text: &str, state| RehearsalStep { name: name(text), kind: None, state };
        let done = |detail: &str| StepState::Done {
            since: Timestamp(1_000),
            at: Timestamp(1_250),
            detail: detail.to_owned(),
        };
        let left =
            LeftBehind { processes: 0, folder: false, slots: Vec::new(), ports: Vec::new(), streaming: true };
        let skipped =
            StepState::Skipped { at: Timestamp(0), reason: "not carried out in a rehearsal: x".to_owned() };
        Rehearsal {
            id: name("orders-rehearsal-1"),
            group: name("orders"),
            region: name("eu"),
            by: "me".to_owned(),
            begun_at: Timestamp(0),
            ends_by: Timestamp(9_000),
            steps: vec![
                step("clone", done("30 MiB")),
                step("dns", skipped),
                step("remove", done("nothing is left")),
            ],
            left: Some(left),
            ended_at: Some(Timestamp(2_500)),
        }
    }

    #[test]
    fn each_step_is_told_with_its_time_or_with_why_it_was_only_named() {
        let text = table(&rehearsal());
        for told in ["clone           250 ms  30 MiB", "not carried out in a rehearsal: x", "passed in 2.5 s"]
        {
            assert!(text.contains(told), "{told}: {text}");
        }
        assert_eq!(ended(&rehearsal()), 3);
        let mut failed = rehearsal();
        failed.left = None;
        assert!(table(&failed).contains("FAILED in 2.5 s"));
        let told = goes_on(&rehearsal());
        assert!(told.contains("goes on in eu, until 1970-01-01T00:00:09"), "{told}");
    }
}
