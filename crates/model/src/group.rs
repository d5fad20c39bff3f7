//! A data group: who writes, under which epoch, and how far everybody is.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::epoch::Epoch;
use crate::moment::Timestamp;
use crate::name::{GroupName, RegionName, RunId};
use crate::order::Handover;
use crate::units::Lsn;

/// The record of a group in etcd: lease and epoch in one value, changed only by compare-and-set.
///
/// The holder writes it anew every `renew_every`; that is its lease. Whoever wants to take over must
/// have watched it unchanged for `lease_ttl` by its own clock, and replaces exactly that revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// The group.
    pub group: GroupName,
    /// The reign.
    pub epoch: Epoch,
    /// Who may write.
    pub holder: RegionName,
    /// Rises with each renewal, so that a holder knows its own write again after a lost answer.
    pub renewal: u64,
    /// The holder has given the lease up: it has stopped writing, nobody needs to wait for expiry.
    pub released: bool,
    /// How far the holder's log was at this renewal.
    pub wal: WalPosition,
    /// How old that figure was then, in milliseconds: the holder renews also while its database does
    /// not answer.
    #[serde(default)]
    pub wal_age_ms: u64,
    /// What the holder was told to keep to; none in a record of an older version.
    #[serde(default)]
    pub terms: Option<Terms>,
    /// What a proof of data may rest on; none under asynchronous replication, and in a record of an older
    /// version.
    #[serde(default)]
    pub quorum: Option<Quorum>,
    /// When, by the holder's wall clock. For people and for the lag as time; not for expiry.
    pub renewed_at: Timestamp,
    /// The group's database has been made: whoever has none now has lost it. Written before the first start, so
    /// that no write is older. A record of an older version says so.
    #[serde(default = "made")]
    pub made: bool,
    /// The run that made this reign; none for the first.
    pub run: Option<RunId>,
    /// When the last failover that acted began: the start of the flap window.
    pub last_failover_at: Option<Timestamp>,
    /// A released lease that was handed to a successor.
    #[serde(default)]
    pub handover: Option<Handover>,
}

const fn made() -> bool {
    true
}

impl GroupRecord {
    /// A record of a group that has a database, of which nothing more is known, to be filled in.
    #[must_use]
    pub fn begin(group: GroupName, epoch: Epoch, holder: RegionName, renewed_at: Timestamp) -> Self {
        Self {
            group,
            epoch,
            holder,
            renewal: 0,
            released: false,
            wal: WalPosition::default(),
            wal_age_ms: 0,
            terms: None,
            quorum: None,
            renewed_at,
            made: true,
            run: None,
            last_failover_at: None,
            handover: None,
        }
    }
}

/// Whose acknowledgements count. In a record: every write that a client was told of is in the logs of at
/// least so many of the candidates. As a setting of PostgreSQL: a commit waits for so many of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// W of the proof rule. In a record 0 means that nothing is promised: no proof is possible.
    pub acknowledgers: u32,
    /// N of the proof rule: the standbys that count; never the holder.
    pub candidates: BTreeSet<RegionName>,
}

/// What the members of a group must agree on for one to judge the other: kept in the record, because a
/// change of the spec reaches one node after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// For how long a renewal is good, in milliseconds.
    pub lease_ttl_ms: u64,
    /// The roster, in the order of the spec.
    pub members: Vec<RegionName>,
    /// How many standbys the spec wants to have a commit before it is acknowledged, or fewer as long as the record's
    /// [`GroupRecord::quorum`] promises less; none: asynchronous.
    pub acknowledgers: Option<u32>,
}

/// A place in the log of a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct WalPosition {
    /// PostgreSQL's timeline: compared first.
    pub timeline: u32,
    /// The place on it.
    pub lsn: Lsn,
}

/// What a member's database does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseRole {
    /// There is no data directory yet.
    Absent,
    /// It does not run.
    Stopped,
    /// It is starting or recovering and answers nothing yet.
    Starting,
    /// It runs as a standby.
    Standby,
    /// It runs and takes writes.
    Primary,
}

impl DatabaseRole {
    /// A look at it as `looked_as` (none: nobody knew what it was) tells nothing of what it is now. What starts is
    /// not anything else yet.
    #[must_use]
    pub fn outdates(self, looked_as: Option<Self>) -> bool {
        let runs = |role: &Self| matches!(role, Self::Standby | Self::Primary);
        self != Self::Starting && Some(self).filter(runs) != looked_as.filter(runs)
    }
}

/// The state of one member's database, as its own node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    /// What it does.
    pub role: DatabaseRole,
    /// The furthest that it has safely received (standby) or written (primary).
    pub received: WalPosition,
    /// The furthest that it has replayed; equal to `received` on a primary.
    pub replayed: Lsn,
    /// A standby: it is receiving from its upstream now.
    pub streaming: bool,
    /// A standby: how old the last replayed transaction is, in milliseconds, 0 when all was replayed.
    pub replay_lag_ms: Option<u64>,
    /// A primary: how many standbys must have a commit before it is acknowledged, as its server is set now;
    /// none when that is not known.
    #[serde(default)]
    pub acknowledgers: Option<u32>,
    /// A primary: the standbys that stream from it now, by application name (their region).
    pub standbys: Vec<StandbyStatus>,
}

impl DatabaseStatus {
    /// A database that does not run.
    #[must_use]
    pub fn stopped(role: DatabaseRole) -> Self {
        Self {
            role,
            received: WalPosition::default(),
            replayed: Lsn(0),
            streaming: false,
            replay_lag_ms: None,
            acknowledgers: None,
            standbys: Vec::new(),
        }
    }
}

/// What a standby's figure of lag says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// So old, in milliseconds, is what it has replayed last; 0: it has replayed all that there is.
    Behind(u64),
    /// It has heard nothing from its upstream for so many milliseconds: whether there is more, it cannot know. An idle
    /// upstream that is frozen or gone had nothing more.
    Unheard(u64),
}

impl DatabaseStatus {
    /// What its lag says; none on a primary, and where it is not known.
    #[must_use]
    pub fn lag(&self) -> Option<Lag> {
        let ms = self.replay_lag_ms?;
        let all_replayed = self.replayed >= self.received.lsn;
        Some(if ms > 0 && (!self.streaming || all_replayed) { Lag::Unheard(ms) } else { Lag::Behind(ms) })
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behind(ms) => write!(f, "{ms} ms"),
            Self::Unheard(ms) => write!(f, "nothing heard for {} s", ms / 1_000),
        }
    }
}

/// A standby as its primary sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandbyStatus {
    /// Its region (the application name of its connection).
    pub region: RegionName,
    /// How far it has flushed.
    pub flushed: Lsn,
    /// Counts for `synchronous_standby_names` now.
    pub synchronous: bool,
}

/// What a member tells the group: kept in etcd under the group, one key a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReport {
    /// Who.
    pub region: RegionName,
    /// Rises with each report while the node lives.
    pub sequence: u64,
    /// The epoch that this member follows or leads.
    pub epoch: Epoch,
    /// It has stopped receiving from the holder of this epoch for good: its position is final, and
    /// the holder can get no acknowledgement from it any more.
    pub sealed: Option<Epoch>,
    /// Its database.
    pub database: DatabaseStatus,
    /// By the reporter's wall clock, for people.
    pub reported_at: Timestamp,
}

/// What a holder tells every member directly, just before it sends a renewal to etcd or hands the lease over, and when
/// clients can write there. Who has heard of a renewal counts the holder's lease from then, and not from when etcd shows it, which
/// may be an election later. It gives no right and takes none: the right is counted from before it was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The group.
    pub group: GroupName,
    /// Who announces: two that claim the same epoch may number their attempts alike.
    pub holder: RegionName,
    /// The reign.
    pub epoch: Epoch,
    /// The [`GroupRecord::renewal`] that is being sent; of one attempt only.
    pub renewal: u64,
    /// Its database takes writes: other regions lead clients there without waiting for etcd to show it. An older
    /// version does not say.
    #[serde(default)]
    pub writes: bool,
    /// The record by which the lease is being handed over, with that number: the successor need not wait until etcd
    /// shows it. It still gives no right: what is claimed by it is won only if etcd has exactly this record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hands_over: Option<Box<GroupRecord>>,
}

/// What a member answers to a holder that cannot reach etcd: until the promise ends it will neither
/// be promoted nor start a run. Kept on disk before it is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// The group.
    pub group: GroupName,
    /// The reign that is acknowledged.
    pub epoch: Epoch,
    /// To whom.
    pub holder: RegionName,
    /// For how long from the instant the request arrived, in milliseconds.
    pub for_ms: u64,
}

/// Which hold of new transactions is meant. A reign may ask for several, one after the other: what is said of an
/// earlier one, and comes late, says nothing of a later one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HoldId {
    /// The reign whose transactions are held.
    pub epoch: Epoch,
    /// Rises with each hold that the holder asks for. 0: it was told by a version that does not count them.
    #[serde(default)]
    pub attempt: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_not_told_as_lag() {
        let standby = |streaming, received: u64, ms| DatabaseStatus {
            received: WalPosition { timeline: 1, lsn: Lsn(received) },
            replayed: Lsn(10),
            streaming,
            replay_lag_ms: Some(ms),
            ..DatabaseStatus::stopped(DatabaseRole::Standby)
        };
        let told = |status: DatabaseStatus| status.lag().map(|lag| lag.to_string());
        assert_eq!(told(standby(true, 10, 0)).as_deref(), Some("0 ms"));
        assert_eq!(told(standby(true, 20, 300)).as_deref(), Some("300 ms"), "it replays what it has got");
        assert_eq!(told(standby(true, 10, 12_345)).as_deref(), Some("nothing heard for 12 s"));
        assert_eq!(told(standby(false, 10, 90_000)).as_deref(), Some("nothing heard for 90 s"));
        assert_eq!(told(DatabaseStatus::stopped(DatabaseRole::Primary)), None);
    }
}
