//! What the machine has been told: facts with the moment at which they came.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use meridian_model::group::{
    Announcement, DatabaseRole, DatabaseStatus, GroupRecord, MemberReport, WalPosition,
};
use meridian_model::health::{Health, Part, RegionHealth};
use meridian_model::name::RegionName;
use meridian_model::order::Maintenance;
use meridian_model::{Epoch, Moment, Timestamp};

use crate::limits::{ANNOUNCED_MAX, WAL_SEEN_MAX};

/// A member's last report.
#[derive(Debug, Clone)]
pub(super) struct MemberSeen {
    pub(super) report: MemberReport,
    pub(super) at: Moment,
    /// When it was last seen streaming (or, as a primary, running).
    pub(super) well_at: Option<Moment>,
}

/// What the machine has been told.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) started: bool,
    pub(super) coordination: bool,
    /// Since when: before, nothing could be heard of anybody.
    pub(super) coordination_since: Moment,
    pub(super) database: DatabaseStatus,
    /// The furthest position that the running database has told.
    pub(super) position: WalPosition,
    /// When the local standby was last seen streaming.
    pub(super) last_streamed: Option<Moment>,
    /// etcd has been heard about the record at least once.
    pub(super) record_known: bool,
    /// The last record seen.
    pub(super) record: Option<GroupRecord>,
    /// The last record of etcd, while the present one is only what its holder has told.
    pub(super) shown: Option<GroupRecord>,
    /// By its holder's word the lease is being handed over with this record.
    pub(super) told: Option<GroupRecord>,
    pub(super) revision: i64,
    /// When this revision, or the announcement of it, became known: expiry is counted from here.
    pub(super) learned_at: Moment,
    /// When etcd last brought another revision.
    pub(super) news_at: Moment,
    /// The epoch that this member's memory called its own when it started, or that it has won since.
    pub(super) own_epoch: Option<Epoch>,
    /// Renewals that the holder has announced, and when that was heard.
    pub(super) announced: VecDeque<(Announcement, Moment)>,
    /// A read that was asked for then still found this revision.
    pub(super) confirmed: Option<Moment>,
    /// etcd has no record now, or one of an older epoch.
    pub(super) vanished: Option<String>,
    /// Since when, until it was told.
    pub(super) vanished_untold: Option<Moment>,
    /// When the record was last asked for, and whether somebody waits for the answer.
    pub(super) read_asked: Option<Moment>,
    pub(super) read_wanted: bool,
    /// etcd was out of reach, or this node has only started: the next record may be an old one.
    pub(super) missed_news: bool,
    /// Nothing was heard for a while, as when this process stood still.
    pub(super) silence: Option<Silence>,
    /// The holder's renewals, by when they were learned.
    pub(super) wal_seen: VecDeque<(WalPosition, Moment)>,
    /// The holder that this log follows had less of it when it won: the rest here is not its.
    pub(super) diverged: bool,
    pub(super) members: BTreeMap<RegionName, MemberSeen>,
    pub(super) regions: Arc<Vec<RegionHealth>>,
    pub(super) regions_at: Moment,
    /// The first verdict that the holder's region is down since its last sign of life; for people only.
    pub(super) holder_down: Option<FirstDown>,
    /// When the last failover of the record was first seen here.
    pub(super) flap_seen: Option<(Timestamp, Moment)>,
    pub(super) promised_until: Moment,
    /// When the last promise was given: the holder lived then, though the record may not show it.
    pub(super) promised_at: Moment,
    /// When the local database was last seen to run as a primary.
    pub(super) led_at: Moment,
    /// Nothing may begin by itself.
    pub(super) maintenance: Option<Maintenance>,
    /// The node was asked to step down.
    pub(super) step_down: bool,
    /// When the database ended by itself.
    pub(super) crashes: VecDeque<Moment>,
}

/// When a region was first seen to be down, and by what.
#[derive(Debug, Clone)]
pub(super) struct FirstDown {
    pub(super) at: Moment,
    pub(super) wall: Timestamp,
    pub(super) verdict: String,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            started: false,
            coordination: false,
            coordination_since: Moment::ZERO,
            database: DatabaseStatus::stopped(DatabaseRole::Stopped),
            position: WalPosition::default(),
            last_streamed: None,
            record_known: false,
            record: None,
            shown: None,
            told: None,
            revision: 0,
            learned_at: Moment::ZERO,
            news_at: Moment::ZERO,
            own_epoch: None,
            announced: VecDeque::new(),
            confirmed: None,
            vanished: None,
            vanished_untold: None,
            read_asked: None,
            read_wanted: false,
            missed_news: true,
            silence: None,
            wal_seen: VecDeque::new(),
            diverged: false,
            members: BTreeMap::new(),
            regions: Arc::default(),
            regions_at: Moment::ZERO,
            holder_down: None,
            flap_seen: None,
            promised_until: Moment::ZERO,
            promised_at: Moment::ZERO,
            led_at: Moment::ZERO,
            maintenance: None,
            step_down: false,
            crashes: VecDeque::new(),
        }
    }
}

impl Facts {
    /// What a region is held to be; unknown when the verdicts are older than `ttl`.
    pub(super) fn health(&self, region: &RegionName, now: Moment, ttl: Duration) -> Health {
        if now.since(self.regions_at) > ttl {
            return Health::Unknown;
        }
        self.regions.iter().find(|r| &r.region == region).map_or(Health::Unknown, |r| r.health)
    }

    /// Etcd can be reached, or not.
    pub(super) fn hear_of_coordination(&mut self, reachable: bool, now: Moment) {
        if reachable && !self.coordination {
            self.coordination_since = now;
        }
        self.coordination = reachable;
        self.missed_news |= !reachable;
    }

    /// Its reports have stopped. While etcd was away nobody could be heard, and that says nothing.
    pub(super) fn is_silent(&self, member: &RegionName, now: Moment, ttl: Duration) -> bool {
        self.members.get(member).is_none_or(|seen| now.since(seen.at.max(self.coordination_since)) > ttl)
    }

    /// The sentence of that verdict.
    pub(super) fn verdict(&self, region: &RegionName) -> String {
        let Some(seen) = self.regions.iter().find(|r| &r.region == region) else { return String::new() };
        match seen.parts.iter().find(|v| v.target.part == Part::Node) {
            Some(node) if seen.health != Health::Down && out_of_reach(seen) => {
                format!("its node and its edge cannot be reached ({})", node.reason)
            }
            _ => seen.reason.clone(),
        }
    }

    /// The holder's database runs as the primary of the record's epoch.
    pub(super) fn holder_is_primary(&self) -> bool {
        self.record.as_ref().is_some_and(|r| {
            self.members
                .get(&r.holder)
                .is_some_and(|m| m.report.epoch == r.epoch && m.report.database.role == DatabaseRole::Primary)
        })
    }

    /// Takes in the local database's state.
    pub(super) fn set_database(&mut self, status: DatabaseStatus, now: Moment) {
        if status.streaming {
            self.last_streamed = Some(now);
        }
        if status.role == DatabaseRole::Primary {
            self.led_at = now;
        }
        if status.received != WalPosition::default() {
            self.position = status.received;
        }
        self.database = status;
    }

    /// Remembers that this renewal was announced; of a repetition the first time counts.
    pub(super) fn heard_of(&mut self, mut announcement: Announcement, now: Moment) {
        if let Some(told) = announcement.hands_over.take() {
            self.told = Some(*told);
        }
        if self.announced.iter().any(|(known, _)| *known == announcement) {
            return;
        }
        self.announced.push_back((announcement, now));
        while self.announced.len() > ANNOUNCED_MAX {
            self.announced.pop_front();
        }
    }

    /// When this renewal was announced by its holder, if that was heard.
    pub(super) fn announced_at(&self, record: &GroupRecord) -> Option<Moment> {
        let made = |a: &Announcement| {
            (&a.holder, a.epoch, a.renewal) == (&record.holder, record.epoch, record.renewal)
        };
        self.announced.iter().find(|(a, _)| made(a)).map(|(_, at)| *at)
    }

    /// The holder of this record has said that it takes writes.
    pub(super) fn says_it_writes(&self, record: &GroupRecord) -> bool {
        self.announced.iter().any(|(a, _)| a.writes && a.epoch == record.epoch && a.holder == record.holder)
    }

    /// The last event came long ago: whatever comes now may have waited for as long. A read that is sent now is
    /// answered after all of that.
    pub(super) fn was_silent(&mut self, before: Moment, now: Moment) {
        let before = self.silence.map_or(before, |silence| silence.before);
        self.silence = Some(Silence { before, end: now });
        self.read_wanted = true;
    }

    /// What was learned now was so at that moment at the latest.
    pub(super) fn not_later(&self, learned: Moment) -> Moment {
        self.silence.map_or(learned, |silence| learned.min(silence.before))
    }

    /// Remembers how far the holder was at that moment. What is old is thinned out, so that the memory
    /// reaches far back; a gap only makes a lag look longer.
    pub(super) fn saw_wal(&mut self, wal: WalPosition, at: Moment) {
        self.wal_seen.push_back((wal, at));
        thin_out(&mut self.wal_seen);
    }

    /// How long before `end` the holder's log was last known to be no further than `position`; `None`
    /// when all that is remembered is further.
    pub(super) fn lag(&self, position: WalPosition, end: Moment) -> Option<Duration> {
        let (_, had) = self.wal_seen.iter().rev().find(|(wal, _)| *wal <= position)?;
        Some(end.since(*had))
    }
}

/// A time in which this machine heard nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Silence {
    /// The last event before it.
    before: Moment,
    /// The first one after it. Others may still wait behind that one.
    pub(super) end: Moment,
}

/// Of many places in a log, with when they were reached, every other one of the older half goes; the first stays.
pub(super) fn thin_out<T>(seen: &mut VecDeque<T>) {
    if seen.len() <= WAL_SEEN_MAX {
        return;
    }
    let half = seen.len() / 2;
    let mut place = 0;
    seen.retain(|_| {
        place += 1;
        place > half || place % 2 == 1
    });
}

/// A majority reaches neither its node nor its edge.
pub(super) fn out_of_reach(region: &RegionHealth) -> bool {
    region.part(Part::Node) == Health::Down && region.part(Part::Edge) == Health::Down
}
