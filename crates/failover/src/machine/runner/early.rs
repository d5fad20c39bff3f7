//! What a plan wants before the old writer is demoted: the old writer does it itself, while it prepares a
//! switchover and before anything is held.
//!
//! It is a run of its own in the reign that is about to end, with all steps of the plan, of which only those
//! begin that the demotion waits for. When they are over that run ends; the token of the switchover names it,
//! and the run of the next reign begins with its steps as they stand. When one of them fails for good, or a
//! person ends the run, the switchover is called off.

use std::time::Duration;

use meridian_model::name::{Name, RegionName, RunId};
use meridian_model::order::{Handover, Order};
use meridian_model::plan::{Task, Work};
use meridian_model::run::{Run, RunKind, Step, StepKind, StepState};
use meridian_model::{Moment, Timestamp};

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

    /// Carries `run` out, which nobody has journalled yet, as far as these steps.
    fn prepare(&mut self, run: Run, early: Vec<Name>, now: Moment) {
        if let Some(ended) = self.current.take() {
            self.saw(ended);
        }
        self.begin(run, now);
        self.early = early;
        self.version = 1;
    }

    fn early_steps(&self) -> Early {
        let Some(run) = self.current.as_ref().filter(|_| !self.early.is_empty()) else {
            return Early::Failed("its run has ended".to_owned());
        };
        if let Some(why) = &run.aborted {
            return Early::Failed(why.clone());
        }
        let steps = || run.steps.iter().filter(|s| self.early.contains(&s.work.name));
        if steps().any(|s| matches!(s.state, StepState::Failed { .. }) && !s.over()) {
            return Early::Failed(run.paused.clone().unwrap_or_else(|| "a step failed".to_owned()));
        }
        let over = steps().all(Step::over) && run.paused.is_none() && self.is_settled();
        if over { Early::Over } else { Early::UnderWay }
    }

    /// For how long these steps are waited for: the sum of all their tries.
    fn early_takes_at_most(&self) -> Duration {
        let of_run = self.current.iter().flat_map(|run| &run.steps);
        of_run.filter(|s| self.early.contains(&s.work.name)).map(|s| takes_at_most(&s.work)).sum()
    }

    /// Nothing more of it begins: the next reign goes on with it, or nobody does.
    pub(in crate::machine) fn end_early(&mut self, why: String, at: Timestamp) {
        let run = self.current.as_mut().filter(|run| !self.early.is_empty() && run.aborted.is_none());
        if let Some(run) = run {
            abort(run, why, at);
            self.version += 1;
        }
    }
}

impl Machine {
    /// The run of what comes before the demotion, and its steps; none where the plan wants nothing.
    pub(in crate::machine) fn early_run(&self, order: &Order, to: &RegionName) -> Option<(Run, Vec<Name>)> {
        let (group, me, epoch) = (&self.config.group, &self.config.me, self.memory.epoch);
        let id = Name::new(&format!("{group}-{epoch}-prepare-{}", order.id));
        let id = id.or_else(|_| Name::new(&format!("prepare-{}", order.id))).ok()?;
        let run = Run {
            evidence: Box::default(),
            id,
            group: group.clone(),
            kind: RunKind::Switchover,
            epoch,
            from: Some(me.clone()),
            to: to.clone(),
            cause: format!("{} ordered the writer to move from {me} to {to}: what comes before", order.by),
            proof: String::new(),
            detected_at: None,
            decided_at: self.at.wall,
            plan: Some(self.config.plan.name.clone()),
            steps: self.config.plan.graceful.iter().cloned().map(Step::pending).collect(),
            paused: None,
            aborted: None,
            resumed: 0,
            takes_over: None,
        };
        let early = before_demotion(&run);
        (!early.is_empty()).then_some((run, early))
    }

    /// The journal of the run of this reign is complete: another one may be begun beside it.
    pub(in crate::machine) fn may_prepare(&self) -> bool {
        self.runner.is_settled()
    }

    pub(in crate::machine) fn begin_early(&mut self, (run, early): (Run, Vec<Name>)) -> RunId {
        let id = run.id.clone();
        self.runner.prepare(run, early, self.at.now);
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
            let next = self.memory.epoch.next();
            let text = format!("what comes before the demotion is over; the run of epoch {next} goes on");
            self.runner.end_early(text, self.at.wall);
        }
    }

    /// Why the switchover must not go on, after steps that may have taken long.
    fn successor_has_become_unwell(&self) -> Option<String> {
        let hand = self.handing.now.as_ref()?;
        self.successor_well(&hand.order, self.at.now).err().map(|blocked| blocked.evidence)
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
        let Some(id) = &token.prepared else {
            // The plan of the old writer's spec wanted nothing, so nobody did it.
            let early = before_demotion(run);
            let works: Vec<_> = run.steps.iter().map(|s| s.work.clone()).collect();
            let kept = without(&works, |w| early.contains(&w.name));
            run.steps = kept.into_iter().map(Step::pending).collect();
            return;
        };
        run.takes_over = Some(id.clone());
        if let Some(prepared) = self.runner.of(id) {
            run.plan.clone_from(&prepared.plan);
            let stands = |s: &Step| if s.over() { s.clone() } else { Step::pending(s.work.clone()) };
            run.steps = prepared.steps.iter().map(stands).collect();
        }
        // The token says so, also where the journal has not been seen here yet.
        let (since, at) = (token.held_at, token.held_at);
        let early = before_demotion(run);
        for step in run.steps.iter_mut().filter(|s| early.contains(&s.work.name) && !s.over()) {
            let detail = "the old writer did it before it stopped".to_owned();
            step.state = StepState::Done { since, at, detail };
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
