//! Databases and how log travels between them: a standby connects, receives what its upstream has, and says
//! how far it is; a primary tells its clients when enough standbys have a write.

use std::collections::VecDeque;

use meridian_model::group::{DatabaseRole, DatabaseStatus, Quorum, StandbyStatus, WalPosition};
use meridian_model::{Epoch, Lsn};

use super::clients::Write;
use super::wal::Log;
use super::{Act, World};
use crate::schedule::{MS, SECOND, Us};
use crate::shape::{REGIONS_MAX, index, region, word};

/// A database.
#[derive(Debug, Clone)]
pub(crate) struct Db {
    pub(crate) role: DatabaseRole,
    /// The data directory is a primary's: it must be made a copy again before it follows.
    pub(super) primary_dir: bool,
    pub(crate) log: Log,
    pub(super) upstream: Option<usize>,
    /// The connection to the upstream.
    pub(super) session: Option<u32>,
    sessions: u32,
    connecting: u32,
    /// Log is under way to this standby.
    shipping: bool,
    /// The reign that it was last a primary for.
    pub(super) epoch: Epoch,
    /// Rises with each start as a primary.
    pub(super) life: u32,
    /// Rises with each order of the watchdog to kill it.
    pub(super) kills: u32,
    /// A primary: how far each standby is.
    flushed: [Option<Log>; REGIONS_MAX],
    /// A primary: so many of these must have a write before its client is told.
    acknowledgers: usize,
    candidates: [bool; REGIONS_MAX],
    /// A primary: writes whose clients wait.
    pub(super) pending: VecDeque<(u64, Write)>,
}

impl Default for Db {
    fn default() -> Self {
        Self {
            role: DatabaseRole::Absent,
            primary_dir: false,
            log: Log::default(),
            upstream: None,
            session: None,
            sessions: 0,
            connecting: 0,
            shipping: false,
            epoch: Epoch::NONE,
            life: 0,
            kills: 0,
            flushed: [None; REGIONS_MAX],
            acknowledgers: 0,
            candidates: [false; REGIONS_MAX],
            pending: VecDeque::new(),
        }
    }
}

impl Db {
    /// A process is there.
    pub(super) const fn runs(&self) -> bool {
        matches!(self.role, DatabaseRole::Primary | DatabaseRole::Standby)
    }

    pub(crate) const fn is_primary(&self) -> bool {
        matches!(self.role, DatabaseRole::Primary)
    }

    /// Whom it streams from.
    pub(crate) const fn streams_from(&self) -> Option<usize> {
        match (self.role, self.session) {
            (DatabaseRole::Standby, Some(_)) => self.upstream,
            _ => None,
        }
    }

    /// It receives nothing any more.
    pub(super) const fn disconnect(&mut self) {
        self.session = None;
        self.shipping = false;
        self.connecting += 1;
    }

    /// Whose acknowledgements count from now on.
    pub(super) fn set_quorum(&mut self, quorum: Option<&Quorum>) {
        self.acknowledgers = quorum.map_or(0, |quorum| quorum.acknowledgers as usize);
        self.candidates = [false; REGIONS_MAX];
        for region in quorum.into_iter().flat_map(|quorum| &quorum.candidates) {
            self.candidates[index(region)] = true;
        }
    }

    /// As it is it could seal itself, and be counted by a claimant; else it must be made a copy before.
    pub(super) const fn can_testify(&self) -> bool {
        !matches!(self.role, DatabaseRole::Absent) && !self.primary_dir
    }

    /// What it holds is now a copy of that, not running.
    pub(super) fn copy_of(&mut self, log: Log) {
        self.log = log;
        self.primary_dir = false;
    }
}

/// The first try to connect comes after this long, and each further one.
const CONNECT: (Us, Us) = (10 * MS, 200 * MS);
const CONNECT_AGAIN: Us = SECOND;
/// How long log, or a word about it, travels.
const TRAVELS: (Us, Us) = (MS, 60 * MS);
/// What could not be delivered is tried again after this long.
const TRAVELS_AGAIN: Us = 200 * MS;
/// How long a broken connection goes unnoticed.
const UNNOTICED: (Us, Us) = (SECOND, 5 * SECOND);

impl World {
    // === the state of a database ===

    /// What its node sees of it.
    pub(super) fn status(&self, i: usize) -> DatabaseStatus {
        let db = &self.nodes[i].db;
        if !db.runs() {
            return DatabaseStatus::stopped(db.role);
        }
        let standbys = (0..self.shape.members()).filter(|s| self.nodes[*s].db.streams_from() == Some(i));
        let standbys = standbys.filter(|_| db.is_primary()).map(|s| StandbyStatus {
            region: region(s),
            flushed: Lsn(self.nodes[s].db.log.len),
            synchronous: true,
        });
        let received = WalPosition { timeline: db.log.timeline, lsn: Lsn(db.log.len) };
        let streaming = db.streams_from().is_some();
        DatabaseStatus {
            role: db.role,
            received,
            replayed: received.lsn,
            streaming,
            replay_lag_ms: Some(0),
            standbys: standbys.collect(),
            acknowledgers: db.is_primary().then_some(db.acknowledgers as u32),
        }
    }

    /// The process is gone; whoever streamed from it notices at once, if it can.
    pub(super) fn stop_database(&mut self, i: usize) {
        let db = &mut self.nodes[i].db;
        if db.runs() {
            db.role = DatabaseRole::Stopped;
        }
        db.disconnect();
        db.pending.clear();
        db.flushed = [None; REGIONS_MAX];
        db.kills += 1;
        self.watcher_looks(i);
        for s in self.other_members(i) {
            if self.nodes[s].db.streams_from() == Some(i) {
                self.breaks(s, self.connected(s, i));
            }
        }
    }

    /// It takes writes from now on.
    pub(super) fn primary_begins(&mut self, i: usize, epoch: Epoch) {
        let node = &mut self.nodes[i];
        node.promotions += 1;
        node.db.role = DatabaseRole::Primary;
        node.db.primary_dir = true;
        node.db.upstream = None;
        node.db.disconnect();
        node.db.life += 1;
        node.db.epoch = epoch;
        node.db.flushed = [None; REGIONS_MAX];
        let log = node.db.log;
        self.say(|_| format!("{}: its database is the primary, timeline {}", word(i), log.timeline));
        self.watcher_looks(i);
        self.watcher.primary_begins(log, &mut self.wal);
    }

    // === connections ===

    /// A standby tries to reach its upstream, now and then, until it does.
    pub(super) fn connects(&mut self, i: usize) {
        let db = &mut self.nodes[i].db;
        db.disconnect();
        let number = db.connecting;
        let wait = self.draws.wal.between(CONNECT.0, CONNECT.1);
        self.after(wait, Act::Connect(i, number));
    }

    pub(super) fn connect(&mut self, i: usize, number: u32) {
        let db = &self.nodes[i].db;
        if db.connecting != number || db.role != DatabaseRole::Standby {
            return;
        }
        let Some(from) = db.upstream else { return };
        if !self.can_stream(i, from) {
            return self.after(CONNECT_AGAIN, Act::Connect(i, number));
        }
        let db = &mut self.nodes[i].db;
        db.sessions += 1;
        db.session = Some(db.sessions);
        db.shipping = false;
        self.ship(from, i);
        self.flush_word(i, from);
    }

    fn can_stream(&self, i: usize, from: usize) -> bool {
        let (standby, upstream) = (&self.nodes[i].db, &self.nodes[from].db);
        from != i
            && self.line_works(i, from)
            && upstream.runs()
            && upstream.log.timeline >= standby.log.timeline
            && self.wal.begins_with(upstream.log, standby.log)
    }

    /// Both sides are awake and messages pass.
    fn line_works(&self, a: usize, b: usize) -> bool {
        !self.harm.asleep[a] && !self.harm.asleep[b] && self.connected(a, b)
    }

    /// Regions or lines have changed: connections that do not work any more break, in a while.
    pub(super) fn lines_change(&mut self) {
        for i in 0..self.shape.members() {
            if let Some(from) = self.nodes[i].db.streams_from()
                && !self.line_works(i, from)
            {
                self.breaks(i, false);
            }
        }
    }

    /// The connection of a standby breaks: it notices at once, or after some time.
    fn breaks(&mut self, i: usize, at_once: bool) {
        let Some(session) = self.nodes[i].db.session else { return };
        if at_once {
            self.maybe_broken(i, session);
        } else {
            let wait = self.draws.wal.between(UNNOTICED.0, UNNOTICED.1);
            self.after(wait, Act::Broken(i, session));
        }
    }

    pub(super) fn maybe_broken(&mut self, i: usize, session: u32) {
        if self.nodes[i].db.session != Some(session) || self.harm.asleep[i] {
            return;
        }
        let from = self.nodes[i].db.upstream.unwrap_or(i);
        if !self.line_works(i, from) || !self.nodes[from].db.runs() {
            self.connects(i);
        }
    }

    // === log travels ===

    /// The log of `from` has grown: those that stream from it receive it.
    pub(super) fn grows(&mut self, from: usize) {
        for i in self.other_members(from) {
            if self.nodes[i].db.streams_from() == Some(from) {
                self.ship(from, i);
            }
        }
    }

    fn ship(&mut self, from: usize, to: usize) {
        if !self.nodes[from].db.runs() {
            return;
        }
        let log = self.nodes[from].db.log;
        let db = &mut self.nodes[to].db;
        let Some(session) = db.session.filter(|_| !db.shipping && db.log != log) else { return };
        db.shipping = true;
        let travels = self.draws.wal.between(TRAVELS.0, TRAVELS.1);
        self.after(travels, Act::Shipped { to, session, log });
    }

    pub(super) fn shipped(&mut self, to: usize, session: u32, log: Log) {
        if self.nodes[to].db.session != Some(session) {
            return;
        }
        let Some(from) = self.nodes[to].db.upstream else { return };
        if self.harm.asleep[to] || self.harm.wal_stuck[to] || !self.connected(from, to) {
            return self.after(TRAVELS_AGAIN, Act::Shipped { to, session, log });
        }
        let db = &mut self.nodes[to].db;
        db.shipping = false;
        db.log = log;
        self.flush_word(to, from);
        self.ship(from, to);
        self.grows(to);
    }

    /// A standby tells its primary how far it is.
    fn flush_word(&mut self, from: usize, to: usize) {
        if !self.nodes[to].db.is_primary() {
            return;
        }
        let db = &self.nodes[from].db;
        let (Some(session), log) = (db.session, db.log) else { return };
        let life = self.nodes[to].db.life;
        let travels = self.draws.wal.between(TRAVELS.0, TRAVELS.1);
        self.after(travels, Act::Flushed { from, to, life, session, log });
    }

    /// The word arrives: a write that enough standbys have is committed. It counts although the standby may
    /// have sealed itself since: what it told of is in its log.
    pub(super) fn flushed(&mut self, from: usize, to: usize, life: u32, session: u32, log: Log) {
        let primary = &self.nodes[to].db;
        if !primary.is_primary() || primary.life != life {
            return;
        }
        if !self.line_works(from, to) {
            if self.nodes[from].db.session == Some(session) {
                self.after(TRAVELS_AGAIN, Act::Flushed { from, to, life, session, log });
            }
            return;
        }
        self.nodes[to].db.flushed[from] = Some(log);
        self.commit_pending(to);
    }

    /// Tells the clients of writes that are committed now.
    pub(super) fn commit_pending(&mut self, i: usize) {
        loop {
            let db = &self.nodes[i].db;
            let Some((len, _)) = db.pending.front() else { return };
            let has = |log: &&Log| self.wal.holds(**log, db.log.branch, *len);
            let counted = db.flushed.iter().zip(db.candidates).filter(|(_, counts)| *counts);
            if counted.filter_map(|(log, _)| log.as_ref()).filter(has).count() < db.acknowledgers {
                return;
            }
            let Some((len, write)) = self.nodes[i].db.pending.pop_front() else { return };
            self.committed(i, len, &write);
        }
    }
}
