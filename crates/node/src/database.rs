//! The database actions of one group: one at a time, in order; a stop goes before all others.

use std::sync::Arc;

use meridian_actuators::{ActuatorError, DatabaseActuator, RejoinMethod, StopMode};
use meridian_failover::{Completed, DatabaseAction, Event};
use meridian_model::group::{DatabaseRole, DatabaseStatus, Quorum};
use meridian_model::{Epoch, GroupName, RegionName};
use meridian_telemetry::events::DatabaseRejoined;
use meridian_telemetry::{Metrics, clock};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::group::Tools;
use crate::losses::{Loss, Losses};

/// What a witness has.
pub(crate) fn absent() -> DatabaseStatus {
    DatabaseStatus::stopped(DatabaseRole::Absent)
}

/// The queue of actions on one database.
pub(crate) struct DatabaseQueue {
    worker: Worker,
    queue: mpsc::UnboundedSender<(u64, DatabaseAction)>,
    running: JoinHandle<()>,
}

#[derive(Clone)]
struct Worker {
    database: Arc<dyn DatabaseActuator>,
    members: Arc<std::collections::HashMap<RegionName, std::net::SocketAddr>>,
    events: mpsc::Sender<Event>,
    group: GroupName,
    metrics: Metrics,
    losses: Losses,
}

impl DatabaseQueue {
    /// A queue with nothing in it.
    pub(crate) fn new(
        database: Arc<dyn DatabaseActuator>,
        group: GroupName,
        tools: &Tools,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let members = Arc::new(tools.members.clone());
        let (metrics, losses) = (tools.metrics.clone(), tools.losses.clone());
        let worker = Worker { database, members, events, group, metrics, losses };
        let (queue, running) = worker.clone().start();
        Self { worker, queue, running }
    }

    /// Adds an action. A stop ends the running one and forgets those that wait: the machine has
    /// decided otherwise, and each of them is idempotent.
    pub(crate) fn push(&mut self, id: u64, action: DatabaseAction) {
        if action == DatabaseAction::Stop {
            self.running.abort();
            (self.queue, self.running) = self.worker.clone().start();
        }
        tracing::info!(id, action = action.word(), "database action begins");
        let _ = self.queue.send((id, action));
    }
}

impl Drop for DatabaseQueue {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Worker {
    fn start(self) -> (mpsc::UnboundedSender<(u64, DatabaseAction)>, JoinHandle<()>) {
        let (queue, mut waiting) = mpsc::unbounded_channel::<(u64, DatabaseAction)>();
        let running = tokio::spawn(async move {
            while let Some((id, action)) = waiting.recv().await {
                let word = action.word();
                let result = self.carry_out(action).await;
                match &result {
                    Ok(done) => {
                        tracing::info!(id, action = word, detail = %done.detail, "database action done")
                    }
                    Err(reason) => tracing::warn!(id, action = word, %reason, "database action failed"),
                }
                let _ = self.events.send(Event::Finished { id, result }).await;
            }
        });
        (queue, running)
    }

    async fn carry_out(&self, action: DatabaseAction) -> Result<Completed, String> {
        let detail = self.act(action).await?;
        Ok(Completed { status: self.database.status().await, detail })
    }

    async fn act(&self, action: DatabaseAction) -> Result<String, String> {
        let plain = |done: Result<(), ActuatorError>| done.map(|()| String::new()).map_err(|e| e.to_string());
        let database: &dyn DatabaseActuator = &*self.database;
        match action {
            DatabaseAction::Initialise => plain(database.initialise().await),
            DatabaseAction::StartPrimary { epoch, quorum } => {
                self.set_quorum(quorum.as_ref()).await?;
                plain(database.start_primary(epoch).await)
            }
            DatabaseAction::Stop => plain(database.stop(StopMode::Immediate).await),
            DatabaseAction::Promote { epoch, quorum } => {
                self.set_quorum(quorum.as_ref()).await?;
                plain(database.promote(epoch).await)
            }
            DatabaseAction::SetQuorum(quorum) => self.set_quorum(Some(&quorum)).await,
            DatabaseAction::SetReadOnly(on) => plain(database.set_read_only(on).await),
            DatabaseAction::Follow { upstream, epoch } => {
                plain(database.follow(self.address(&upstream)?, epoch).await)
            }
            DatabaseAction::Clone { source } => plain(database.copy_from(self.address(&source)?).await),
            DatabaseAction::Rejoin { source, epoch } => self.rejoin(self.address(&source)?, epoch).await,
            DatabaseAction::Seal => plain(database.seal().await),
            DatabaseAction::PrepareHandover { to } => plain(database.prepare_handover(&to).await),
            DatabaseAction::CatchUp { to, within } => plain(database.catch_up(&to, within).await),
            DatabaseAction::StopInOrder { within } => {
                let end = database.stop_in_order(within).await.map_err(|e| e.to_string())?;
                Ok(format!("stopped in order; its shutdown checkpoint is at {}", end.lsn))
            }
            DatabaseAction::Replay { beyond, within } => {
                let at = database.replay_beyond(beyond, within).await.map_err(|e| e.to_string())?;
                Ok(format!("replayed to {}, beyond {}", at.lsn, beyond.lsn))
            }
        }
    }

    async fn set_quorum(&self, quorum: Option<&Quorum>) -> Result<String, String> {
        let Some(Quorum { acknowledgers, candidates }) = quorum else { return Ok(String::new()) };
        let names: Vec<RegionName> = candidates.iter().cloned().collect();
        self.database.set_acknowledgers(*acknowledgers, &names).await.map_err(|e| e.to_string())?;
        let list: Vec<&str> = names.iter().map(RegionName::as_str).collect();
        Ok(format!("each commit waits for {acknowledgers} of {}", list.join(", ")))
    }

    async fn rejoin(&self, source: std::net::SocketAddr, epoch: Epoch) -> Result<String, String> {
        let began = clock::now();
        let rejoined = self.database.rejoin(source, epoch).await.map_err(|e| e.to_string())?;
        let method = match rejoined.method {
            RejoinMethod::Followed => "followed",
            RejoinMethod::Rewound => "rewound",
            RejoinMethod::Recloned => "recloned",
        };
        let nothing = || std::path::Path::new("nothing had diverged");
        let kept_wal = rejoined.kept_wal.as_deref().unwrap_or_else(nothing);
        let took = clock::now().since(began);
        DatabaseRejoined { group: &self.group, epoch, method, kept_wal, took }.emit(&self.metrics);
        let loss = Loss::of(epoch, method, &rejoined, clock::wall());
        let told = format!("{}; {}", rejoined.detail, loss.sentence());
        self.losses.keep(&self.group, loss).await;
        Ok(told)
    }

    fn address(&self, region: &RegionName) -> Result<std::net::SocketAddr, String> {
        self.members
            .get(region)
            .copied()
            .ok_or_else(|| format!("region {region} has no member of this group"))
    }
}
