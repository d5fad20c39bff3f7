//! Runs are made here: with the claim that begins a reign, from the plan, with the evidence for it.

use meridian_model::Epoch;
use meridian_model::group::GroupRecord;
use meridian_model::name::{GroupName, Name, RunId};
use meridian_model::order::Handover;
use meridian_model::plan::{Task, Work};
use meridian_model::run::{Run, RunKind, Step, StepKind, StepState};

use super::Machine;
use super::rules::{place, secs};
use super::runner::before_demotion;

impl Machine {
    /// The run of a failover, with the evidence of every rule.
    pub(super) fn failover_run(&self, record: &GroupRecord) -> Run {
        let (holder, epoch) = (&record.holder, record.epoch);
        let lost = if record.released {
            format!("{holder} gave the lease up")
        } else {
            let age = self.at.now.since(self.facts.learned_at);
            format!("{holder} is lost: {}; not renewed for {}", self.facts.verdict(holder), secs(age))
        };
        let word = match self.consent(epoch) {
            Some(consent) if consent.accept_data_loss => {
                format!("; {} accepts the loss of data", consent.by)
            }
            Some(consent) => format!("; {} agrees", consent.by),
            None => String::new(),
        };
        let sealed = self.sealed(record);
        let sealed: Vec<String> = sealed.iter().map(|(who, at)| format!("{who} ({})", place(*at))).collect();
        let ends = self.config.timers.old_side_stopped_after();
        let proof = if record.released {
            "it stopped before it gave the lease up".to_owned()
        } else {
            format!(
                "its own fence had stopped its database {} after its last renewal at the latest",
                secs(ends)
            )
        };
        let fence = format!("epoch {epoch} of {holder}: {proof}; sealed: {}", sealed.join(", "));
        self.new_run(RunKind::Failover, epoch.next(), format!("{lost}{word}"), fence)
    }

    /// The run of a switchover: what the old writer has done stands in its token.
    pub(super) fn switchover_run(&self, record: &GroupRecord, token: &Handover) -> Run {
        let (holder, epoch) = (&record.holder, record.epoch);
        let cause = format!("{} ordered the writer to move from {holder} to {}", token.by, token.to);
        let fence = format!(
            "epoch {epoch} of {holder}: it stopped in order at {} and gave the lease to {}; all of it is here",
            place(token.end),
            token.to
        );
        let mut run = self.draft(RunKind::Switchover, epoch.next(), cause, fence);
        self.take_over_early(&mut run, token);
        if let Some(step) = run.steps.iter_mut().find(|s| s.kind() == StepKind::Demote) {
            let cut = match token.cut {
                0 => "every transaction ended by itself".to_owned(),
                cut => format!("{cut} sessions were cut at the deadline"),
            };
            let (since, at) = (token.held_at, token.stopped_at);
            step.state = StepState::Done { since, at, detail: format!("new transactions were held; {cut}") };
        }
        self.begin_with(&mut run);
        run
    }

    /// The run of a new reign. Its fence is proven, and its promotion begins with the claim itself unless
    /// the plan wants something before, so that nothing stands between winning and promoting.
    pub(super) fn new_run(&self, kind: RunKind, epoch: Epoch, cause: String, fence: String) -> Run {
        let mut run = self.draft(kind, epoch, cause, fence);
        self.begin_with(&mut run);
        run
    }

    /// Nothing of it has begun.
    fn draft(&self, kind: RunKind, epoch: Epoch, cause: String, fence: String) -> Run {
        let old = self.facts.record.as_ref();
        let unfinished = self.run().filter(|r| !r.finished());
        let preparation = old.and_then(|old| self.runner.open_preparation(old.epoch));
        let mut run = Run {
            id: run_id(&self.config.group, epoch, kind),
            group: self.config.group.clone(),
            kind,
            epoch,
            from: old.map(|r| r.holder.clone()),
            to: self.config.me.clone(),
            cause,
            proof: fence,
            detected_at: self.detected(kind).map(|down| down.wall),
            decided_at: self.at.wall,
            plan: Some(self.config.plan.name.clone()),
            steps: self.works(kind).into_iter().map(Step::pending).collect(),
            paused: None,
            aborted: None,
            resumed: 0,
            takes_over: unfinished.or(preparation).map(|r| r.id.clone()),
            evidence: Box::new(self.evidence(kind)),
        };
        if let (RunKind::Resume, Some(before)) = (kind, unfinished) {
            carry_over(&mut run, before);
        }
        run
    }

    fn works(&self, kind: RunKind) -> Vec<Work> {
        let plan = &self.config.plan;
        match kind {
            RunKind::Switchover => plan.graceful.clone(),
            RunKind::Failover => plan.ungraceful.clone(),
            // Nobody was recovered: what the plan tells people and programs is not told, and what it turns for a
            // recovery, perhaps long after a person has turned it back, is not turned.
            RunKind::Start | RunKind::Resume => {
                let works = without_outside(&plan.ungraceful);
                works.into_iter().map(as_the_spec_says).collect()
            }
        }
    }

    /// What is already so when a reign begins, in the order of the steps: none is over before those that it depends
    /// on. The fence is proven before the claim, and the rules have asked for what must be agreed to before the
    /// promotion.
    fn begin_with(&self, run: &mut Run) {
        let at = self.at.wall;
        for index in 0..run.steps.len() {
            let begins = |s: &&Step| matches!(s.state, StepState::Pending) && run.ready(s);
            let Some(step) = run.steps.get(index).filter(begins) else { continue };
            let over = match step.work.task {
                Task::Approve { .. } => agreed_before(run, &step.work.name),
                Task::Fence => Some(run.proof.clone()),
                _ => None,
            };
            let state = match over {
                Some(detail) => StepState::Done { since: at, at, detail },
                None => StepState::Running { since: at },
            };
            if let Some(step) = run.steps.get_mut(index) {
                step.state = state;
            }
        }
    }
}

/// Who has agreed to that step by the order without which its run would not have begun; none: it comes after the
/// promotion, and a person is asked.
pub(super) fn agreed_before(run: &Run, step: &Name) -> Option<String> {
    let promotion = run.of_kind(StepKind::Promote)?;
    let by = run.evidence.order.as_ref().map_or("whoever ordered it", |order| order.by.as_str());
    before(run, &promotion.work.name).contains(step).then(|| format!("{by} agreed"))
}

/// The steps that must be over before `name`, at any distance.
pub(super) fn before(run: &Run, name: &Name) -> Vec<Name> {
    let mut found: Vec<Name> = Vec::new();
    let mut open = vec![name.clone()];
    while let Some(step) = open.pop().and_then(|name| run.step(&name)) {
        for earlier in step.work.after.iter().filter(|n| *n != name) {
            if !found.contains(earlier) {
                found.push(earlier.clone());
                open.push(earlier.clone());
            }
        }
    }
    found
}

/// Only the machine's and the node's own steps.
fn without_outside(works: &[Work]) -> Vec<Work> {
    without(works, |w| {
        matches!(w.task, Task::Approve { .. } | Task::Notify { .. } | Task::Exec(_) | Task::Wait { .. })
    })
}

/// Traffic and compute as the spec has them where the writer is.
fn as_the_spec_says(work: Work) -> Work {
    let task = match work.task {
        Task::Shift { .. } => Task::Shift { dial: None, drain: false },
        Task::Scale { service, .. } => Task::Scale { service, instances: None },
        other => other,
    };
    Work { task, ..work }
}

/// What depended on those that are left out depends on what they depended on.
pub(super) fn without(works: &[Work], left_out: impl Fn(&Work) -> bool) -> Vec<Work> {
    let mut kept: Vec<Work> = works.to_vec();
    while let Some(at) = kept.iter().position(&left_out) {
        let gone = kept.remove(at);
        for work in kept.iter_mut().filter(|w| w.after.contains(&gone.name)) {
            work.after.retain(|name| *name != gone.name);
            let new: Vec<Name> = gone.after.iter().filter(|n| !work.after.contains(n)).cloned().collect();
            work.after.extend(new);
        }
    }
    kept
}

/// The same writer goes on with a run that its own end had broken off: what was done outside, or before the old
/// writer's demotion, stays done; what the database and traffic need is done again under the new epoch.
fn carry_over(run: &mut Run, before: &Run) {
    let outside = |s: &Step| {
        matches!(
            s.kind(),
            StepKind::Approve | StepKind::Notify | StepKind::Exec | StepKind::Wait | StepKind::Demote
        )
    };
    let early = before_demotion(before);
    let stays = |s: &Step| s.over() && (outside(s) || early.contains(&s.work.name));
    run.plan.clone_from(&before.plan);
    run.from.clone_from(&before.from);
    run.paused.clone_from(&before.paused);
    let again = |s: &Step| if stays(s) { s.clone() } else { Step::pending(s.work.clone()) };
    run.steps = before.steps.iter().map(again).collect();
}

/// Unique: group, epoch and kind. A group whose name is too long for that is left out.
fn run_id(group: &GroupName, epoch: Epoch, kind: RunKind) -> RunId {
    Name::new(&format!("{group}-{epoch}-{kind}"))
        .or_else(|_| Name::new(&format!("run-{epoch}-{kind}")))
        .unwrap_or_else(|_| group.clone())
}
