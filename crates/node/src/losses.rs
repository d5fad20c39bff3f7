//! What this region's databases had lost when they came back: how many transactions, and where the list is.
//!
//! The list itself holds users' data. It stays where the rejoin wrote it, in the node's data folder, and leaves
//! this region only when somebody with the control secret asks this very node for it
//! ([`crate::control::lost`]). What is kept here are counts, so that any run can be told of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use meridian_actuators::Rejoined;
use meridian_actuators::lost::Lost;
use meridian_model::run::Run;
use meridian_model::{Epoch, GroupName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::memory::Memory;

/// Losses that are remembered of each group; the kept logs of older ones stay where they are.
const LOSSES_MAX: usize = 32;
/// Tables that are counted by name.
const TABLES_MAX: usize = 100;

/// What one return of an old writer (or of a standby that had diverged) had lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The reign under which it came back.
    pub epoch: Epoch,
    /// When, by its node's wall clock; with the group it names this loss.
    pub at: Timestamp,
    /// `followed`, `rewound` or `recloned`.
    pub method: String,
    /// How many transactions; none: unknown, and `detail` says why.
    pub transactions: Option<u64>,
    /// Each of them has its keys and values. Otherwise some are only listed, or are missing: see `detail`.
    pub complete: bool,
    /// Rows that they changed, by table; of at most 100 tables.
    pub by_table: BTreeMap<String, u64>,
    /// Where the log that was taken back is kept, in that region.
    pub kept_wal: Option<PathBuf>,
    /// The list of transactions, in that region.
    pub list: Option<PathBuf>,
    /// How they were found, or why not.
    pub detail: String,
}

impl Loss {
    /// What a rejoin under `epoch` has found.
    #[must_use]
    pub(crate) fn of(epoch: Epoch, method: &str, rejoined: &Rejoined, at: Timestamp) -> Self {
        let nothing = Self {
            epoch,
            at,
            method: method.to_owned(),
            transactions: Some(0),
            complete: true,
            by_table: BTreeMap::new(),
            kept_wal: rejoined.kept_wal.clone(),
            list: None,
            detail: rejoined.detail.clone(),
        };
        match &rejoined.lost {
            Lost::Nothing => nothing,
            Lost::Told(report) => Self {
                // What was only listed may lack transactions; but none at all is not known to be none.
                transactions: (report.complete || report.transactions > 0).then_some(report.transactions),
                complete: report.complete,
                by_table: report.by_table.iter().take(TABLES_MAX).map(|(t, n)| (t.clone(), *n)).collect(),
                list: Some(report.file.clone()),
                detail: report.detail.clone(),
                ..nothing
            },
            Lost::Unknown(why) => {
                Self { transactions: None, complete: false, detail: why.clone(), ..nothing }
            }
        }
    }

    /// In a sentence, without a value of anybody.
    #[must_use]
    pub fn sentence(&self) -> String {
        let kept = self.kept_wal.as_ref().map(|path| format!("; its log is kept in {}", path.display()));
        let kept = kept.unwrap_or_default();
        match (self.transactions, self.complete) {
            (Some(0), true) => "no transaction is lost".to_owned(),
            (Some(n), true) => format!("lost transactions: {n}{kept}"),
            (Some(n), false) => {
                format!("lost transactions: {n} that could be listed ({}){kept}", self.detail)
            }
            (None, _) => format!("how many transactions are lost is not known ({}){kept}", self.detail),
        }
    }
}

/// What a run cost, out of all that the region which it took the writer from has told: empty while that region
/// has not come back with its log. `runs`: the group's runs, as many as are known.
#[must_use]
pub fn losses_of<'l>(run: &Run, runs: &[Run], losses: &'l [Loss]) -> Vec<&'l Loss> {
    let replaced = |r: &Run| r.group == run.group && r.from == run.from && Some(&r.to) != r.from.as_ref();
    if run.from.is_none() || !replaced(run) {
        return Vec::new();
    }
    let next = runs.iter().filter(|r| replaced(r) && r.epoch > run.epoch).map(|r| r.epoch).min();
    let after = |loss: &&Loss| loss.epoch >= run.epoch && next.is_none_or(|next| loss.epoch < next);
    let first = losses.iter().filter(after).map(|loss| loss.epoch).min();
    losses.iter().filter(|loss| Some(loss.epoch) == first).collect()
}

/// The losses of all groups here.
#[derive(Clone)]
pub(crate) struct Losses {
    memory: Memory,
    kept: Arc<Mutex<BTreeMap<GroupName, Vec<Loss>>>>,
}

impl Losses {
    /// What is on disk. A file that cannot be read counts as nothing known.
    pub(crate) fn open(memory: Memory, groups: impl IntoIterator<Item = GroupName>) -> Self {
        let read = |group: GroupName| {
            let known = memory.read(&file(&group)).unwrap_or_else(|error| {
                tracing::warn!(%error, "what was lost before is not known any more; the kept logs are still there");
                None
            });
            (group, known.unwrap_or_default())
        };
        let kept = Arc::new(Mutex::new(groups.into_iter().map(read).collect()));
        Self { memory, kept }
    }

    /// Those of one group, the newest last.
    #[must_use]
    pub(crate) fn of(&self, group: &GroupName) -> Vec<Loss> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(group).cloned().unwrap_or_default()
    }

    /// Remembers one, on disk too. Where it cannot be written down it is known until the node ends.
    pub(crate) async fn keep(&self, group: &GroupName, loss: Loss) {
        let losses = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let losses = kept.entry(group.clone()).or_default();
            // A standby that is examined again and again finds nothing each time.
            let nothing = loss.transactions == Some(0);
            if nothing && losses.iter().any(|known| known.epoch == loss.epoch) {
                return;
            }
            losses.push(loss);
            let over = losses.len().saturating_sub(LOSSES_MAX);
            losses.drain(..over);
            losses.clone()
        };
        let (memory, file) = (self.memory.clone(), file(group));
        let written = tokio::task::spawn_blocking(move || memory.write(&file, &losses)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "what was lost could not be written down"),
            Err(error) => tracing::warn!(%error, "what was lost could not be written down"),
        }
    }
}

fn file(group: &GroupName) -> String {
    format!("lost-{group}.json")
}

#[cfg(test)]
pub(crate) mod tests;
