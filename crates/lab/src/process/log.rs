//! Log files of the parts: bounded, and readable from their end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A log over this is cut.
const LOG_MAX: u64 = 16 << 20;
/// So much of its end is kept beside it, as `NAME.old`.
const KEPT: u64 = 4 << 20;

/// Cuts the log if it is too long. The writers append, so they go on at the new end.
pub(crate) fn rotate(log: &Path) -> io::Result<()> {
    if fs::metadata(log)?.len() <= LOG_MAX {
        return Ok(());
    }
    let mut old = log.as_os_str().to_owned();
    old.push(".old");
    fs::write(PathBuf::from(old), end(log, KEPT)?)?;
    OpenOptions::new().write(true).open(log)?.set_len(0)
}

/// The last `lines` of the file; empty when there is none.
#[must_use]
pub fn tail(log: &Path, lines: usize) -> String {
    const LINE: u64 = 1 << 10;
    let bytes = end(log, LINE.saturating_mul(lines as u64)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// The last `lines` of what was written after byte `from`; a log that was cut meanwhile counts whole.
pub(crate) fn tail_since(log: &Path, from: u64, lines: usize) -> String {
    let length = fs::metadata(log).map_or(0, |about| about.len());
    let new = length.checked_sub(from).unwrap_or(length);
    let bytes = end(log, new.min(KEPT)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// Why a program ended, from the end of its log: the last line in which it names itself, else the last line.
pub(crate) fn last_words(tail: &str) -> String {
    let said = |line: &&str| !line.trim().is_empty();
    let own = tail.lines().rev().find_map(|line| line.strip_prefix("meridian: "));
    own.or_else(|| tail.lines().rev().find(said)).unwrap_or("it said nothing").trim().to_owned()
}

fn end(log: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let from = file.metadata()?.len().saturating_sub(most);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Follows a file as it grows, also when it is cut.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    at: u64,
}

impl Tail {
    /// Begins at the present end of `path`.
    #[must_use]
    pub fn from_end(path: PathBuf) -> Self {
        let at = fs::metadata(&path).map_or(0, |m| m.len());
        Self { path, at }
    }

    /// Begins with the first line of `path`.
    #[must_use]
    pub fn from_start(path: PathBuf) -> Self {
        Self { path, at: 0 }
    }

    /// What was added since the last call.
    pub fn read(&mut self) -> String {
        self.try_read().unwrap_or_default()
    }

    fn try_read(&mut self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        if file.metadata()?.len() < self.at {
            self.at = 0;
        }
        file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        self.at += file.read_to_end(&mut bytes)? as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_words_of_this_start_are_quoted_and_the_reason_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("node.log");
        let before = "meridian: an old reason\n";
        fs::write(&log, format!("{before}starting\nmeridian: the port is in use\nbye\n")).unwrap();
        let told = tail_since(&log, before.len() as u64, 12);
        assert_eq!(told, "starting\nmeridian: the port is in use\nbye");
        assert_eq!(last_words(&told), "the port is in use");
        assert_eq!((last_words("a\nb\n\n"), last_words("")), ("b".to_owned(), "it said nothing".to_owned()));
        assert!(tail_since(&log, 1 << 20, 1).ends_with("bye"), "it was cut meanwhile");
    }

    #[test]
    fn a_long_log_is_cut_and_its_end_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("node.log");
        let line = "x".repeat(1023) + "\n";
        fs::write(&log, line.repeat(17 << 10) + "last words\n").unwrap();
        let mut follower = Tail::from_end(log.clone());
        assert_eq!(tail(&log, 1), "last words");
        rotate(&log).unwrap();
        assert_eq!(fs::metadata(&log).unwrap().len(), 0);
        let old = fs::read_to_string(folder.path().join("node.log.old")).unwrap();
        assert!(old.ends_with("last words\n") && old.len() as u64 <= KEPT);
        fs::write(&log, "new\n").unwrap();
        assert_eq!(follower.read(), "new\n");
    }
}
