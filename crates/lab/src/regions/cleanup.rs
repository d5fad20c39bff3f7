//! How a lab ends: in order, or found half dead by the next one.

use std::path::Path;
use std::time::Duration;

use meridian_telemetry::clock;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::{Condition, Lab};
use crate::error::LabError;
use crate::plan::{Files, MadeFor, write_private};
use crate::process::{Child, Identity, Process, Territory};

/// How long nodes have: their data planes drain for up to 12 s, then their databases stop within 3.
const NODE_WITHIN: Duration = Duration::from_secs(18);
/// How long etcd has.
const ETCD_WITHIN: Duration = Duration::from_secs(3);
/// How long killed processes may take to be gone.
const KILL_WITHIN: Duration = Duration::from_secs(5);
/// How often the process table is read meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the next lab finds if this one is interrupted.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    number: u8,
    lab: Identity,
    processes: Vec<Identity>,
}

/// Writes down which processes are ours now.
pub(super) fn write_state(lab: &Lab) -> Result<(), LabError> {
    let runs = lab.runs().clone();
    let processes = runs.iter().flat_map(|r| [&r.etcd, &r.node]).flatten().map(|c| c.identity).collect();
    let state = State { number: lab.number(), lab: Identity::of(std::process::id()), processes };
    write_private(&lab.0.plan.files.state(), &serde_json::to_vec_pretty(&state).unwrap_or_default())
}

/// Kills what an interrupted lab has left in `dir`. The caller holds the lab's lock, so nobody runs there.
pub(crate) fn leftovers(dir: &Path) {
    let files = Files::new(dir);
    let state: Option<State> =
        std::fs::read(files.state()).ok().and_then(|b| serde_json::from_slice(&b).ok());
    let Some(state) = state else { return };
    let territory = Territory { folder: dir.to_owned(), roots: state.processes };
    let start = clock::now();
    loop {
        let left = territory.processes();
        if left.is_empty() || clock::now().since(start) > KILL_WITHIN {
            break;
        }
        tracing::info!(dir = %dir.display(), processes = left.len(), "ending what an interrupted lab has left");
        signal_all(&left, Signal::KILL);
        std::thread::yield_now();
    }
    let _ = std::fs::remove_file(files.state());
    let _ = std::fs::remove_file(files.socket());
}

/// Removes a lab's folder, if it is one.
pub(crate) fn remove(dir: &Path) -> Result<(), LabError> {
    if MadeFor::read(dir).is_none() {
        return Ok(());
    }
    std::fs::remove_dir_all(dir).map_err(LabError::file("remove", dir))
}

/// Removes what is in a lab's folder, if it is one. The folder stays, for it may be locked.
pub(crate) fn clear(dir: &Path) -> Result<(), LabError> {
    if MadeFor::read(dir).is_none() {
        return Ok(());
    }
    let entries = std::fs::read_dir(dir).map_err(LabError::file("read", dir))?;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let folder = path.is_dir() && !path.is_symlink();
        let removed = if folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(LabError::file("remove", path))?;
    }
    Ok(())
}

/// Ends everything, gently first.
pub(super) async fn shut_down(lab: &Lab, purge: bool) -> Result<(), LabError> {
    let _one = lab.0.acting.lock().await;
    let count = lab.runs().len();
    let mut children = Vec::new();
    for i in 0..count {
        let Some(territory) = lab.territory(i) else { continue };
        // What is frozen could not stop.
        signal_all(&territory.processes(), Signal::CONT);
        lab.with_run(i, |run| {
            run.condition = Condition::Killed;
            children.push((run.node.take(), run.etcd.take()));
        });
    }
    let (nodes, etcds): (Vec<_>, Vec<_>) = children.into_iter().unzip();
    terminate(nodes, NODE_WITHIN).await;
    terminate(etcds, ETCD_WITHIN).await;
    let whole = Territory { folder: lab.dir().to_owned(), roots: Vec::new() };
    kill(|| whole.processes()).await?;
    let files = &lab.0.plan.files;
    let _ = std::fs::remove_file(files.state());
    let _ = std::fs::remove_file(files.socket());
    lab.tell(None, "the lab is down");
    if purge {
        remove(lab.dir())?;
        lab.0.lock.forget();
    }
    Ok(())
}

async fn terminate(children: Vec<Option<Child>>, within: Duration) {
    let children: Vec<Child> = children.into_iter().flatten().collect();
    for child in &children {
        child.identity.signal(Signal::TERM);
    }
    let all = async {
        for child in &children {
            child.wait().await;
        }
    };
    if tokio::time::timeout(within, all).await.is_err() {
        for child in &children {
            child.identity.signal(Signal::KILL);
        }
    }
}

/// Kills what `find` finds until it finds nothing; how many there were.
pub(super) async fn kill(find: impl Fn() -> Vec<Process>) -> Result<usize, LabError> {
    let start = clock::now();
    let mut killed = std::collections::BTreeSet::new();
    loop {
        let left = find();
        if left.is_empty() {
            return Ok(killed.len());
        }
        signal_all(&left, Signal::KILL);
        killed.extend(left.iter().map(|p| p.identity));
        if clock::now().since(start) > KILL_WITHIN {
            let names: Vec<String> =
                left.iter().map(|p| format!("{} ({})", p.name, p.identity.pid)).collect();
            let reason = format!("{} are still there after SIGKILL", names.join(", "));
            return Err(LabError::Fault { fault: "kill".to_owned(), reason });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Sends one signal to all, in their order.
pub(super) fn signal_all(processes: &[Process], signal: Signal) {
    for process in processes {
        process.identity.signal(signal);
    }
}
