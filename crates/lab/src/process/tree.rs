//! Who is alive, whose child it is, and which region it belongs to: all from `/proc`.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::MARK;

/// One process for good: pids are used again, a pid with its start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

impl Identity {
    /// The process that has that number now.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        Self { pid, started: Process::read(pid).map_or(0, |p| p.identity.started) }
    }

    /// It is there and no zombie.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Process::read(self.pid).is_some_and(|p| p.identity == self && !p.zombie)
    }

    /// Sends a signal to exactly this process; false when it is gone or not ours.
    pub fn signal(self, signal: Signal) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(handle) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
            return false;
        };
        // The handle is the process; now the number cannot be another's any more.
        self.is_alive() && pidfd_send_signal(&handle, signal).is_ok()
    }
}

/// One line of the process table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Which.
    pub identity: Identity,
    /// Its parent's number.
    pub parent: u32,
    /// The name of its program, 15 characters at most.
    pub name: String,
    /// It has ended, with all of its threads, and waits to be reaped. While a thread is still ending the process holds
    /// its ports: a node that was started then found its own address in use.
    pub zombie: bool,
}

impl Process {
    /// The process with that number.
    #[must_use]
    pub fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in brackets and may hold anything, brackets too.
        let (head, tail) = stat.rsplit_once(") ")?;
        let (_, name) = head.split_once('(')?;
        let mut fields = tail.split_ascii_whitespace();
        let ended = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        let threads: u32 = fields.nth(15)?.parse().ok()?;
        let started = fields.nth(1)?.parse().ok()?;
        let zombie = ended && threads <= 1;
        Some(Self { identity: Identity { pid, started }, parent, name: name.to_owned(), zombie })
    }

    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Self::read)
            .collect()
    }

    /// Its environment holds `MARK=folder`, or a folder beneath.
    fn is_marked(&self, folder: &Path) -> bool {
        let Ok(environment) = fs::read(format!("/proc/{}/environ", self.identity.pid)) else { return false };
        environment.split(|byte| *byte == 0).any(|entry| {
            let value = entry.strip_prefix(MARK.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
            value.and_then(|v| std::str::from_utf8(v).ok()).is_some_and(|v| Path::new(v).starts_with(folder))
        })
    }

    /// PostgreSQL overwrites its environment with its title. Its working folder is its data folder.
    fn is_postgres_in(&self, folder: &Path) -> bool {
        self.name == "postgres"
            && fs::read_link(format!("/proc/{}/cwd", self.identity.pid))
                .is_ok_and(|cwd| cwd.starts_with(folder))
    }
}

/// All processes of a region (or of a lab), however they came to be.
#[derive(Debug, Clone)]
pub struct Territory {
    /// The folder of the region or of the lab.
    pub folder: PathBuf,
    /// The processes that the lab itself has started there.
    pub roots: Vec<Identity>,
}

impl Territory {
    /// Those alive now: parents before children, zombies left out.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let all = Process::all();
        let mut found: Vec<&Process> = Vec::new();
        let mut known: HashSet<u32> = HashSet::new();
        for process in &all {
            let root = self.roots.contains(&process.identity);
            if root || process.is_marked(&self.folder) || process.is_postgres_in(&self.folder) {
                known.insert(process.identity.pid);
                found.push(process);
            }
        }
        let mut next = 0;
        while let Some(parent) = found.get(next).map(|p| p.identity.pid) {
            next += 1;
            for child in all.iter().filter(|p| p.parent == parent) {
                if known.insert(child.identity.pid) {
                    found.push(child);
                }
            }
        }
        let root_first = |p: &&Process| !self.roots.contains(&p.identity);
        found.sort_by_key(|p| (root_first(p), p.identity.started));
        let own = std::process::id();
        found.into_iter().filter(|p| !p.zombie && p.identity.pid != own).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_read_and_identified() {
        let own = Process::read(std::process::id()).unwrap();
        assert!(own.identity.is_alive() && own.identity.started > 0);
        let other = Identity { started: own.identity.started + 1, ..own.identity };
        assert!(!other.is_alive(), "the same number with another start is another process");
        assert!(!other.signal(Signal::KILL), "and is not killed");
    }
}
