//! A run as the nodes tell of it now: the run itself from the best informed one, what it cost from the region
//! that the writer was taken from.

use std::time::Duration;

use meridian_model::order::{OrderState, RunWords};
use meridian_model::run::{Missing, Run, RunKind};
use meridian_model::{RegionName, RunId, System, Timestamp};
use meridian_node::status::{GroupStatus, Loss, NodeStatus, losses_of};
use meridian_planner::{StepProgress, Stuck, progress};
use serde::Serialize;

use super::span::{after, origin, protected_again, writes_again};
use crate::output::No;
use crate::plan::past;
use crate::system::{Nodes, Place, no_answer};

/// One run with all that is known of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Seen {
    /// The run.
    #[serde(flatten)]
    pub(super) run: Run,
    /// What times are counted from, and when that was.
    pub(super) origin: String,
    pub(super) origin_at: Timestamp,
    /// For how long clients could not write, and until a further loss could be survived: both from that moment.
    pub(super) writes_again_seconds: Option<f64>,
    pub(super) protected_again_seconds: Option<f64>,
    /// Each step against what was to be expected of it.
    pub(super) progress: Vec<Expected>,
    /// What persons have said to it.
    pub(super) words: Option<RunWords>,
    /// What it cost; none: the region that could tell does not answer, or nobody was replaced.
    pub(super) losses: Option<Vec<Loss>>,
    /// When this was so, by the clock of the node that told it.
    pub(super) at: Timestamp,
    /// It was not finished when a later reign began: in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<String>,
    /// It prepares an order that is still being carried out: the switchover itself is the next run.
    #[serde(skip)]
    pub(super) goes_on: bool,
}

/// What was to be expected of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Expected {
    pub(super) step: String,
    /// From the moment that times are counted from.
    pub(super) begins_seconds: f64,
    pub(super) takes_seconds: f64,
    pub(super) why: String,
    /// It runs, and takes longer than it ought to: in a sentence.
    pub(super) stuck: Option<String>,
}

/// Looks for a run; without a name the newest of the group.
///
/// # Errors
/// No node answers; [`No`] when there is no such run.
pub(super) fn look(nodes: &Nodes, place: &Place, wanted: Option<&RunId>) -> anyhow::Result<Seen> {
    let name = wanted.map_or_else(|| "of that group".to_owned(), |id| format!("`{id}`"));
    let words = place.words(&nodes.system, place.group.as_ref());
    let none = || No(format!("there is no run {name}; see `meridian run list{words}`"));
    Ok(find(nodes, place, wanted)?.ok_or_else(none)?)
}

/// The same; none when there is no such run.
///
/// # Errors
/// No node answers.
pub(super) fn find(nodes: &Nodes, place: &Place, wanted: Option<&RunId>) -> anyhow::Result<Option<Seen>> {
    let group = place.group(&nodes.system)?;
    let statuses = nodes.statuses();
    let of_group = |node: &'_ NodeStatus| node.groups.iter().find(|g| g.group == group).cloned();
    let best = statuses.iter().find_map(|node| Some((node.at, of_group(node)?)));
    let (at, told) = best.ok_or_else(no_answer)?;
    let run = match wanted {
        Some(id) => told.runs.iter().find(|run| &run.id == id),
        None => told.runs.first(),
    };
    let Some(run) = run else { return Ok(None) };
    let old = statuses.iter().find(|node| Some(&node.region) == run.from.as_ref()).and_then(of_group);
    Ok(Some(seen(&nodes.system, run, &told, old.as_ref(), at)))
}

/// `told`: by the best informed node; `old`: by the node of the region that the writer was taken from.
pub(super) fn seen(
    system: &System,
    run: &Run,
    told: &GroupStatus,
    old: Option<&GroupStatus>,
    at: Timestamp,
) -> Seen {
    let earlier = told.runs.iter().filter(|other| other.epoch < run.epoch);
    let ended = super::tell::ended(run, told.epoch, &told.runs);
    let (origin_at, origin) = origin(run);
    let decided = after(origin_at, run.decided_at);
    let steps = progress(system, run, &past(earlier), at).into_iter();
    let mut progress: Vec<Expected> = steps.map(|step| Expected::of(step, decided)).collect();
    if ended.is_some() {
        // Nothing of it is under way, so nothing is stuck.
        progress.iter_mut().for_each(|step| step.stuck = None);
    }
    Seen {
        run: run.clone(),
        origin,
        origin_at,
        writes_again_seconds: writes_again(run),
        protected_again_seconds: protected_again(run),
        progress,
        ended,
        words: told.words.iter().find(|words| words.run == run.id).cloned(),
        losses: old.map(|old| losses_of(run, &told.runs, &old.losses).into_iter().cloned().collect()),
        goes_on: run.prepares() && told.order.as_ref().is_some_and(|order| order.state == OrderState::Open),
        at,
    }
}

impl Expected {
    /// `decided`: when the epoch was won, in seconds since times are counted.
    fn of(step: StepProgress, decided: f64) -> Self {
        Self {
            step: step.step.to_string(),
            // By times of the past it may be a little before that moment, where nothing can begin.
            begins_seconds: (decided + step.begins_ms as f64 / 1_000.0).max(0.0),
            takes_seconds: step.takes.as_secs_f64(),
            why: step.why,
            stuck: step.stuck.map(stuck),
        }
    }
}

fn stuck(stuck: Stuck) -> String {
    let seconds = |d: Duration| format!("{:.1} s", d.as_secs_f64());
    let (limit, now) = (seconds(stuck.limit), seconds(stuck.runs_for));
    if stuck.from_past {
        format!("stuck: usually {limit}, now {now}")
    } else {
        format!("stuck: one attempt may take {limit}, now {now}")
    }
}

impl Seen {
    /// What it does, or how it ended.
    pub(super) fn state(&self) -> String {
        self.ended.clone().unwrap_or_else(|| super::tell::state(&self.run))
    }

    /// What was to be expected of a step.
    pub(super) fn expected(&self, step: &str) -> Option<&Expected> {
        self.progress.iter().find(|expected| expected.step == step)
    }

    /// What the run cost, in sentences; nothing when it took the writer from nobody.
    pub(super) fn cost(&self) -> Vec<String> {
        let Some(from) = loser(&self.run) else { return Vec::new() };
        match self.losses.as_deref() {
            Some([]) => {
                vec![format!("{from} has not come back with its log: {}", missing(self.run.evidence.missing))]
            }
            None => {
                vec![format!("the node of {from} does not answer: {}", missing(self.run.evidence.missing))]
            }
            Some(losses) => losses.iter().map(Loss::sentence).collect(),
        }
    }
}

/// Whom a run took the writer from: that region knows what it had lost.
pub(super) fn loser(run: &Run) -> Option<&RegionName> {
    let recovers = matches!(run.kind, RunKind::Failover | RunKind::Switchover) && !run.prepares();
    run.from.as_ref().filter(|from| recovers && **from != run.to)
}

/// What was known when it was decided.
pub(super) fn missing(missing: Missing) -> String {
    match missing {
        Missing::Unknown => "what is lost is not known".to_owned(),
        Missing::Nothing => "nothing that was acknowledged is lost, as was proven before".to_owned(),
        Missing::Last { ms } => {
            let seconds = Duration::from_millis(ms).as_secs_f64();
            format!("lost is at most what it acknowledged in its last {seconds:.1} s")
        }
    }
}
