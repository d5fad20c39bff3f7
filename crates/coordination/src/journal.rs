//! The journal of runs: what a recovery has done, so that another node can go on with it.
//!
//! A run is written before and after each of its steps. Each write compares two things: the group's
//! epoch, so that no step of an old reign is written down under a new one; and the revision of the run
//! itself, so that a write which was thought lost cannot undo a later one.

use std::sync::Arc;

use meridian_model::run::Run;
use meridian_model::{Epoch, GroupName, RunId};

use crate::codec::{DecodeError, decode, encode};
use crate::keys::Keys;
use crate::store::{Commit, Compare, Store, StoreError, Txn, Versioned};

/// Writes and reads runs.
#[derive(Clone)]
pub struct Journal {
    store: Arc<dyn Store>,
    keys: Keys,
}

/// Why a run could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The reign that the run makes is over: the run must stop here, at once.
    #[error(
        "run {run} is of epoch {epoch}, but the group's epoch is now {current:?}: stop it, the new holder takes it over"
    )]
    Superseded {
        /// Which run.
        run: RunId,
        /// Its reign.
        epoch: Epoch,
        /// The group's reign; none: the group is gone.
        current: Option<Epoch>,
    },
    /// Somebody else wrote the run since it was read.
    #[error(
        "run {run} was written by somebody else (revision {found:?}, ours was {seen:?}): read it again and go on from there"
    )]
    Conflict {
        /// Which run.
        run: RunId,
        /// The revision that we had read; none: it was to be new.
        seen: Option<i64>,
        /// The revision that it has; none: it was removed.
        found: Option<i64>,
    },
    /// Etcd did not answer: whether it was written is unknown. Write the same again.
    #[error(transparent)]
    Unknown(#[from] StoreError),
    /// What stands there cannot be read.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
}

/// A run as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The run.
    pub run: Run,
    /// The revision of its last write; the next write compares it.
    pub revision: i64,
}

/// What the journal holds.
#[derive(Debug, Default)]
pub struct Runs {
    /// Newest first.
    pub runs: Vec<Written>,
    /// Entries that this version cannot read.
    pub unreadable: Vec<DecodeError>,
}

impl Journal {
    /// The journal of one system.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, keys: Keys) -> Self {
        Self { store, keys }
    }

    /// Writes `run`, which was last written at revision `seen` (`None`: it is new), and gives the new
    /// revision. Writing the same again after [`JournalError::Unknown`] is harmless.
    ///
    /// # Errors
    /// [`JournalError`]; after `Superseded` no further step may run.
    pub async fn write(&self, run: &Run, seen: Option<i64>) -> Result<i64, JournalError> {
        let (key, epoch_key) = (self.keys.run(&run.id), self.keys.epoch(&run.group));
        let value = encode(run);
        let own = match seen {
            Some(revision) => Compare::Revision(key.clone(), revision),
            None => Compare::Absent(key.clone()),
        };
        let txn = Txn {
            compare: vec![Compare::Value(epoch_key, encode(&run.epoch)), own],
            put: vec![(key, value.clone())],
            delete: Vec::new(),
        };
        match self.store.commit(txn).await? {
            Commit::Done { revision } => Ok(revision),
            Commit::Lost => self.explain_lost(run, seen, &value).await,
        }
    }

    /// A compare failed: because the reign is over, because an earlier attempt of ours did arrive, or
    /// because somebody else wrote.
    async fn explain_lost(&self, run: &Run, seen: Option<i64>, value: &[u8]) -> Result<i64, JournalError> {
        let epoch = self.read(&self.keys.epoch(&run.group)).await?;
        let current: Option<Epoch> = epoch.as_ref().map(decode).transpose()?;
        if current != Some(run.epoch) {
            return Err(JournalError::Superseded { run: run.id.clone(), epoch: run.epoch, current });
        }
        let found = self.read(&self.keys.run(&run.id)).await?;
        match found {
            Some(entry) if entry.value == value => Ok(entry.revision),
            _ => {
                let found = found.map(|e| e.revision);
                Err(JournalError::Conflict { run: run.id.clone(), seen, found })
            }
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let listing = self.store.list(key).await?;
        Ok(listing.items.into_iter().find(|e| e.key == key))
    }

    /// The newest `limit` runs, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when etcd does not answer.
    pub async fn runs(&self, limit: usize) -> Result<Runs, StoreError> {
        let listing = self.store.list(&self.keys.runs()).await?;
        let mut found = Runs::default();
        for entry in &listing.items {
            match decode::<Run>(entry) {
                Ok(run) => found.runs.push(Written { run, revision: entry.revision }),
                Err(error) => found.unreadable.push(error),
            }
        }
        found.runs.sort_by_key(|w| std::cmp::Reverse((w.run.decided_at, w.run.epoch, w.revision)));
        found.runs.truncate(limit);
        Ok(found)
    }

    /// Removes the runs of `group` beyond the newest [`RUNS_KEPT`], and says how many. Only those of reigns
    /// that are over by its newest run: finished or not, nobody can write them any more.
    ///
    /// # Errors
    /// [`StoreError`] when etcd does not answer.
    pub async fn prune(&self, group: &GroupName) -> Result<usize, StoreError> {
        let mut runs = self.runs(usize::MAX).await?.runs;
        runs.retain(|written| &written.run.group == group);
        runs.sort_by_key(|written| std::cmp::Reverse((written.run.epoch, written.revision)));
        let newest = runs.first().map_or(Epoch::NONE, |written| written.run.epoch);
        let mut removed = 0;
        for old in runs.into_iter().skip(RUNS_KEPT).filter(|old| old.run.epoch < newest) {
            let key = self.keys.run(&old.run.id);
            let compare = vec![Compare::Revision(key.clone(), old.revision)];
            let txn = Txn { compare, put: Vec::new(), delete: vec![key, self.keys.words(&old.run.id)] };
            if matches!(self.store.commit(txn).await?, Commit::Done { .. }) {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Runs of a group that are kept: months of failovers. With twenty groups they are a third of what one
/// listing may hold ([`LISTING_MAX`](crate::store::LISTING_MAX)).
pub const RUNS_KEPT: usize = 64;
