//! What can go wrong: what happened, where, and what to do; who is to blame and whether repeating helps.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use meridian_model::Epoch;

/// Who can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The person who set it up: the spec, the files, the installed programs.
    Setup,
    /// This machine: disk, ports, processes.
    Machine,
    /// The other side: a source that does not answer or is not what it should be.
    Peer,
    /// The caller: a command that must not be carried out now.
    Caller,
}

/// Whether the same command may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Repeating it soon makes sense.
    Soon,
    /// Only after somebody has changed something.
    AfterRepair,
    /// Never: the command itself is wrong.
    Never,
}

/// An error of an actuator.
#[derive(Debug, thiserror::Error)]
pub enum ActuatorError {
    /// A program is not there.
    #[error("{program} was not found in {searched}: {advice}")]
    MissingProgram {
        /// Which.
        program: String,
        /// Where it was looked for.
        searched: String,
        /// What to do.
        advice: String,
    },
    /// A PostgreSQL that we do not work with.
    #[error("PostgreSQL {found} in {bin_dir} is not supported: 14 to 18 are; set `binDir` to one of them")]
    UnsupportedVersion {
        /// What it said.
        found: String,
        /// Where.
        bin_dir: PathBuf,
    },
    /// The user to run as does not exist.
    #[error("the user `{user}` does not exist: PostgreSQL refuses to run as root; create it or set `runAs`")]
    UnknownUser {
        /// Which.
        user: String,
    },
    /// The data directory is not one that we may use.
    #[error("the data directory {dir} cannot be used: {problem}; nothing was changed; {advice}")]
    DataDirectory {
        /// Which.
        dir: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        advice: String,
    },
    /// A setting of PostgreSQL that a member may not have.
    #[error(
        "the setting `{setting}` of the database {database} is refused: {problem}; remove it from `settings` in the spec"
    )]
    Setting {
        /// Of which.
        database: String,
        /// Its name and value.
        setting: String,
        /// Why not.
        problem: String,
    },
    /// A file or folder could not be read or written.
    #[error("{what} {path} failed: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No room.
    #[error("the disk of {path} is full: {detail}; free some space, nothing was lost")]
    DiskFull {
        /// Where.
        path: PathBuf,
        /// What was being done.
        detail: String,
    },
    /// Somebody else listens there.
    #[error(
        "{address} is in use by another program: stop it (`ss -ltnp` names it) or change the member's `address`"
    )]
    PortInUse {
        /// Which.
        address: String,
    },
    /// A program ended with an error.
    #[error("{program} failed ({status}) while {what}: {stderr}")]
    Program {
        /// Which.
        program: String,
        /// What it was for.
        what: String,
        /// How it ended.
        status: String,
        /// Its last words.
        stderr: String,
    },
    /// The server ended while it was starting.
    #[error("PostgreSQL in {dir} did not start ({status}); its last words: {log}")]
    StartFailed {
        /// Which.
        dir: PathBuf,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// A statement failed, or the connection did.
    #[error("{what} on PostgreSQL at {address} failed: {reason}")]
    Sql {
        /// What was tried.
        what: &'static str,
        /// Where.
        address: String,
        /// Why not.
        reason: String,
    },
    /// The other side is not what it must be.
    #[error("PostgreSQL at {address} cannot be the source: {problem}")]
    Source {
        /// Which.
        address: String,
        /// What is wrong.
        problem: String,
    },
    /// Who was told or asked over HTTP did not answer, or not as they must.
    #[error("{place}: {problem}")]
    Remote {
        /// Who, in words that give no secret away.
        place: String,
        /// What went wrong.
        problem: String,
    },
    /// A check of a plan does not hold.
    #[error("{check} does not hold: {seen}")]
    Unmet {
        /// What was asked.
        check: String,
        /// What was seen instead.
        seen: String,
    },
    /// A deadline passed.
    #[error("{what} did not end within {after:?} ({reason})")]
    TimedOut {
        /// What.
        what: String,
        /// The deadline.
        after: Duration,
        /// Why the deadline is as it is, or what was seen last.
        reason: String,
    },
    /// An order of a reign that is over.
    #[error("epoch {given} is over: {seen} has been seen here; the order is refused")]
    StaleEpoch {
        /// Of the order.
        given: Epoch,
        /// The highest seen.
        seen: Epoch,
    },
    /// A primary may run only while a fence is armed.
    #[error("no fence is armed in the future: a primary is not started without one; call fence_at first")]
    NotFenced,
    /// The command does not fit the state.
    #[error("cannot {command}: {problem}")]
    WrongState {
        /// What was commanded.
        command: &'static str,
        /// Why it does not fit.
        problem: String,
    },
    /// A thread of ours is gone.
    #[error("the {0} thread has ended: this process must be restarted")]
    ThreadGone(&'static str),
}

impl ActuatorError {
    /// Who can mend it.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::MissingProgram { .. }
            | Self::UnsupportedVersion { .. }
            | Self::UnknownUser { .. }
            | Self::Setting { .. }
            | Self::DataDirectory { .. } => Blame::Setup,
            Self::File { .. }
            | Self::DiskFull { .. }
            | Self::PortInUse { .. }
            | Self::Program { .. }
            | Self::StartFailed { .. }
            | Self::TimedOut { .. }
            | Self::ThreadGone(_) => Blame::Machine,
            Self::Sql { .. } | Self::Source { .. } | Self::Remote { .. } | Self::Unmet { .. } => Blame::Peer,
            Self::StaleEpoch { .. } | Self::NotFenced | Self::WrongState { .. } => Blame::Caller,
        }
    }

    /// Whether repeating helps.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Sql { .. }
            | Self::Source { .. }
            | Self::Remote { .. }
            | Self::Unmet { .. }
            | Self::TimedOut { .. }
            | Self::Program { .. } => Retry::Soon,
            Self::StaleEpoch { .. } => Retry::Never,
            Self::NotFenced | Self::WrongState { .. } => Retry::Soon,
            _ => Retry::AfterRepair,
        }
    }

    /// Wraps an I/O error, telling a full disk from everything else.
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        if source.kind() == io::ErrorKind::StorageFull {
            return Self::DiskFull { path, detail: what.to_owned() };
        }
        Self::File { what, path, source }
    }
}
