//! What people ask of a running system: orders to a group, words to a run, maintenance.
//!
//! They are kept in etcd, because whoever carries them out may not be the node that was asked.

use serde::{Deserialize, Serialize};

use crate::epoch::Epoch;
use crate::group::WalPosition;
use crate::moment::Timestamp;
use crate::name::{GroupName, Name, RegionName, RunId};

/// What is wanted of a data group: one at a time, and for one reign only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its name, unique.
    pub id: Name,
    /// Of whom.
    pub group: GroupName,
    /// What.
    #[serde(flatten)]
    pub wish: Wish,
    /// The reign that it was given in; in another one it means nothing.
    pub epoch: Epoch,
    /// Who asks: a person's name, `schedule` or `alert`.
    pub by: String,
    /// When, by the asker's clock.
    pub at: Timestamp,
    /// After this it is not begun any more.
    pub expires_at: Timestamp,
    /// What became of it.
    pub state: OrderState,
}

impl Order {
    /// It may still be carried out: nobody has ended it, its time has not passed, and it is for the present reign. In
    /// any other one it is void.
    #[must_use]
    pub fn stands(&self, epoch: Epoch, now: Timestamp) -> bool {
        self.state == OrderState::Open && self.epoch == epoch && now < self.expires_at
    }
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "wish")]
pub enum Wish {
    /// The writer moves, and nothing is lost.
    Switchover {
        /// Where to.
        to: RegionName,
    },
    /// The lost holder is replaced in spite of the flap window, maintenance or a plan that waits for a
    /// person.
    Failover {
        /// Also without proof of data.
        accept_data_loss: bool,
    },
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum OrderState {
    /// Nobody has ended it.
    Open,
    /// It was carried out: the successor writes, or the failover has begun.
    Done {
        /// When.
        ended_at: Timestamp,
    },
    /// It was not carried out, and everything is as before.
    Refused {
        /// When.
        ended_at: Timestamp,
        /// Why.
        reason: String,
    },
}

/// The token of a switchover: who may go on, and from where. Good for one epoch and one successor; written
/// once, by the holder, in the same compare-and-set that gives the lease up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The order that it carries out.
    pub order: Name,
    /// Who asked.
    pub by: String,
    /// The successor.
    pub to: RegionName,
    /// Where the shutdown checkpoint of the old writer begins: who has replayed beyond it has everything.
    pub end: WalPosition,
    /// When the hold of new transactions began.
    pub held_at: Timestamp,
    /// When the old writer had stopped.
    pub stopped_at: Timestamp,
    /// Sessions whose transaction was cut at the deadline.
    pub cut: u32,
    /// The run in which the old writer did what its plan wants before the demotion; none: it wants nothing.
    #[serde(default)]
    pub prepared: Option<RunId>,
}

/// What persons have said to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunWords {
    /// Which.
    pub run: RunId,
    /// No step begins while this is set.
    #[serde(default)]
    pub paused: Option<Word>,
    /// The run ends.
    #[serde(default)]
    pub aborted: Option<Word>,
    /// Steps that were agreed to.
    #[serde(default)]
    pub approved: Vec<(Name, Word)>,
    /// How often the run was resumed: a failed step is tried again once for each.
    #[serde(default)]
    pub resumed: u32,
}

impl RunWords {
    /// Nothing was said.
    #[must_use]
    pub const fn none(run: RunId) -> Self {
        Self { run, paused: None, aborted: None, approved: Vec::new(), resumed: 0 }
    }
}

/// Who said something, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// Nothing begins by itself until it ends: no failover, no scheduled switchover. It always has an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// When it ends.
    pub until: Timestamp,
    /// Who began it, when and why.
    pub word: Word,
}
