//! Children that cannot outlive us.
//!
//! The kernel can signal a child when its parent ends (`PR_SET_PDEATHSIG`), but it goes by the parent
//! *thread*: a child that a worker of an async runtime forked would die with that worker. So all
//! children are forked by one long-lived thread, the [`Spawner`]; when it ends, they end. `setpriv` sets
//! the signal and drops to an unprivileged user, then a line of shell makes sure that we have not died
//! before the signal was set. Each child has a second small thread that reaps it at once: a zombie
//! postmaster would look alive to `pg_rewind`.

mod launch;
mod said;

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child as StdChild, ChildStdin, ExitStatus};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::sync::watch;

use crate::deadline::Deadline;
use crate::error::ActuatorError;

pub use launch::{DeathSignal, Environment, Launch, Output, User};
use said::Said;

/// How a child ended.
#[derive(Debug, Clone)]
pub struct Exit {
    /// Its status.
    pub status: ExitStatus,
    /// What it said on standard output, when captured; when only the end is kept, on both.
    pub stdout: String,
    /// What it said on standard error, when captured.
    pub stderr: String,
}

/// A child that was started.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    handle: OwnedFd,
    exit: watch::Receiver<Option<Exit>>,
    input: Mutex<Option<ChildStdin>>,
}

impl Child {
    /// Its number; it may be reused after its end.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal; to an ended child it does nothing. Never hits another process.
    pub fn signal(&self, signal: Signal) {
        let _already_gone = pidfd_send_signal(&self.handle, signal);
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// Its pipe, once.
    #[must_use]
    pub fn take_input(&self) -> Option<ChildStdin> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits for its end; `None` if the thread that reaps it is gone.
    pub async fn wait(&self) -> Option<Exit> {
        let mut exit = self.exit.clone();
        exit.wait_for(Option::is_some).await.ok().and_then(|seen| seen.clone())
    }
}

/// Called by the reaping thread when a child has ended, before anybody else hears of it.
pub type OnExit = Box<dyn FnOnce(&Exit) + Send>;

struct Order {
    launch: Launch,
    on_exit: Option<OnExit>,
    reply: mpsc::Sender<io::Result<Child>>,
}

/// The thread that forks all children; cheap to clone. When the last clone is dropped, they end.
#[derive(Debug, Clone)]
pub struct Spawner {
    orders: mpsc::Sender<Order>,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start() -> Result<Self, ActuatorError> {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for Order { launch, on_exit, reply } in inbox {
                    let _nobody_waits = reply.send(spawn_here(&launch, on_exit));
                }
            })
            .map_err(|e| ActuatorError::file("starting a thread for", "children", e))?;
        Ok(Self { orders })
    }

    /// Starts a child. Blocks for the few milliseconds of a fork.
    ///
    /// # Errors
    /// [`ActuatorError::MissingProgram`] or [`ActuatorError::Program`].
    pub fn spawn(&self, launch: Launch, on_exit: Option<OnExit>) -> Result<Child, ActuatorError> {
        let name = launch.name();
        if !launch.program.is_file() && launch.program.is_absolute() {
            return Err(missing(&name, launch.program.parent()));
        }
        let (reply, answer) = mpsc::channel();
        self.orders
            .send(Order { launch, on_exit, reply })
            .map_err(|_| ActuatorError::ThreadGone("spawner"))?;
        match answer.recv().map_err(|_| ActuatorError::ThreadGone("spawner"))? {
            Ok(child) => Ok(child),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(missing("setpriv", None)),
            Err(e) => Err(ActuatorError::Program {
                program: name,
                what: "starting it".to_owned(),
                status: "not started".to_owned(),
                stderr: e.to_string(),
            }),
        }
    }

    /// Runs a short program to its end; it is killed when the deadline passes or the caller is gone.
    ///
    /// # Errors
    /// It cannot be started, fails, or takes too long.
    pub async fn run(&self, what: &str, launch: Launch, deadline: Deadline) -> Result<Exit, ActuatorError> {
        let name = launch.name();
        let exit = self.run_to_end(what, launch, deadline).await?;
        if exit.status.success() {
            return Ok(exit);
        }
        if exit.stderr.contains("No space left on device") {
            return Err(ActuatorError::DiskFull { path: name.into(), detail: what.to_owned() });
        }
        Err(ActuatorError::Program {
            program: name,
            what: what.to_owned(),
            status: exit.status.to_string(),
            stderr: tail(&exit.stderr, TAIL_BYTES).to_owned(),
        })
    }

    /// The same, but a program that ends with an error is no error.
    ///
    /// # Errors
    /// It cannot be started or takes too long.
    pub async fn run_to_end(
        &self,
        what: &str,
        launch: Launch,
        deadline: Deadline,
    ) -> Result<Exit, ActuatorError> {
        let name = launch.name();
        let child = KillOnDrop(self.spawn(launch, None)?);
        let ended = async { child.0.wait().await.ok_or(ActuatorError::ThreadGone("reaper")) };
        deadline.run(&format!("{name}, {what},"), ended).await
    }
}

/// A child that does not outlive who waits for it.
pub(crate) struct KillOnDrop(pub(crate) Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.signal(Signal::KILL);
    }
}

/// The last `bytes` of a text, at a character's border, without surrounding white space.
#[must_use]
pub fn tail(text: &str, bytes: usize) -> &str {
    let text = text.trim();
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.get(start..).unwrap_or(text)
}

/// Waits a little without an async runtime; the callers re-check their state afterwards.
pub(crate) fn pause(time: Duration) {
    thread::park_timeout(time);
}

fn spawn_here(launch: &Launch, on_exit: Option<OnExit>) -> io::Result<Child> {
    let (mut child, said) = launch.start()?;
    let number = Pid::from_raw(child.id().cast_signed())
        .ok_or_else(|| io::Error::other("the kernel gave no process number"))?;
    let handle = pidfd_open(number, PidfdFlags::empty())?;
    let kept = if launch.keep_input { child.stdin.take() } else { None };
    let (told, exit) = watch::channel(None);
    let pid = child.id();
    let input = launch.input.clone();
    let group = said.is_some().then_some(number);
    thread::Builder::new().name(format!("reap-{pid}")).spawn(move || {
        let Ok(ended) = reap(child, input, group, said) else { return };
        if let Some(on_exit) = on_exit {
            on_exit(&ended);
        }
        told.send_replace(Some(ended));
    })?;
    Ok(Child { pid, handle, exit, input: Mutex::new(kept) })
}

fn reap(
    mut child: StdChild,
    input: Option<Vec<u8>>,
    group: Option<Pid>,
    said: Option<Said>,
) -> io::Result<Exit> {
    if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), input) {
        let _it_may_not_read_all = pipe.write_all(&bytes);
    }
    if let Some(leader) = group {
        end_group(leader);
    }
    let output = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let stdout = said.map_or_else(|| text(&output.stdout), Said::end);
    Ok(Exit { status: output.status, stdout, stderr: text(&output.stderr) })
}

/// Waits for the end of a group's leader and kills who is left of the group. The leader is not reaped yet:
/// so long its number cannot be anybody else's.
fn end_group(leader: Pid) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(leader), options) {}
    let _nobody_is_left = kill_process_group(leader, Signal::KILL);
}

fn missing(program: &str, searched: Option<&Path>) -> ActuatorError {
    let advice = match program {
        "setpriv" => "install util-linux",
        _ => "install it, or correct its path in the spec",
    };
    ActuatorError::MissingProgram {
        program: program.to_owned(),
        searched: searched.map_or_else(|| "PATH".to_owned(), |dir| dir.display().to_string()),
        advice: advice.to_owned(),
    }
}

/// How much of a failed program's words an error carries.
const TAIL_BYTES: usize = 2000;
