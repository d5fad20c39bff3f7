//! The fence in a process of its own, for when the node itself is what fails.
//!
//! The watchdog thread fences while the node's process lives and runs. A node that is killed or frozen
//! (`SIGSTOP`) cannot: a busy backend would finish and acknowledge its transaction after the node's death,
//! and a frozen node would leave its PostgreSQL writing for ever. So the node starts a guard beside each
//! PostgreSQL: a tiny process that reads deadlines from a pipe. When a deadline passes without a newer
//! one, or when the pipe ends because the node is gone, it kills every process of that data directory.
//!
//! The guard is the node's own program with another first word; [`run`] is its whole life.

use std::ffi::OsString;
use std::io::{BufRead, Write as _};
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use meridian_model::Moment;

use crate::deadline::Deadline;
use crate::error::ActuatorError;
use crate::postgres::kill_cluster;
use crate::process::{Child, DeathSignal, Launch, Output, Spawner, pause};
use crate::watchdog::Watchdog;

/// The life of a guard process: reads orders until the node is gone, then kills what is left.
///
/// # Errors
/// No timer or thread, or the first line does not say what to watch.
pub fn run(input: impl BufRead) -> Result<(), ActuatorError> {
    let mut lines = input.lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let Some(data_dir) = first.strip_prefix("watch ").map(PathBuf::from) else {
        let problem = format!("its first line is `{first}`; it is started by a node, not by hand");
        return Err(ActuatorError::WrongState { command: "guard", problem });
    };
    let fenced = data_dir.clone();
    let watchdog = Watchdog::start(move |_| kill(&fenced))?;
    for line in lines {
        match line.split_once(' ') {
            Some(("kill-at", nanos)) => {
                // An order that cannot be read arms the fence at once: silence must never be safer.
                watchdog.arm(Moment::from_nanos(nanos.parse().unwrap_or(0)));
            }
            _ => watchdog.disarm(),
        }
    }
    // The server has got SIGQUIT from the kernel by now; what is left after this is stuck.
    pause(QUIT_GRACE);
    kill(&data_dir);
    Ok(())
}

/// The node's end of a guard.
#[derive(Debug)]
pub(crate) struct Guard {
    orders: SyncSender<String>,
    given: AtomicU64,
    /// How many of them are in the guard's pipe: those it will obey even if we freeze now.
    written: Arc<AtomicU64>,
}

impl Guard {
    /// Starts the process and the thread that writes to it (so that a stuck guard never blocks a node).
    pub(crate) fn start(
        spawner: Spawner,
        command: Vec<OsString>,
        data_dir: PathBuf,
        log: PathBuf,
    ) -> Result<Self, ActuatorError> {
        let (orders, inbox) = sync_channel::<String>(ORDERS_WAITING);
        let launch = launch(command, log)?;
        let first = spawner.spawn(launch.clone(), None)?;
        let written = Arc::new(AtomicU64::new(0));
        let counts = Arc::clone(&written);
        thread::Builder::new()
            .name("guard".to_owned())
            .spawn(move || {
                let mut pipe = Pipe::new(spawner, launch, data_dir);
                pipe.greet(&first);
                for order in inbox {
                    counts.fetch_add(u64::from(pipe.pass_on(&order)), Ordering::SeqCst);
                }
            })
            .map_err(|e| ActuatorError::file("starting a thread for", "the guard", e))?;
        Ok(Self { orders, given: AtomicU64::new(0), written })
    }

    /// Passes a deadline on; a full queue means a stuck guard, which will then fence too early.
    pub(crate) fn fence_at(&self, at: Option<Moment>) {
        let order = at.map_or_else(|| "disarm\n".to_owned(), |at| format!("kill-at {}\n", at.as_nanos()));
        if self.orders.try_send(order).is_ok() {
            self.given.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Returns when all orders are in the guard's pipe.
    ///
    /// # Errors
    /// It does not take them: who needs its fence must not go on.
    pub(crate) async fn informed(&self) -> Result<(), ActuatorError> {
        let given = self.given.load(Ordering::SeqCst);
        let informed = async {
            while self.written.load(Ordering::SeqCst) < given {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        INFORM.run("passing the fence on to the guard process", informed).await
    }
}

fn launch(mut command: Vec<OsString>, log: PathBuf) -> Result<Launch, ActuatorError> {
    if command.is_empty() {
        return Err(ActuatorError::WrongState { command: "guard", problem: "no command is set".to_owned() });
    }
    let program = command.remove(0).into();
    let mut launch = Launch::tool(program, command);
    launch.output = Output::Log(log);
    launch.keep_input = true;
    launch.death_signal = DeathSignal::None;
    launch.inherit_env = true;
    Ok(launch)
}

/// Keeps a guard alive and passes orders on.
struct Pipe {
    spawner: Spawner,
    launch: Launch,
    data_dir: PathBuf,
    open: Option<ChildStdin>,
}

impl Pipe {
    const fn new(spawner: Spawner, launch: Launch, data_dir: PathBuf) -> Self {
        Self { spawner, launch, data_dir, open: None }
    }

    fn greet(&mut self, guard: &Child) {
        self.open = guard.take_input();
        self.write(&format!("watch {}\n", self.data_dir.display()));
    }

    /// Whether it is in the pipe of a guard.
    fn pass_on(&mut self, order: &str) -> bool {
        if self.write(order) {
            return true;
        }
        tracing::error!(data_dir = %self.data_dir.display(), "the guard process is gone; starting another");
        if let Ok(fresh) = self.spawner.spawn(self.launch.clone(), None) {
            self.greet(&fresh);
        }
        self.write(order)
    }

    fn write(&mut self, line: &str) -> bool {
        let written = self.open.as_mut().is_some_and(|pipe| pipe.write_all(line.as_bytes()).is_ok());
        if !written {
            self.open = None;
        }
        written
    }
}

fn kill(data_dir: &Path) {
    let data_dir_shown = data_dir.display();
    match kill_cluster(data_dir, KILL_WITHIN) {
        Ok(0) => {}
        Ok(left) => {
            tracing::error!(left, data_dir = %data_dir_shown, "processes of PostgreSQL could not be killed");
        }
        Err(error) => {
            tracing::error!(%error, data_dir = %data_dir_shown, "processes of PostgreSQL could not be looked for");
        }
    }
}

const QUIT_GRACE: Duration = Duration::from_millis(150);
const KILL_WITHIN: Duration = Duration::from_secs(30);
const INFORM: Deadline = Deadline::new(
    Duration::from_secs(2),
    "it is a write to a pipe, after at most one start of a new guard process",
);
const ORDERS_WAITING: usize = 64;
