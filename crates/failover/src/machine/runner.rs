//! The run of our reign: its steps as far as they are, journalled before each is acted upon and after.
//!
//! A step begins when all that it depends on are over. What begins is first written to etcd, and only
//! then done: whoever takes over knows what may have been done. Steps are idempotent, so a step that was
//! begun and not ended is done again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use meridian_model::name::{Name, RunId};
use meridian_model::order::RunWords;
use meridian_model::plan::OnFailure;
use meridian_model::run::{Run, Step, StepKind, StepState};
use meridian_model::{Moment, Timestamp};

use super::Machine;
use super::rules::place;
use super::steps::Look;
use crate::command::{Command, Level};
use crate::event::{At, Outcome};
use crate::limits::{JOURNAL_PATIENCE, RUNS_SEEN_MAX, STEP_AGAIN};
use crate::table::State;

mod commanded;
mod early;

pub(super) use early::before_demotion;

/// The run of our reign and the runs seen in etcd.
#[derive(Debug, Clone, Default)]
pub(super) struct Runner {
    pub(super) current: Option<Run>,
    /// The run that made this reign, while one that prepares a switchover has its place.
    set_aside: Option<Run>,
    seen: VecDeque<Arc<Run>>,
    /// Rises with each change of `current`; the change is in etcd when `written` has reached it.
    version: u64,
    written: u64,
    /// The journal entry that is under way: its number, what it will have written, since when.
    attempt: Option<(u64, u64, Moment)>,
    next_attempt: u64,
    write_again: Option<Moment>,
    /// When an entry was last known to be written.
    wrote_at: Option<Moment>,
    /// By name, the steps that are running: since when, and what was asked of the runtime for them.
    acts: BTreeMap<Name, Act>,
    /// What the runtime was told to carry out and has not answered.
    commanded: BTreeSet<(RunId, Name)>,
    words: VecDeque<RunWords>,
    /// Promotion was commanded: the run counts for the flap window.
    pub(super) acted: bool,
}

/// What is being done for a running step.
#[derive(Debug, Clone, Copy)]
struct Act {
    since: Moment,
    /// It was commanded then and has not answered yet.
    asked: Option<Moment>,
    /// It failed, and is tried again then.
    again: Option<Moment>,
}

impl Runner {
    /// A claim was won, and its run with it (already in etcd).
    pub(super) fn begin(&mut self, run: Run, now: Moment) {
        let running = |s: &&Step| matches!(s.state, StepState::Running { .. });
        let act = |s: &Step| (s.work.name.clone(), Act::begun(now));
        let acts = run.steps.iter().filter(running).map(act).collect();
        *self = Self { current: Some(run), acts, ..self.without_run() };
    }

    /// What outlives a run.
    fn without_run(&mut self) -> Self {
        Self {
            seen: std::mem::take(&mut self.seen),
            words: std::mem::take(&mut self.words),
            commanded: std::mem::take(&mut self.commanded),
            next_attempt: self.next_attempt,
            ..Self::default()
        }
    }

    /// A run as etcd has it.
    pub(super) fn saw(&mut self, run: impl Into<Arc<Run>>) {
        let run = run.into();
        self.seen.retain(|old| old.id != run.id);
        self.seen.push_back(run);
        if self.seen.len() > RUNS_SEEN_MAX {
            self.seen.pop_front();
        }
    }

    fn seen(&self) -> impl Iterator<Item = &Run> {
        self.seen.iter().map(|run| &**run)
    }

    /// A copy of an older entry came late and undid the newer one in etcd. Whether that is so shows only some
    /// time after the newer one was written: until then the watch may still bring what was before.
    fn undone(&self) -> Option<Moment> {
        let current = self.current.as_ref()?;
        let shown = self.seen().find(|run| run.id == current.id)?;
        self.wrote_at.filter(|_| over(shown) < over(current))
    }

    /// What persons have said to a run. All groups hear the words to all runs, so those to a run that is known here
    /// are never given up for others.
    pub(super) fn heard(&mut self, words: RunWords) {
        self.words.retain(|old| old.run != words.run);
        self.words.push_back(words);
        if self.words.len() > RUNS_SEEN_MAX {
            let unknown = self.words.iter().position(|words| self.of(&words.run).is_none());
            self.words.remove(unknown.unwrap_or(0));
        }
    }

    /// The run of that name, our own copy first.
    pub(super) fn of(&self, id: &RunId) -> Option<&Run> {
        self.current.as_ref().filter(|r| &r.id == id).or_else(|| self.seen().find(|r| &r.id == id))
    }

    /// The newest run of the group, also one that only prepared a switchover.
    pub(super) fn newest(&self) -> Option<&Run> {
        self.known().max_by_key(|run| (run.epoch, run.decided_at))
    }

    /// All runs that are known here; our own copy first.
    pub(super) fn known(&self) -> impl Iterator<Item = &Run> {
        self.current.iter().chain(&self.set_aside).chain(self.seen())
    }

    /// What persons have said to that run.
    pub(super) fn said_to(&self, id: &RunId) -> Option<&RunWords> {
        self.words.iter().find(|words| &words.run == id)
    }

    /// When a running step was begun here.
    pub(super) fn began(&self, step: &Name) -> Option<Moment> {
        self.acts.get(step).map(|act| act.since)
    }

    /// The reign has ended: nothing more is done for its run.
    pub(super) fn pause(&mut self) {
        let current = self.current.take();
        *self = self.without_run();
        if let Some(run) = current {
            self.saw(run);
        }
    }

    /// What the persons' words and the graph change: a run is paused or goes on, steps begin.
    fn advance(&mut self, at: At) {
        let Some(run) = self.current.as_mut().filter(|run| !run.finished()) else { return };
        let words = self.words.iter().find(|w| w.run == run.id);
        let mut changed = words.is_some_and(|words| obey(run, words, at.wall));
        if run.paused.is_none() && run.aborted.is_none() {
            changed |= begin_ready(run, at.wall);
        }
        for step in run.steps.iter().filter(|s| matches!(s.state, StepState::Running { .. })) {
            self.acts.entry(step.work.name.clone()).or_insert(Act::begun(at.now));
        }
        self.version += u64::from(changed);
    }

    /// The running steps, by name.
    fn running(&self) -> Vec<Step> {
        let all = self.current.iter().filter(|run| run.aborted.is_none()).flat_map(|run| &run.steps);
        all.filter(|s| matches!(s.state, StepState::Running { .. })).cloned().collect()
    }

    fn end(&mut self, name: &Name, state: impl FnOnce(Timestamp) -> StepState) {
        let Some(run) = self.current.as_mut() else { return };
        let Some(step) = run.steps.iter_mut().find(|s| &s.work.name == name) else { return };
        if let StepState::Running { since } = step.state {
            step.state = state(since);
            self.version += 1;
            self.acts.remove(name);
        }
    }

    fn done(&mut self, name: &Name, detail: String, at: Timestamp) {
        self.end(name, |since| StepState::Done { since, at, detail });
    }

    /// An attempt failed: another one, or what the plan says for when all have failed.
    fn failed(&mut self, name: &Name, reason: &str, at: At) {
        let Some(run) = self.current.as_mut() else { return };
        let Some(step) = run.steps.iter_mut().find(|s| &s.work.name == name) else { return };
        step.failures = step.failures.saturating_add(1);
        if step.work.retries.is_none_or(|retries| step.failures <= retries) {
            if let Some(act) = self.acts.get_mut(name) {
                *act = Act { since: at.now, asked: None, again: Some(at.now + STEP_AGAIN) };
            }
            return;
        }
        let (on_failure, text) = (step.work.on_failure, format!("step {name} failed: {reason}"));
        let reason = reason.to_owned();
        self.end(name, |since| StepState::Failed { since, at: at.wall, reason });
        let Some(run) = self.current.as_mut() else { return };
        match on_failure {
            OnFailure::Continue => {}
            OnFailure::Pause => run.paused = Some(text),
            OnFailure::Abort => abort(run, text, at.wall),
        }
    }
}

impl Act {
    const fn begun(now: Moment) -> Self {
        Self { since: now, asked: None, again: None }
    }
}

/// Steps that are over: how far a copy of a run is.
fn over(run: &Run) -> usize {
    run.steps.iter().filter(|s| s.over()).count()
}

/// Everything whose predecessors are over begins.
fn begin_ready(run: &mut Run, at: Timestamp) -> bool {
    let pending = |s: &Step| matches!(s.state, StepState::Pending);
    let ready: Vec<bool> = run.steps.iter().map(|s| pending(s) && run.ready(s)).collect();
    for (step, _) in run.steps.iter_mut().zip(&ready).filter(|(_, ready)| **ready) {
        step.state = StepState::Running { since: at };
    }
    ready.contains(&true)
}

/// Does what persons have said; true when that changes the run.
fn obey(run: &mut Run, words: &RunWords, at: Timestamp) -> bool {
    let before = run.clone();
    if let Some(word) = &words.aborted {
        abort(run, format!("{} ended it: {}", word.by, word.reason), at);
    }
    if words.resumed > run.resumed {
        run.resumed = words.resumed;
        run.paused = None;
        let stuck = |s: &&mut Step| matches!(s.state, StepState::Failed { .. }) && !s.over();
        for step in run.steps.iter_mut().filter(stuck) {
            (step.state, step.failures) = (StepState::Pending, 0);
        }
    }
    match &words.paused {
        Some(word) => run.paused = Some(format!("{} paused it: {}", word.by, word.reason)),
        None if run.paused.as_ref().is_some_and(|why| why.contains(" paused it: ")) => run.paused = None,
        None => {}
    }
    *run != before
}

fn abort(run: &mut Run, reason: String, at: Timestamp) {
    if run.aborted.is_some() {
        return;
    }
    for step in &mut run.steps {
        if matches!(step.state, StepState::Pending | StepState::Running { .. }) {
            step.state = StepState::Skipped { at, reason: reason.clone() };
        }
    }
    run.aborted = Some(reason);
}

/// The promotion of that run is done.
pub(super) fn promoted(run: &Run) -> bool {
    run.of_kind(StepKind::Promote).is_some_and(Step::done)
}

impl Machine {
    /// The database takes writes: said at once, journalled beside the opening of writes.
    pub(super) fn promote_step_done(&mut self) {
        let detail = format!("takes writes on {}", place(self.facts.position));
        let promote = self.runner.current.as_ref().and_then(|run| run.of_kind(StepKind::Promote));
        if let Some(name) = promote.map(|step| step.work.name.clone()) {
            self.runner.done(&name, detail, self.at.wall);
            self.runner.advance(self.at);
        }
    }

    /// What the plan wants before the promotion is over, and nobody has ended or paused the run.
    pub(super) fn promotion_is_due(&self) -> bool {
        self.runner.current.as_ref().is_none_or(|run| {
            run.of_kind(StepKind::Promote).is_none_or(|s| !matches!(s.state, StepState::Pending))
        })
    }

    pub(super) fn run_aborted(&self) -> bool {
        self.runner.current.as_ref().is_some_and(|run| run.aborted.is_some())
    }

    pub(super) fn step_done(&mut self, run: &RunId, step: &Name, detail: String) {
        self.runner.answered(run, step);
        if self.runner.current.as_ref().is_some_and(|r| &r.id == run) {
            self.runner.done(step, detail, self.at.wall);
        }
    }

    pub(super) fn step_failed(&mut self, run: &RunId, step: &Name, reason: &str) {
        let asked = self.runner.acts.get(step).is_some_and(|act| act.asked.is_some());
        if asked && self.runner.current.as_ref().is_some_and(|r| &r.id == run) {
            self.log(Level::Warn, format!("step {step} failed: {reason}"));
            self.runner.answered(run, step);
            self.runner.failed(step, reason, self.at);
        }
    }

    pub(super) fn journalled(&mut self, number: u64, outcome: &Outcome) {
        let Some((_, version, _)) = self.runner.attempt.filter(|(n, _, _)| *n == number) else { return };
        self.runner.attempt = None;
        match outcome {
            Outcome::Done(_) => {
                self.runner.written = self.runner.written.max(version);
                self.runner.wrote_at = Some(self.at.now);
            }
            Outcome::Lost => {
                self.facts.read_wanted = true;
                self.runner.write_again = Some(self.at.now + STEP_AGAIN);
            }
            Outcome::Unknown(_) => self.runner.write_again = Some(self.at.now + STEP_AGAIN),
        }
    }

    /// What the run needs now: a journal entry, or its steps.
    pub(super) fn run_orders(&mut self) -> Vec<Command> {
        if !(self.state.holds() && self.state != State::HandingOver) {
            return Vec::new();
        }
        if self.state == State::Leading {
            self.runner.take_up_again(self.at.now);
        }
        self.runner.advance(self.at);
        self.write_what_was_undone();
        if self.runner.written != self.runner.version {
            return self.journal().into_iter().collect();
        }
        // Clients must be able to write, but for what comes before the promotion.
        if !self.state.serves() && self.state != State::Promoting {
            return Vec::new();
        }
        let mut out = Vec::new();
        for step in self.runner.running() {
            match self.own_step(&step) {
                Look::Done(detail) => {
                    self.log(Level::Info, format!("step {}: {detail}", step.work.name));
                    self.runner.done(&step.work.name, detail, self.at.wall);
                }
                Look::Waits => {}
                Look::Failed(reason) => {
                    self.log(Level::Warn, format!("step {} failed: {reason}", step.work.name));
                    self.runner.failed(&step.work.name, &reason, self.at);
                }
                Look::Outside => out.extend(self.command_step(&step)),
            }
        }
        self.runner.advance(self.at);
        self.write_what_was_undone();
        if self.runner.written != self.runner.version {
            out.extend(self.journal());
        }
        out
    }

    fn write_what_was_undone(&mut self) {
        if self.runner.written == self.runner.version
            && let Some(wrote_at) = self.runner.undone()
            && self.due(wrote_at + STEP_AGAIN, "the journal is compared with etcd")
        {
            self.runner.version += 1;
        }
    }

    fn journal(&mut self) -> Option<Command> {
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
        self.runner.current.clone().map(|run| Command::Journal { attempt, run: Arc::new(run) })
    }
}
