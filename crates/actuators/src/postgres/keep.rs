//! Keeping the part of the log that a rewind would destroy, so that what was lost can be told and mended.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use meridian_model::Lsn;

use super::control::{ControlData, segment};
use crate::error::ActuatorError;

/// Where two histories part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Divergence {
    pub(super) timeline: u32,
    pub(super) lsn: Lsn,
    /// The two timelines after it have the same number, and are different ones.
    pub(super) same_number: bool,
}

/// The list of diverged records.
pub(super) const RECORDS_FILE: &str = "wal-records.txt";

/// Copies what lies after the divergence from `data_dir` to `target`: segments, histories, the control
/// file as it is and as text, and a README.
pub(super) fn keep(
    data_dir: &Path,
    target: &Path,
    from: Divergence,
    control: &ControlData,
) -> Result<(), ActuatorError> {
    let (wal, kept) = (data_dir.join("pg_wal"), target.join("pg_wal"));
    fs::create_dir_all(&kept).map_err(|e| ActuatorError::file("making the folder", &kept, e))?;
    let mut names = Vec::new();
    for file in fs::read_dir(&wal).map_err(|e| ActuatorError::file("reading", &wal, e))?.flatten() {
        let Some(name) = file.file_name().to_str().map(str::to_owned) else { continue };
        if worth_keeping(&wal, &name, from, control.segment_bytes) {
            copy(&wal.join(&name), &kept.join(&name))?;
            names.push(name);
        }
    }
    names.sort();
    copy(&data_dir.join("global/pg_control"), &target.join("pg_control"))?;
    write(&target.join("pg_controldata.txt"), &control.text)?;
    write(&target.join("README.txt"), &readme(from, control, &names))
}

/// A folder that does not exist yet: `{group}-{timestamp}`, and a number if there is one already.
pub(super) fn free_name(folder: &Path, name: &str) -> PathBuf {
    let first = folder.join(name);
    if !first.exists() {
        return first;
    }
    (2..).map(|n: u32| folder.join(format!("{name}-{n}"))).find(|path| !path.exists()).unwrap_or(first)
}

fn worth_keeping(wal: &Path, name: &str, from: Divergence, segment_bytes: u64) -> bool {
    if name.ends_with(".history") {
        return true;
    }
    let Some((timeline, number)) = segment(name, segment_bytes) else { return false };
    let diverged = timeline >= from.timeline && number >= from.lsn.0 / segment_bytes;
    diverged && begins_at(&wal.join(name)) == Some(number * segment_bytes)
}

/// The place that the first page of a segment says it has; a segment that was only prepared for later use
/// still carries the place of its former life.
fn begins_at(file: &Path) -> Option<u64> {
    bytes_at(file, PAGE_ADDRESS).map(u64::from_ne_bytes)
}

/// What stands at that place of a file, if it is there.
pub(super) fn bytes_at<const N: usize>(file: &Path, offset: u64) -> Option<[u8; N]> {
    let mut bytes = [0_u8; N];
    let mut open = fs::File::open(file).ok()?;
    open.seek(SeekFrom::Start(offset)).ok()?;
    open.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn copy(from: &Path, to: &Path) -> Result<(), ActuatorError> {
    fs::copy(from, to).map_err(|e| ActuatorError::file("keeping", from, e))?;
    fs::File::open(to).and_then(|file| file.sync_all()).map_err(|e| ActuatorError::file("syncing", to, e))
}

pub(super) fn write(file: &Path, text: &str) -> Result<(), ActuatorError> {
    fs::write(file, text).map_err(|e| ActuatorError::file("writing", file, e))
}

fn readme(from: Divergence, control: &ControlData, names: &[String]) -> String {
    format!(
        "The log of a primary that was replaced, from the place where its successor began.\n\n\
         Divergence: {lsn} on timeline {timeline}. Database system {system}, state \"{state}\".\n\
         What this server committed after that place is not in the group's database any more. It is here:\n\n\
         pg_wal/             the segments that contain it, and the histories of timelines\n\
         lost-transactions.jsonl  those transactions, one a line, with the values of their rows\n\
         pg_control          the control file before the rewind; pg_controldata.txt says what is in it\n\
         wal-records.txt     the records after the divergence, one a line (not if pg_waldump is missing)\n\n\
         To look closer: pg_waldump -p pg_wal -t {timeline} -s {lsn}\n\
         Nothing deletes this folder; remove it by hand when it has been dealt with.\n\n\
         Segments: {names}\n",
        lsn = from.lsn,
        timeline = from.timeline,
        system = control.system,
        state = control.state,
        names = names.join(" "),
    )
}

/// `xlp_pageaddr` in the header of a page: after magic, info (2 bytes each) and timeline (4).
const PAGE_ADDRESS: u64 = 8;
