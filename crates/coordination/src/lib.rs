//! Coordination: how the nodes of all regions agree, through etcd.
//!
//! The crate knows three verbs, list, commit and watch ([`Store`]), and two things behind them: a
//! real etcd ([`Etcd`]) and an in-memory twin with faults for tests ([`Memory`]). It knows where
//! everything is kept ([`keys`]), how it is written and read ([`codec`]), and how runs are journalled
//! ([`journal`]). It knows nothing of when to claim, renew or promote: that is `failover`.
//!
//! One rule shapes all of it: **whatever goes wrong, the outcome is unknown.** A call ends as done, as
//! lost (a compare failed: a definite answer), or as a [`StoreError`], after which a write may have
//! happened, may not have, or may still happen later. So every write that matters compares the
//! revision of the key that it replaces ([`txns`]), and repeating it is harmless.
//!
//! Losing etcd is an ordinary day here: calls end by their deadline, watches say that they are stale
//! and come back by themselves.
//!
//! Election timeout and heartbeat of etcd cannot be asked for over its API; whoever starts etcd states
//! them (the lab does), and the planner takes them from there.
//!
//! Open [`store`] first.

pub mod asks;
pub mod codec;
pub mod etcd;
pub mod journal;
pub mod keys;
pub mod memory;
pub mod rehearsals;
pub mod store;
pub mod txns;

pub use codec::{DecodeError, decode, encode};
pub use etcd::{ConnectError, Etcd, Timeouts};
pub use journal::{Journal, JournalError};
pub use keys::{Key, Keys};
pub use memory::{Faults, Memory};
pub use rehearsals::{OwnRehearsal, RehearsalError};
pub use store::{BoxFuture, Change, Commit, Compare, Listing, Store, StoreError, Txn, Versioned};
