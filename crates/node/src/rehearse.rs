//! A rehearsal: the plan of a group carried out on a clone of this region's standby, when somebody asks.
//!
//! It has no effect on production: the clone follows nobody and is reached by nobody else, and steps that would
//! reach out (traffic, names, people, programs) are named and not carried out. It is journalled step by
//! step, bounded, one at a time, and given up as soon as a real run or an order begins. At the end all of it
//! is removed, and that is looked up.
//!
//! Removing a clone blocks, so a rehearsal has a thread of its own: the loops that decide never wait for it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meridian_actuators::{DatabaseActuator, rehearsal};
use meridian_coordination::{Keys, OwnRehearsal, RehearsalError, Store};
use meridian_model::group::DatabaseRole;
use meridian_model::plan::{Task, Work, millis};
use meridian_model::rehearsal::{LeftBehind, Rehearsal};
use meridian_model::{GroupName, Moment, Name, RegionName, System, Timestamp};
use meridian_telemetry::clock;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::knowledge::Knowledge;
use copies::Copies;
use progress::Progress;

mod copies;
mod progress;
mod trial;

/// Where rehearsals are asked for, and where they are shown.
pub const REHEARSALS: &str = "/v1/rehearsals";

/// The longest that a rehearsal may be given. A base backup of a large database takes hours.
pub const WITHIN_MAX: Duration = Duration::from_secs(12 * 3_600);
/// What stopping and removing may take beyond that; then another rehearsal may begin.
const REMOVED_WITHIN: Duration = Duration::from_secs(120);
/// How soon a rehearsal makes room for a real run.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// More than there are stages.
const STAGES_MAX: usize = 8;

/// A rehearsal that is asked for, of the node whose standby is to be cloned.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RehearsalAsked {
    /// Whose plan.
    pub group: GroupName,
    /// The form of a switchover; else of a failover.
    pub graceful: bool,
    /// Copies of the application's instances are started too.
    pub instances: bool,
    /// How long it may take, in milliseconds, without the removal; [`WITHIN_MAX`] at most.
    pub within_ms: u64,
    /// Who asks.
    pub by: String,
}

/// Why a rehearsal was not begun.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It makes no sense now.
    No(String),
    /// The journal did not answer.
    Unknown(String),
}

/// Carries rehearsals out.
pub(crate) struct Rehearser {
    pub(crate) system: Arc<System>,
    pub(crate) here: RegionName,
    pub(crate) databases: Vec<(GroupName, Arc<dyn DatabaseActuator>)>,
    pub(crate) knowledge: Arc<Mutex<Knowledge>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Keys,
    /// Where clones are made: on a disk with room for one.
    pub(crate) workspace: PathBuf,
    /// The node is to end.
    pub(crate) stop: watch::Receiver<bool>,
}

/// What is done, on which database, until when.
struct Job {
    asked: RehearsalAsked,
    works: Vec<Work>,
    database: Arc<dyn DatabaseActuator>,
    ends: Moment,
}

impl Rehearser {
    /// Begins one, and returns how it stands at its beginning.
    ///
    /// # Errors
    /// [`Refusal`] when it is not begun.
    pub(crate) async fn begin(self: &Arc<Self>, asked: RehearsalAsked) -> Result<Rehearsal, Refusal> {
        let (group, here) = (&asked.group, &self.here);
        let found = self.databases.iter().find(|(name, _)| name == group);
        let works = self.works(&asked);
        let (Some((_, database)), Some(works)) = (found, works) else {
            return Err(Refusal::No(format!("{here} has no member of {group}: ask a region that has one")));
        };
        if let Some(why) = self.hindered(group) {
            return Err(Refusal::No(format!("no rehearsal of {group} now: {why}")));
        }
        let status = database.status().await;
        if status.role != DatabaseRole::Standby || !status.streaming {
            let why = format!("only a standby that streams is cloned, and {group} in {here} is none now");
            return Err(Refusal::No(why));
        }
        let now = clock::wall();
        let within = Duration::from_millis(asked.within_ms).min(WITHIN_MAX);
        let record = self.record(&asked, &works, now, within).map_err(Refusal::No)?;
        let own = OwnRehearsal::begin(Arc::clone(&self.store), &self.keys, record, now).await;
        let own = own.map_err(|error| match error {
            RehearsalError::UnderWay(_) | RehearsalError::Raced(_) => Refusal::No(error.to_string()),
            RehearsalError::Unknown(_) | RehearsalError::Unreadable(_) => Refusal::Unknown(error.to_string()),
        })?;
        let told = own.record.clone();
        let job = Job { asked, works, database: Arc::clone(database), ends: clock::now() + within };
        let (me, runtime) = (Arc::clone(self), tokio::runtime::Handle::current());
        tokio::task::spawn_blocking(move || runtime.block_on(me.carry_out(own, job)));
        Ok(told)
    }

    /// The steps of the plan, in their order.
    fn works(&self, asked: &RehearsalAsked) -> Option<Vec<Work>> {
        let database = self.system.databases.iter().find(|d| d.name == asked.group)?;
        let plan = crate::assemble::plan_of(&self.system, database);
        Some(if asked.graceful { plan.graceful } else { plan.ungraceful })
    }

    fn record(
        &self,
        asked: &RehearsalAsked,
        works: &[Work],
        now: Timestamp,
        within: Duration,
    ) -> Result<Rehearsal, String> {
        let id = format!("rehearsal-{}", now.0.unsigned_abs());
        let lasts = i64::try_from(millis(within.saturating_add(REMOVED_WITHIN))).unwrap_or(i64::MAX);
        let skipped = |work: &Work| self.not_carried_out(work, asked);
        Ok(Rehearsal {
            id: Name::new(&id).map_err(|e| e.to_string())?,
            group: asked.group.clone(),
            region: self.here.clone(),
            by: asked.by.clone(),
            begun_at: now,
            ends_by: Timestamp(now.0.saturating_add(lasts)),
            steps: progress::steps(works, now, skipped),
            left: None,
            ended_at: None,
        })
    }

    /// Why a step is only named; none: it is carried out on the clone.
    fn not_carried_out(&self, work: &Work, asked: &RehearsalAsked) -> Option<String> {
        let why = match &work.task {
            Task::Promote | Task::Verify { .. } => return None,
            Task::Scale { service, .. } => return self.no_copies(service.as_ref(), asked),
            Task::Demote | Task::Fence => "the writer is not touched",
            Task::Repoint => "the other standbys go on following their writer",
            Task::Shift { .. } | Task::Dns => "traffic and names stay as they are",
            Task::Protect => "nobody follows the clone",
            Task::Wait { .. } => "nothing is waited for",
            Task::Approve { .. } => "nobody is asked",
            Task::Notify { .. } => "nobody is told",
            Task::Exec(_) => "no program is run that could reach production",
        };
        Some(format!("not carried out in a rehearsal: {why}"))
    }

    /// What keeps a rehearsal from beginning, and ends one: something real.
    fn hindered(&self, group: &GroupName) -> Option<String> {
        let known = self.knowledge.lock().unwrap_or_else(PoisonError::into_inner);
        // An older one that was not finished has been taken over.
        let newest = known.runs(group).into_iter().next();
        if let Some(why) = newest.and_then(|run| run.unfinished()) {
            return Some(why);
        }
        let order = known.order(group);
        let epoch = known.record(group).map(|record| record.epoch);
        let open = order.filter(|order| order.stands(epoch.unwrap_or(order.epoch), clock::wall()));
        open.map(|order| format!("order {} of {} is open", order.id, order.by))
    }

    /// Returns why the rehearsal must end, when it must.
    async fn interrupted(&self, job: &Job) -> String {
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                () = crate::stopped(&mut stop) => return "the node is shutting down".to_owned(),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if clock::now() >= job.ends {
                return "it did not end within its time".to_owned();
            }
            if let Some(why) = self.hindered(&job.asked.group) {
                return format!("it makes room: {why}");
            }
        }
    }

    async fn carry_out(&self, own: OwnRehearsal, job: Job) {
        let id = own.record.id.clone();
        tracing::info!(rehearsal = %id, by = %job.asked.by, "a rehearsal begins");
        let mut progress = Progress::new(own);
        let mut copies = Copies::default();
        let (clone, wrong) = match self.make_clone(&mut progress, &job).await {
            Ok(clone) => {
                let tried = tokio::select! {
                    tried = self.try_steps(&mut progress, &job, &clone, &mut copies) => tried,
                    why = self.interrupted(&job) => Err(why),
                };
                (Some(clone), tried.err())
            }
            Err(why) => (None, Some(why)),
        };
        if let Some(why) = wrong {
            tracing::warn!(rehearsal = %id, reason = %why, "a step of a rehearsal failed");
            progress.give_up(&why).await;
        }
        progress.remove().await;
        let left = self.remove(clone, copies, &job).await;
        progress.end(left).await;
        tracing::info!(rehearsal = %id, passed = progress.passed(), "a rehearsal has ended");
    }

    /// A promoted clone of the standby. Whatever ends this early removes what there is of it.
    async fn make_clone(&self, progress: &mut Progress, job: &Job) -> Result<rehearsal::Rehearsal, String> {
        self.make_workspace().map_err(|e| format!("making {}: {e}", self.workspace.display()))?;
        let (sender, mut stages) = mpsc::channel(STAGES_MAX);
        let told = move |stage| {
            let _there_is_room = sender.try_send(stage);
        };
        let mut cloned = job.database.rehearse(&self.workspace, &told);
        let mut interrupted = std::pin::pin!(self.interrupted(job));
        let done = loop {
            tokio::select! {
                biased;
                Some(stage) = stages.recv() => progress.stage(stage).await?,
                why = &mut interrupted => return Err(why),
                done = &mut cloned => break done,
            }
        };
        while let Ok(stage) = stages.try_recv() {
            progress.stage(stage).await?;
        }
        let clone = done.map_err(|e| e.to_string())?;
        progress.promoted(&clone.rehearsed).await?;
        Ok(clone)
    }

    /// PostgreSQL runs as another user when we are root, and must get through.
    fn make_workspace(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.workspace)?;
        std::fs::set_permissions(&self.workspace, std::fs::Permissions::from_mode(0o711))
    }

    /// Everything goes, and then it is looked whether it has.
    async fn remove(
        &self,
        clone: Option<rehearsal::Rehearsal>,
        copies: Copies,
        job: &Job,
    ) -> Result<LeftBehind, String> {
        let mut ports = copies.addresses.clone();
        let instances = copies.end().await;
        let mut left = match clone {
            Some(clone) => {
                ports.push(clone.address);
                let removed = clone.end().await.map_err(|e| e.to_string())?;
                LeftBehind {
                    processes: u32::try_from(removed.processes).unwrap_or(u32::MAX),
                    folder: removed.folder,
                    slots: removed.new_slots,
                    ports: Vec::new(),
                    streaming: removed.streaming,
                }
            }
            // Its processes are killed before its folder is removed.
            None => LeftBehind {
                processes: 0,
                folder: !rehearsal::gone(&rehearsal::folder_in(&self.workspace, job.asked.group.as_str()))
                    .await,
                slots: Vec::new(),
                ports: Vec::new(),
                streaming: job.database.status().await.streaming,
            },
        };
        left.processes = left.processes.saturating_add(instances);
        left.ports = copies::still_open(&ports).await;
        Ok(left)
    }
}

#[cfg(test)]
mod tests;
