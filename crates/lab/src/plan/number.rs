//! Which number a lab has: taken by a lock on a file, so that two labs run side by side.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_telemetry::clock;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::made_for::{self, MadeFor};
use crate::error::LabError;

/// The second octets that labs use.
const NUMBERS: RangeInclusive<u8> = 10..=250;

/// How long a held lock may be somebody's who has it for an instant.
const AN_INSTANT: Duration = Duration::from_millis(300);
/// How often it is tried meanwhile.
const TRY_EVERY: Duration = Duration::from_millis(5);
/// How often a lock file may vanish just when it was locked.
const FILE_TRIES: u32 = 20;

/// A number that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct NumberLock {
    file: File,
    path: PathBuf,
    /// Who had it last.
    before: Option<Holder>,
}

/// A folder that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Occupied {
    pub(crate) dir: PathBuf,
    /// Held for its drop.
    _lock: File,
}

/// A number with its state folder.
#[derive(Debug)]
pub(crate) struct Number {
    pub(crate) number: u8,
    pub(crate) folder: Occupied,
    pub(crate) lock: NumberLock,
    /// The folder of the lab that had the number last, if nobody uses it.
    pub(crate) before: Option<Occupied>,
}

/// What a lab wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// The name of its folder below the root, before the number.
    pub(crate) name: &'a str,
    /// This number only.
    pub(crate) number: Option<u8>,
    /// This folder only.
    pub(crate) dir: Option<&'a Path>,
    /// The fingerprint of its spec, to go on with the data of a stopped lab of it; none: never.
    pub(crate) spec: Option<&'a str>,
    /// What is in the folder will be removed.
    pub(crate) fresh: bool,
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

impl Holder {
    /// Since when it has its number, as its lock file tells.
    #[must_use]
    pub fn since(&self) -> Option<std::time::SystemTime> {
        fs::metadata(lock_path(&default_root(), self.number)).ok()?.modified().ok()
    }
}

/// `/var/tmp/meridian-lab-UID`: the locks of this user's labs and, unless told otherwise, their data. Not under
/// `/root`, which PostgreSQL's user may not pass, and not in `/tmp`, which may be memory.
#[must_use]
pub fn default_root() -> PathBuf {
    PathBuf::from(format!("/var/tmp/meridian-lab-{}", rustix::process::geteuid().as_raw()))
}

/// Takes a number. Tried in this order: the wanted one only; that of the stopped lab which was made for
/// this very spec; the lowest one that nobody runs or has data of. `usable` has the last word (are its
/// addresses free?).
pub(crate) fn choose(
    wish: Wish<'_>,
    usable: impl Fn(&Number) -> Result<(), LabError>,
) -> Result<Number, LabError> {
    choose_in(&default_root(), wish, usable)
}

/// There are labs of that number.
///
/// # Errors
/// [`LabError::NoNumber`].
pub fn check_number(number: u8) -> Result<(), LabError> {
    if NUMBERS.contains(&number) {
        return Ok(());
    }
    Err(LabError::NoNumber { number, first: *NUMBERS.start(), last: *NUMBERS.end() })
}

fn choose_in(
    root: &Path,
    wish: Wish<'_>,
    usable: impl Fn(&Number) -> Result<(), LabError>,
) -> Result<Number, LabError> {
    own_folder(root)?;
    // The data of etcd names the number: it is no other lab's.
    let made = wish.dir.filter(|_| !wish.fresh).and_then(|dir| MadeFor::read(dir)?.number);
    if let Some(number) = wish.number.or(made) {
        check_number(number)?;
        let running = || LabError::NumberTaken {
            wanted: number.to_string(),
            reason: format!(
                "it runs: end it with `meridian lab down --lab {number}`, or take another number"
            ),
        };
        let found = take(root, number, wish)?.ok_or_else(running)?;
        return usable(&found).map(|()| found);
    }
    let of_this_spec = |n: &u8| {
        let made = MadeFor::read(&root.join(format!("{}-{n}", wish.name)));
        wish.dir.is_none() && wish.spec.is_some() && made.is_some_and(|m| m.spec.as_deref() == wish.spec)
    };
    let free = |n: &u8| !of_this_spec(n) && !has_data(root, *n, wish);
    let mut refused = None;
    for number in NUMBERS.filter(of_this_spec).chain(NUMBERS.filter(free)) {
        let Some(found) = take(root, number, wish)? else { continue };
        match usable(&found) {
            Ok(()) => return Ok(found),
            Err(error) => {
                // Only if it is empty: then it was made just now.
                let _ = fs::remove_dir(&found.folder.dir);
                refused = Some(error);
            }
        }
    }
    let reason = "all of them run or have data: remove some with `meridian lab down --purge`".to_owned();
    Err(refused.unwrap_or(LabError::NumberTaken { wanted: "of any number".to_owned(), reason }))
}

/// A stopped lab of that number has data that somebody may want.
fn has_data(root: &Path, number: u8, wish: Wish<'_>) -> bool {
    let holder = read_holder(&lock_path(root, number)).map(|h| h.dir);
    let standard = root.join(format!("{}-{number}", wish.name));
    let wanted = |dir: PathBuf| {
        Some(dir.as_path()) != wish.dir && MadeFor::read(&dir).is_some_and(|made| !made.temporary)
    };
    holder.is_some_and(wanted) || wanted(standard)
}

/// That number with its folder, or `None` when another lab has it.
fn take(root: &Path, number: u8, wish: Wish<'_>) -> Result<Option<Number>, LabError> {
    let wanted = wish.dir.map(Occupied::take).transpose()?;
    let Some(lock) = NumberLock::take(lock_path(root, number))? else { return Ok(None) };
    let standard = || Occupied::take(&root.join(format!("{}-{number}", wish.name)));
    let folder = wanted.map_or_else(standard, Ok)?;
    let last = lock.before.as_ref().map(|h| h.dir.clone());
    let last = last.filter(|last| *last != folder.dir && is_lab(last));
    let before = last.and_then(|last| Occupied::take(&last).ok());
    Ok(Some(Number { number, folder, lock, before }))
}

impl Occupied {
    /// Takes a folder for a lab; makes it if it is not there.
    pub(crate) fn take(dir: &Path) -> Result<Self, LabError> {
        fs::create_dir_all(dir).map_err(LabError::file("create", dir))?;
        let mut entries = fs::read_dir(dir).map_err(LabError::file("read", dir))?;
        if entries.next().is_some() && !is_lab(dir) {
            return Err(LabError::ForeignDir(dir.to_owned()));
        }
        let folder = File::open(dir).map_err(LabError::file("open", dir))?;
        if !lock(&folder, AN_INSTANT) {
            return Err(LabError::DirInUse { dir: dir.to_owned(), by: user_of(dir) });
        }
        Ok(Self { dir: dir.to_owned(), _lock: folder })
    }
}

/// A lab has made this folder, or has begun to.
fn is_lab(dir: &Path) -> bool {
    [made_for::FILE, "lab.json"].iter().any(|file| dir.join(file).exists())
}

/// ` by lab 10`, as far as its state file tells.
fn user_of(dir: &Path) -> String {
    let state = fs::read(dir.join("lab.json")).ok();
    let state = state.and_then(|s| serde_json::from_slice::<serde_json::Value>(&s).ok());
    let number = state.and_then(|s| s.get("number").and_then(serde_json::Value::as_u64));
    number
        .or_else(|| MadeFor::read(dir)?.number.map(u64::from))
        .map_or_else(String::new, |n| format!(" by lab {n}"))
}

/// Who only looks holds a lock for an instant, and so does a child between its fork and its exec. On a busy machine
/// that is milliseconds: a free lab was taken for a running one.
fn lock(file: &File, within: Duration) -> bool {
    let until = clock::now() + within;
    loop {
        if flock(file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return true;
        }
        if clock::now() >= until {
            return false;
        }
        std::thread::park_timeout(TRY_EVERY);
    }
}

impl NumberLock {
    /// Locks that file; `None` when another lab has it.
    pub(crate) fn take(path: PathBuf) -> Result<Option<Self>, LabError> {
        for _ in 0..FILE_TRIES {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let file = file.map_err(LabError::file("open", &path))?;
            if !lock(&file, AN_INSTANT) {
                return Ok(None);
            }
            // A lab that is purged removes the file: one that is gone locks nobody out.
            let inode = |about: std::io::Result<fs::Metadata>| about.map(|m| m.ino()).ok();
            if inode(fs::metadata(&path)) == inode(file.metadata()) {
                let before = read_holder(&path);
                return Ok(Some(Self { file, path, before }));
            }
        }
        Ok(None)
    }

    /// Of the stopped lab with that number.
    pub(crate) fn of(number: u8) -> Result<Option<Self>, LabError> {
        Self::take(lock_path(&default_root(), number))
    }

    /// The lab has left no data: nothing tells of it any more. A lab that had the number before and whose data is
    /// still there has it again.
    pub(crate) fn forget(&self) {
        let before = self.before.as_ref().filter(|before| MadeFor::read(&before.dir).is_some());
        let _ = match before.and_then(|before| serde_json::to_vec(before).ok()) {
            Some(text) => fs::write(&self.path, text),
            None => fs::remove_file(&self.path),
        };
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn wish<'a>(name: &'a str, spec: Option<&'a str>) -> Wish<'a> {
        Wish { name, number: None, dir: None, spec, fresh: false }
    }

    fn chosen(root: &Path, wish: Wish<'_>) -> Result<Number, LabError> {
        choose_in(root, wish, |_| Ok(()))
    }

    /// A lab ran and stopped.
    fn ran(root: &Path, name: &str, spec: &str, temporary: bool) -> u8 {
        let mut taken = chosen(root, wish(name, Some(spec))).unwrap();
        let made = MadeFor {
            number: Some(taken.number),
            spec: Some(spec.to_owned()),
            temporary,
            ..MadeFor::default()
        };
        made.write(&taken.folder.dir).unwrap();
        let holder =
            Holder { number: taken.number, dir: taken.folder.dir.clone(), name: name.to_owned(), pid: 1 };
        taken.lock.sign(&holder).unwrap();
        taken.number
    }

    #[test]
    fn a_lab_goes_on_with_the_data_of_its_very_spec_and_with_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(ran(root, "shop", "a", false), 10);
        assert_eq!(ran(root, "shop", "b", false), 11, "the same name, another spec");
        assert_eq!(ran(root, "shop", "a", false), 10);
        let running = chosen(root, wish("shop", Some("a"))).unwrap();
        assert_eq!(running.number, 10);
        assert_eq!(chosen(root, wish("shop", Some("a"))).unwrap().number, 12, "the first one runs");
        let drill = chosen(root, wish("drill-loss", None)).unwrap();
        assert_eq!((drill.number, drill.folder.dir), (12, root.join("drill-loss-12")));
        let all_used = choose_in(root, wish("shop", Some("c")), |n| match n.number {
            0..=249 => Err(LabError::NoLab(String::new())),
            _ => Ok(()),
        });
        assert_eq!(all_used.unwrap().number, 250);
        assert!(!root.join("shop-40").exists(), "what was not taken is not left behind");
    }

    #[test]
    fn data_that_is_nobodys_keeps_no_number() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(ran(folder.path(), "drill-loss", "a", true), 10);
        let next = chosen(folder.path(), wish("shop", Some("b"))).unwrap();
        assert_eq!(next.number, 10);
        assert_eq!(next.before.unwrap().dir, folder.path().join("drill-loss-10"));
    }

    #[test]
    fn a_folder_has_one_lab_and_a_foreign_one_none() {
        let folder = tempfile::tempdir().unwrap();
        let (root, dir) = (folder.path().join("root"), folder.path().join("mine"));
        let here = Wish { dir: Some(&dir), ..wish("shop", Some("a")) };
        let first = chosen(&root, here).unwrap();
        MadeFor { number: Some(10), ..MadeFor::default() }.write(&dir).unwrap();
        let error = chosen(&root, Wish { number: Some(20), ..here }).unwrap_err().to_string();
        assert!(error.contains("is in use by lab 10"), "{error}");
        drop(first);
        assert_eq!(chosen(&root, here).unwrap().number, 10);
        let foreign = Wish { dir: Some(folder.path()), ..here };
        let error = chosen(&root, foreign).unwrap_err();
        assert!(matches!(error, LabError::ForeignDir(_)), "{error}");
        let error = chosen(&root, Wish { number: Some(9), ..here }).unwrap_err().to_string();
        assert_eq!(error, "there is no lab 9: numbers go from 10 to 250");
    }

    #[test]
    fn a_free_lab_is_not_taken_for_a_running_one_because_somebody_looks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lab-10.lock");
        fs::write(&path, "").unwrap();
        let looker = File::open(&path).unwrap();
        flock(&looker, FlockOperation::NonBlockingLockShared).unwrap();
        let (mine, tried) = (File::open(&path).unwrap(), std::sync::Barrier::new(2));
        std::thread::scope(|threads| {
            let taker = threads.spawn(|| {
                assert!(!lock(&mine, Duration::ZERO), "it is held");
                tried.wait();
                lock(&mine, Duration::from_secs(600))
            });
            tried.wait();
            drop(looker);
            assert!(taker.join().unwrap());
        });
    }

    #[test]
    fn a_lock_whose_file_is_removed_locks_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lab-10.lock");
        let first = NumberLock::take(path.clone()).unwrap().unwrap();
        assert!(NumberLock::take(path.clone()).unwrap().is_none());
        first.forget();
        assert!(NumberLock::take(path.clone()).unwrap().is_some());
        drop(first);

        // A drill on the number of a stopped lab gives it back.
        let dir = folder.path().join("shop-10");
        fs::create_dir(&dir).unwrap();
        MadeFor::default().write(&dir).unwrap();
        let holder = |name: &str, dir: &Path| Holder {
            number: 10,
            dir: dir.to_owned(),
            name: name.to_owned(),
            pid: 1,
        };
        NumberLock::take(path.clone()).unwrap().unwrap().sign(&holder("shop", &dir)).unwrap();
        let mut drill = NumberLock::take(path.clone()).unwrap().unwrap();
        drill.sign(&holder("drill", &folder.path().join("gone"))).unwrap();
        drill.forget();
        assert_eq!(read_holder(&path).unwrap().name, "shop");
    }
}
