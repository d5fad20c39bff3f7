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
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use meridian_model::Moment;

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
}

impl Guard {
    /// Starts the process and the thread that writes to it (so that a stuck guard never blocks a node).
    pub(crate) fn start(
        spawner: Spawner,
        command: Vec<OsString>,
        data_dir: PathBuf,
        log: PathBuf,
    ) -> Result<Self, ActuatorError> {
        let (orders, inbox) = sync_channel(ORDERS_WAITING);
        let launch = launch(command, log)?;
        let first = spawner.spawn(launch.clone(), None)?;
        thread::Builder::new()
            .name("guard".to_owned())
            .spawn(move || serve(&spawner, &launch, first, &data_dir, &inbox))
            .map_err(|e| ActuatorError::file("starting a thread for", "the guard", e))?;
        Ok(Self { orders })
    }

    /// Passes a deadline on; a full queue means a stuck guard, which will then fence too early.
    pub(crate) fn fence_at(&self, at: Option<Moment>) {
        let order = at.map_or_else(|| "disarm\n".to_owned(), |at| format!("kill-at {}\n", at.as_nanos()));
        let _the_next_one_comes_soon = self.orders.try_send(order);
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

/// Keeps a guard alive and passes the orders on; ends with the last order sender.
fn serve(spawner: &Spawner, launch: &Launch, first: Child, data_dir: &Path, orders: &Receiver<String>) {
    let greet = format!("watch {}\n", data_dir.display());
    let mut pipe = first.take_input().filter(|mut p| p.write_all(greet.as_bytes()).is_ok());
    for order in orders {
        if pipe.as_mut().is_some_and(|p| p.write_all(order.as_bytes()).is_ok()) {
            continue;
        }
        tracing::error!(data_dir = %data_dir.display(), "the guard process is gone; starting another");
        let fresh = spawner.spawn(launch.clone(), None).ok().and_then(|child| child.take_input());
        pipe = fresh.filter(|mut p| {
            p.write_all(greet.as_bytes()).and_then(|()| p.write_all(order.as_bytes())).is_ok()
        });
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
const ORDERS_WAITING: usize = 64;
