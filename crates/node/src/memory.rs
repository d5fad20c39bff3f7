//! What a node must not forget when it restarts: the highest epoch that it has seen, its promises (both in
//! [`meridian_failover::Memory`]), and the last good snapshot.
//!
//! Written to a new file, synced and renamed before the answer that depends on it is given.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why memory could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The file system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there but is not ours.
    #[error(
        "{path} cannot be understood ({reason}); it holds the highest epoch seen, so it is not replaced: restore it, or remove it if this node has never run"
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The folder of what one node remembers.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    folder: PathBuf,
}

impl Memory {
    /// Opens the folder and makes it if it is not there.
    ///
    /// # Errors
    /// [`MemoryError::Io`] when it cannot be made.
    pub(crate) fn open(folder: &Path) -> Result<Self, MemoryError> {
        let failed = |source| MemoryError::Io { action: "make", path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Reads one of the files; `None` when there is none.
    ///
    /// # Errors
    /// [`MemoryError`] when the file is there and cannot be read.
    pub(crate) fn read<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>, MemoryError> {
        let path = self.folder.join(file);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(MemoryError::Io { action: "read", path, source }),
        };
        let unreadable = |e: serde_json::Error| MemoryError::Unreadable { path, reason: e.to_string() };
        serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
    }

    /// Replaces one of the files; on disk when this returns.
    ///
    /// # Errors
    /// [`MemoryError::Io`] when it could not be written; the old file is then still there.
    pub(crate) fn write<T: Serialize>(&self, file: &str, value: &T) -> Result<(), MemoryError> {
        let path = self.folder.join(file);
        let new = self.folder.join(format!("{file}.new"));
        let replace = || -> io::Result<()> {
            // For the node alone: some of it names users' tables.
            let mut options = File::options();
            let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            out.write_all(&serde_json::to_vec(value)?)?;
            out.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        replace().map_err(|source| MemoryError::Io { action: "write", path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::open(folder.path()).unwrap();
        assert_eq!(memory.read::<u64>("epoch.json").unwrap(), None);
        memory.write("epoch.json", &7_u64).unwrap();
        memory.write("epoch.json", &8_u64).unwrap();
        assert_eq!(memory.read::<u64>("epoch.json").unwrap(), Some(8));
    }

    #[test]
    fn a_broken_file_is_an_error_that_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::open(folder.path()).unwrap();
        std::fs::write(folder.path().join("epoch.json"), "{").unwrap();
        let error = memory.read::<u64>("epoch.json").unwrap_err().to_string();
        assert!(error.contains("not replaced"), "{error}");
        assert_eq!(std::fs::read_to_string(folder.path().join("epoch.json")).unwrap(), "{");
    }

    #[test]
    fn a_full_disk_loses_nothing_that_was_there() {
        // /dev/full refuses every write, as a full disk does.
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::open(folder.path()).unwrap();
        memory.write("epoch.json", &7_u64).unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join("epoch.json.new")).unwrap();
        let error = memory.write("epoch.json", &8_u64).unwrap_err().to_string();
        assert!(error.contains("epoch.json"), "{error}");
        assert_eq!(memory.read::<u64>("epoch.json").unwrap(), Some(7));
    }
}
