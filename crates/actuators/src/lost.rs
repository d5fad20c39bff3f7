//! The transactions that a replaced primary had committed and its successor never got.
//!
//! They are kept as JSON lines, one transaction a line, in the folder of the kept log. Values are users'
//! data: the file is for its owner alone, and whoever shows it shows values only when asked to.

pub(crate) mod decoded;
pub(crate) mod listed;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use meridian_model::Lsn;
use serde::{Deserialize, Serialize};

use crate::error::ActuatorError;

/// A transaction that was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostTransaction {
    /// Its number.
    pub xid: u32,
    /// Where in the log its commit is.
    pub lsn: Lsn,
    /// When it was committed, by the old primary's clock: `2026-11-25T11:21:04.114745Z`.
    pub committed_at: String,
    /// What it changed, in its order.
    pub changes: Vec<LostChange>,
}

/// One row (or table, when it was emptied) that a lost transaction changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostChange {
    /// The table, as SQL writes it.
    pub table: String,
    /// What was done.
    pub operation: Operation,
    /// The key of the row before the change. Empty without a primary key, and where only the log was listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<LostValue>,
    /// The whole row after the change. Empty for a delete, and where only the log was listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub row: Vec<LostValue>,
}

/// What was done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// It is new.
    Insert,
    /// It is another.
    Update,
    /// It is gone.
    Delete,
    /// All rows of the table are gone.
    Truncate,
}

/// A column with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostValue {
    /// The column's name.
    pub column: String,
    /// The value as text; none: NULL, or unchanged.
    pub value: Option<String>,
    /// A large value that the change left as it was; the log does not hold it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unchanged: bool,
}

/// What is known about the transactions that were lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostReport {
    /// How many.
    pub transactions: u64,
    /// How many rows they changed, by table.
    pub by_table: BTreeMap<String, u64>,
    /// The list; [`read_lost`] reads it back.
    pub file: PathBuf,
    /// Each has its keys and values. Otherwise some are only listed, or are missing: see `detail`.
    pub complete: bool,
    /// How they were found, and what is missing, in a sentence.
    pub detail: String,
}

impl LostReport {
    /// Writes the list and sums it up.
    pub(crate) fn write(
        folder: &Path,
        lost: &[LostTransaction],
        (complete, detail): (bool, String),
    ) -> Result<Self, ActuatorError> {
        let file = folder.join(FILE);
        let wrote = |e| ActuatorError::file("writing", &file, e);
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut out = BufWriter::new(options.open(&file).map_err(wrote)?);
        let mut by_table = BTreeMap::new();
        for transaction in lost {
            serde_json::to_writer(&mut out, transaction).map_err(|e| wrote(e.into()))?;
            out.write_all(b"\n").map_err(wrote)?;
            for change in &transaction.changes {
                *by_table.entry(change.table.clone()).or_default() += 1;
            }
        }
        out.flush().and_then(|()| out.get_ref().sync_all()).map_err(wrote)?;
        Ok(Self { transactions: lost.len() as u64, by_table, file, complete, detail })
    }
}

/// What a member that came back had lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// Nothing: whoever leads has everything that was here.
    Nothing,
    /// Transactions, or none; told as far as they could be read.
    Told(LostReport),
    /// Nobody knows, and why. The log is kept.
    Unknown(String),
}

impl Lost {
    /// What is known of lost transactions.
    #[must_use]
    pub const fn told(&self) -> Option<&LostReport> {
        match self {
            Self::Told(report) => Some(report),
            Self::Nothing | Self::Unknown(_) => None,
        }
    }
}

/// The lost transactions in a folder of kept log, in the order of their commits; empty when none were found.
///
/// # Errors
/// The list is not there or cannot be read.
pub fn read_lost(folder: &Path) -> Result<Vec<LostTransaction>, ActuatorError> {
    let mut lost = Vec::new();
    each_lost(&folder.join(FILE), 0, |transaction, _| {
        lost.extend(transaction);
        true
    })?;
    Ok(lost)
}

/// Gives the transactions of a list ([`LostReport::file`]) one by one, from a place in it that an earlier call
/// has told (0: the first), each with the place of the next. Ends when `take` says false. `None`: a
/// transaction that is longer than [`LINE_MAX`]; only the file has it.
///
/// # Errors
/// The list is not there or cannot be read.
pub fn each_lost(
    file: &Path,
    from: u64,
    mut take: impl FnMut(Option<LostTransaction>, u64) -> bool,
) -> Result<(), ActuatorError> {
    let reading = |e| ActuatorError::file("reading", file, e);
    let mut lines = BufReader::new(fs::File::open(file).map_err(reading)?);
    let mut at = lines.seek(SeekFrom::Start(from)).map_err(reading)?;
    loop {
        let mut line = Vec::new();
        let mut part = lines.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(reading)? as u64;
        let whole = line.ends_with(b"\n") || part < LINE_MAX;
        if part == 0 {
            return Ok(());
        }
        let transaction = whole.then(|| serde_json::from_slice(&line)).transpose();
        let transaction = transaction.map_err(|e| reading(e.into()))?;
        at += part;
        while !line.ends_with(b"\n") && part > 0 {
            line.clear();
            part = lines.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(reading)? as u64;
            at += part;
        }
        if !take(transaction, at) {
            return Ok(());
        }
    }
}

/// The name of the list.
const FILE: &str = "lost-transactions.jsonl";
/// The longest transaction that is read back, in bytes of its line.
pub const LINE_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction(xid: u32, value: &str) -> LostTransaction {
        let row = vec![LostValue { column: "v".to_owned(), value: Some(value.to_owned()), unchanged: false }];
        let change =
            LostChange { table: "public.t".to_owned(), operation: Operation::Insert, key: Vec::new(), row };
        LostTransaction {
            xid,
            lsn: Lsn(u64::from(xid)),
            committed_at: "2026-11-25T11:21:04Z".to_owned(),
            changes: vec![change],
        }
    }

    #[test]
    fn a_list_is_read_back_in_parts_and_one_that_is_too_long_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let long = "x".repeat(usize::try_from(LINE_MAX).unwrap());
        let all = [transaction(1, "a"), transaction(2, &long), transaction(3, "c")];
        let report = LostReport::write(folder.path(), &all, (true, String::new())).unwrap();
        let read = |from| {
            let mut seen = Vec::new();
            each_lost(&report.file, from, |t, next| {
                seen.push((t.map(|t| t.xid), next));
                seen.len() < 2
            })
            .unwrap();
            seen
        };
        let first = read(0);
        assert_eq!(first.iter().map(|(xid, _)| *xid).collect::<Vec<_>>(), [Some(1), None]);
        let rest = read(first[1].1);
        assert_eq!(rest.len(), 1);
        assert_eq!(rest[0], (Some(3), fs::metadata(&report.file).unwrap().len()));
        assert_eq!(read_lost(folder.path()).unwrap().len(), 2);
        assert!(Lost::Told(report).told().is_some() && Lost::Nothing.told().is_none());
    }
}
