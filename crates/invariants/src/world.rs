//! What was seen of a system: plain lists, filled by whoever watched it.

use std::collections::BTreeSet;
use std::time::Duration;

use meridian_model::health::Health;
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
    /// What the record promised of acknowledged writes, and who had them.
    pub quorums: Vec<QuorumSeen>,
    /// Faults that were made. `None`: nobody knows of faults, so a failover needs no reason.
    pub faults: Option<Vec<Fault>>,
    /// When each failover was decided, and which region lost the writer.
    pub failovers: Vec<(Moment, RegionName)>,
    /// Snapshots as nodes published them, in that order.
    pub snapshots: Vec<SnapshotSeen>,
    /// Where users were sent.
    pub answers: Vec<AnswerSeen>,
    /// Who could still write when an epoch began.
    pub begun: Vec<Begun>,
    /// Failovers that came after an earlier one.
    pub repeats: Vec<Repeat>,
    /// Databases that became standbys.
    pub follows: Vec<FollowSeen>,
    /// Steps of runs that a node began to carry out.
    pub steps: Vec<StepSeen>,
    /// What nodes held regions to be, with the votes for it.
    pub verdicts: Vec<VerdictSeen>,
    /// Members that cut themselves off from a holder that had not given up.
    pub seals: Vec<SealSeen>,
    /// `Some`: all faults have ended, and this is what became of it.
    pub calm: Option<Calm>,
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

/// What the record promised of the last acknowledged write at one instant, and who had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumSeen {
    /// The reign.
    pub epoch: Epoch,
    /// So many of the candidates have it, the record says.
    pub acknowledgers: usize,
    /// Whom the record counts.
    pub candidates: Vec<RegionName>,
    /// Those of them that do not have it, and need not be made a copy of the holder before they seal themselves.
    pub lacking: Vec<RegionName>,
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

/// Where the users of a region's name server and edge were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSeen {
    /// Who answered.
    pub by: RegionName,
    /// The regions that were offered, the best first.
    pub offered: Vec<RegionName>,
    /// The regions that users must never be sent to: forbidden by their dial, or witnesses.
    pub forbidden: Vec<RegionName>,
}

/// An epoch that began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Which.
    pub epoch: Epoch,
    /// Whose.
    pub holder: RegionName,
    /// The other regions that could write at that instant.
    pub able: Vec<RegionName>,
}

/// A failover of a group that had failed over before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    /// The reign that it began.
    pub epoch: Epoch,
    /// How long the last one was ago.
    pub after: Duration,
    /// How long the group is held down.
    pub window: Duration,
    /// A person agreed.
    pub agreed: bool,
}

/// A database that became a standby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowSeen {
    /// Where.
    pub region: RegionName,
    /// It had been a primary, and was not made a copy of another since.
    pub had_led: bool,
}

/// A step of a run that a node began to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepSeen {
    /// Who.
    pub by: RegionName,
    /// The reign of the run.
    pub epoch: Epoch,
    /// The reign that was current.
    pub current: Epoch,
    /// And its holder.
    pub holder: Option<RegionName>,
}

/// What a node held a region to be, and what the reports that it had by then say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictSeen {
    /// Who judged.
    pub by: RegionName,
    /// Which region.
    pub region: RegionName,
    /// What it was held to be.
    pub health: Health,
    /// Vantage points, dead ones included.
    pub all: usize,
    /// Of them with a fresh report that it is up.
    pub up: usize,
    /// Of them with a fresh report that it is down, those that see nobody left out.
    pub down: usize,
    /// Its own report is not fresh.
    pub silent: bool,
}

/// A member that cut itself off from a holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealSeen {
    /// Who.
    pub by: RegionName,
    /// From whom.
    pub holder: RegionName,
    /// How long after the last renewal known to it was sent, etcd itself still showed that one.
    pub unchanged_for: Option<Duration>,
    /// How long that must be.
    pub needed: Duration,
}

/// What became of a system after all faults had ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calm {
    /// How long it took until it was protected again; `None`: it never was.
    pub protected_after: Option<Duration>,
    /// How long it may take.
    pub allowed: Duration,
    /// What it was waiting for, for people.
    pub state: String,
}
