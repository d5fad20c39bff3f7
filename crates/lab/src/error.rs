//! What can go wrong in the lab: what happened, where, and what to do about it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use meridian_model::RegionName;

use crate::process::last_words;

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
    #[error("{address} is in use by {}: end that program, or take another lab with `--lab NUMBER`", shown(.owner))]
    AddressInUse {
        /// Which.
        address: SocketAddr,
        /// Who has it, as far as it can be told: `etcd (pid 12)`.
        owner: Option<String>,
    },
    /// No number is left, or the wanted one runs already.
    #[error("lab {wanted} is not free: {reason}")]
    NumberTaken {
        /// The number, or `of any number`.
        wanted: String,
        /// Why.
        reason: String,
    },
    /// There is no such number.
    #[error("there is no lab {number}: numbers go from {first} to {last}")]
    NoNumber {
        /// The wanted one.
        number: u8,
        /// The lowest.
        first: u8,
        /// The highest.
        last: u8,
    },
    /// Another lab runs in the folder.
    #[error("{dir} is in use{by}: end that lab, or choose another folder with `--dir`")]
    DirInUse {
        /// Which.
        dir: PathBuf,
        /// Who: ` by lab 10`, as far as it can be told.
        by: String,
    },
    /// The folder has something else in it.
    #[error("{0} is not empty and was not made by a lab: name an empty or a new folder with `--dir`")]
    ForeignDir(PathBuf),
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
    #[error("{part} of {region} ended ({status}): {}; its log since this start, {log}:\n{tail}", last_words(.tail))]
    Ended {
        /// Which.
        part: String,
        /// Where.
        region: RegionName,
        /// Its exit status.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The end of the log, without what earlier starts have left there.
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

/// Who has an address.
fn shown(owner: &Option<String>) -> &str {
    const UNKNOWN: &str = "a program that cannot be seen from here (another user's, or one that is just ending; `sudo ss -ltnp` names it)";
    owner.as_deref().unwrap_or(UNKNOWN)
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
    /// What was asked for makes no sense, or names what is not there; else it was right and the answer is no.
    #[must_use]
    pub fn is_bad_use(&self) -> bool {
        matches!(
            self,
            Self::NoNumber { .. }
                | Self::ForeignDir(_)
                | Self::Unsupported(_)
                | Self::File { .. }
                | Self::NoRegion { .. }
                | Self::Fault { .. }
                | Self::NoLab(_)
                | Self::Control { .. }
        )
    }

    /// For `map_err` on file operations.
    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_who_is_not_known_is_said_to_be() {
        let told = |owner| {
            let address = SocketAddr::from(([127, 10, 1, 1], 2379));
            LabError::AddressInUse { address, owner }.to_string()
        };
        assert!(
            told(Some("etcd (pid 12)".to_owned()))
                .starts_with("127.10.1.1:2379 is in use by etcd (pid 12): end")
        );
        let unknown = told(None);
        assert!(unknown.contains("is in use by a program that cannot be seen from here"), "{unknown}");
    }
}
