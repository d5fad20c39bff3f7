//! What a plan wants before the old writer is demoted: the old writer does it itself, while it prepares a
//! switchover and before anything is held.
//!
//! It is a run of its own in the reign that is about to end, with the steps of the plan that the demotion waits for.
//! When they are over that run has ended; the token of the switchover names it, and in the run of the next reign
//! these steps stand as it left them. When one of them fails for good, or a person ends the run, the switchover is
//! called off. When the old writer is lost meanwhile, the run of the next reign takes it over.

use std::time::Duration;

use meridian_model::name::{Name, RegionName, RunId};
use meridian_model::order::{Handover, Order};
use meridian_model::plan::{Task, Work};
use meridian_model::run::{Evidence, Missing, Run, RunKind, Step, StepKind, StepState};
use meridian_model::{Epoch, Moment, Timestamp};

use super::{Runner, abort};
use crate::limits::{EARLY_TRIES, STEP_GRACE};
use crate::machine::Machine;
use crate::machine::handover::nobody_in_person;
use crate::machine::rules::secs;
use crate::machine::runs::{before, without};
use crate::table::State;

/// How far the steps are that the demotion waits for.
enum Early {
    /// Some of them are not over, or not journalled.
    UnderWay,
    /// All of them are over.
    Over,
    /// The demotion will not come.
    Failed(String),
}

impl Runner {
    /// The journal has everything, and nothing is on its way there.
    fn is_settled(&self) -> bool {
        self.written == self.version && self.attempt.is_none()
    }

    /// Carries `run` out, which nobody has journalled yet.
    fn prepare(&mut self, run: Run, now: Moment) {
        let set_aside = match self.current.take() {
            Some(earlier) if earlier.prepares() => {
                self.saw(earlier);
                self.set_aside.take()
            }
            made => {
                made.iter().cloned().for_each(|run| self.saw(run));
                made
            }
        };
        self.begin(run, now);
        (self.version, self.set_aside) = (1, set_aside);
    }

    /// The switchover was called off, and the preparation is over: the run that made this reign is looked after again,
    /// lest a late copy of an older entry stays in etcd.
    pub(super) fn take_up_again(&mut self, now: Moment) {
        if !self.preparation().is_some_and(Run::finished) || !self.is_settled() {
            return;
        }
        let Some(run) = self.set_aside.take() else { return };
        let preparation = self.current.take();
        preparation.into_iter().for_each(|run| self.saw(run));
        self.begin(run, now);
        self.wrote_at = Some(now);
    }

    /// Its run, if that prepares a switchover.
    pub(in crate::machine) fn preparation(&self) -> Option<&Run> {
        self.current.as_ref().filter(|run| run.prepares())
    }

    /// A preparation in that reign that is not over, as etcd has it.
    pub(in crate::machine) fn open_preparation(&self, epoch: Epoch) -> Option<&Run> {
        self.seen().find(|run| run.epoch == epoch && run.prepares() && !run.finished())
    }

    fn early_steps(&self) -> Early {
        let Some(run) = self.preparation() else {
            return Early::Failed("its run has ended".to_owned());
        };
        if let Some(why) = &run.aborted {
            return Early::Failed(why.clone());
        }
        if run.steps.iter().any(|s| matches!(s.state, StepState::Failed { .. }) && !s.over()) {
            return Early::Failed(run.paused.clone().unwrap_or_else(|| "a step failed".to_owned()));
        }
        if run.finished() && self.is_settled() { Early::Over } else { Early::UnderWay }
    }

    /// For how long these steps are waited for: the sum of all their tries.
    fn early_takes_at_most(&self) -> Duration {
        let each = self.preparation().into_iter().flat_map(|run| &run.steps).map(|s| takes_at_most(&s.work));
        each.fold(Duration::ZERO, Duration::saturating_add)
    }

    /// Nothing more of it begins.
    pub(in crate::machine) fn end_early(&mut self, why: String, at: Timestamp) {
        let run = self.current.as_mut().filter(|run| run.prepares() && !run.finished());
        if let Some(run) = run {
            abort(run, why, at);
            self.version += 1;
        }
    }
}

impl Machine {
    /// The run of what comes before the demotion; none where the plan wants nothing.
    pub(in crate::machine) fn early_run(&self, order: &Order, to: &RegionName) -> Option<Run> {
        let (group, me, epoch) = (&self.config.group, &self.config.me, self.memory.epoch);
        let id = Name::new(&format!("{group}-{epoch}-prepare-{}", order.id));
        let id = id.or_else(|_| Name::new(&format!("prepare-{}", order.id))).ok()?;
        let mut run = Run {
            evidence: Box::new(Evidence { missing: Missing::Nothing, ..Evidence::default() }),
            from: Some(me.clone()),
            cause: format!("{} ordered the writer to move from {me} to {to}: what comes before", order.by),
            plan: Some(self.config.plan.name.clone()),
            steps: self.config.plan.graceful.iter().cloned().map(Step::pending).collect(),
            ..Run::begin(id, group.clone(), RunKind::Switchover, epoch, to.clone(), self.at.wall)
        };
        let early = before_demotion(&run);
        run.steps.retain(|s| early.contains(&s.work.name));
        (!run.steps.is_empty()).then_some(run)
    }

    /// The journal of the run of this reign is complete: another one may be begun beside it.
    pub(in crate::machine) fn may_prepare(&self) -> bool {
        self.runner.is_settled()
    }

    pub(in crate::machine) fn begin_early(&mut self, run: Run) -> RunId {
        let id = run.id.clone();
        self.runner.prepare(run, self.at.now);
        id
    }

    /// One look at the steps before the demotion: when they are over the switchover goes on, if its successor
    /// is still well.
    pub(in crate::machine) fn look_at_early_steps(&mut self) {
        let early = self.runner.early_steps();
        let why_not = match &early {
            Early::UnderWay => self.no_time_to_prepare().or_else(|| self.prepares_for_too_long()),
            Early::Failed(why) => Some(why.clone()),
            Early::Over => self.successor_has_become_unwell(),
        };
        if let Some(why) = why_not {
            return self.call_off(why);
        }
        if let (Early::Over, Some(hand)) = (early, &mut self.handing.now) {
            hand.early_over = true;
        }
    }

    /// Why the switchover must not go on, after steps that may have taken long.
    fn successor_has_become_unwell(&self) -> Option<String> {
        let hand = self.handing.now.as_ref()?;
        self.successor_well(&hand.order, self.at.now).err().map(|blocked| blocked.evidence.into_owned())
    }

    /// The person who ordered the switchover that this run prepares; none if nobody in person did.
    pub(in crate::machine) fn person_behind(&self, run: &RunId) -> Option<&str> {
        let hand = self.handing.now.as_ref().filter(|hand| hand.early.as_ref() == Some(run))?;
        (!nobody_in_person(&hand.order)).then_some(hand.order.by.as_str())
    }

    /// The steps that a switchover under way waits for, in words.
    pub(in crate::machine) fn early_under_way(&self) -> String {
        let under_way = self.handing.now.as_ref().is_some_and(|hand| !hand.early_over);
        let steps = if under_way { self.runner.running() } else { Vec::new() };
        let names: Vec<&str> = steps.iter().map(|s| s.work.name.as_str()).collect();
        if names.is_empty() { String::new() } else { format!("; before that: {}", names.join(", ")) }
    }

    /// These steps may take long, and some things cannot wait for them.
    fn no_time_to_prepare(&self) -> Option<String> {
        if self.facts.step_down {
            Some("the node was asked to give the lease up".to_owned())
        } else if self.someone_is_sealed() {
            Some("a member has sealed itself and needs a new epoch".to_owned())
        } else {
            None
        }
    }

    /// It writes as ever: at most a switchover waits for what comes before the demotion. That may take hours, and
    /// who may acknowledge and how much may be lost matters all the while.
    pub(in crate::machine) fn leads_as_ever(&self) -> bool {
        let early = self.handing.now.as_ref().is_some_and(|hand| !hand.early_over);
        self.state == State::Leading || (early && self.state == State::Preparing)
    }

    /// All steps one after the other, each with all its tries, would be over by now.
    fn prepares_for_too_long(&mut self) -> Option<String> {
        let most = self.runner.early_takes_at_most();
        let over = self.due(self.since + most, "the steps before the demotion are waited for no longer");
        over.then(|| format!("what comes before the demotion is not over after {}", secs(most)))
    }

    /// The run of a switchover begins with what the old writer has done before its demotion.
    pub(in crate::machine) fn take_over_early(&self, run: &mut Run, token: &Handover) {
        let early = before_demotion(run);
        let prepared = token.prepared.as_ref().and_then(|id| self.runner.of(id));
        run.takes_over = token.prepared.clone().or(run.takes_over.take());
        // The plan of the old writer's spec did not want these, so nobody did them.
        let unknown = |name: &Name| prepared.is_some_and(|prepared| prepared.step(name).is_none());
        let undone = |name: &Name| early.contains(name) && (token.prepared.is_none() || unknown(name));
        let works: Vec<_> = run.steps.iter().map(|s| s.work.clone()).collect();
        run.steps = without(&works, |w| undone(&w.name)).into_iter().map(Step::pending).collect();
        for step in run.steps.iter_mut().filter(|s| early.contains(&s.work.name)) {
            let before = prepared.and_then(|prepared| prepared.step(&step.work.name));
            match before.filter(|before| before.over()) {
                Some(before) => (step.state, step.failures) = (before.state.clone(), before.failures),
                // The token says so, also where the journal has not been seen here yet.
                None => {
                    let (since, at) = (token.held_at, token.held_at);
                    let detail = "the old writer did it before it stopped".to_owned();
                    step.state = StepState::Done { since, at, detail };
                }
            }
        }
    }
}

/// All tries of a step, each to the end of its time.
fn takes_at_most(work: &Work) -> Duration {
    let once = match work.task {
        Task::Wait { for_ms } => work.timeout_ms.max(for_ms),
        _ => work.timeout_ms,
    };
    let tries = work.retries.map_or(EARLY_TRIES, |retries| retries.saturating_add(1));
    (Duration::from_millis(once) + STEP_GRACE).saturating_mul(tries)
}

/// The steps that the demotion waits for, at any distance.
pub(in crate::machine) fn before_demotion(run: &Run) -> Vec<Name> {
    let demotion = run.of_kind(StepKind::Demote).map(|s| s.work.name.clone());
    demotion.map(|name| before(run, &name)).unwrap_or_default()
}
