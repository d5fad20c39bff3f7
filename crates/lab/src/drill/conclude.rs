//! From all that was seen to the facts of the report. No I/O; only the environment is asked its name.

mod definitions;
mod people;
mod safety;
mod world;

use std::time::Duration;

use meridian_model::run::{Run, RunKind, StepState};
use meridian_model::{Moment, RegionName, System, Timestamp};

use super::file::Drill;
use super::observe::told::{Hold, Refusal};
use super::script::{Played, Wanted, breaks};
use super::stage::SeenAll;
use super::turns::Moved;
use super::{Options, environment, expect};
use crate::faults::{Fault, FaultRecord};
use crate::ledger::{Diff, Lost, WriteOutcome};
use crate::load::{Kind, Sample, before_the_load};
use crate::measure::{self, PhaseInput, Recovery, recovery, round, seconds};
use crate::report::{
    EventFact, Facts, FailureFact, FaultFact, LaterFact, LostFact, MissingFact, NamedFact, Objectives,
    PhaseFact, PopulationFact, ReignFact, RunFact, WritesFact,
};
use definitions::definitions;
use people::Person;

/// Everything that a conclusion rests on.
pub(super) struct Evidence<'a> {
    pub(super) drill: &'a Drill,
    pub(super) system: &'a System,
    pub(super) moved: &'a Moved,
    pub(super) played: &'a Played,
    pub(super) seen: &'a SeenAll,
    pub(super) options: &'a Options,
}

/// The instants that divide a drill.
#[derive(Debug, Clone, Copy)]
struct Times {
    start: Moment,
    fault: Moment,
    /// From here on it is "after".
    settled: Moment,
    end: Moment,
}

/// Draws up the facts.
pub(super) fn facts(evidence: &Evidence<'_>) -> Facts {
    let Evidence { drill, system, moved, played, seen, options } = evidence;
    let start = seen.clock.at;
    let fault = disturbed(played).unwrap_or(start);
    let people = people::split(evidence, fault);
    let times = Times { start, fault, settled: settled(&people, played, seen.ended_at), end: seen.ended_at };
    let diff = seen.recorded.ledger.diff(&seen.rows.writer, &seen.rows.others);
    let runs = runs(evidence);
    let mut facts = Facts {
        drill: drill.name.clone(),
        description: drill.description.clone(),
        system: system.topology.name.to_string(),
        started_at: iso(seen.clock.wall),
        duration_seconds: round(times.end.since(start)),
        objectives: Objectives {
            rto_seconds: round(system.topology.objectives.rto),
            rpo_seconds: round(system.topology.objectives.rpo),
        },
        faults: happened(played, start),
        phases: phases(evidence, &people, times, &runs),
        populations: people.iter().map(|p| people::fact(p, times)).collect(),
        events: events(evidence, start),
        failovers: count(runs.iter().filter(|r| r.kind == RunKind::Failover).count()),
        switchovers: count(runs.iter().filter(|r| moved_on_purpose(r)).count()),
        held_back: seen.seen.held_back(),
        writer_at_end: writer_at_end(seen),
        rejoined: seen.rejoined.clone(),
        samples_dropped: seen.recorded.samples_dropped,
        environment: environment::describe(drill, system, more_environment(seen, moved, options)),
        definitions: definitions(),
        ..Facts::default()
    };
    add_recovery(&mut facts, &people);
    add_requests(&mut facts, &seen.recorded.samples);
    let failure = |(reason, n): (&String, &u64)| FailureFact { reason: reason.clone(), requests: *n };
    facts.failures = seen.recorded.failures.iter().map(failure).collect();
    facts.failures.sort_by_key(|f| std::cmp::Reverse(f.requests));
    add_writes(&mut facts, evidence, &diff, times);
    add_writers(&mut facts, seen, start);
    facts.violations = safety::violations(evidence, &runs);
    facts.runs = runs.iter().map(|r| RunFact::of(r, |at| seconds(start, seen.clock.moment(at)))).collect();
    facts.expectations = expect::check(&drill.expect, drill.until, played.reached, &facts);
    facts.expectations.extend(played.killed.as_ref().map(expect::kills));
    facts.passed = facts.violations.is_empty() && facts.expectations.iter().all(|e| e.held);
    facts
}

/// When the first fault began; of a drill without one, when the first move of the writer did.
fn disturbed(played: &Played) -> Option<Moment> {
    let fault = played.faults.iter().find(|f| breaks(&f.fault)).map(|f| f.at);
    fault.or_else(|| played.moves.iter().map(|wanted| wanted.at).min())
}

/// When everybody was served again; without an outage, when the last entry of the timeline was done.
fn settled(people: &[Person<'_>], played: &Played, end: Moment) -> Moment {
    let recoveries = || people.iter().flat_map(|p| [&p.reads, &p.writes]);
    if recoveries().all(|r| r.outages == 0) {
        return played.faults.last().map_or(end, |f| f.done_at);
    }
    recoveries().filter(|r| r.outages > 0).map(|r| r.good_at.unwrap_or(end)).max().unwrap_or(end)
}

/// Runs that were decided while the load was on.
fn runs(evidence: &Evidence<'_>) -> Vec<Run> {
    let began = evidence.seen.clock.wall;
    let mut runs: Vec<Run> =
        evidence.seen.seen.runs.values().filter(|r| r.decided_at >= began).cloned().collect();
    runs.sort_by_key(|r| (r.decided_at, r.epoch));
    runs
}

/// A switchover that came to its end.
fn moved_on_purpose(run: &Run) -> bool {
    run.kind == RunKind::Switchover && !run.prepares() && run.finished() && run.aborted.is_none()
}

/// The one member that took writes when the load had ended.
fn writer_at_end(seen: &SeenAll) -> Option<String> {
    match seen.rows.primaries.as_slice() {
        [writer] => Some(writer.to_string()),
        _ => None,
    }
}

/// The faults, and the turns of the schedule beside them.
fn happened(played: &Played, start: Moment) -> Vec<FaultFact> {
    let turn = |wanted: &Wanted| FaultFact {
        at_seconds: seconds(start, wanted.at),
        what: format!("the turn of {}", wanted.to),
        detail: "its hour in the schedule, which was moved for this drill".to_owned(),
        mends: true,
    };
    let turns = played.moves.iter().filter(|wanted| wanted.by_schedule).map(turn);
    let mut all: Vec<FaultFact> = played.faults.iter().map(|f| fault_fact(f, start)).chain(turns).collect();
    all.sort_by(|a, b| a.at_seconds.total_cmp(&b.at_seconds));
    all
}

fn fault_fact(record: &FaultRecord, start: Moment) -> FaultFact {
    FaultFact {
        at_seconds: seconds(start, record.at),
        what: record.fault.to_string(),
        detail: record.detail.clone(),
        mends: !breaks(&record.fault),
    }
}

fn phases(evidence: &Evidence<'_>, people: &[Person<'_>], times: Times, runs: &[Run]) -> Vec<PhaseFact> {
    let Evidence { played, seen, .. } = evidence;
    let record = played.faults.iter().find(|f| breaks(&f.fault));
    let hit = people.iter().filter(|p| p.hit);
    let hit: Vec<&Person<'_>> =
        if people.iter().any(|p| p.hit) { hit.collect() } else { people.iter().collect() };
    let whose = hit.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
    let worst =
        |pick: fn(&Person<'_>) -> Recovery| hit.iter().map(|p| pick(p)).reduce(worse).unwrap_or_default();
    let rejoined = seen.rejoined.clone().map_or_else(String::new, |how| format!(": {how}"));
    let redundant = seen.seen.redundant.last().filter(|(from, end)| *from > times.fault && end.is_none());
    let run = recovery_run(runs);
    let input = PhaseInput {
        fault: record.map(|f| (f.at, format!("{}: {}", f.fault, f.detail))),
        run: run.as_ref(),
        dns_changed: dns_changed(evidence, people, times.fault),
        reads: worst(|p| p.reads),
        writes: worst(|p| p.writes),
        redundant: redundant.map(|(from, _)| (*from, format!("every member streams{rejoined}"))),
    };
    let shown = |phase: measure::Phase| PhaseFact {
        name: phase.name.to_owned(),
        at_seconds: phase.at.map(|at| seconds(times.start, at)),
        after_fault_seconds: phase.at.map(|at| seconds(times.fault, at)),
        at: phase.at.map(|at| iso(seen.clock.wall(at))),
        detail: if phase.name.starts_with("first good") {
            format!("{whose}: {}", phase.detail)
        } else {
            phase.detail
        },
    };
    let all = measure::phases(&input, seen.clock).into_iter();
    // Without a failover the phases of one that were not seen are none.
    let mut phases: Vec<PhaseFact> = all.filter(|p| run.is_some() || p.at.is_some()).map(shown).collect();
    let time = |p: &PhaseFact| p.at_seconds.unwrap_or(f64::INFINITY);
    phases.sort_by(|a, b| time(a).total_cmp(&time(b)));
    phases
}

/// The last failover; a step that it did not end counts as ended by the run that took its place.
fn recovery_run(runs: &[Run]) -> Option<Run> {
    let mut run = runs.iter().rfind(|r| r.kind == RunKind::Failover)?.clone();
    let epoch = run.epoch;
    for step in run.steps.iter_mut().filter(|s| !matches!(s.state, StepState::Done { .. })) {
        let later = runs.iter().filter(|r| r.epoch > epoch).flat_map(|r| &r.steps);
        let ended = later.into_iter().find(|s| s.kind() == step.kind() && s.done());
        if let Some(ended) = ended {
            step.state = ended.state.clone();
        }
    }
    Some(run)
}

/// The one with the longer way back; never back is the longest.
fn worse(a: Recovery, b: Recovery) -> Recovery {
    let key = |r: &Recovery| r.after.unwrap_or(Duration::MAX);
    if key(&a) >= key(&b) { a } else { b }
}

/// When a DNS server that survived first sent users of the lost region elsewhere.
fn dns_changed(evidence: &Evidence<'_>, people: &[Person<'_>], fault: Moment) -> Option<(Moment, String)> {
    let lost = lost_region(evidence.played)?;
    let changed = evidence.seen.seen.dns.iter().find(|change| {
        let of_hit = people.iter().any(|p| p.index == change.population && p.hit);
        let elsewhere = change.answer.as_ref().is_some_and(|answer| answer != lost);
        change.at > fault && of_hit && change.server != *lost && elsewhere
    })?;
    let to = changed.answer.as_ref().map_or("nobody", RegionName::as_str);
    Some((changed.at, format!("DNS in {} sends its users from {lost} to {to}", changed.server)))
}

/// The region that the first fault took away, if it took a whole one.
fn lost_region(played: &Played) -> Option<&RegionName> {
    played.faults.iter().find_map(|record| match &record.fault {
        Fault::Kill { region, part: None }
        | Fault::Freeze { region, part: None }
        | Fault::Isolate { region } => Some(region),
        _ => None,
    })
}

fn add_recovery(facts: &mut Facts, people: &[Person<'_>]) {
    let asked = |pick: fn(&Person<'_>) -> Recovery, kind: Kind| -> Vec<Recovery> {
        people.iter().filter(|p| p.samples.iter().any(|s| s.kind == kind)).map(pick).collect()
    };
    let rto = |all: &[Recovery]| all.iter().copied().reduce(worse).and_then(|r| r.after).map(round);
    let longest = |all: &[Recovery]| round(all.iter().map(|r| r.longest_outage).max().unwrap_or_default());
    let (reads, writes) = (asked(|p| p.reads, Kind::Read), asked(|p| p.writes, Kind::Write));
    facts.rto_read_seconds = rto(&reads);
    facts.rto_write_seconds = rto(&writes);
    facts.longest_read_outage_seconds = longest(&reads);
    facts.longest_write_outage_seconds = longest(&writes);
    facts.later_read_outages = later(&reads);
    facts.later_write_outages = later(&writes);
}

/// What users went through once they had been served again.
fn later(all: &[Recovery]) -> LaterFact {
    let longest = all.iter().map(|r| r.later.longest).max().unwrap_or_default();
    LaterFact { count: all.iter().map(|r| r.later.count).sum(), longest_seconds: round(longest) }
}

fn add_requests(facts: &mut Facts, samples: &[Sample]) {
    let failed = |kind| count(samples.iter().filter(|s| s.kind == kind && !s.outcome.good()).count());
    let longest_wait = |kind| {
        let good = samples.iter().filter(|s| s.kind == kind && s.outcome.good());
        round(good.map(Sample::latency).max().unwrap_or_default())
    };
    facts.requests = count(samples.len());
    facts.longest_read_wait_seconds = longest_wait(Kind::Read);
    facts.longest_write_wait_seconds = longest_wait(Kind::Write);
    facts.failed_reads = failed(Kind::Read);
    facts.failed_writes = failed(Kind::Write);
}

fn add_writes(facts: &mut Facts, evidence: &Evidence<'_>, diff: &Diff, times: Times) {
    let ledger = &evidence.seen.recorded.ledger;
    facts.acknowledged_writes = count(ledger.acknowledged.len());
    facts.lost_writes = count(diff.lost.len());
    let unknown = ledger.unacknowledged.iter().filter(|w| w.outcome == WriteOutcome::Unknown);
    facts.unknown_writes = count(unknown.count());
    facts.unknown_writes_present = count(diff.survived_unknown.len());
    facts.refused_writes_present = count(diff.survived_refused.len());
    facts.rpo_seconds = rpo(&diff.lost, times.fault);
    let missing = |(region, n): (&RegionName, &u64)| MissingFact { region: region.to_string(), writes: *n };
    facts.missing_on = diff.missing_on.iter().map(missing).collect();
    let rows = evidence.seen.rows.writer.ids.iter().filter(|id| !before_the_load(id)).count();
    facts.writes = writes(&facts.populations, count(rows));
    facts.lost = diff.lost.iter().map(|lost| lost_fact(lost, evidence, times)).collect();
}

/// The same writes as in the latencies, over all populations.
fn writes(populations: &[PopulationFact], rows_at_writer: u64) -> WritesFact {
    let latencies = || populations.iter().flat_map(|p| &p.latencies).filter(|l| l.kind == "writes");
    let of = |stretch: &str| latencies().filter(|l| l.stretch == stretch).map(|l| count(l.count)).sum();
    WritesFact { before: of("before"), during: of("during"), after: of("after"), rows_at_writer }
}

/// From the first lost acknowledgement to the fault, or to the last lost one if that came later.
fn rpo(lost: &[Lost], fault: Moment) -> f64 {
    let told = || lost.iter().map(|l| l.ack.acknowledged_at);
    let (Some(first), Some(last)) = (told().min(), told().max()) else { return 0.0 };
    round(last.max(fault).since(first))
}

fn lost_fact(lost: &Lost, evidence: &Evidence<'_>, times: Times) -> LostFact {
    let users = &evidence.system.topology.users;
    LostFact {
        id: lost.ack.id.clone(),
        population: users
            .get(usize::from(lost.ack.population))
            .map(|u| u.name.to_string())
            .unwrap_or_default(),
        acknowledged_after_fault_seconds: seconds(times.fault, lost.ack.acknowledged_at),
        acknowledged_at: iso(evidence.seen.clock.wall(lost.ack.acknowledged_at)),
        server: lost.ack.by.map(|by| by.address.to_string()),
        timeline: lost.ack.by.map(|by| by.timeline),
        still_on: lost.still_on.iter().map(ToString::to_string).collect(),
    }
}

fn add_writers(facts: &mut Facts, seen: &SeenAll, start: Moment) {
    facts.max_concurrent_writers = seen.witnessed.reigns.max_concurrent();
    let fact = |r: measure::Reign| ReignFact {
        region: r.region.to_string(),
        timeline: r.timeline,
        first_seconds: seconds(start, r.first),
        last_seconds: seconds(start, r.last),
        acknowledgements: r.acks,
    };
    facts.writers = seen.witnessed.reigns.in_order().into_iter().map(fact).collect();
}

fn events(evidence: &Evidence<'_>, start: Moment) -> Vec<EventFact> {
    let during = evidence.seen.events.iter().filter(|e| e.at >= start);
    let fact = |e: &crate::faults::LabEvent| EventFact {
        at_seconds: seconds(start, e.at),
        region: e.region.as_ref().map(ToString::to_string),
        what: e.what.clone(),
    };
    let epochs = evidence.seen.seen.epochs.iter().filter(|e| e.at >= start);
    let epoch = |e: &super::observe::EpochSeen| EventFact {
        at_seconds: seconds(start, e.at),
        region: Some(e.vantage.to_string()),
        what: format!("sees epoch {} of {}, held by {}", e.epoch, e.group, e.holder),
    };
    let told = &evidence.seen.seen.told;
    let hold = |h: &Hold| EventFact {
        at_seconds: seconds(start, h.at),
        region: Some(h.vantage.to_string()),
        what: format!("does not take over ({}): {}", h.rule, h.evidence),
    };
    let refusal =
        |r: &Refusal| EventFact { at_seconds: seconds(start, r.at), region: None, what: r.what.clone() };
    let reasons = told.holds.iter().map(hold).chain(told.refusals.iter().map(refusal));
    let reasons = reasons.filter(|e| e.at_seconds >= 0.0);
    let mut events: Vec<EventFact> = during.map(fact).chain(epochs.map(epoch)).chain(reasons).collect();
    events.sort_by(|a, b| a.at_seconds.total_cmp(&b.at_seconds));
    events
}

fn more_environment(seen: &SeenAll, moved: &Moved, options: &Options) -> Vec<NamedFact> {
    let mut more = vec![
        NamedFact::of("postgres", seen.rows.postgres.clone()),
        NamedFact::of("seed", options.lab.seed.to_string()),
    ];
    if !moved.told.is_empty() {
        more.push(NamedFact::of("schedule, moved for this drill", moved.told.join("; ")));
    }
    for (region, reason) in &seen.rows.unread {
        more.push(NamedFact::of(&format!("not read: {region}"), reason.clone()));
    }
    more
}

/// ISO 8601 in UTC, with milliseconds.
fn iso(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.to_string(), |t| format!("{t:.3}"))
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
