//! Whether a recovery could begin at all, however well its members are: etcd, a person's word, a run that stands in
//! its way, and the writer itself.

use std::collections::BTreeMap;

use meridian_model::group::GroupRecord;
use meridian_model::health::{Health, RegionHealth};
use meridian_model::order::Maintenance;
use meridian_model::run::Run;
use meridian_model::units::duration_text;
use meridian_model::{Database, GroupName, RegionName, System, Timestamp};

use super::Live;
use crate::finding::{Finding, Subject};

/// What lets a recovery begin, as whoever judges knows it.
#[derive(Debug, Clone, Copy)]
pub struct Control<'a> {
    /// Who judges.
    pub here: &'a RegionName,
    /// Etcd answers it; else the rest may be out of date, and is not judged.
    pub reachable: bool,
    /// Whether nothing may begin by itself.
    pub maintenance: Option<&'a Maintenance>,
    /// The record of each group that has one.
    pub records: &'a BTreeMap<GroupName, GroupRecord>,
    /// The newest run of each group.
    pub runs: &'a BTreeMap<GroupName, Run>,
    /// What each region is held to be.
    pub regions: &'a [RegionHealth],
}

/// What keeps a recovery from beginning, of all groups.
pub(super) fn check(system: &System, live: &Live<'_>) -> Vec<Finding> {
    let control = &live.control;
    if !control.reachable {
        let here = control.here;
        let message = format!(
            "etcd does not answer the node of {here}: nothing can be decided, and no recovery begins"
        );
        return vec![
            Finding::error("no-etcd", Subject::Coordination, message).suggest(
                "a majority of its members must run and be reached: look at each, and at the network",
            ),
        ];
    }
    let of_groups = system.databases.iter().flat_map(|database| group(system, database, live));
    control.maintenance.and_then(|m| maintenance(m, live.now)).into_iter().chain(of_groups).collect()
}

fn maintenance(maintenance: &Maintenance, now: Timestamp) -> Option<Finding> {
    let left = left(maintenance.until, now)?;
    let Maintenance { until, word } = maintenance;
    let reason = Some(&word.reason).filter(|r| !r.is_empty()).map(|r| format!(": {r}")).unwrap_or_default();
    let message = format!(
        "maintenance for {left} more (until {}, by {}{reason}): no failover begins by itself",
        clock_time(*until),
        word.by,
    );
    let hint = "end it when the work is done: `meridian maintenance end`";
    Some(Finding::warning("maintenance", Subject::Regions, message).suggest(hint))
}

fn group(system: &System, database: &Database, live: &Live<'_>) -> Vec<Finding> {
    let (name, control) = (&database.name, &live.control);
    let subject = || Subject::Members(name.clone());
    let record = control.records.get(name);
    let written = match live.writers.get(name) {
        Some(writer) => writer_is_well(name, writer, control.regions),
        None => Some(
            Finding::error("no-writer", subject(), format!("nobody writes {name}"))
                .suggest("`meridian explain` says why, and what is waited for"),
        ),
    };
    let held = record.and_then(|record| {
        let window = system.topology.timers.flap_window;
        let last = record.last_failover_at?;
        let ends = last.0.saturating_add(i64::try_from(window.as_millis()).unwrap_or(i64::MAX));
        let left = left(Timestamp(ends), live.now)?;
        let window = duration_text(window);
        let message = format!(
            "the next failover of {name} does not begin by itself for {left} more: the last one is within flapWindow {window}"
        );
        Some(
            Finding::warning("flap-window", subject(), message)
                .suggest("when the writer is lost, a person can agree to one: `meridian failover`"),
        )
    });
    let current = |run: &&Run| !record.is_some_and(|record| run.ended_before(record.epoch));
    let open = control.runs.get(name).filter(current).and_then(|run| open_run(run, live.now));
    open.into_iter().chain(written).chain(held).collect()
}

fn writer_is_well(group: &GroupName, writer: &RegionName, regions: &[RegionHealth]) -> Option<Finding> {
    let seen = regions.iter().find(|region| &region.region == writer)?;
    let subject = Subject::Member(group.clone(), writer.clone());
    let message = |is| format!("{writer}, where {group} is written, {is}: {}", seen.reason);
    match seen.health {
        Health::Up => None,
        Health::Down => Some(
            Finding::error("writer-down", subject, message("is down"))
                .suggest("`meridian explain` says whether a failover begins, and what it waits for"),
        ),
        Health::Unknown => Some(
            Finding::warning("writer-unknown", subject, message("may be down, nobody knows"))
                .suggest("look whether its node runs and reaches the others: `meridian status`"),
        ),
    }
}

/// A run that does not end refuses switchovers and rehearsals.
fn open_run(run: &Run, now: Timestamp) -> Option<Finding> {
    let why = run.unfinished()?;
    let lasts = now.0.saturating_sub(run.decided_at.0);
    let code = match run.paused {
        Some(_) => "run-paused",
        None if lasts >= RUN_LASTS_MS => "run-unfinished",
        None => return None,
    };
    let (id, minutes) = (&run.id, lasts.max(0) / 60_000);
    let message = format!("{why}; it began {minutes} min ago, and until its end switchovers are refused");
    let open = run.steps.iter().find(|step| !step.over());
    let details = open.map(|step| format!("step `{}` is not over", step.work.name)).into_iter().collect();
    let hint =
        format!("mend what it waits for, then `meridian run resume {id}`; or `meridian run abort {id}`");
    Some(Finding::error(code, Subject::Members(run.group.clone()), message).show(details).suggest(hint))
}

/// Until then, in words; none: it has passed.
fn left(until: Timestamp, now: Timestamp) -> Option<String> {
    let seconds = until.0.saturating_sub(now.0) / 1_000;
    (seconds > 0).then(|| format!("{seconds} s"))
}

/// `2026-11-25 12:03:04 UTC`.
fn clock_time(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| format!("{} ms", at.0), |t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// A run that goes on for longer is not merely under way.
const RUN_LASTS_MS: i64 = 10 * 60 * 1_000;
