//! Instances of the application as child processes of the node.
//!
//! One task keeps each instance: it starts it, waits for its end, and starts it again after a pause that
//! doubles with every quick end. Scaling down asks an instance to drain (SIGTERM) and kills it only when
//! that takes too long. Whether an instance is healthy is the probes' business.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meridian_model::service::Service;
use meridian_model::topology::NodeAddresses;
use meridian_model::{RegionName, System};
use meridian_telemetry::clock;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::ActuatorError;
use crate::execute::{BoxFuture, ComputeActuator};
use crate::process::{Child, Environment, Launch, Output, Spawner};

/// What is run, and where.
#[derive(Debug, Clone)]
pub struct ComputeConfig {
    /// One address for each instance that may run.
    pub endpoints: Vec<SocketAddr>,
    /// Program and arguments, without placeholders but `{address}`.
    pub command: Vec<String>,
    /// Where the instances' words go, a file each.
    pub log_dir: PathBuf,
    /// The name of the log files.
    pub name: String,
}

impl ComputeConfig {
    /// The presence of `service` in region `here`, with the region's placeholders filled in.
    ///
    /// # Errors
    /// The region has no backend of it that is run as processes.
    pub fn of(system: &System, service: &Service, here: &RegionName) -> Result<Self, ActuatorError> {
        let node = &system.region(here).ok_or_else(|| absent(service, here))?.node;
        Self::at(system, service, here, node)
    }

    /// The same with the placeholders of other ports: of a copy that talks to another database.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn at(
        system: &System,
        service: &Service,
        here: &RegionName,
        node: &NodeAddresses,
    ) -> Result<Self, ActuatorError> {
        let absent = || absent(service, here);
        let backend = service.backends.iter().find(|b| &b.region == here).ok_or_else(absent)?;
        let process = backend.compute.as_ref().ok_or_else(absent)?;
        let member = system.databases.iter().find_map(|database| database.member(here));
        let password = member.map_or_else(PathBuf::new, |m| m.postgres.app_password_file.clone());
        let filled = |text: &String| fill(text, here, node, &password);
        Ok(Self {
            endpoints: backend.endpoints.clone(),
            command: process.command.iter().map(filled).collect(),
            log_dir: node.data_dir.join("logs"),
            name: service.name.as_str().to_owned(),
        })
    }
}

/// The instances of one service in one region. When it is dropped, they are killed.
pub struct ProcessInstances {
    shared: Arc<Shared>,
    keepers: Mutex<Vec<Keeper>>,
}

struct Shared {
    config: ComputeConfig,
    spawner: Spawner,
    running: AtomicU32,
}

/// The task of one instance.
struct Keeper {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl ProcessInstances {
    /// The presence of `service` in region `here`; nothing runs yet.
    ///
    /// # Errors
    /// As [`ComputeConfig::of`] and [`Self::open`].
    pub fn new(system: &System, service: &Service, here: &RegionName) -> Result<Self, ActuatorError> {
        Self::open(ComputeConfig::of(system, service, here)?)
    }

    /// Nothing runs yet.
    ///
    /// # Errors
    /// A program that is not there, a log folder that cannot be made.
    pub fn open(mut config: ComputeConfig) -> Result<Self, ActuatorError> {
        let program = config.command.first().map(PathBuf::from).unwrap_or_default();
        let found = find(&program).ok_or_else(|| ActuatorError::MissingProgram {
            program: program.display().to_string(),
            searched: if program.is_absolute() {
                "the file system"
            } else {
                "PATH and the working directory"
            }
            .to_owned(),
            advice: format!("correct the command of service `{}` in the spec", config.name),
        })?;
        if let Some(first) = config.command.first_mut() {
            *first = found.to_string_lossy().into_owned();
        }
        std::fs::create_dir_all(&config.log_dir)
            .map_err(|e| ActuatorError::file("making the folder", &config.log_dir, e))?;
        let shared = Shared { config, spawner: Spawner::start()?, running: AtomicU32::new(0) };
        Ok(Self { shared: Arc::new(shared), keepers: Mutex::default() })
    }

    /// Takes the keepers beyond `wanted` out and adds those that are missing.
    fn adjust(&self, wanted: usize) -> Result<Vec<Keeper>, ActuatorError> {
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = wanted.min(keepers.len());
        let surplus = keepers.split_off(kept);
        while keepers.len() < wanted {
            let index = keepers.len();
            let Some(address) = self.shared.config.endpoints.get(index).copied() else { break };
            // The first start is made here, so that what can never start is an error of the command.
            let child = self.shared.spawn(address, index)?;
            keepers.push(Keeper::start(Arc::clone(&self.shared), address, index, child));
        }
        Ok(surplus)
    }
}

impl ComputeActuator for ProcessInstances {
    fn scale(&self, instances: u32) -> BoxFuture<'_, Result<(), ActuatorError>> {
        Box::pin(async move {
            let most = self.shared.config.endpoints.len();
            let wanted = usize::try_from(instances).unwrap_or(usize::MAX).min(most);
            for keeper in self.adjust(wanted)? {
                keeper.end().await;
            }
            Ok(())
        })
    }

    fn running(&self) -> u32 {
        self.shared.running.load(Ordering::Relaxed)
    }
}

impl Drop for ProcessInstances {
    fn drop(&mut self) {
        let keepers = self.keepers.get_mut().unwrap_or_else(PoisonError::into_inner);
        keepers.iter().for_each(|keeper| keeper.task.abort());
    }
}

impl Keeper {
    fn start(shared: Arc<Shared>, address: SocketAddr, index: usize, child: Running) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(shared.keep(address, index, child, stopped));
        Self { stop, task }
    }

    async fn end(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(DRAIN + KILL_SLACK, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// An instance that counts itself, and is killed when nobody holds it any more.
struct Running {
    child: Child,
    shared: Arc<Shared>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.signal(Signal::KILL);
        self.shared.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    async fn keep(
        self: Arc<Self>,
        address: SocketAddr,
        index: usize,
        first: Running,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut running = Some(first);
        let mut pause = PAUSE_MIN;
        loop {
            let began = clock::now();
            if let Some(instance) = running.take()
                && !self.outlive(&instance, &mut stop).await
            {
                return;
            }
            pause =
                if clock::now().since(began) > LONG_LIFE { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(pause) => {}
            }
            running = self
                .spawn(address, index)
                .map_err(|error| tracing::error!(%error, %address, "no instance"))
                .ok();
        }
    }

    /// Waits for its end, true; or ends it when told to, false.
    async fn outlive(&self, instance: &Running, stop: &mut watch::Receiver<bool>) -> bool {
        tokio::select! {
            exit = instance.child.wait() => {
                let status = exit.map(|exit| exit.status.to_string());
                tracing::warn!(name = %self.config.name, ?status, "an instance ended by itself; it is started again");
                return true;
            }
            _ = stop.wait_for(|stop| *stop) => {}
        }
        instance.child.signal(Signal::TERM);
        if tokio::time::timeout(DRAIN, instance.child.wait()).await.is_err() {
            tracing::warn!(name = %self.config.name, within = ?DRAIN, "an instance did not drain; it is killed");
            instance.child.signal(Signal::KILL);
            instance.child.wait().await;
        }
        false
    }

    fn spawn(self: &Arc<Self>, address: SocketAddr, index: usize) -> Result<Running, ActuatorError> {
        let mut words =
            self.config.command.iter().map(|word| word.replace("{address}", &address.to_string()));
        let program = PathBuf::from(words.next().unwrap_or_default());
        let mut launch = Launch::tool(program, words);
        launch.environment = Environment::Ours;
        launch.output =
            Output::Log(self.config.log_dir.join(format!("{}-{}.log", self.config.name, index + 1)));
        let child = self.spawner.spawn(launch, None)?;
        self.running.fetch_add(1, Ordering::Relaxed);
        Ok(Running { child, shared: Arc::clone(self) })
    }
}

fn absent(service: &Service, here: &RegionName) -> ActuatorError {
    let problem = format!("the spec gives `{}` no command in `{here}`", service.name);
    ActuatorError::WrongState { command: "run instances", problem }
}

fn fill(text: &str, here: &RegionName, node: &NodeAddresses, password: &Path) -> String {
    text.replace("{region}", here.as_str())
        .replace("{gateway_write}", &node.gateway_write.to_string())
        .replace("{gateway_read}", &node.gateway_read.to_string())
        .replace("{app_password_file}", &password.to_string_lossy())
}

/// Children start in `/`, so a relative path is made whole here.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.canonicalize().ok().filter(|found| found.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}

/// How long an instance may take to end in good order.
const DRAIN: Duration = Duration::from_secs(5);
const KILL_SLACK: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// An instance that lived this long was well: the next pause is short again.
const LONG_LIFE: Duration = Duration::from_secs(10);
