//! The running lab: its regions' processes, the faults on them, its start and its end.

mod act;
pub(crate) mod cleanup;
mod start;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meridian_model::{RegionName, System};
use meridian_node::status::STATUS;
use meridian_telemetry::clock;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use crate::drill::Tell;
use crate::error::LabError;
use crate::faults::{Fault, FaultPart, FaultRecord, LabEvent};
use crate::plan::{Addresses, LabOptions, NumberLock, Occupied, Plan};
use crate::process::{Child, Identity, Spawner, Territory, tail_since};
use crate::status::{self, LabStatus, Members, RegionStatus};
use crate::wan::{Owners, Wan};

/// How often the nodes are asked while the lab waits for health.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Events that a slow subscriber may be behind before it loses the oldest.
const EVENTS_BEHIND: usize = 1024;
/// Events that are remembered; the oldest are forgotten.
const EVENTS_KEPT: usize = 10_000;
/// Lines of a log that an error quotes.
const LAST_WORDS: usize = 12;

/// A running lab. Cheap to clone; when the last clone is dropped its processes are killed.
#[derive(Debug, Clone)]
pub struct Lab(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plan: Plan,
    programs: start::Programs,
    options: LabOptions,
    secret: String,
    wan: Wan,
    owners: Owners,
    spawner: Spawner,
    runs: Mutex<Vec<RegionRun>>,
    /// Faults happen one after the other.
    acting: tokio::sync::Mutex<()>,
    events: Mutex<Vec<LabEvent>>,
    news: broadcast::Sender<LabEvent>,
    tasks: Mutex<JoinSet<()>>,
    lock: NumberLock,
    /// Held for its drop.
    _folder: Occupied,
}

/// What the lab does with a region now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Running,
    Killed,
    Frozen,
}

impl Condition {
    fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Killed => "killed",
            Self::Frozen => "frozen",
        }
    }
}

/// The processes of one region that the lab has started.
#[derive(Debug, Clone)]
struct RegionRun {
    condition: Condition,
    etcd: Option<Child>,
    node: Option<Child>,
    /// Parts that were stopped alone.
    frozen: Vec<(FaultPart, Identity)>,
}

impl RegionRun {
    /// `running`, or what the lab did to it: `killed`, `etcd killed`, `node frozen`.
    fn words(&self, with_node: bool) -> String {
        if self.condition != Condition::Running {
            return self.condition.word().to_owned();
        }
        let mut words = Vec::new();
        for (part, child) in [(FaultPart::Etcd, &self.etcd), (FaultPart::Node, &self.node)] {
            match child {
                None if part == FaultPart::Etcd || with_node => words.push(format!("{part} killed")),
                Some(child) if child.ended().is_some() => words.push(format!("{part} ended")),
                _ => {}
            }
        }
        let frozen =
            |part: &FaultPart| self.frozen.iter().any(|(p, process)| p == part && process.is_alive());
        words.extend(FaultPart::ALL.iter().filter(|part| frozen(part)).map(|part| format!("{part} frozen")));
        if words.is_empty() { self.condition.word().to_owned() } else { words.join(", ") }
    }

    /// Its etcd member runs.
    fn etcd_runs(&self) -> bool {
        let frozen = self.frozen.iter().any(|(part, _)| *part == FaultPart::Etcd);
        let alive = self.etcd.as_ref().is_some_and(|child| child.ended().is_none());
        self.condition == Condition::Running && alive && !frozen
    }
}

impl Lab {
    /// Starts the system: returns when etcd, the WAN and the nodes' processes run.
    ///
    /// # Errors
    /// [`LabError`]: a program is missing, an address is in use, the data is of another spec.
    pub async fn up(system: &System, options: LabOptions) -> Result<Self, LabError> {
        Self::up_with(system, options, &|_| ()).await
    }

    /// As [`Lab::up`]; `tell` hears on the way what takes time, a line each.
    ///
    /// # Errors
    /// As there.
    pub async fn up_with(system: &System, options: LabOptions, tell: Tell<'_>) -> Result<Self, LabError> {
        start::up(system, options, tell).await
    }

    /// Waits until every node answers, every verdict is up, every group has a writer and all standbys stream.
    ///
    /// # Errors
    /// [`LabError::NotHealthy`] with what is missing; [`LabError::Ended`] as soon as a process ended.
    pub async fn wait_healthy(&self, within: Duration) -> Result<LabStatus, LabError> {
        self.wait_healthy_with(within, |_| ()).await
    }

    /// As [`Lab::wait_healthy`]; `progress` sees every status on the way.
    ///
    /// # Errors
    /// As there.
    pub async fn wait_healthy_with(
        &self,
        within: Duration,
        mut progress: impl FnMut(&LabStatus),
    ) -> Result<LabStatus, LabError> {
        let start = clock::now();
        loop {
            let status = self.status().await;
            progress(&status);
            if status.healthy {
                return Ok(status);
            }
            self.refuse_ended()?;
            if clock::now().since(start) >= within {
                return Err(LabError::NotHealthy { within, missing: status.missing });
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Carries a fault out; returns when it has happened in full.
    ///
    /// # Errors
    /// [`LabError::NoRegion`] or [`LabError::Fault`].
    pub async fn fault(&self, fault: Fault) -> Result<FaultRecord, LabError> {
        act::carry_out(self, fault).await
    }

    /// The same as [`Fault::Restore`].
    ///
    /// # Errors
    /// [`LabError::NoRegion`], or a process does not start.
    pub async fn restore(&self, region: &RegionName) -> Result<FaultRecord, LabError> {
        self.fault(Fault::Restore { region: region.clone() }).await
    }

    /// Where everything is reached.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.0.plan.addresses
    }

    /// The system as the lab runs it (addresses as in the spec that was given).
    #[must_use]
    pub fn system(&self) -> &System {
        &self.0.plan.system
    }

    /// The state folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.plan.files.dir
    }

    /// The number: the second octet of every address.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.0.plan.number
    }

    /// etcd's heartbeat and election timeout, computed from the longest round trip.
    #[must_use]
    pub fn etcd_timers(&self) -> (Duration, Duration) {
        (self.0.plan.etcd.heartbeat, self.0.plan.etcd.election)
    }

    /// The WAN, for what [`Fault`] does not cover.
    #[must_use]
    pub fn wan(&self) -> &Wan {
        &self.0.wan
    }

    /// Asks every node for its status now.
    pub async fn status(&self) -> LabStatus {
        let runs = self.runs().clone();
        let etcd = Members { running: runs.iter().filter(|run| run.etcd_runs()).count(), all: runs.len() };
        let mut asked = JoinSet::new();
        for (i, run) in runs.into_iter().enumerate() {
            let lab = self.clone();
            asked.spawn(async move { (i, lab.region_status(i, &run).await) });
        }
        let mut regions = asked.join_all().await;
        regions.sort_by_key(|(i, _)| *i);
        let mut regions: Vec<RegionStatus> = regions.into_iter().filter_map(|(_, status)| status).collect();
        status::settle_verdicts(&mut regions);
        let missing = match self.0.options.without_nodes {
            true => self.etcd_missing().await,
            false => status::missing(&self.0.plan.system, &regions, etcd),
        };
        let flap_window = self.0.plan.system.topology.timers.flap_window;
        let nodes = || regions.iter().filter_map(|r| r.node.as_ref());
        let waits = status::held_back(nodes(), flap_window);
        let held_back = status::maintenance(nodes()).into_iter().chain(waits).collect();
        LabStatus {
            name: self.0.plan.system.topology.name.to_string(),
            number: self.number(),
            dir: self.dir().to_owned(),
            at: clock::wall(),
            healthy: missing.is_empty(),
            missing,
            held_back,
            regions,
            network_faults: self.0.wan.network_faults(),
        }
    }

    /// Everything that happened so far (the last 10,000).
    #[must_use]
    pub fn events(&self) -> Vec<LabEvent> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What happens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<LabEvent> {
        self.0.news.subscribe()
    }

    /// Stops everything (nodes get SIGTERM and some seconds first). `purge` removes the state folder.
    ///
    /// # Errors
    /// The folder could not be removed, or a process did not end.
    pub async fn shutdown(&self, purge: bool) -> Result<(), LabError> {
        cleanup::shut_down(self, purge).await
    }

    /// Fails when a process that should run has ended: to wait on is in vain.
    ///
    /// # Errors
    /// [`LabError::Ended`] with its last words.
    pub fn refuse_ended(&self) -> Result<(), LabError> {
        for (i, run) in self.runs().iter().enumerate().filter(|(_, run)| run.condition == Condition::Running)
        {
            for (part, child) in [("etcd", &run.etcd), ("node", &run.node)] {
                let Some((child, status)) = child.as_ref().and_then(|c| Some((c, c.ended()?))) else {
                    continue;
                };
                let Some(region) = self.region_name(i) else { continue };
                let log = self.0.plan.files.log(region, part);
                let tail = tail_since(&log, child.log_from, LAST_WORDS);
                let (part, region) = (part.to_owned(), region.clone());
                return Err(LabError::Ended { part, region, status, log, tail });
            }
        }
        Ok(())
    }

    // === what the parts of this module share ===

    fn runs(&self) -> MutexGuard<'_, Vec<RegionRun>> {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of region `i`.
    fn with_run<T>(&self, i: usize, edit: impl FnOnce(&mut RegionRun) -> T) -> Option<T> {
        self.runs().get_mut(i).map(edit)
    }

    fn tell(&self, region: Option<&RegionName>, what: impl Into<String>) {
        let event =
            LabEvent { at: clock::now(), wall: clock::wall(), region: region.cloned(), what: what.into() };
        let mut events = self.0.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() >= EVENTS_KEPT {
            events.remove(0);
        }
        events.push(event.clone());
        // Nobody listens: fine.
        let _ = self.0.news.send(event);
    }

    fn region_name(&self, i: usize) -> Option<&RegionName> {
        self.0.plan.system.topology.regions.get(i).map(|r| &r.name)
    }

    /// All processes of region `i`.
    fn territory(&self, i: usize) -> Option<Territory> {
        let folder = self.0.plan.files.region(self.region_name(i)?);
        let roots = self
            .with_run(i, |run| [&run.node, &run.etcd].into_iter().flatten().map(|c| c.identity).collect())?;
        Some(Territory { folder, roots })
    }

    async fn region_status(&self, i: usize, run: &RegionRun) -> Option<RegionStatus> {
        let name = self.region_name(i)?;
        let with_node = !self.0.options.without_nodes;
        let answers = run.condition == Condition::Running && run.node.is_some() && with_node;
        let node = match self.addresses().regions.get(i).filter(|_| answers) {
            Some(addresses) => status::ask(addresses.control, STATUS, &self.0.secret).await.ok(),
            None => None,
        };
        let processes = self.territory(i)?.processes().len();
        Some(status::region_status(name, &run.words(with_node), processes, node))
    }

    async fn etcd_missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for region in &self.addresses().regions {
            let answer = status::ask(region.etcd, "/health", "").await;
            let well =
                answer.as_ref().is_ok_and(|a| a.get("health").and_then(|h| h.as_str()) == Some("true"));
            if !well {
                let why = answer.err().unwrap_or_else(|| "it has no leader".to_owned());
                missing.push(format!("etcd of {}: {why}", region.region));
            }
        }
        missing
    }
}
