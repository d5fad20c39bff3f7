//! What was seen of a system: plain lists, filled by whoever watched it.

use std::collections::BTreeSet;
use std::time::Duration;

use meridian_model::name::RegionName;
use meridian_model::run::Run;
use meridian_model::{Epoch, Moment};

/// What was seen of one data group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    /// Writes that a client was told to be committed, in any order.
    pub acks: Vec<Ack>,
    /// From when until when a region could write (gateway open, or database a running primary).
    pub writers: Vec<WriterClaim>,
    /// Epochs as somebody showed them, in the order in which they were seen.
    pub epochs: Vec<EpochSeen>,
    /// Every state of every run as it was journalled, in that order.
    pub runs: Vec<Run>,
    /// What clients were told against what is there.
    pub ledger: Option<Ledger>,
    /// Faults that were made. `None`: nobody knows of faults, so a failover needs no reason.
    pub faults: Option<Vec<Fault>>,
    /// When each failover was decided, and which region lost the writer.
    pub failovers: Vec<(Moment, RegionName)>,
    /// Snapshots as nodes published them, in that order.
    pub snapshots: Vec<SnapshotSeen>,
}

/// A write that a client was told to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Its number in the ledger.
    pub id: u64,
    /// When the client sent it.
    pub sent_at: Moment,
    /// When the client was told.
    pub acked_at: Moment,
    /// Which region's database committed it (`None`: the client could not see).
    pub server: Option<RegionName>,
}

/// A time in which a region could write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterClaim {
    /// Where.
    pub region: RegionName,
    /// Under which reign.
    pub epoch: Epoch,
    /// The first instant at which it was seen to be able.
    pub from: Moment,
    /// The last instant at which it was seen to be able.
    pub to: Moment,
}

/// An epoch as somebody showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochSeen {
    /// Who showed it: a region's node, or etcd.
    pub by: String,
    /// When.
    pub at: Moment,
    /// Which.
    pub epoch: Epoch,
    /// Who held it, if that was shown too.
    pub holder: Option<RegionName>,
}

/// What clients were told against what is there at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Numbers of the writes that clients were told to be committed, and when.
    pub acknowledged: Vec<(u64, Moment)>,
    /// Numbers found in the database of the last writer.
    pub found: BTreeSet<u64>,
    /// `Duration::ZERO` with quorum replication: nothing may be lost. Else the RPO: how long before the
    /// loss of the writer (the last acknowledgement of the old side) a lost write may have been told.
    pub allowed_loss: Duration,
}

impl Ledger {
    /// Acknowledged writes that are not there, with when they were acknowledged, oldest first.
    #[must_use]
    pub fn lost(&self) -> Vec<(u64, Moment)> {
        let mut lost: Vec<_> =
            self.acknowledged.iter().filter(|(id, _)| !self.found.contains(id)).copied().collect();
        lost.sort_by_key(|(id, at)| (*at, *id));
        lost
    }
}

/// A fault that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The region that it hit.
    pub region: RegionName,
    /// From when.
    pub from: Moment,
    /// Until when; `None`: to the end.
    pub to: Option<Moment>,
    /// It justifies moving the writer away from there: the loss, freeze or isolation of the region or of
    /// its database for longer than a lease. A blip, a slow link, a standby's loss does not.
    pub justifies_failover: bool,
}

/// What a snapshot let be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSeen {
    /// Whose node made it.
    pub region: RegionName,
    /// Its number.
    pub generation: u64,
    /// Of how many regions DNS answers would have been made from it.
    pub answers: u32,
}
