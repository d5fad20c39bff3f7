//! Child processes of the lab, and how none of them outlives it.
//!
//! Three nets, one under the other. Each child gets `PR_SET_PDEATHSIG` = SIGKILL (through `setpriv`), so it
//! dies with the thread that started it: [`Spawner`]'s, which lives as long as the lab. What a child starts
//! carries a mark in its environment, so that it is found whoever its parent is now ([`Territory`]). And the
//! next start reads the state file of an interrupted lab and ends what it left ([`Identity`] makes sure
//! that a number is still the same process).

mod log;
pub(crate) mod shared_memory;
mod spawner;
mod tree;

pub use log::{Tail, tail};
pub(crate) use log::{last_words, rotate, tail_since};
pub use spawner::{Child, Command, Spawner};
pub use tree::{Identity, Process, Territory};

use std::path::PathBuf;

use crate::error::LabError;

/// The variable whose value is the folder of the region that a process belongs to.
pub const MARK: &str = "MERIDIAN_LAB_REGION_DIR";

/// The program of that name: on `PATH`, else in the usual folders.
///
/// # Errors
/// [`LabError::ProgramMissing`] with `help`: what to install.
pub fn find_program(name: &str, help: &str) -> Result<PathBuf, LabError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(usual)
        .map(|folder| folder.join(name))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file())
        .ok_or_else(|| LabError::ProgramMissing { program: name.to_owned(), help: help.to_owned() })
}
