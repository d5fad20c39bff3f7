//! All processes of one PostgreSQL, found by what they are and not by who their parent was.
//!
//! A postmaster that was killed leaves its backends behind for a moment: they notice only when they next
//! wait, and until then may finish and acknowledge a transaction. Backends also leave the process group
//! (`setsid`). So the processes are found in `/proc`: a `postgres` whose working directory is the data
//! directory. Nothing is done with a data directory before all of them are gone.

use std::io;
use std::path::Path;
use std::time::Duration;

use meridian_telemetry::clock;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::process::pause;

/// The processes of the server in `data_dir` (a canonical path), the dead ones not counted. An error says
/// nothing about them: who waits for their end must go on waiting.
pub(crate) fn processes(data_dir: &Path) -> io::Result<Vec<Pid>> {
    scan(Path::new(PROC), data_dir)
}

/// Those of them whose title says `what`, such as `walreceiver`.
pub(crate) fn processes_titled(data_dir: &Path, what: &str) -> io::Result<Vec<Pid>> {
    scan_titled(Path::new(PROC), data_dir, what)
}

/// Kills all of them and waits until they are gone; the number that is left after `within`, or why they
/// could not be looked for at the end.
pub(crate) fn kill_all(data_dir: &Path, within: Duration) -> io::Result<usize> {
    let end = clock::now() + within;
    loop {
        let left = processes(data_dir);
        left.iter().flatten().for_each(|pid| signal(*pid, data_dir, Signal::KILL));
        if left.as_ref().is_ok_and(Vec::is_empty) || clock::now() >= end {
            return left.map(|left| left.len());
        }
        pause(Duration::from_millis(1));
    }
}

/// Sends a signal to a process of the cluster; never to one that took over its number.
pub(crate) fn signal(pid: Pid, data_dir: &Path, signal: Signal) {
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if belongs(Path::new(PROC), pid, data_dir) {
        let _already_gone = pidfd_send_signal(&handle, signal);
    }
}

fn scan(proc: &Path, data_dir: &Path) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(proc)? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        found.extend(pid.filter(|pid| belongs(proc, *pid, data_dir)));
    }
    Ok(found)
}

/// A title that cannot be read, although its process is there, could say anything: an error.
fn scan_titled(proc: &Path, data_dir: &Path, what: &str) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for pid in scan(proc, data_dir)? {
        match std::fs::read(file_of(proc, pid, "cmdline")) {
            Ok(title) if String::from_utf8_lossy(&title).contains(what) => found.push(pid),
            Ok(_) => {}
            Err(e) if is_gone(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

fn belongs(proc: &Path, pid: Pid, data_dir: &Path) -> bool {
    let link = |what: &str| std::fs::read_link(file_of(proc, pid, what));
    if !link("cwd").is_ok_and(|cwd| cwd == data_dir) {
        return false;
    }
    // Without a program it is ending: its files and sockets may still be there. One that cannot be read
    // may be ours.
    link("exe").map_or(true, |exe| is_postgres(&exe))
}

fn file_of(proc: &Path, pid: Pid, what: &str) -> std::path::PathBuf {
    proc.join(pid.as_raw_nonzero().to_string()).join(what)
}

/// What the kernel says about a process that ended between two looks.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// The program may have been replaced by an upgrade while it ran: ` (deleted)` is part of the link then.
fn is_postgres(exe: &Path) -> bool {
    let name = exe.file_name().unwrap_or_default().to_string_lossy();
    matches!(name.trim_end_matches(" (deleted)"), "postgres" | "postmaster")
}

const PROC: &str = "/proc";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A process of the server in `/data` with that number, in a folder like `/proc`.
    fn process(proc: &Path, pid: &str) -> std::path::PathBuf {
        let process = proc.join(pid);
        std::fs::create_dir(&process).unwrap();
        symlink("/data", process.join("cwd")).unwrap();
        symlink("/usr/bin/postgres", process.join("exe")).unwrap();
        process
    }

    #[test]
    fn processes_that_cannot_be_looked_for_are_not_taken_for_none() {
        let nowhere = Path::new("/nowhere/proc");
        assert!(scan(nowhere, Path::new("/data")).is_err());
        assert!(scan_titled(nowhere, Path::new("/data"), "walreceiver").is_err());
    }

    #[test]
    fn a_title_that_cannot_be_read_is_an_error_unless_its_process_is_gone() {
        let proc = tempfile::tempdir().unwrap();
        let titled = || scan_titled(proc.path(), Path::new("/data"), "walreceiver");
        let receiver = process(proc.path(), "41");
        process(proc.path(), "42");
        std::fs::write(receiver.join("cmdline"), "postgres: orders: walreceiver streaming").unwrap();
        assert_eq!(scan(proc.path(), Path::new("/data")).unwrap().len(), 2);
        assert_eq!(titled().unwrap(), [Pid::from_raw(41).unwrap()], "the other one is gone");
        std::fs::create_dir(proc.path().join("42/cmdline")).unwrap();
        assert!(titled().is_err());
    }
}
