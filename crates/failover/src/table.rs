//! The transition table (stub).

use serde::Serialize;

/// Where a machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing is known of the record yet.
    Starting,
    /// No database of the group is here: a witness.
    Idle,
    /// The group has never had a writer; another region begins.
    Waiting,
    /// The record vanished although there has been one: a person must look.
    Orphaned,
    /// The first epoch is being claimed.
    Bootstrapping,
    /// There is no data yet: it is copied from the holder.
    Cloning,
    /// A standby of the holder.
    Following,
    /// The connection to the holder is being dropped for good.
    Sealing,
    /// Final position reported; waits for the others and for the rules.
    Sealed,
    /// A new epoch is being claimed.
    Claiming,
    /// The epoch is ours; the database is being made the primary.
    Promoting,
    /// The writer.
    Leading,
    /// The writer's gateway is fenced: no renewal for too long.
    WritesClosed,
    /// The database crashed and is started again in place.
    Restarting,
    /// The database is fenced: stopped, because the right to write has ended.
    Stopped,
    /// The record is still ours: the right to write is being won anew.
    Resuming,
    /// The database is stopped and the lease is being given up.
    Releasing,
    /// The lease was given up; another member should take over.
    Released,
    /// An old primary (or a diverged standby) becomes a copy of the new one.
    Rejoining,
}
