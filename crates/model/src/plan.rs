//! A recovery plan: what starts a run of it, and its steps as a graph.
//!
//! A plan is what the user wrote (or what `planner` derives where nothing is written). When a run
//! begins, the plan's steps for that kind of run are copied into it and numbered: from then on the run is
//! frozen, and a change of the spec changes the next run only.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::{GroupName, Name, RegionName, ServiceName};
use crate::run::StepKind;
use crate::units::Share;

mod shown;

pub use shown::{HIDDEN_MIN, hide};

/// A plan for one data group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryPlan {
    /// Its name.
    pub name: Name,
    /// The data group that it recovers.
    pub group: GroupName,
    /// What begins a run. A person always can.
    pub triggers: Vec<Trigger>,
    /// In an order in which each comes after those that it depends on. The machine's own steps are among
    /// them: what is written is made whole when it is read.
    pub steps: Vec<PlannedStep>,
}

/// What begins a run by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// The failover rules: the holder's region is down by two kinds of evidence.
    RegionDown,
    /// An alert by webhook, in Alertmanager's format.
    Alert {
        /// Its `alertname`.
        name: String,
        /// Labels that it must carry.
        labels: Vec<(String, String)>,
        /// Where the writer should go; none: the planner's choice.
        to: Option<RegionName>,
    },
}

/// In which kind of run a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// In every run.
    Always,
    /// Only when the old writer lives and takes part: a switchover.
    Graceful,
    /// Only when the old writer is lost: a failover.
    Ungraceful,
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// In which runs.
    pub form: Form,
    /// What is done, and how.
    pub work: Work,
}

/// What a step does, on what it waits and what bounds it. The same in a plan and in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Its name, unique in the plan.
    pub name: Name,
    /// What is done.
    #[serde(flatten)]
    pub task: Task,
    /// The steps that must be over before it begins.
    #[serde(default)]
    pub after: Vec<Name>,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// How often it is tried again after a failure; none: until it succeeds.
    #[serde(default)]
    pub retries: Option<u32>,
    /// What must hold before it begins.
    #[serde(default)]
    pub before: Vec<Check>,
    /// What must hold when it has ended, or it counts as failed.
    #[serde(default)]
    pub afterwards: Vec<Check>,
    /// What becomes of the run when all attempts have failed.
    #[serde(default)]
    pub on_failure: OnFailure,
}

impl Work {
    /// Depends on nothing, may take that long, and is tried until it succeeds.
    #[must_use]
    pub fn new(name: Name, task: Task, timeout: Duration) -> Self {
        Self {
            name,
            task,
            after: Vec::new(),
            timeout_ms: millis(timeout),
            retries: None,
            before: Vec::new(),
            afterwards: Vec::new(),
            on_failure: OnFailure::Pause,
        }
    }
}

/// What becomes of a run when a step has failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It waits for a person: `run resume` tries the step again, `run abort` ends the run.
    #[default]
    Pause,
    /// It goes on as if the step had succeeded, and says so.
    Continue,
    /// It ends; what was done stays done.
    Abort,
}

/// What is done in a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Task {
    /// The machine's own: the old writer holds new transactions, ends the running ones and stops.
    Demote,
    /// The machine's own: the old writer is proven unable to write.
    Fence,
    /// The machine's own: the new writer takes writes.
    Promote,
    /// The machine's own: the other standbys follow the new writer.
    Repoint,
    /// The new writer's region gets compute.
    Scale {
        /// Of that service; none: of all.
        #[serde(default)]
        service: Option<ServiceName>,
        /// So many instances; none: as many as the spec wants where the writer is.
        #[serde(default)]
        instances: Option<u32>,
    },
    /// Traffic goes by the new state.
    Shift {
        /// Takes this share of arriving traffic to the new writer's region; none: its dial stays as it is.
        #[serde(default)]
        dial: Option<Share>,
        /// Drains the old writer's region; false: its dial stays as it is.
        #[serde(default)]
        drain: bool,
    },
    /// The name server answers by the new state.
    Dns,
    /// The checks hold; without any: a read and a write through the gateway succeed.
    Verify {
        /// All of them.
        #[serde(default)]
        checks: Vec<Check>,
    },
    /// The machine's own: a further loss could be survived.
    Protect,
    /// Nothing for a while.
    Wait {
        /// How long, in milliseconds.
        for_ms: u64,
    },
    /// A person agrees.
    Approve {
        /// What they are asked.
        question: String,
    },
    /// Somebody is told.
    Notify {
        /// Whom and how.
        to: Notify,
        /// What; `{run}`, `{group}`, `{from}`, `{to}`, `{epoch}` and `{cause}` are filled in.
        text: String,
    },
    /// A program is run on the acting node.
    Exec(Exec),
}

impl Task {
    /// The task of a kind that needs nothing said; none for those that do.
    #[must_use]
    pub const fn plain(kind: StepKind) -> Option<Self> {
        Some(match kind {
            StepKind::Demote => Self::Demote,
            StepKind::Fence => Self::Fence,
            StepKind::Promote => Self::Promote,
            StepKind::Repoint => Self::Repoint,
            StepKind::Scale => Self::Scale { service: None, instances: None },
            StepKind::Shift => Self::Shift { dial: None, drain: false },
            StepKind::Dns => Self::Dns,
            StepKind::Verify => Self::Verify { checks: Vec::new() },
            StepKind::Protect => Self::Protect,
            StepKind::Approve | StepKind::Wait | StepKind::Notify | StepKind::Exec => return None,
        })
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> StepKind {
        match self {
            Self::Demote => StepKind::Demote,
            Self::Fence => StepKind::Fence,
            Self::Promote => StepKind::Promote,
            Self::Repoint => StepKind::Repoint,
            Self::Scale { .. } => StepKind::Scale,
            Self::Shift { .. } => StepKind::Shift,
            Self::Dns => StepKind::Dns,
            Self::Verify { .. } => StepKind::Verify,
            Self::Protect => StepKind::Protect,
            Self::Wait { .. } => StepKind::Wait,
            Self::Approve { .. } => StepKind::Approve,
            Self::Notify { .. } => StepKind::Notify,
            Self::Exec(_) => StepKind::Exec,
        }
    }
}

/// Whom to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "format")]
pub enum Notify {
    /// A JSON object with every fact of the run, by POST.
    Webhook {
        /// Where.
        url: Secretive,
    },
    /// Slack's incoming webhook.
    Slack {
        /// Where.
        url: Secretive,
    },
    /// PagerDuty's Events API v2.
    Pagerduty {
        /// Where; the public endpoint by default.
        url: Secretive,
        /// The file with the routing key.
        routing_key_file: PathBuf,
    },
}

/// A text that may be a secret: then only the file that holds it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Secretive {
    /// No secret.
    Open(String),
    /// In that file of the acting node.
    File(PathBuf),
}

/// A program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The program (an absolute path) and its arguments.
    pub command: Vec<String>,
    /// Its environment besides `MERIDIAN_RUN`, `MERIDIAN_GROUP`, `MERIDIAN_FROM`, `MERIDIAN_TO`,
    /// `MERIDIAN_EPOCH`, `MERIDIAN_STEP` and `PATH`; nothing else is passed on.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// Secrets in its environment: the text of a file of the acting node, without white space around it. It is told
    /// nowhere (see [`hide`]).
    #[serde(default)]
    pub env_files: Vec<(String, PathBuf)>,
    /// Where it runs; none: the node's data directory.
    #[serde(default)]
    pub directory: Option<PathBuf>,
    /// How many bytes of its output are kept, from the end, in the data directory of the node.
    pub output_max: u32,
}

/// Something that can be asked of the running system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "ask")]
pub enum Check {
    /// A statement through the gateway of the acting region, as the application's user.
    Sql {
        /// One statement.
        statement: String,
        /// Through the write port; else the read port.
        #[serde(default)]
        write: bool,
        /// What the first column of the first row must be, as text; none: it need only succeed.
        #[serde(default)]
        expect: Option<String>,
    },
    /// A GET.
    Http {
        /// An absolute `http://` URL.
        url: String,
        /// The status that is wanted.
        status: u16,
        /// What the body must contain.
        #[serde(default)]
        contains: Option<String>,
    },
    /// An instant query to Prometheus.
    Promql {
        /// The base URL of Prometheus.
        url: String,
        /// The query: it holds when its result is not empty and every value is a number that is not zero.
        query: String,
    },
}

/// A duration in whole milliseconds, as works and checks carry it.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
