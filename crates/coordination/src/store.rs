//! The three verbs of agreement: list, commit, watch.
//!
//! [`Store`] is all that the rest of Meridian sees of etcd. It is dyn-compatible, so that one node is
//! built over `Arc<dyn Store>` and runs on the real thing and on the in-memory twin alike.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;

/// A future on the heap that can be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A place where the nodes of a system agree.
pub trait Store: Send + Sync + 'static {
    /// All entries whose key begins with `prefix`, as of one revision. Linearizable: it contains every
    /// commit that ended before the call.
    ///
    /// # Errors
    /// [`StoreError`] when nobody answered within the deadline, or the answer was unusable.
    fn list(&self, prefix: &str) -> BoxFuture<'_, Result<Listing, StoreError>>;

    /// Applies all of `txn` or nothing.
    ///
    /// # Errors
    /// [`StoreError`]: the outcome is unknown. It may have been applied, and if not, may still be
    /// after this call has returned. Read again to learn more.
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Commit, StoreError>>;

    /// Follows all keys that begin with `prefix`: first [`Change::Reset`] with all that is there, then
    /// each change in order. It reconnects by itself for as long as the receiver lives; after a gap
    /// that cannot be bridged there is another `Reset`.
    fn watch(&self, prefix: &str) -> mpsc::Receiver<Change>;
}

/// A key, its value, and when it was last written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The key.
    pub key: String,
    /// The value, as bytes; see [`crate::decode`].
    pub value: Vec<u8>,
    /// The revision of the store that the last write to this key made. It only rises.
    pub revision: i64,
}

/// What was there at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The revision of the whole store.
    pub revision: i64,
    /// The entries, in the order of their keys.
    pub items: Vec<Versioned>,
}

/// A condition of a [`Txn`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// This key does not exist.
    Absent(String),
    /// This key was last written at exactly this revision.
    Revision(String, i64),
    /// This key exists with exactly this value.
    Value(String, Vec<u8>),
}

/// Writes that happen together, if all conditions hold.
///
/// A write may be applied late, after its call failed (see [`Store::commit`]). So compare the revision
/// (or absence) of each key that is put, unless the value itself says how new it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub compare: Vec<Compare>,
    /// Key and new value. At most [`VALUE_MAX`] bytes each; no key twice.
    pub put: Vec<(String, Vec<u8>)>,
    /// Keys to remove; a key that is not there is no error.
    pub delete: Vec<String>,
}

impl Txn {
    /// What it is about, for errors: its first key.
    pub(crate) fn subject(&self) -> String {
        let compared = self.compare.first().map(|c| match c {
            Compare::Absent(key) | Compare::Revision(key, _) | Compare::Value(key, _) => key,
        });
        let first = self.put.first().map(|(key, _)| key).or(self.delete.first()).or(compared);
        first.cloned().unwrap_or_else(|| "an empty transaction".to_owned())
    }

    /// Refuses what etcd would refuse, before it is sent.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let refused = |advice| {
            Err(StoreError {
                operation: Operation::Commit,
                subject: self.subject(),
                attempts: Vec::new(),
                took: Duration::ZERO,
                advice,
            })
        };
        if self.put.iter().any(|(_, value)| value.len() > VALUE_MAX) {
            return refused("It was not sent: a value is over 256 KiB");
        }
        let written = self.put.iter().map(|(key, _)| key).chain(&self.delete);
        let mut keys: Vec<_> = written.collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair.first() == pair.last()) {
            return refused("It was not sent: a key is written twice");
        }
        Ok(())
    }
}

/// How a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Applied, as this revision: each key that was put has it now.
    Done {
        /// The revision of the store, and of the keys that were written.
        revision: i64,
    },
    /// A compare failed and nothing was applied: the one failure that is certain.
    Lost,
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Forget what was known: this is all that is there. The first message of each watch.
    Reset(Listing),
    /// A key was written.
    Put(Versioned),
    /// A key was removed, at this revision of the store.
    Delete {
        /// The key.
        key: String,
        /// When.
        revision: i64,
    },
    /// The watch is current: etcd answered a linearizable read just now, about twice a second. A
    /// watcher that has heard neither this nor a change for a while is cut off.
    Alive {
        /// The revision of the store at that read.
        revision: i64,
    },
    /// The watch no longer follows, and tries to come back; what is known may be out of date.
    Stale {
        /// Why, in words for a log.
        reason: String,
    },
}

/// A call that ended without a usable answer. For a write this means: unknown.
#[derive(Clone, Debug, thiserror::Error)]
pub struct StoreError {
    /// What was tried.
    pub operation: Operation,
    /// On what: the prefix, or the first key of the transaction.
    pub subject: String,
    /// Who was asked, each with its answer.
    pub attempts: Vec<Attempt>,
    /// How long it took in all.
    pub took: Duration,
    /// What to do about it, when the answers tell.
    pub advice: &'static str,
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`Store::list`].
    List,
    /// [`Store::commit`].
    Commit,
    /// A question about the members of etcd, or an order to them.
    Maintain,
}

/// One member's part in a failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its address.
    pub endpoint: String,
    /// What came of it.
    pub outcome: String,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::List => "list",
            Self::Commit => "commit",
            Self::Maintain => "maintain",
        })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "etcd: {} of {} has no answer after {:?}", self.operation, self.subject, self.took)?;
        for (n, attempt) in self.attempts.iter().enumerate() {
            let separator = if n == 0 { ": " } else { "; " };
            write!(f, "{separator}{} said {}", attempt.endpoint, attempt.outcome)?;
        }
        if self.operation == Operation::Commit {
            f.write_str(". Whether it was applied is unknown")?;
        }
        write!(f, ". {}", self.advice)
    }
}

/// The largest value, in bytes. A run with all its steps is under 8 KiB, a report of twelve regions
/// under 32; etcd itself refuses requests over 1.5 MiB.
pub const VALUE_MAX: usize = 256 << 10;

/// The most entries of one listing. A system of twelve regions and twenty groups, with a full journal,
/// has under 600.
pub const LISTING_MAX: usize = 4_096;

/// Changes that a watch holds for a slow receiver before it stops reading from etcd.
pub const WATCH_QUEUE: usize = 256;
