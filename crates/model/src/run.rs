//! A run: one execution of a recovery, journalled step by step so that another node can take it over.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::epoch::Epoch;
use crate::moment::Timestamp;
use crate::name::{GroupName, Name, RegionName, RunId};
use crate::order::{Handover, Order};
use crate::plan::{OnFailure, Task, Work};

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// The first reign of a group: nothing to fence.
    Start,
    /// Unplanned: the holder was lost.
    Failover,
    /// Planned: the holder handed over.
    Switchover,
    /// The same holder again, after it had to stop.
    Resume,
}

impl RunKind {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Failover => "failover",
            Self::Switchover => "switchover",
            Self::Resume => "resume",
        }
    }
}

impl fmt::Display for RunKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The kinds of steps, in the order in which they stand in a plan that has all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// A person agrees.
    Approve,
    /// The old writer holds new transactions, ends the running ones and stops.
    Demote,
    /// The old writer is proven unable to write.
    Fence,
    /// The new writer takes writes.
    Promote,
    /// The other standbys follow the new writer.
    Repoint,
    /// The new writer's region gets the compute of a primary.
    Scale,
    /// Steering sends traffic by the new state: DNS, edge and gateway answer from it.
    Shift,
    /// The name server answers by the new state.
    Dns,
    /// A read and a write through the gateway succeed, or what else is checked.
    Verify,
    /// A further loss could be survived: a standby streams from the new writer.
    Protect,
    /// Nothing for a while.
    Wait,
    /// Somebody is told.
    Notify,
    /// A program is run.
    Exec,
}

impl StepKind {
    /// Its word; also the name of the step of this kind that is not written but added.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Demote => "demote",
            Self::Fence => "fence",
            Self::Promote => "promote",
            Self::Repoint => "repoint",
            Self::Scale => "scale",
            Self::Shift => "shift",
            Self::Dns => "dns",
            Self::Verify => "verify",
            Self::Protect => "protect",
            Self::Wait => "wait",
            Self::Notify => "notify",
            Self::Exec => "exec",
        }
    }

    /// The machine does it by itself: it knows when it is over, and a run is never without it (but for
    /// the demotion, which needs an old writer that lives).
    #[must_use]
    pub const fn machines_own(self) -> bool {
        matches!(self, Self::Demote | Self::Fence | Self::Promote | Self::Repoint | Self::Protect)
    }
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum StepState {
    /// Not begun.
    Pending,
    /// Begun: journalled before the first action.
    Running {
        /// When.
        since: Timestamp,
    },
    /// All attempts have failed.
    Failed {
        /// When it began.
        since: Timestamp,
        /// When it was given up.
        at: Timestamp,
        /// What went wrong.
        reason: String,
    },
    /// It was not done: the run was aborted before it.
    Skipped {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// Finished, with what was seen.
    Done {
        /// When it began.
        since: Timestamp,
        /// When it ended.
        at: Timestamp,
        /// What was seen.
        detail: String,
    },
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is to be done.
    #[serde(flatten)]
    pub work: Work,
    /// How far it is.
    #[serde(flatten)]
    pub state: StepState,
    /// How often it was begun and failed.
    #[serde(default)]
    pub failures: u32,
}

impl Step {
    /// A step that is named by its kind and needs nothing said; none for kinds that do.
    #[must_use]
    pub fn plain(kind: StepKind, state: StepState) -> Option<Self> {
        let work = Work::new(kind.into(), Task::plain(kind)?, std::time::Duration::ZERO);
        Some(Self { work, state, failures: 0 })
    }

    /// Not begun.
    #[must_use]
    pub const fn pending(work: Work) -> Self {
        Self { work, state: StepState::Pending, failures: 0 }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> StepKind {
        self.work.task.kind()
    }

    /// It is over, and those that depend on it may begin.
    #[must_use]
    pub const fn over(&self) -> bool {
        match &self.state {
            StepState::Done { .. } => true,
            StepState::Failed { .. } => matches!(self.work.on_failure, OnFailure::Continue),
            StepState::Pending | StepState::Running { .. } | StepState::Skipped { .. } => false,
        }
    }

    /// It was done.
    #[must_use]
    pub const fn done(&self) -> bool {
        matches!(self.state, StepState::Done { .. })
    }
}

/// One execution of a recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its name, unique: group, epoch and kind.
    pub id: RunId,
    /// The group.
    pub group: GroupName,
    /// What for.
    pub kind: RunKind,
    /// The reign that it makes; a step runs only while this is current.
    pub epoch: Epoch,
    /// The writer before.
    pub from: Option<RegionName>,
    /// The writer after.
    pub to: RegionName,
    /// Why, in a sentence, with the evidence.
    pub cause: String,
    /// When the loss was first seen (the verdict; [`Evidence::detected`] has its words).
    pub detected_at: Option<Timestamp>,
    /// When the epoch was won.
    pub decided_at: Timestamp,
    /// Why the old writer cannot write any more: what the fence rests on.
    #[serde(default)]
    pub proof: String,
    /// The plan whose steps these are.
    #[serde(default)]
    pub plan: Option<Name>,
    /// Frozen when the run began. Each stands after those that it depends on.
    pub steps: Vec<Step>,
    /// Nothing new begins until a person says so, and why.
    #[serde(default)]
    pub paused: Option<String>,
    /// It was ended before its end, and why.
    #[serde(default)]
    pub aborted: Option<String>,
    /// How often a person has let it go on.
    #[serde(default)]
    pub resumed: u32,
    /// The run that this one took over, because its owner was lost before the end.
    pub takes_over: Option<RunId>,
    /// What it rests on, for those who read it later.
    #[serde(default)]
    pub evidence: Box<Evidence>,
}

/// What a run rests on, as it stood when the epoch was won (the detection: as it stood then). For people: nothing is
/// decided by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The rules that were asked, at most [`RULES_MAX`].
    pub rules: Vec<RuleSaid>,
    /// The verdict by which the loss was first seen, at most [`EVIDENCE_MAX`]; empty where none was.
    #[serde(default)]
    pub detected: String,
    /// The last renewal of the old writer that was seen here, by that writer's wall clock: until then it
    /// could certainly write.
    pub last_renewal_at: Option<Timestamp>,
    /// What of the old writer's acknowledged data may be missing here.
    pub missing: Missing,
    /// The order that it carries out, or by which a person let it begin in spite of a rule.
    pub order: Option<Order>,
    /// A switchover: what the old writer did before.
    pub handover: Option<Handover>,
}

/// Rules that a run keeps at most.
pub const RULES_MAX: usize = 16;
/// The longest evidence of a rule or of the detection that a run keeps, in characters.
pub const EVIDENCE_MAX: usize = 400;

/// One rule and what it said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSaid {
    /// Its name.
    pub rule: String,
    /// It allowed the run.
    pub allows: bool,
    /// On what that rested.
    pub evidence: String,
}

/// How much of the acknowledged data may be missing at the new writer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "missing")]
pub enum Missing {
    /// Nobody knows.
    #[default]
    Unknown,
    /// Nothing.
    Nothing,
    /// At most what the old writer acknowledged in its last so many milliseconds.
    Last {
        /// How many.
        ms: u64,
    },
}

/// That a run is paused, why, and what helps.
#[must_use]
pub fn paused(id: &str, why: &str) -> String {
    format!(
        "run {id} is paused ({why}): `meridian run resume {id}` lets it go on, `meridian run abort {id}` ends it"
    )
}

impl Run {
    /// A run without steps of which nothing more is known, to be filled in.
    #[must_use]
    pub fn begin(
        id: RunId,
        group: GroupName,
        kind: RunKind,
        epoch: Epoch,
        to: RegionName,
        decided_at: Timestamp,
    ) -> Self {
        Self {
            id,
            group,
            kind,
            epoch,
            from: None,
            to,
            cause: String::new(),
            detected_at: None,
            decided_at,
            proof: String::new(),
            plan: None,
            steps: Vec::new(),
            paused: None,
            aborted: None,
            resumed: 0,
            takes_over: None,
            evidence: Box::default(),
        }
    }

    /// Nothing is left to be done: the group is protected again, or the run was aborted. One that is paused waits for
    /// a person, whatever its steps.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.aborted.is_some() || (self.paused.is_none() && self.steps.iter().all(Step::over))
    }

    /// Why it is not finished, and what helps; none: it is.
    #[must_use]
    pub fn unfinished(&self) -> Option<String> {
        let id = &self.id;
        (!self.finished()).then(|| match &self.paused {
            Some(why) => paused(id.as_str(), why),
            None => format!("run {id} is not finished: `meridian run watch {id}` tells at which step it is"),
        })
    }

    /// It was not finished when the reign of that epoch began: nobody does anything for it any more, and nobody hears
    /// what is said to it.
    #[must_use]
    pub fn ended_before(&self, epoch: Epoch) -> bool {
        self.epoch < epoch && !self.finished()
    }

    /// It does only what a plan wants before the old writer is demoted: the switchover itself is the next reign's run.
    #[must_use]
    pub fn prepares(&self) -> bool {
        self.kind == RunKind::Switchover && !self.steps.iter().any(|s| s.kind().machines_own())
    }

    /// The step of that name.
    #[must_use]
    pub fn step(&self, name: &Name) -> Option<&Step> {
        self.steps.iter().find(|s| &s.work.name == name)
    }

    /// The first step of that kind.
    #[must_use]
    pub fn of_kind(&self, kind: StepKind) -> Option<&Step> {
        self.steps.iter().find(|s| s.kind() == kind)
    }

    /// All steps that it depends on are over.
    #[must_use]
    pub fn ready(&self, step: &Step) -> bool {
        step.work.after.iter().all(|name| self.step(name).is_none_or(Step::over))
    }
}
