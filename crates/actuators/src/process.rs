//! Children that cannot outlive us.
//!
//! The kernel can signal a child when its parent ends (`PR_SET_PDEATHSIG`), but it goes by the parent
//! *thread*: a child that a worker of an async runtime forked would die with that worker. So all
//! children are forked by one long-lived thread, the [`Spawner`]; when it ends, they end. `setpriv` sets
//! the signal and drops to an unprivileged user, then a line of shell makes sure that we have not died
//! before the signal was set. Each child has a second small thread that reaps it at once: a zombie
//! postmaster would look alive to `pg_rewind`.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child as StdChild, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

use crate::deadline::Deadline;
use crate::error::ActuatorError;

/// The user that a child runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its main group's number.
    pub gid: u32,
    /// Its home.
    pub home: PathBuf,
}

impl User {
    /// The user that children must run as: `name` when we are root, else `None` (ourselves).
    ///
    /// # Errors
    /// [`ActuatorError::UnknownUser`].
    pub fn to_drop_to(name: &str) -> Result<Option<Self>, ActuatorError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let unknown = || ActuatorError::UnknownUser { user: name.to_owned() };
        let found = Command::new("getent").args(["passwd", name]).output().map_err(|_| unknown())?;
        let line = String::from_utf8_lossy(&found.stdout).into_owned();
        Self::parse(line.trim())
            .filter(|user| user.name == name && user.uid != 0)
            .map(Some)
            .ok_or_else(unknown)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid, home: fields.nth(1)?.into() })
    }
}

/// The signal that a child gets when we end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeathSignal {
    /// SIGKILL.
    Kill,
    /// SIGQUIT: what PostgreSQL takes as "stop immediately, with all your children".
    Quit,
    /// SIGTERM is not enough for anybody; this one gets none, because it must see our end itself.
    None,
}

/// Where a child's words go.
#[derive(Debug, Clone)]
pub enum Output {
    /// Appended to this file.
    Log(PathBuf),
    /// Kept until its end: for short programs.
    Capture,
}

/// What is started, and how.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The user it runs as; `None`: ours.
    pub user: Option<User>,
    /// Its environment in addition to `PATH`, `HOME` and `LANG`; `inherit` adds ours.
    pub env: Vec<(OsString, OsString)>,
    /// It also gets our environment.
    pub inherit_env: bool,
    /// Where its words go.
    pub output: Output,
    /// What it reads; `None`: nothing.
    pub input: Option<Vec<u8>>,
    /// It reads from us as long as we want (see [`Child::take_input`]).
    pub keep_input: bool,
    /// What it gets when we end.
    pub death_signal: DeathSignal,
}

impl Launch {
    /// A short program whose words are kept.
    #[must_use]
    pub fn tool<A: Into<OsString>>(program: PathBuf, args: impl IntoIterator<Item = A>) -> Self {
        Self {
            program,
            args: args.into_iter().map(Into::into).collect(),
            user: None,
            env: Vec::new(),
            inherit_env: false,
            output: Output::Capture,
            input: None,
            keep_input: false,
            death_signal: DeathSignal::Kill,
        }
    }

    /// The same as another user.
    #[must_use]
    pub fn as_user(mut self, user: Option<User>) -> Self {
        self.user = user;
        self
    }

    /// The same with something to read.
    #[must_use]
    pub fn reading(mut self, input: Vec<u8>) -> Self {
        self.input = Some(input);
        self
    }

    fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    fn command(&self) -> io::Result<Command> {
        let mut command = Command::new("setpriv");
        match self.death_signal {
            DeathSignal::Kill => drop(command.args(["--pdeathsig", "KILL"])),
            DeathSignal::Quit => drop(command.args(["--pdeathsig", "QUIT"])),
            DeathSignal::None => {}
        }
        if let Some(user) = &self.user {
            command.arg(format!("--reuid={}", user.name)).arg(format!("--regid={}", user.gid));
            command.arg("--init-groups");
        }
        command.args(["--", "/bin/sh", "-c", ALIVE_OR_LEAVE]).arg(std::process::id().to_string());
        command.arg(&self.program).args(&self.args);
        self.environment(&mut command);
        command.current_dir("/");
        command.stdin(if self.input.is_some() || self.keep_input { Stdio::piped() } else { Stdio::null() });
        self.redirect(&mut command)?;
        Ok(command)
    }

    fn environment(&self, command: &mut Command) {
        if !self.inherit_env {
            command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
            command.env("LANG", "C").env("LC_ALL", "C").env("HOME", "/nonexistent");
        }
        if let Some(user) = &self.user {
            command.env("HOME", &user.home).env("USER", &user.name).env("LOGNAME", &user.name);
        }
        command.envs(self.env.iter().cloned());
    }

    fn redirect(&self, command: &mut Command) -> io::Result<()> {
        match &self.output {
            Output::Capture => drop(command.stdout(Stdio::piped()).stderr(Stdio::piped())),
            Output::Log(path) => {
                let log = OpenOptions::new().create(true).append(true).open(path)?;
                command.stdout(log.try_clone()?).stderr(log);
            }
        }
        Ok(())
    }
}

/// How a child ended.
#[derive(Debug, Clone)]
pub struct Exit {
    /// Its status.
    pub status: ExitStatus,
    /// What it said on standard output, when captured.
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

struct KillOnDrop(Child);

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
    let mut child = launch.command()?.spawn()?;
    let handle = match Pid::from_raw(child.id().cast_signed()) {
        Some(pid) => pidfd_open(pid, PidfdFlags::empty())?,
        None => return Err(io::Error::other("the kernel gave no process number")),
    };
    let kept = if launch.keep_input { child.stdin.take() } else { None };
    let (told, exit) = watch::channel(None);
    let pid = child.id();
    let input = launch.input.clone();
    thread::Builder::new().name(format!("reap-{pid}")).spawn(move || {
        let Ok(ended) = reap(child, input) else { return };
        if let Some(on_exit) = on_exit {
            on_exit(&ended);
        }
        told.send_replace(Some(ended));
    })?;
    Ok(Child { pid, handle, exit, input: Mutex::new(kept) })
}

fn reap(mut child: StdChild, input: Option<Vec<u8>>) -> io::Result<Exit> {
    if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), input) {
        let _it_may_not_read_all = pipe.write_all(&bytes);
    }
    let output = child.wait_with_output()?;
    Ok(Exit {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
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

/// Between the fork and the moment `setpriv` asks for the signal we may have died: then the parent is
/// another one already, and the child leaves.
const ALIVE_OR_LEAVE: &str = r#"[ "$PPID" = "$0" ] || exit 99; exec "$@""#;

/// How much of a failed program's words an error carries.
const TAIL_BYTES: usize = 2000;
