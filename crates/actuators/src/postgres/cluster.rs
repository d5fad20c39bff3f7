//! All processes of one PostgreSQL, found by what they are and not by who their parent was.
//!
//! A postmaster that was killed leaves its backends behind for a moment: they notice only when they next
//! wait, and until then may finish and acknowledge a transaction. Backends also leave the process group
//! (`setsid`). So the processes are found in `/proc`: a `postgres` whose working directory is the data
//! directory. Nothing is done with a data directory before all of them are gone.

use std::path::Path;
use std::time::Duration;

use meridian_telemetry::clock;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::process::pause;

/// The processes of the server in `data_dir` (a canonical path), the dead ones not counted.
pub(crate) fn processes(data_dir: &Path) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pid_of = |name: &str| name.parse().ok().and_then(Pid::from_raw);
    entries
        .flatten()
        .filter_map(|entry| pid_of(entry.file_name().to_str()?))
        .filter(|pid| belongs(*pid, data_dir))
        .collect()
}

/// Those of them whose title says `what`, such as `walreceiver`.
pub(crate) fn processes_titled(data_dir: &Path, what: &str) -> Vec<Pid> {
    let title = |pid: Pid| std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    let says = |pid: &Pid| title(*pid).is_ok_and(|t| String::from_utf8_lossy(&t).contains(what));
    processes(data_dir).into_iter().filter(says).collect()
}

/// Kills all of them and waits until they are gone; the number that is left after `within`.
pub(crate) fn kill_all(data_dir: &Path, within: Duration) -> usize {
    let end = clock::now() + within;
    loop {
        let left = processes(data_dir);
        left.iter().for_each(|pid| signal(*pid, data_dir, Signal::KILL));
        if left.is_empty() || clock::now() >= end {
            return left.len();
        }
        pause(Duration::from_millis(1));
    }
}

/// Sends a signal to a process of the cluster; never to one that took over its number.
pub(crate) fn signal(pid: Pid, data_dir: &Path, signal: Signal) {
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if belongs(pid, data_dir) {
        let _already_gone = pidfd_send_signal(&handle, signal);
    }
}

fn belongs(pid: Pid, data_dir: &Path) -> bool {
    let link = |what: &str| std::fs::read_link(format!("/proc/{}/{what}", pid.as_raw_nonzero()));
    if !link("cwd").is_ok_and(|cwd| cwd == data_dir) {
        return false;
    }
    match link("exe") {
        Ok(exe) => is_postgres(&exe),
        // It is ending: its program is gone already, its files and sockets are not yet.
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}

/// The program may have been replaced by an upgrade while it ran: ` (deleted)` is part of the link then.
fn is_postgres(exe: &Path) -> bool {
    let name = exe.file_name().unwrap_or_default().to_string_lossy();
    matches!(name.trim_end_matches(" (deleted)"), "postgres" | "postmaster")
}
