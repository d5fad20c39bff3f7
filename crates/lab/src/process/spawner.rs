//! The one thread that starts children.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that forked ends, not the process. Threads of an async runtime
//! come and go, so a thread of our own forks every child and ends with the lab.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;

use tokio::sync::{oneshot, watch};

use super::tree::Identity;

/// What to start.
#[derive(Debug, Clone)]
pub struct Command {
    /// The program, with its path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Added to the environment.
    pub environment: Vec<(String, String)>,
    /// Where it runs.
    pub folder: PathBuf,
    /// Its output and errors are appended here.
    pub log: PathBuf,
}

/// A process that was started. It is reaped by itself.
#[derive(Debug, Clone)]
pub struct Child {
    /// Which process.
    pub identity: Identity,
    /// So long was its log when it started.
    pub log_from: u64,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Child {
    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn ended(&self) -> Option<String> {
        self.exit.borrow().map(describe)
    }

    /// Waits for its end.
    pub async fn wait(&self) -> String {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        ended.map_or_else(|| "it was not seen ending".to_owned(), describe)
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    }
}

/// What the thread is asked, and where it answers.
type Request = (Command, oneshot::Sender<io::Result<Child>>);

/// Starts children. When it is dropped, the kernel kills all of them.
#[derive(Debug)]
pub struct Spawner(mpsc::Sender<Request>);

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn new() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<Request>();
        std::thread::Builder::new().name("lab-spawner".to_owned()).spawn(move || {
            while let Ok((command, answer)) = receiver.recv() {
                // Nobody waits any more: the child is reaped all the same.
                let _ = answer.send(spawn(&command));
            }
        })?;
        Ok(Self(sender))
    }

    /// Starts `command` in a session of its own.
    ///
    /// # Errors
    /// The log cannot be opened, or the system refuses the fork.
    pub async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (answer, answered) = oneshot::channel();
        let gone = || io::Error::other("the lab's spawner thread has ended");
        self.0.send((command, answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn spawn(command: &Command) -> io::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(&command.log)?;
    let log_from = log.metadata()?.len();
    // A session of its own: else the kernel would send SIGHUP to a stopped, orphaned group when
    // the lab freezes it. `setsid` and `setpriv` exec, so the pid is the program's.
    let mut child = std::process::Command::new("setsid")
        .args(["setpriv", "--pdeathsig", "KILL", "--"])
        .arg(&command.program)
        .args(&command.arguments)
        .envs(command.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&command.folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let identity = Identity::of(child.id());
    let (sender, exit) = watch::channel(None);
    std::thread::Builder::new().name("lab-reaper".to_owned()).stack_size(64 << 10).spawn(move || {
        let status = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0xFF00));
        // Nobody listens: the lab is gone.
        let _ = sender.send(Some(status));
    })?;
    Ok(Child { identity, log_from, exit })
}
