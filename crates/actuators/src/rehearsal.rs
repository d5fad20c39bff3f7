//! A rehearsal: the standby's clone is promoted and written to, and production does not notice.
//!
//! The clone has nothing to do with the group any more: it listens on loopback, follows nobody, lets nobody
//! follow it, archives nothing and applies no subscription. It reads the standby once, over the
//! standby's own port; the primary is not asked.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use meridian_telemetry::clock;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::error::ActuatorError;
use crate::execute::BoxFuture;
use crate::postgres::kill_cluster;
use crate::process::{Child, pause};

/// What is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The standby is copied; there is room for it.
    Cloning,
    /// The clone is started, and replays the log that came with it.
    Starting,
    /// It is promoted, and then written to and read.
    Promoting,
}

/// What was measured up to the first write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsed {
    /// Copying the standby.
    pub clone_took: Duration,
    /// From starting the clone to its first answer, with the log replayed that came with it.
    pub start_took: Duration,
    /// From the order to promote to the end of recovery.
    pub promote_took: Duration,
    /// A write and a read.
    pub write_took: Duration,
    /// The size of the clone on disk.
    pub bytes: u64,
    /// What was free on that disk before.
    pub free_bytes: u64,
}

/// What a rehearsal left behind: nothing, as was looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Stopping and removing.
    pub took: Duration,
    /// Processes of the clone that are left.
    pub processes: usize,
    /// The clone's folder is still there.
    pub folder: bool,
    /// Slots of the standby that were not there before.
    pub new_slots: Vec<String>,
    /// The standby streams from its upstream.
    pub streaming: bool,
}

impl Removed {
    /// Nothing is left, and the standby goes on as before.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.processes == 0 && !self.folder && self.new_slots.is_empty() && self.streaming
    }
}

/// Looks at the standby after the clone is gone: new slots, and whether it streams.
pub(crate) type Look =
    Box<dyn FnOnce() -> BoxFuture<'static, Result<(Vec<String>, bool), ActuatorError>> + Send>;

/// A clone that runs, takes writes and can be looked at. When this is dropped it is killed, and removed by a thread of
/// its own: [`gone`] waits for that.
pub struct Rehearsal {
    /// What was measured.
    pub rehearsed: Rehearsed,
    /// Where the clone listens: loopback, with the same users and passwords.
    pub address: SocketAddr,
    pub(crate) clone: Clone,
    pub(crate) look: Look,
}

impl Rehearsal {
    /// The clone's folder. What else is put there is removed with it, after a crash too.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.clone.folder
    }

    /// Stops and removes the clone, and looks whether anything is left.
    ///
    /// # Errors
    /// It cannot be removed, or the standby does not answer.
    pub async fn end(self) -> Result<Removed, ActuatorError> {
        let began = clock::now();
        let Self { clone, look, .. } = self;
        let folder = clone.folder.clone();
        let processes = clone.end().await?;
        let took = clock::now().since(began);
        let (new_slots, streaming) = look().await?;
        Ok(Removed { took, processes, folder: folder.exists(), new_slots, streaming })
    }
}

/// The files and processes of a clone.
pub(crate) struct Clone {
    pub(crate) folder: PathBuf,
    pub(crate) child: Option<Child>,
    /// None: it has been removed, or somebody else does that.
    remains: Option<Remains>,
}

impl Clone {
    /// Notes the folder down before it is there; takes what an earlier rehearsal left away. Blocks.
    pub(crate) fn begin(
        workspace: &Path,
        name: &str,
        note: PathBuf,
        busy: &Arc<AtomicBool>,
    ) -> Result<Self, ActuatorError> {
        let busy = Busy::alone(busy)?;
        remove_noted(&note)?;
        fs::create_dir_all(workspace).map_err(|e| ActuatorError::file("making the folder", workspace, e))?;
        let workspace = workspace.canonicalize().map_err(|e| ActuatorError::file("finding", workspace, e))?;
        let folder = folder_in(&workspace, name);
        if folder.exists() {
            let problem = format!("{} is there and not ours; remove it", folder.display());
            return Err(ActuatorError::WrongState { command: "rehearse", problem });
        }
        fs::write(&note, folder.as_os_str().as_encoded_bytes())
            .map_err(|e| ActuatorError::file("writing", &note, e))?;
        let remains = Some(Remains { folder: folder.clone(), note, _busy: busy });
        let clone = Self { folder, child: None, remains };
        fs::create_dir(&clone.folder)
            .map_err(|e| ActuatorError::file("making the folder", &clone.folder, e))?;
        Ok(clone)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Kills it and removes its folder; the number of processes that are left. Goes on when nobody waits.
    pub(crate) async fn end(mut self) -> Result<usize, ActuatorError> {
        self.kill();
        let Some(remains) = self.remains.take() else { return Ok(0) };
        let removed = tokio::task::spawn_blocking(move || remains.remove());
        removed.await.map_err(|_| ActuatorError::ThreadGone("removing"))?
    }

    fn kill(&self) {
        if let Some(child) = &self.child {
            child.signal(Signal::KILL);
        }
    }
}

impl Drop for Clone {
    /// Does only what cannot block: whoever drops it may be a runtime.
    fn drop(&mut self) {
        self.kill();
        let Some(remains) = self.remains.take() else { return };
        let removing = thread::Builder::new().name("rehearsal-end".to_owned()).spawn(move || {
            if let Err(error) = remains.remove() {
                tracing::warn!(%error, "the next start removes what a rehearsal has left");
            }
        });
        if let Err(error) = removing {
            tracing::warn!(%error, "the next start removes what a rehearsal has left");
        }
    }
}

/// What is to be removed of a clone. Until then no other one is begun.
struct Remains {
    folder: PathBuf,
    /// Says where the folder is, for a next life of this node.
    note: PathBuf,
    _busy: Busy,
}

impl Remains {
    fn remove(&self) -> Result<usize, ActuatorError> {
        let left = remove_folder_of(&self.folder)?;
        fs::remove_file(&self.note).map_err(|e| ActuatorError::file("removing", &self.note, e))?;
        Ok(left)
    }
}

/// No other rehearsal is under way while this lives.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn alone(busy: &Arc<AtomicBool>) -> Result<Self, ActuatorError> {
        if busy.swap(true, Ordering::SeqCst) {
            let problem = "another rehearsal is under way".to_owned();
            return Err(ActuatorError::WrongState { command: "rehearse", problem });
        }
        Ok(Self(Arc::clone(busy)))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Waits until the folder of a rehearsal that was dropped is removed, and says whether it is: killing and removing
/// may take as long as a broken disk wants, but are not waited for any longer than usual.
pub async fn gone(folder: &Path) -> bool {
    let end = clock::now() + KILL_WITHIN;
    while folder.exists() {
        if clock::now() >= end {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    true
}

/// Where the clone of that group is while it is there.
#[must_use]
pub fn folder_in(workspace: &Path, group: &str) -> PathBuf {
    workspace.join(format!("{OURS}{group}"))
}

/// Removes the clone that a note speaks of, if there is one.
pub(crate) fn remove_noted(note: &Path) -> Result<(), ActuatorError> {
    let folder = match fs::read_to_string(note) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        read => PathBuf::from(read.map_err(|e| ActuatorError::file("reading", note, e))?),
    };
    let ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(OURS);
    if folder.is_absolute() && folder.file_name().is_some_and(ours) {
        remove_folder_of(&folder)?;
    }
    fs::remove_file(note).map_err(|e| ActuatorError::file("removing", note, e))
}

fn remove_folder_of(folder: &Path) -> Result<usize, ActuatorError> {
    let end = clock::now() + KILL_WITHIN;
    loop {
        let looking = |e| ActuatorError::file("looking for the processes of", folder, e);
        let left = kill_cluster(&folder.join("data"), KILL_WITHIN).map_err(looking)?;
        match fs::remove_dir_all(folder).map_err(|e| (e.kind(), e)) {
            Ok(()) | Err((ErrorKind::NotFound, _)) => return Ok(left),
            // Whoever copied into it is killed, but may not be gone yet.
            Err((ErrorKind::DirectoryNotEmpty, _)) if clock::now() < end => pause(LOOK_AGAIN),
            Err((_, e)) => return Err(ActuatorError::file("removing", folder, e)),
        }
    }
}

/// What the name of a clone's folder begins with.
const OURS: &str = "meridian-rehearsal-";
const KILL_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
