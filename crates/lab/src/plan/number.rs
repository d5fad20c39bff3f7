//! Which number a lab has: taken by a lock on a file, so that two labs run side by side.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// The second octets that labs use.
const NUMBERS: RangeInclusive<u8> = 10..=250;

/// How often a held lock is tried.
const LOCK_TRIES: u32 = 20;

/// A number that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct NumberLock {
    file: File,
    path: PathBuf,
}

/// A number with its state folder.
#[derive(Debug)]
pub(crate) struct Number {
    pub(crate) number: u8,
    pub(crate) dir: PathBuf,
    pub(crate) lock: NumberLock,
    /// The folder of the lab that had the number last.
    pub(crate) before: Option<PathBuf>,
}

/// A lab of this user, as its lock file tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The second octet of its addresses.
    pub number: u8,
    /// Its state folder.
    pub dir: PathBuf,
    /// The name of its topology.
    pub name: String,
    /// The process that runs or ran it.
    pub pid: u32,
}

/// `/var/tmp/meridian-lab-UID`: the locks of this user's labs and, unless told otherwise, their data. Not under
/// `/root`, which PostgreSQL's user may not pass, and not in `/tmp`, which may be memory.
#[must_use]
pub fn default_root() -> PathBuf {
    PathBuf::from(format!("/var/tmp/meridian-lab-{}", rustix::process::geteuid().as_raw()))
}

/// Takes a number. Tried in this order: the wanted one only; those with data of `name`; the lowest free.
/// `usable` has the last word (are its addresses free?).
pub(crate) fn choose(
    name: &str,
    wanted: Option<u8>,
    dir: Option<&Path>,
    usable: impl Fn(&Number) -> Result<(), LabError>,
) -> Result<Number, LabError> {
    let root = default_root();
    own_folder(&root)?;
    if let Some(number) = wanted {
        let taken = |reason: String| LabError::NumberTaken { wanted: number.to_string(), reason };
        if !NUMBERS.contains(&number) {
            return Err(taken(format!("numbers go from {} to {}", NUMBERS.start(), NUMBERS.end())));
        }
        let found = take(&root, number, name, dir)?.ok_or_else(|| taken("it is running".to_owned()))?;
        return usable(&found).map(|()| found);
    }
    let data = |n: &u8| root.join(format!("{name}-{n}")).exists() && dir.is_none();
    let mut refused = None;
    for number in NUMBERS.filter(data).chain(NUMBERS.filter(|n| !data(n))) {
        let Some(found) = take(&root, number, name, dir)? else { continue };
        match usable(&found) {
            Ok(()) => return Ok(found),
            Err(error) => refused = Some(error),
        }
    }
    let reason = "all of them run".to_owned();
    Err(refused.unwrap_or(LabError::NumberTaken { wanted: "of any number".to_owned(), reason }))
}

/// The lock of that number, or `None` when another lab has it.
fn take(root: &Path, number: u8, name: &str, dir: Option<&Path>) -> Result<Option<Number>, LabError> {
    let path = lock_path(root, number);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(LabError::file("open", &path))?;
    // Somebody who only looks holds the lock for an instant.
    let locked =
        (0..LOCK_TRIES).any(|_| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() || pause());
    if !locked {
        return Ok(None);
    }
    let before = read_holder(&path).map(|h| h.dir);
    let dir = dir.map_or_else(|| root.join(format!("{name}-{number}")), Path::to_owned);
    Ok(Some(Number { number, dir, lock: NumberLock { file, path }, before }))
}

impl NumberLock {
    /// Tells others whose number it is now.
    pub(crate) fn sign(&mut self, holder: &Holder) -> Result<(), LabError> {
        let text = serde_json::to_vec(holder).unwrap_or_default();
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(&text));
        written.map_err(LabError::file("write", &self.path))
    }
}

/// The labs of this user: those that run now (their lock is held), or those that do not.
pub(crate) fn known_labs(running: bool) -> Vec<Holder> {
    let root = default_root();
    let known = |number| {
        let path = lock_path(&root, number);
        let file = File::open(&path).ok()?;
        // Free: taken for an instant, and given back by the close.
        let free = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
        if free == running { None } else { read_holder(&path) }
    };
    NUMBERS.filter_map(known).collect()
}

fn pause() -> bool {
    std::thread::yield_now();
    false
}

fn lock_path(root: &Path, number: u8) -> PathBuf {
    root.join(format!("lab-{number}.lock"))
}

fn read_holder(path: &Path) -> Option<Holder> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// The folder has a name that others can guess: it must be ours and no link.
fn own_folder(path: &Path) -> Result<(), LabError> {
    match fs::create_dir(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(LabError::file("create", path)(e)),
    }
    let about = fs::symlink_metadata(path).map_err(LabError::file("look at", path))?;
    if !about.is_dir() || about.uid() != rustix::process::geteuid().as_raw() {
        let error = std::io::Error::other("it belongs to somebody else: remove it, or use --dir");
        return Err(LabError::file("use", path)(error));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o711))
        .map_err(LabError::file("set the mode of", path))
}
