//! What can go wrong in the lab: what happened, where, and what to do about it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use meridian_model::RegionName;

/// Why the lab could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A program that the lab starts is not installed.
    #[error("`{program}` was not found on PATH: {help}")]
    ProgramMissing {
        /// Its name.
        program: String,
        /// What to install.
        help: String,
    },
    /// An address of the plan is taken.
    #[error("{address} is in use{owner}: end that program, or take another lab with `--lab NUMBER`")]
    AddressInUse {
        /// Which.
        address: SocketAddr,
        /// Who has it, as far as it can be told: ` by etcd (pid 12)`.
        owner: String,
    },
    /// No number is left, or the wanted one runs already.
    #[error("lab {wanted} is not free: {reason}")]
    NumberTaken {
        /// The number, or `of any number`.
        wanted: String,
        /// Why.
        reason: String,
    },
    /// The data in the folder was made from another spec.
    #[error(
        "the data in {dir} was made from another spec ({what}): remove it with `meridian lab down --purge`, \
         or start with `--fresh`"
    )]
    OtherSpec {
        /// The state folder.
        dir: PathBuf,
        /// What differs.
        what: String,
    },
    /// The spec has something that the lab cannot carry out.
    #[error("the lab cannot run this spec: {0}")]
    Unsupported(String),
    /// A file or folder.
    #[error("cannot {doing} {path}: {source}")]
    File {
        /// `write`, `create`, …
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A socket.
    #[error("cannot {doing} {address}: {source}")]
    Socket {
        /// `bind`, `listen on`, …
        doing: &'static str,
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A process did not start.
    #[error("cannot start {part} of {region}: {source}")]
    Spawn {
        /// `etcd`, `node`, …
        part: String,
        /// Where.
        region: RegionName,
        /// Why.
        source: std::io::Error,
    },
    /// A process ended that should run.
    #[error("{part} of {region} ended ({status}); its last words, from {log}:\n{tail}")]
    Ended {
        /// Which.
        part: String,
        /// Where.
        region: RegionName,
        /// Its exit status.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },
    /// Not healthy in time.
    #[error("not healthy after {}: {}", humane(.within), some(.missing))]
    NotHealthy {
        /// How long was waited.
        within: Duration,
        /// What is missing, one sentence each.
        missing: Vec<String>,
    },
    /// There is no such region.
    #[error("there is no region `{name}`; there are: {known}")]
    NoRegion {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A fault that makes no sense now.
    #[error("cannot {fault}: {reason}")]
    Fault {
        /// What was asked for.
        fault: String,
        /// Why not.
        reason: String,
    },
    /// No lab answers.
    #[error("{0}")]
    NoLab(String),
    /// The control socket of a lab.
    #[error("the lab at {socket} {what}")]
    Control {
        /// Its socket.
        socket: PathBuf,
        /// What went wrong.
        what: String,
    },
    /// Certificates of the lab.
    #[error("cannot make the lab's certificates: {0}")]
    Certificates(String),
}

/// The first of many sentences.
fn some(sentences: &[String]) -> String {
    const MOST: usize = 6;
    let first = sentences.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join("; ");
    match sentences.len().saturating_sub(MOST) {
        0 => first,
        more => format!("{first}; and {more} more"),
    }
}

/// Seconds with one decimal.
fn humane(d: &Duration) -> String {
    format!("{:.1} s", d.as_secs_f64())
}

impl LabError {
    /// For `map_err` on file operations.
    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }
}
