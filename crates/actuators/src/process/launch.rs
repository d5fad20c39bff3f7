//! What is started, and how: the command line around a program that ties it to our life.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child as StdChild, Command, Stdio};

use super::said::Said;
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

/// What a child's environment is made of, besides what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// `PATH`, `HOME` and `LANG`, always the same.
    Tool,
    /// Ours.
    Ours,
    /// `PATH` alone (and `PWD`, which the shell in between sets).
    Bare,
}

/// Where a child's words go.
#[derive(Debug, Clone)]
pub enum Output {
    /// Appended to this file.
    Log(PathBuf),
    /// Kept until its end: for short programs.
    Capture,
    /// Both streams as one, of which so many bytes from the end are kept: for programs of others. It leads
    /// a process group of its own, and whoever is left of that when it ends is killed.
    Tail(usize),
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
    /// Its environment in addition to `environment`.
    pub env: Vec<(OsString, OsString)>,
    /// What its environment begins with.
    pub environment: Environment,
    /// Where it runs.
    pub directory: PathBuf,
    /// Where its words go.
    pub output: Output,
    /// What it reads; `None`: nothing.
    pub input: Option<Vec<u8>>,
    /// It reads from us as long as we want (see [`super::Child::take_input`]).
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
            environment: Environment::Tool,
            directory: PathBuf::from("/"),
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

    pub(super) fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    /// Starts it; with what hears its words, when only their end is kept.
    pub(super) fn start(&self) -> io::Result<(StdChild, Option<Said>)> {
        let mut command = self.command();
        let mut said = None;
        match &self.output {
            Output::Capture => drop(command.stdout(Stdio::piped()).stderr(Stdio::piped())),
            Output::Log(path) => {
                let log = OpenOptions::new().create(true).append(true).open(path)?;
                command.stdout(log.try_clone()?).stderr(log);
            }
            Output::Tail(most) => {
                let (reader, writer) = io::pipe()?;
                command.stdout(writer.try_clone()?).stderr(writer).process_group(0);
                said = Some(Said::hear(reader, *most)?);
            }
        }
        // The command is dropped here, and with it our end of the pipe.
        command.spawn().map(|child| (child, said))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(setpriv());
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
        self.fill(&mut command);
        command.current_dir(&self.directory);
        command.stdin(if self.input.is_some() || self.keep_input { Stdio::piped() } else { Stdio::null() });
        command
    }

    fn fill(&self, command: &mut Command) {
        if self.environment != Environment::Ours {
            command.env_clear().env("PATH", PATH);
        }
        if self.environment == Environment::Tool {
            command.env("LANG", "C").env("LC_ALL", "C").env("HOME", "/nonexistent");
        }
        if let Some(user) = &self.user {
            command.env("HOME", &user.home).env("USER", &user.name).env("LOGNAME", &user.name);
        }
        command.envs(self.env.iter().cloned());
    }
}

/// A `PATH` that a child is given does not decide where we find the program that starts it.
fn setpriv() -> PathBuf {
    let mut places = PATH.split(':').map(|folder| Path::new(folder).join("setpriv"));
    places.find(|place| place.is_file()).unwrap_or_else(|| "setpriv".into())
}

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Between the fork and the moment `setpriv` asks for the signal we may have died: then the parent is
/// another one already, and the child leaves.
const ALIVE_OR_LEAVE: &str = r#"[ "$PPID" = "$0" ] || exit 99; exec "$@""#;
