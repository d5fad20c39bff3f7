//! The run: made with the claim, carried on step by step by the holder, journalled before and after.

use std::collections::VecDeque;

use meridian_model::database::Replication;
use meridian_model::group::{DatabaseRole, GroupRecord};
use meridian_model::health::Health;
use meridian_model::name::{GroupName, Name, RunId};
use meridian_model::run::{Run, RunKind, Step, StepKind, StepState};
use meridian_model::{Epoch, Moment, Timestamp};

use super::Machine;
use super::rules::{place, secs};
use crate::command::{Command, Level};
use crate::event::Outcome;
use crate::limits::{JOURNAL_PATIENCE, REPOINT_WAIT, RUNS_SEEN_MAX, STEP_AGAIN, STEP_PATIENCE};
use crate::table::State;

/// The run of our reign and the runs seen in etcd.
#[derive(Debug, Clone, Default)]
pub(super) struct Runner {
    pub(super) current: Option<Run>,
    seen: VecDeque<Run>,
    /// Rises with each change of `current`; the change is in etcd when `written` has reached it.
    version: u64,
    written: u64,
    /// The journal entry that is under way: its number, what it will have written, since when.
    attempt: Option<(u64, u64, Moment)>,
    next_attempt: u64,
    write_again: Option<Moment>,
    /// The step that was commanded and has not answered yet.
    acting: Option<(StepKind, Moment)>,
    act_again: Option<Moment>,
    step_since: Moment,
    /// Promotion was commanded: the run counts for the flap window.
    pub(super) acted: bool,
}

impl Runner {
    /// A claim was won, and its run with it (already in etcd).
    pub(super) fn begin(&mut self, run: Run, now: Moment) {
        let seen = std::mem::take(&mut self.seen);
        let next_attempt = self.next_attempt;
        *self = Self { current: Some(run), seen, next_attempt, step_since: now, ..Self::default() };
    }

    /// A run as etcd has it.
    pub(super) fn saw(&mut self, run: Run) {
        // A copy of an older entry came late and undid the newer one: it is written again.
        if let Some(current) = self.current.as_ref().filter(|current| current.id == run.id)
            && self.attempt.is_none()
            && done(&run) < done(current)
        {
            self.version += 1;
        }
        self.seen.retain(|old| old.id != run.id);
        self.seen.push_back(run);
        if self.seen.len() > RUNS_SEEN_MAX {
            self.seen.pop_front();
        }
    }

    /// The run of that name, our own copy first.
    pub(super) fn of(&self, id: &RunId) -> Option<&Run> {
        self.current.as_ref().filter(|r| &r.id == id).or_else(|| self.seen.iter().find(|r| &r.id == id))
    }

    /// The reign has ended: nothing more is done for its run.
    pub(super) fn pause(&mut self) {
        let current = self.current.take();
        let (seen, next_attempt) = (std::mem::take(&mut self.seen), self.next_attempt);
        *self = Self { seen, next_attempt, ..Self::default() };
        if let Some(run) = current {
            self.saw(run);
        }
    }

    /// The first step that is not done, begun if it was not.
    fn begin_step(&mut self, at: Timestamp, now: Moment) -> Option<(StepKind, Timestamp)> {
        let step =
            self.current.as_mut()?.steps.iter_mut().find(|s| !matches!(s.state, StepState::Done { .. }))?;
        if let StepState::Running { since } = step.state {
            return Some((step.kind, since));
        }
        step.state = StepState::Running { since: at };
        self.version += 1;
        self.step_since = now;
        self.act_again = None;
        Some((step.kind, at))
    }

    /// A step is done; the next begins, both in one journal entry.
    fn end_step(&mut self, kind: StepKind, detail: String, at: Timestamp, now: Moment) {
        let Some(run) = self.current.as_mut() else { return };
        let Some(step) = run.steps.iter_mut().find(|s| s.kind == kind) else { return };
        if let StepState::Running { since } = step.state {
            step.state = StepState::Done { since, at, detail };
            self.version += 1;
            self.acting = None;
            self.begin_step(at, now);
        }
    }
}

fn done(run: &Run) -> usize {
    run.steps.iter().filter(|s| matches!(s.state, StepState::Done { .. })).count()
}

/// The promotion of that run is done.
pub(super) fn promoted(run: &Run) -> bool {
    run.steps.iter().any(|s| s.kind == StepKind::Promote && matches!(s.state, StepState::Done { .. }))
}

impl Machine {
    // === making a run ===

    /// The run of a new reign. Its fence is proven, and its promotion begins with the claim itself, so
    /// that nothing stands between winning and promoting.
    pub(super) fn new_run(&self, kind: RunKind, epoch: Epoch, cause: String, fence: String) -> Run {
        let wall = self.at.wall;
        let state = |step| match step {
            StepKind::Fence => StepState::Done { since: wall, at: wall, detail: fence.clone() },
            StepKind::Promote => StepState::Running { since: wall },
            _ => StepState::Pending,
        };
        let old = self.facts.record.as_ref();
        let unfinished = self.run().filter(|r| !r.finished()).map(|r| r.id.clone());
        Run {
            id: run_id(&self.config.group, epoch, kind),
            group: self.config.group.clone(),
            kind,
            epoch,
            from: old.map(|r| r.holder.clone()),
            to: self.config.me.clone(),
            cause,
            detected_at: self.facts.holder_down_since.filter(|_| kind == RunKind::Failover),
            decided_at: wall,
            steps: StepKind::ALL.into_iter().map(|kind| Step { kind, state: state(kind) }).collect(),
            takes_over: unfinished,
        }
    }

    /// The run of a failover, with the evidence of every rule.
    pub(super) fn failover_run(&self, record: &GroupRecord) -> Run {
        let (holder, epoch) = (&record.holder, record.epoch);
        let lost = if record.released {
            format!("{holder} gave the lease up")
        } else {
            let age = self.at.now.since(self.facts.learned_at);
            format!("{holder} is lost: {}; not renewed for {}", self.facts.verdict(holder), secs(age))
        };
        let consent = self.facts.consent.filter(|c| c.epoch == epoch);
        let word = match consent.map(|c| c.accept_data_loss) {
            Some(true) => "; a person accepts the loss of data",
            Some(false) => "; a person agrees",
            None => "",
        };
        let sealed = self.sealed(record);
        let sealed: Vec<String> = sealed.iter().map(|(who, at)| format!("{who} ({})", place(*at))).collect();
        let ends = self.config.timers.old_side_stopped_after();
        let proof = if record.released {
            "it stopped before it gave the lease up".to_owned()
        } else {
            format!("its right to write ended {} after its last renewal", secs(ends))
        };
        let fence = format!("epoch {epoch} of {holder}: {proof}; sealed: {}", sealed.join(", "));
        self.new_run(RunKind::Failover, epoch.next(), format!("{lost}{word}"), fence)
    }

    // === carrying it on ===

    /// The database takes writes: said at once, journalled beside the opening of writes.
    pub(super) fn promote_step_done(&mut self) {
        let at = place(self.facts.position);
        let (wall, now) = (self.at.wall, self.at.now);
        self.runner.end_step(StepKind::Promote, format!("takes writes on {at}"), wall, now);
    }

    pub(super) fn step_done(&mut self, run: &RunId, kind: StepKind, detail: String) {
        if self.runner.current.as_ref().is_some_and(|r| &r.id == run) {
            self.runner.end_step(kind, detail, self.at.wall, self.at.now);
        }
    }

    pub(super) fn step_failed(&mut self, run: &RunId, kind: StepKind, reason: &str) {
        if self.runner.current.as_ref().is_some_and(|r| &r.id == run)
            && self.runner.acting.is_some_and(|(acting, _)| acting == kind)
        {
            self.log(Level::Warn, format!("step {kind} failed, it is tried again: {reason}"));
            self.runner.acting = None;
            self.runner.act_again = Some(self.at.now + STEP_AGAIN);
        }
    }

    pub(super) fn journalled(&mut self, number: u64, outcome: &Outcome) {
        let Some((_, version, _)) = self.runner.attempt.filter(|(n, _, _)| *n == number) else { return };
        self.runner.attempt = None;
        match outcome {
            Outcome::Done(_) => self.runner.written = self.runner.written.max(version),
            Outcome::Lost => {
                self.facts.read_wanted = true;
                self.runner.write_again = Some(self.at.now + STEP_AGAIN);
            }
            Outcome::Unknown(_) => self.runner.write_again = Some(self.at.now + STEP_AGAIN),
        }
    }

    /// What the run needs now: a journal entry, or a step.
    pub(super) fn run_orders(&mut self) -> Option<Command> {
        if !matches!(self.state, State::Leading | State::WritesClosed | State::Restarting) {
            return None;
        }
        let (wall, now) = (self.at.wall, self.at.now);
        let (kind, _) = match self.runner.begin_step(wall, now) {
            Some(step) => step,
            None => return self.journal(),
        };
        if self.runner.written != self.runner.version {
            return self.journal();
        }
        if self.state != State::Leading {
            return None;
        }
        if let Some(detail) = self.own_step(kind) {
            self.log(Level::Info, format!("step {kind}: {detail}"));
            self.runner.end_step(kind, detail, wall, now);
            return self.journal();
        }
        self.command_step(kind)
    }

    fn journal(&mut self) -> Option<Command> {
        if self.runner.written == self.runner.version {
            return None;
        }
        if let Some((_, _, since)) = self.runner.attempt
            && !self.due(since + JOURNAL_PATIENCE, "the journal is written again")
        {
            return None;
        }
        if let Some(at) = self.runner.write_again
            && !self.due(at, "the journal is written again")
        {
            return None;
        }
        self.runner.write_again = None;
        self.runner.next_attempt += 1;
        let attempt = self.runner.next_attempt;
        self.runner.attempt = Some((attempt, self.runner.version, self.at.now));
        self.runner.current.clone().map(|run| Command::Journal { attempt, run })
    }

    /// The steps that only need looking: done, with what was seen, or not yet.
    fn own_step(&mut self, kind: StepKind) -> Option<String> {
        match kind {
            StepKind::Fence | StepKind::Promote => Some("done before".to_owned()),
            StepKind::Repoint => self.repointed(),
            StepKind::Protect => self.protected(),
            StepKind::Scale | StepKind::Shift | StepKind::Verify => None,
        }
    }

    fn repointed(&mut self) -> Option<String> {
        let (epoch, ttl, now) = (self.memory.epoch, self.config.timers.observation_ttl, self.at.now);
        let follows = |m: &Name| {
            self.facts
                .members
                .get(m)
                .is_some_and(|s| s.report.epoch == epoch && s.report.database.role == DatabaseRole::Standby)
        };
        let (there, missing): (Vec<_>, Vec<_>) = self.others.iter().cloned().partition(follows);
        let (down, late): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|m| self.facts.health(m, now, ttl) == Health::Down);
        let seen = format!("following: {}; down: {}", list(&there), list(&down));
        if late.is_empty() {
            return Some(seen);
        }
        let bound = self.runner.step_since + REPOINT_WAIT;
        self.due(bound, "standbys that do not follow are left behind")
            .then(|| format!("{seen}; not yet after {}: {}", secs(REPOINT_WAIT), list(&late)))
    }

    fn protected(&self) -> Option<String> {
        if self.others.is_empty() {
            return Some("there is no other member".to_owned());
        }
        let needed = match self.config.replication {
            Replication::Quorum { acknowledgers } => acknowledgers.max(1) as usize,
            Replication::Async => 1,
        };
        let ours = |s: &&meridian_model::group::StandbyStatus| self.others.contains(&s.region);
        let streaming: Vec<Name> =
            self.facts.database.standbys.iter().filter(ours).map(|s| s.region.clone()).collect();
        (streaming.len() >= needed).then(|| format!("streaming: {}", list(&streaming)))
    }

    fn command_step(&mut self, kind: StepKind) -> Option<Command> {
        if !matches!(kind, StepKind::Scale | StepKind::Shift | StepKind::Verify) {
            return None;
        }
        if let Some((_, since)) = self.runner.acting
            && !self.due(since + STEP_PATIENCE, "a step without an answer is asked for again")
        {
            return None;
        }
        if let Some(at) = self.runner.act_again
            && !self.due(at, "a failed step is tried again")
        {
            return None;
        }
        self.runner.act_again = None;
        self.runner.acting = Some((kind, self.at.now));
        self.runner.current.clone().map(|run| Command::Step { kind, run })
    }
}

/// Unique: group, epoch and kind. A group whose name is too long for that is left out.
fn run_id(group: &GroupName, epoch: Epoch, kind: RunKind) -> RunId {
    let kind = format!("{kind:?}").to_lowercase();
    Name::new(&format!("{group}-{epoch}-{kind}"))
        .or_else(|_| Name::new(&format!("run-{epoch}-{kind}")))
        .unwrap_or_else(|_| group.clone())
}

fn list(names: &[Name]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}
