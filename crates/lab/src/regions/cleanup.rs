//! How a lab ends: in order, or found half dead by the next one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_telemetry::clock;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::{Condition, Lab};
use crate::drill::Tell;
use crate::error::LabError;
use crate::plan::{Files, MadeFor, made_for, write_private};
use crate::process::{Child, Identity, Process, Territory, shared_memory};

/// How long nodes have: their data planes drain for up to 12 s, then their databases stop within 3.
const NODE_WITHIN: Duration = Duration::from_secs(18);
/// How long etcd has.
const ETCD_WITHIN: Duration = Duration::from_secs(3);
/// How long killed processes may take to be gone.
const KILL_WITHIN: Duration = Duration::from_secs(5);
/// How often the process table is read meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What data is made for whose removal was interrupted.
const HALF_REMOVED: &str = "nothing: it is half removed";

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
pub(crate) async fn remove(dir: &Path, tell: Tell<'_>) -> Result<(), LabError> {
    let Some(made) = MadeFor::read(dir) else { return Ok(()) };
    // Its number is this folder's as long as something is left of it, whichever command began the removal.
    let number = made.number.map(|number| format!(" --lab {number}")).unwrap_or_default();
    clear(dir, &format!("`meridian lab down{number} --purge`"), tell).await?;
    std::fs::remove_dir(dir).map_err(LabError::file("remove", dir))
}

/// A removal that goes on; when it is dropped before its end (somebody interrupted it, or it failed) it says what is left.
struct Removal<'a> {
    dir: &'a Path,
    /// What goes on with it.
    again: &'a str,
    tell: Tell<'a>,
    done: bool,
}

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        if !self.done {
            (self.tell)(&format!(
                "the data in {} is half removed and of no more use: {} goes on with its removal",
                self.dir.display(),
                self.again
            ));
        }
    }
}

/// Removes what is in a lab's folder, if it is one; `tell` hears how far it is, for it can take many seconds. The
/// folder stays, for it may be locked. It says until the end that it is a lab's, and at once that its data is of no use.
/// `again`: which command goes on with it when it is interrupted.
pub(crate) async fn clear(dir: &Path, again: &str, tell: Tell<'_>) -> Result<(), LabError> {
    let Some(made) = MadeFor::read(dir) else { return Ok(()) };
    MadeFor { shape: vec![HALF_REMOVED.to_owned()], ..made }.write(dir)?;
    let mut removal = Removal { dir, again, tell, done: false };
    tell(&format!("removing the data of an earlier run in {}", dir.display()));
    shared_memory::release(dir);
    let entries = std::fs::read_dir(dir).map_err(LabError::file("read", dir))?;
    let mut entries: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    entries.sort_by_key(|path| path.ends_with(made_for::FILE));
    for path in entries {
        let folder = path.is_dir() && !path.is_symlink();
        let region = path.join("spec.yaml").is_file();
        let removed = match folder {
            true => tokio::fs::remove_dir_all(&path).await,
            false => tokio::fs::remove_file(&path).await,
        };
        removed.map_err(LabError::file("remove", &path))?;
        if let Some(name) = path.file_name().filter(|_| region) {
            tell(&format!("removed {}", name.display()));
        }
    }
    removal.done = true;
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
        remove(lab.dir(), &|_| ()).await?;
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// What goes on with a removal here.
    const AGAIN: &str = "the same command";

    #[tokio::test]
    async fn a_removal_tells_how_far_it_is_and_what_is_half_removed_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("shop-10");
        std::fs::create_dir_all(dir.join("us-east-1/etcd")).unwrap();
        std::fs::create_dir(dir.join("secrets")).unwrap();
        for file in ["ca.pem", "us-east-1/spec.yaml"] {
            std::fs::write(dir.join(file), "x").unwrap();
        }
        let made =
            MadeFor { shape: vec!["region us-east-1".to_owned()], number: Some(10), ..MadeFor::default() };
        made.write(&dir).unwrap();
        let seen = Mutex::new(Vec::new());
        let refused = Mutex::new(String::new());
        let tell = |line: &str| {
            seen.lock().unwrap().push(line.to_owned());
            // It could be interrupted here.
            let now = MadeFor::read(&dir).unwrap();
            *refused.lock().unwrap() = made.refuse(&now, &dir).unwrap_err().to_string();
        };
        clear(&dir, AGAIN, &tell).await.unwrap();
        let first = format!("removing the data of an earlier run in {}", dir.display());
        assert_eq!(*seen.lock().unwrap(), [first.as_str(), "removed us-east-1"]);
        let refused = refused.lock().unwrap().clone();
        assert!(refused.contains("half removed") && refused.contains("--purge"), "{refused}");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        made.write(&dir).unwrap();
        remove(&dir, &|_| ()).await.unwrap();
        assert!(!dir.exists());
        remove(folder.path(), &|_| ()).await.unwrap();
        assert!(folder.path().exists(), "it was no lab's");
    }

    #[tokio::test]
    async fn a_removal_that_is_interrupted_says_so_and_the_next_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("shop-10");
        let regions = ["us-east-1", "eu-central-1"].map(|region| dir.join(region));
        regions.iter().for_each(|region| std::fs::create_dir_all(region).unwrap());
        MadeFor { number: Some(10), ..MadeFor::default() }.write(&dir).unwrap();
        let seen = Mutex::new(Vec::new());
        let tell = |line: &str| seen.lock().unwrap().push(line.to_owned());
        {
            let mut removing = std::pin::pin!(remove(&dir, &tell));
            // Files are removed on another thread, so the first look at it finds it waiting.
            assert!(at_once(removing.as_mut()).is_none());
        }
        let last = seen.lock().unwrap().pop().unwrap();
        let again = "`meridian lab down --lab 10 --purge` goes on with its removal";
        assert!(last.contains("is half removed") && last.contains(again), "{last}");
        // That thread ends what it has begun.
        while regions.iter().all(|region| region.exists()) {
            tokio::task::yield_now().await;
        }
        clear(&dir, AGAIN, &tell).await.unwrap();
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        assert!(!seen.lock().unwrap().iter().any(|line| line.contains("half removed")));
    }

    /// What the future has at once, if it has.
    fn at_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }
}
