//! The transactions that a replaced primary had committed and its successor never got.
//!
//! They are kept as JSON lines, one transaction a line, in the folder of the kept log. Values are users'
//! data: the file is for its owner alone, and whoever shows it shows values only when asked to.

pub(crate) mod decoded;
pub(crate) mod listed;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
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

/// The lost transactions in a folder of kept log, in the order of their commits; empty when none were found.
///
/// # Errors
/// The list is not there or cannot be read.
pub fn read_lost(folder: &Path) -> Result<Vec<LostTransaction>, ActuatorError> {
    let file = folder.join(FILE);
    let reading = |e| ActuatorError::file("reading", &file, e);
    let lines = BufReader::new(fs::File::open(&file).map_err(reading)?).lines();
    let parse = |line: std::io::Result<String>| serde_json::from_str(&line?).map_err(std::io::Error::from);
    lines.map(parse).collect::<Result<_, _>>().map_err(reading)
}

/// The name of the list.
const FILE: &str = "lost-transactions.jsonl";
