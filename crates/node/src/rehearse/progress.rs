//! How far a rehearsal is, written to the journal with each change.

use meridian_actuators::{Rehearsed, Stage};
use meridian_coordination::OwnRehearsal;
use meridian_model::plan::Work;
use meridian_model::rehearsal::{LeftBehind, RehearsalStep};
use meridian_model::run::{StepKind, StepState};
use meridian_model::{Name, Timestamp};
use meridian_telemetry::clock;

/// Where the rehearsal's own steps stand; the plan's begin at [`PLAN`], and the removal is the last.
const CLONE: usize = 0;
const START: usize = 1;
pub(super) const PLAN: usize = 2;
const OWN: [&str; 3] = ["clone", "start", "remove"];

/// The steps of a rehearsal of these works; `skipped` says why one is only named.
pub(super) fn steps(
    works: &[Work],
    now: Timestamp,
    skipped: impl Fn(&Work) -> Option<String>,
) -> Vec<RehearsalStep> {
    let own = |name: &str| {
        let name = Name::new(name).ok()?;
        Some(RehearsalStep { name, kind: None, state: StepState::Pending })
    };
    let planned = |work: &Work| {
        let state = match skipped(work) {
            Some(reason) => StepState::Skipped { at: now, reason },
            None => StepState::Pending,
        };
        RehearsalStep { name: work.name.clone(), kind: Some(work.task.kind()), state }
    };
    let [clone, start, remove] = OWN.map(own);
    let plan = works.iter().map(planned);
    clone.into_iter().chain(start).chain(plan).chain(remove).collect()
}

/// A rehearsal under way.
pub(super) struct Progress {
    own: OwnRehearsal,
}

impl Progress {
    pub(super) fn new(own: OwnRehearsal) -> Self {
        Self { own }
    }

    /// The step at that place is to be carried out.
    pub(super) fn pending(&self, at: usize) -> bool {
        self.own.record.steps.get(at).is_some_and(|step| step.state == StepState::Pending)
    }

    /// It ended well.
    pub(super) fn passed(&self) -> bool {
        self.own.record.passed()
    }

    /// # Errors
    /// It could not be journalled: nothing more is to be begun.
    pub(super) async fn begin(&mut self, at: usize) -> Result<(), String> {
        self.running(at);
        self.save().await
    }

    /// # Errors
    /// It could not be journalled: nothing more is to be begun.
    pub(super) async fn done(&mut self, at: usize, detail: String) -> Result<(), String> {
        self.finished(at, detail);
        self.save().await
    }

    /// The next stage of the clone has begun, so those before it are done.
    ///
    /// # Errors
    /// It could not be journalled.
    pub(super) async fn stage(&mut self, stage: Stage) -> Result<(), String> {
        match stage {
            Stage::Cloning => self.running(CLONE),
            Stage::Starting => {
                self.finished(CLONE, String::new());
                self.running(START);
            }
            Stage::Promoting => {
                self.finished(START, String::new());
                self.running(self.promotion());
            }
        }
        self.save().await
    }

    /// The clone takes writes: now it is known how long each stage took.
    ///
    /// # Errors
    /// It could not be journalled.
    pub(super) async fn promoted(&mut self, seen: &Rehearsed) -> Result<(), String> {
        let (mib, free) = (seen.bytes >> 20, seen.free_bytes >> 20);
        let seconds = |time: std::time::Duration| format!("{:.2} s", time.as_secs_f64());
        self.finished(
            CLONE,
            format!("{mib} MiB copied in {}; {free} MiB were free", seconds(seen.clone_took)),
        );
        self.finished(START, format!("it answered after {}", seconds(seen.start_took)));
        let (promoted, wrote) = (seconds(seen.promote_took), seconds(seen.write_took));
        self.finished(self.promotion(), format!("promoted in {promoted}; a write and a read took {wrote}"));
        self.save().await
    }

    /// What runs has failed, or what was to come first; nothing else is begun but the removal.
    pub(super) async fn give_up(&mut self, why: &str) {
        let now = clock::wall();
        let removal = self.removal();
        let steps = &mut self.own.record.steps;
        let is_running = |s: &RehearsalStep| matches!(s.state, StepState::Running { .. });
        let failed = steps.iter().position(is_running);
        let failed = failed.or_else(|| steps.iter().position(|s| s.state == StepState::Pending));
        for (at, step) in steps.iter_mut().enumerate().filter(|(at, _)| *at != removal) {
            let pending = step.state == StepState::Pending;
            if Some(at) == failed {
                let since = since(&step.state).unwrap_or(now);
                step.state = StepState::Failed { since, at: now, reason: why.to_owned() };
            } else if pending {
                step.state = StepState::Skipped { at: now, reason: "a step before it failed".to_owned() };
            }
        }
        self.try_save().await;
    }

    /// Removing begins, whatever the journal says.
    pub(super) async fn remove(&mut self) {
        self.running(self.removal());
        self.try_save().await;
    }

    /// It is over, with what was left.
    pub(super) async fn end(&mut self, left: Result<LeftBehind, String>) {
        let (removal, now) = (self.removal(), clock::wall());
        let wrong = match &left {
            Ok(left) if left.nothing() => None,
            Ok(left) => Some(told(left)),
            Err(why) => Some(why.clone()),
        };
        match wrong {
            None => self.finished(removal, NOTHING_LEFT.to_owned()),
            Some(reason) => {
                if let Some(step) = self.own.record.steps.get_mut(removal) {
                    let since = since(&step.state).unwrap_or(now);
                    step.state = StepState::Failed { since, at: now, reason };
                }
            }
        }
        self.own.record.left = left.ok();
        self.own.record.ended_at = Some(now);
        self.try_save().await;
    }

    fn promotion(&self) -> usize {
        let promotes = |s: &RehearsalStep| s.kind == Some(StepKind::Promote);
        self.own.record.steps.iter().position(promotes).unwrap_or(START)
    }

    fn removal(&self) -> usize {
        self.own.record.steps.len().saturating_sub(1)
    }

    fn running(&mut self, at: usize) {
        if let Some(step) = self.own.record.steps.get_mut(at) {
            step.state = StepState::Running { since: clock::wall() };
        }
    }

    /// A step that was done before keeps its times.
    fn finished(&mut self, at: usize, detail: String) {
        let Some(step) = self.own.record.steps.get_mut(at) else { return };
        let now = clock::wall();
        let ended = if let StepState::Done { at, .. } = step.state { at } else { now };
        step.state = StepState::Done { since: since(&step.state).unwrap_or(now), at: ended, detail };
    }

    async fn save(&mut self) -> Result<(), String> {
        self.own.save().await.map_err(|e| format!("it could not be journalled: {e}"))
    }

    async fn try_save(&mut self) {
        if let Err(error) = self.save().await {
            tracing::warn!(rehearsal = %self.own.record.id, %error, "a rehearsal goes on to its end all the same");
        }
    }
}

fn since(state: &StepState) -> Option<Timestamp> {
    match state {
        StepState::Running { since } | StepState::Failed { since, .. } | StepState::Done { since, .. } => {
            Some(*since)
        }
        StepState::Pending | StepState::Skipped { .. } => None,
    }
}

/// What is left, in words.
fn told(left: &LeftBehind) -> String {
    let mut all = Vec::new();
    if left.processes > 0 {
        all.push(format!("{} processes", left.processes));
    }
    if left.folder {
        all.push("the folder of the clone".to_owned());
    }
    if !left.slots.is_empty() {
        all.push(format!("the slots {}", left.slots.join(", ")));
    }
    if !left.ports.is_empty() {
        let ports: Vec<String> = left.ports.iter().map(ToString::to_string).collect();
        all.push(format!("open ports {}", ports.join(", ")));
    }
    let streams = if left.streaming { "" } else { "the standby does not stream now" };
    match (all.is_empty(), streams) {
        (true, streams) => streams.to_owned(),
        (false, "") => format!("left behind: {}", all.join(", ")),
        (false, streams) => format!("left behind: {}; {streams}", all.join(", ")),
    }
}

const NOTHING_LEFT: &str =
    "nothing is left, as was looked up: no process, no folder, no slot, no open port; the standby streams";
