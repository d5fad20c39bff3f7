//! The journal of rehearsals: one record a group, so that at most one is under way, whoever is asked.
//!
//! Its owner writes it before and after each step. A record that has not ended by its own limit is of a node
//! that was lost, and the next rehearsal replaces it.

use std::sync::Arc;

use meridian_model::rehearsal::Rehearsal;
use meridian_model::{GroupName, Timestamp};

use crate::codec::{DecodeError, decode, encode};
use crate::keys::Keys;
use crate::store::{Commit, Compare, Store, StoreError, Txn};

/// Why a rehearsal could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// Another one is under way.
    #[error("rehearsal {} of {} in {} is under way; wait for its end", .0.id, .0.by, .0.region)]
    UnderWay(Box<Rehearsal>),
    /// Somebody else has begun one, or has taken the record over.
    #[error("somebody else has begun a rehearsal of {0}: look, and ask again")]
    Raced(GroupName),
    /// Etcd did not answer: whether it was written is unknown.
    #[error(transparent)]
    Unknown(#[from] StoreError),
    /// What stands there cannot be read.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
}

/// A rehearsal that is ours to write.
pub struct OwnRehearsal {
    store: Arc<dyn Store>,
    key: String,
    revision: i64,
    /// As it was written last, or will be written next.
    pub record: Rehearsal,
}

impl OwnRehearsal {
    /// Writes a new one, if none of its group is under way at `now` (wall clock).
    ///
    /// # Errors
    /// [`RehearsalError`]; after `Unknown` it may stand there all the same, and ends by its limit.
    pub async fn begin(
        store: Arc<dyn Store>,
        keys: &Keys,
        record: Rehearsal,
        now: Timestamp,
    ) -> Result<Self, RehearsalError> {
        let key = keys.rehearsal(&record.group);
        let found = read(&*store, &key).await?;
        let compare = match found {
            Some((other, _)) if !other.over(now) => return Err(RehearsalError::UnderWay(Box::new(other))),
            Some((_, revision)) => Compare::Revision(key.clone(), revision),
            None => Compare::Absent(key.clone()),
        };
        let txn =
            Txn { compare: vec![compare], put: vec![(key.clone(), encode(&record))], delete: Vec::new() };
        match store.commit(txn).await? {
            Commit::Done { revision } => Ok(Self { store, key, revision, record }),
            Commit::Lost => Err(RehearsalError::Raced(record.group)),
        }
    }

    /// Writes the record as it is now. A write of ours whose answer was lost is found again by its name.
    ///
    /// # Errors
    /// [`RehearsalError`]; after `Raced` the record is somebody else's.
    pub async fn save(&mut self) -> Result<(), RehearsalError> {
        if self.replace().await? {
            return Ok(());
        }
        let found = read(&*self.store, &self.key).await?;
        let ours = found.filter(|(other, _)| other.id == self.record.id);
        let Some((_, revision)) = ours else { return Err(RehearsalError::Raced(self.record.group.clone())) };
        self.revision = revision;
        if self.replace().await? { Ok(()) } else { Err(RehearsalError::Raced(self.record.group.clone())) }
    }

    async fn replace(&mut self) -> Result<bool, StoreError> {
        let txn = Txn {
            compare: vec![Compare::Revision(self.key.clone(), self.revision)],
            put: vec![(self.key.clone(), encode(&self.record))],
            delete: Vec::new(),
        };
        Ok(match self.store.commit(txn).await? {
            Commit::Done { revision } => {
                self.revision = revision;
                true
            }
            Commit::Lost => false,
        })
    }
}

async fn read(store: &dyn Store, key: &str) -> Result<Option<(Rehearsal, i64)>, RehearsalError> {
    let listing = store.list(key).await?;
    let entry = listing.items.iter().find(|entry| entry.key == key);
    Ok(entry.map(|entry| Ok::<_, DecodeError>((decode(entry)?, entry.revision))).transpose()?)
}
