//! What happens when the writer is lost or moves, when each step begins, how long it takes, and why.
//!
//! The times are upper ends of the usual case, not bounds: what earlier runs took where there were any,
//! else the spec's own periods, the catalogue's round trips, and measurements that are named with each
//! step. Before the run begins everything is laid end to end: what runs at the same time as an earlier
//! step (the lease runs out while the loss is being detected) counts only for what it lasts longer. The
//! steps of the run begin when those that they wait for have ended.

use std::time::Duration;

use meridian_model::database::SwitchoverLimits;
use meridian_model::plan::{Task, Work};
use meridian_model::run::StepKind;
use meridian_model::units::duration_text;
use meridian_model::{Name, System};

use crate::distance::longest_rtt;
use crate::plan::{derived_steps, freeze, of_form};

/// One step of a recovery: when it begins and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineStep {
    /// What happens: a step of the run by its name, or what comes before and after the run.
    pub what: String,
    /// When it begins, from the loss; of a switchover, from the order.
    pub starts: Duration,
    /// The step, by its place in the timeline, at whose end it begins; none: it begins at the very beginning.
    pub after: Option<usize>,
    /// How long at most, in the usual case.
    pub takes: Duration,
    /// After this long it is stuck: the p75 of earlier runs, else its timeout. None outside the run.
    pub stuck_after: Option<Duration>,
    /// Why so long, with the source of the figure.
    pub why: String,
    /// What kind of step it is; none outside the run.
    pub kind: Option<StepKind>,
}

impl TimelineStep {
    /// When it has ended.
    #[must_use]
    pub fn ends(&self) -> Duration {
        self.starts.saturating_add(self.takes)
    }

    /// The same, begun when `after` has ended.
    fn at_the_end_of(self, after: Option<usize>, steps: &[Self]) -> Self {
        let ends = after.and_then(|at| steps.get(at)).map_or(Duration::ZERO, Self::ends);
        Self { starts: ends, after, ..self }
    }

    /// Users are not served again before it has ended.
    const fn is_waited_for(&self) -> bool {
        use StepKind::{Dns, Promote, Scale, Shift};
        matches!(self.kind, None | Some(Promote | Scale | Shift | Dns))
    }
}

/// What a recovery takes, step by step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// Each after those that it waits for.
    pub steps: Vec<TimelineStep>,
}

impl Timeline {
    /// Until users are served as before: the database, then compute, then traffic, and old DNS answers
    /// have run out. What comes beside and after (repoint, verify, protect) is not part of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.steps.iter().filter(|s| s.is_waited_for()).map(TimelineStep::ends).max().unwrap_or_default()
    }

    /// What the total is the sum of: the steps, each of which begins when the one before it has ended, that end
    /// last of those that users wait for.
    #[must_use]
    pub fn sum(&self) -> Vec<&TimelineStep> {
        let mut last = self.steps.iter().filter(|s| s.is_waited_for()).max_by_key(|s| s.ends());
        let mut sum = Vec::new();
        while let Some(step) = last {
            sum.push(step);
            last = step.after.and_then(|at| self.steps.get(at));
        }
        sum.reverse();
        sum
    }

    /// The sum in words, without what takes no time; `told` says how long.
    #[must_use]
    pub fn sum_text(&self, told: impl Fn(Duration) -> String) -> String {
        let terms = self.sum().into_iter().filter(|s| !s.takes.is_zero());
        terms.map(|s| format!("{} {}", s.what, told(s.takes))).collect::<Vec<_>>().join(" + ")
    }

    /// Until the new writer takes writes.
    #[must_use]
    pub fn until_writable(&self) -> Duration {
        let promoted = self.steps.iter().filter(|s| s.kind == Some(StepKind::Promote));
        promoted.map(TimelineStep::ends).max().unwrap_or_else(|| self.total())
    }

    /// What most of the time until users are served is spent on.
    pub(crate) fn longest(&self) -> &str {
        let beside = |s: &TimelineStep| matches!(s.kind, Some(StepKind::Repoint | StepKind::Protect));
        let within = self.steps.iter().filter(|s| s.ends() <= self.total() && !beside(s));
        within.max_by_key(|s| s.takes).map_or("", |s| &s.what)
    }

    /// In columns: what each is, a line for each step, and one for the whole.
    #[must_use]
    pub fn table(&self) -> Vec<String> {
        let row =
            |s: &TimelineStep| [s.what.clone(), in_seconds(s.starts), in_seconds(s.takes), s.why.clone()];
        let head = ["step", "begins", "takes", "why"].map(str::to_owned);
        let sum = self.sum_text(in_seconds);
        let whole = ["recovered".to_owned(), String::new(), in_seconds(self.total()), sum];
        let rows: Vec<[String; 4]> =
            [head].into_iter().chain(self.steps.iter().map(row)).chain([whole]).collect();
        let width = |cell: fn(&[String; 4]) -> &String| rows.iter().map(|r| cell(r).len()).max().unwrap_or(0);
        let (names, begins, takes) = (width(|[w, ..]| w), width(|[_, b, ..]| b), width(|[_, _, t, _]| t));
        let line = |[what, from, long, why]: &[String; 4]| {
            format!("{what:<names$}  {from:>begins$}  {long:>takes$}  {why}").trim_end().to_owned()
        };
        rows.iter().map(line).collect()
    }
}

/// A duration in seconds (or milliseconds), so that terms and their sum stand in one unit: `3600s`, not `60m`.
#[must_use]
pub fn in_seconds(duration: Duration) -> String {
    match duration.subsec_nanos() {
        0 if duration.as_secs() > 0 => format!("{}s", duration.as_secs()),
        _ => duration_text(duration),
    }
}

/// The timeline of the recovery from the loss of the writer's region; of several databases, of the one
/// whose plan takes the longest.
#[must_use]
pub fn timeline(system: &System) -> Timeline {
    let planned = system.plans.iter().map(|plan| predict(system, &freeze(plan, false), &[]));
    planned.max_by_key(Timeline::total).unwrap_or_else(|| unplanned(system))
}

/// The timeline that the timers allow at best: that of the derived plan.
pub(crate) fn unplanned(system: &System) -> Timeline {
    let steps = derived_steps(system, &SwitchoverLimits::default());
    predict(system, &of_form(&steps, false), &[])
}

/// The timeline of a run of these steps. `past`: what each step, by its name, took in earlier runs.
#[must_use]
pub fn predict(system: &System, works: &[Work], past: &[(Name, Vec<Duration>)]) -> Timeline {
    let rtt = millis_up(longest_rtt(system));
    let planned = works.iter().any(|w| w.task.kind() == StepKind::Demote);
    let mut steps = if planned { Vec::new() } else { before_the_run(system, rtt) };
    let begins = steps.len().checked_sub(1);
    let mut laid: Vec<(&Name, usize)> = Vec::new();
    for work in works {
        let place = |name: &Name| laid.iter().find(|(n, _)| *n == name).map(|(_, at)| *at);
        let after = last_of(&steps, work.after.iter().filter_map(place)).or(begins);
        let made = run_step(system, work, (rtt, planned), past);
        laid.push((&work.name, steps.len()));
        steps.push(made.at_the_end_of(after, &steps));
    }
    if !planned {
        steps.extend(old_answers(system, &steps, begins));
    }
    Timeline { steps }
}

/// Which of these ends last.
fn last_of(steps: &[TimelineStep], places: impl Iterator<Item = usize>) -> Option<usize> {
    places.max_by_key(|at| steps.get(*at).map(TimelineStep::ends))
}

/// What passes from the loss until the run begins.
fn before_the_run(system: &System, rtt: Duration) -> Vec<TimelineStep> {
    let timers = &system.topology.timers;
    let (every, timeout) = (duration_text(timers.probe_every), duration_text(timers.probe_timeout));
    let detect = timers.probe_every.saturating_mul(timers.down_after).saturating_add(timers.probe_timeout);
    let lease = timers.lease_ttl.saturating_add(rtt).saturating_sub(detect);
    let (ttl, seen) = (duration_text(timers.lease_ttl), duration_text(rtt));
    let parts = [
        (
            "detect",
            detect,
            format!(
                "{} failed probes, one every {every}, the last given up after {timeout}",
                timers.down_after
            ),
        ),
        (
            "lease",
            lease,
            format!(
                "leaseTtl {ttl} from when the last renewal was seen elsewhere ({seen} later), less the time to detect"
            ),
        ),
        ("decide", rtt.saturating_mul(DECIDE_ROUND_TRIPS), decided(rtt)),
    ];
    let mut laid: Vec<TimelineStep> = Vec::new();
    for (what, takes, why) in parts {
        let before = laid.len().checked_sub(1);
        laid.push(outside(what, takes, why).at_the_end_of(before, &laid));
    }
    laid
}

fn decided(rtt: Duration) -> String {
    let rtt = duration_text(rtt);
    format!("seal, claim and journal through etcd: {DECIDE_ROUND_TRIPS} round trips of {rtt}")
}

/// After the name server answers by the new state, clients go on with what they were told before.
fn old_answers(system: &System, steps: &[TimelineStep], begins: Option<usize>) -> Option<TimelineStep> {
    let slowest = system.services.iter().max_by_key(|s| s.dns_ttl)?;
    let steers = |(_, s): &(usize, &TimelineStep)| matches!(s.kind, Some(StepKind::Shift | StepKind::Dns));
    let steered = steps.iter().enumerate().filter(steers).map(|(at, _)| at);
    let after = last_of(steps, steered).or(begins);
    let why = format!("clients keep the lost region's address: ttl of service {}", slowest.name);
    Some(outside("ttl", slowest.dns_ttl, why).at_the_end_of(after, steps))
}

/// What is no step of the run.
fn outside(what: &str, takes: Duration, why: String) -> TimelineStep {
    let (starts, after) = (Duration::ZERO, None);
    TimelineStep { what: what.to_owned(), starts, after, takes, stuck_after: None, why, kind: None }
}

fn run_step(
    system: &System,
    work: &Work,
    (rtt, planned): (Duration, bool),
    past: &[(Name, Vec<Duration>)],
) -> TimelineStep {
    let mut took: Vec<Duration> =
        past.iter().filter(|(n, _)| *n == work.name).flat_map(|(_, t)| t.iter().copied()).collect();
    took.sort();
    let (takes, why) = match took.get(took.len() / 2) {
        Some(median) => (*median, format!("the median of {} earlier runs", took.len())),
        None => usual(system, &work.task, rtt, planned),
    };
    let p75 = took.get((took.len() * 3).div_ceil(4).saturating_sub(1)).filter(|_| took.len() >= PAST_MIN);
    TimelineStep {
        what: work.name.to_string(),
        starts: Duration::ZERO,
        after: None,
        takes,
        stuck_after: Some(p75.copied().unwrap_or(Duration::from_millis(work.timeout_ms))),
        why,
        kind: Some(work.task.kind()),
    }
}

/// What a step takes that has no past.
fn usual(system: &System, task: &Task, rtt: Duration, planned: bool) -> (Duration, String) {
    let told = |takes: Duration, why: &str| (takes, why.to_owned());
    match task {
        Task::Demote => told(DEMOTE, "running transactions end and PostgreSQL stops: assumed"),
        Task::Fence if planned => (rtt.saturating_mul(DECIDE_ROUND_TRIPS), decided(rtt)),
        Task::Fence => told(Duration::ZERO, "proven before the run begins"),
        Task::Promote => {
            told(PROMOTE, "PostgreSQL from promotion to its first write under load: measured 37 to 460 ms")
        }
        Task::Repoint => told(REPOINT, "the other standbys restart their receivers: assumed"),
        Task::Scale { instances, .. } if grows(system, *instances) => {
            told(SCALE_UP, "the instances of a primary start and pass two health checks: assumed")
        }
        Task::Scale { .. } => told(Duration::ZERO, "as many instances run already"),
        Task::Shift { .. } => told(rtt, "the new state reaches every region: the longest round trip"),
        Task::Dns => told(Duration::ZERO, "the name server answers from the same state"),
        Task::Verify { .. } => told(VERIFY, "a write and a read, or what is checked: assumed"),
        Task::Protect if !planned && nobody_is_left(system) => told(
            Duration::ZERO,
            "not counted: only when the lost region is back, for there is no third database",
        ),
        Task::Protect => told(PROTECT, "a standby streams from the new writer: assumed"),
        Task::Wait { for_ms } => told(Duration::from_millis(*for_ms), "the plan waits"),
        Task::Approve { .. } => told(Duration::ZERO, "a person: not counted"),
        Task::Notify { .. } => told(NOTIFY, "a webhook answers: assumed"),
        Task::Exec(_) => told(EXEC, "a program of yours: assumed"),
    }
}

/// After the loss of the writer's region there is one database: nobody can follow it.
fn nobody_is_left(system: &System) -> bool {
    !system.databases.is_empty() && system.databases.iter().all(|database| database.members.len() <= 2)
}

/// The new writer's region must start more instances.
fn grows(system: &System, wanted: Option<u32>) -> bool {
    let mut compute = system.services.iter().flat_map(|s| &s.backends).filter_map(|b| b.compute.as_ref());
    compute.any(|c| wanted.unwrap_or(c.instances_primary) > c.instances_standby)
}

/// Up to whole milliseconds, so that tables stay readable.
fn millis_up(duration: Duration) -> Duration {
    let millis = duration.as_micros().div_ceil(1000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Seals are published, the record is claimed, the first step is journalled.
const DECIDE_ROUND_TRIPS: u32 = 3;
/// Fewer earlier runs have no p75 worth the name.
const PAST_MIN: usize = 4;
/// Above the slowest of the methods measured for this project (PostgreSQL 15, kept-open connections and
/// fresh ones, under load: 37 ms to 460 ms from kill to first write).
const PROMOTE: Duration = Duration::from_millis(500);
/// An assumption: what the issue wants of a switchover's pause, without its round trips.
const DEMOTE: Duration = Duration::from_secs(1);
/// An assumption: what a small program needs to start and to be seen healthy.
const SCALE_UP: Duration = Duration::from_secs(3);
/// Assumptions until there are earlier runs.
const REPOINT: Duration = Duration::from_secs(2);
const VERIFY: Duration = Duration::from_secs(1);
const PROTECT: Duration = Duration::from_secs(5);
const NOTIFY: Duration = Duration::from_secs(1);
const EXEC: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
