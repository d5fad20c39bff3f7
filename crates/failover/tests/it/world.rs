//! A small world: machines, a store like etcd, databases that replicate, links that fail. True time
//! moves in ticks; every node has its own clock. The world checks the laws at every tick.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_failover::{
    At, Command, Completed, Config, DatabaseAction, Event, Expect, Machine, Memory, Outcome, Purpose, State,
    Swap,
};
use meridian_model::database::Replication;
use meridian_model::group::{
    DatabaseRole, DatabaseStatus, GroupRecord, MemberReport, StandbyStatus, WalPosition,
};
use meridian_model::health::{Health, RegionHealth};
use meridian_model::name::RunId;
use meridian_model::run::Run;
use meridian_model::{Epoch, Lsn, Moment, Timestamp};

use super::names::{config, index, region};

/// Milliseconds of true time.
pub(crate) type Ms = u64;
pub(crate) const TICK: Ms = 10;

/// A tiny generator: the same seed makes the same world.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = self.0 ^ (self.0 >> 33);
        (x.wrapping_mul(0xFF51_AFD7_ED55_8CCD) >> 33) % n
    }

    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub(crate) fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}

// === parts of a node ===

/// A database: its log is a list of write numbers, so that a fork can be seen.
#[derive(Debug, Clone)]
pub(crate) struct Db {
    pub(crate) role: DatabaseRole,
    /// The data directory is a primary's.
    primary_dir: bool,
    upstream: Option<usize>,
    pub(crate) log: Vec<u64>,
    pub(crate) timeline: u32,
    streaming: bool,
    /// How much of the log was acknowledged to clients while this one was the primary.
    acked: usize,
    /// Being killed: it lives until then.
    dies_at: Option<Ms>,
}

impl Db {
    fn absent() -> Self {
        Self {
            role: DatabaseRole::Absent,
            primary_dir: false,
            upstream: None,
            log: Vec::new(),
            timeline: 1,
            streaming: false,
            acked: 0,
            dies_at: None,
        }
    }

    fn position(&self) -> WalPosition {
        WalPosition { timeline: self.timeline, lsn: Lsn(self.log.len() as u64 + 1) }
    }

    fn stop(&mut self) {
        if self.role != DatabaseRole::Absent {
            self.role = DatabaseRole::Stopped;
        }
        self.streaming = false;
        self.dies_at = None;
    }
}

pub(crate) struct Node {
    pub(crate) machine: Option<Machine>,
    life: u64,
    disk: Option<Memory>,
    pub(crate) db: Db,
    running: Option<(u64, DatabaseAction, Ms)>,
    waiting: Vec<(u64, DatabaseAction)>,
    pub(crate) gateway: Option<(Epoch, Moment)>,
    fence: Option<Moment>,
    /// The whole node is frozen until then.
    pub(crate) frozen_until: Ms,
    /// Only its loop hangs until then; database, gateway and watchdog go on.
    pub(crate) stalled_until: Ms,
    inbox: Vec<Event>,
    wake: Option<Moment>,
    drift_ppm: i64,
    offset: u64,
    /// How wrong its wall clock is, in milliseconds.
    pub(crate) wall_wrong: i64,
    /// Nothing comes through the watch.
    pub(crate) watch_hangs: bool,
    /// Its verdicts are made up.
    pub(crate) lies: bool,
    seen_revision: i64,
    told_etcd: Option<bool>,
    highest: Epoch,
    pub(crate) disk_full: bool,
    pub(crate) claims: u32,
    pub(crate) promotions: u32,
}

/// What etcd holds.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) record: Option<(GroupRecord, i64)>,
    revision: i64,
    epoch: Epoch,
    pub(crate) runs: BTreeMap<RunId, (Run, i64)>,
    members: BTreeMap<usize, (MemberReport, i64)>,
}

enum Act {
    Deliver(usize, u64, Event),
    Swap(usize, u64, Swap, bool),
    Journal(usize, u64, u64, Run),
    Read(usize, u64, Moment),
    Report(usize, MemberReport),
    Announce(usize, usize, meridian_model::group::Announcement),
    Ask { from: usize, life: u64, to: usize, promise: meridian_model::group::Promise, sent_at: Moment },
    Answer { from: usize, to: usize, life: u64, epoch: Epoch, sent_at: Moment, granted: bool },
}

pub(crate) struct World {
    pub(crate) now: Ms,
    pub(crate) chance: Chance,
    pub(crate) nodes: Vec<Node>,
    pub(crate) store: Store,
    queue: BTreeMap<(Ms, u64), Act>,
    sequence: u64,
    /// The link from one node to another works.
    pub(crate) link: Vec<Vec<bool>>,
    pub(crate) link_etcd: Vec<bool>,
    pub(crate) etcd_up: bool,
    replication: Replication,
    flap: Duration,
    next_write: u64,
    /// Every write that a client was told to be committed.
    pub(crate) acked: Vec<u64>,
    asks: BTreeMap<u64, (usize, u64, Epoch, Moment)>,
    next_ask: u64,
    cut_since: Vec<Vec<Option<Ms>>>,
    silent_since: Vec<Option<Ms>>,
    /// Percent of messages to etcd that go wrong in some way.
    pub(crate) trouble: u64,
    pub(crate) trace: Vec<String>,
    pub(crate) keep_trace: bool,
    pub(crate) moves: std::collections::BTreeSet<String>,
}

impl World {
    pub(crate) fn new(seed: u64, nodes: usize, replication: Replication) -> Self {
        Self::with_flap_window(seed, nodes, replication, Duration::from_secs(2))
    }

    pub(crate) fn with_flap_window(
        seed: u64,
        nodes: usize,
        replication: Replication,
        flap: Duration,
    ) -> Self {
        let mut chance = Chance::new(seed);
        let nodes: Vec<Node> = (0..nodes)
            .map(|_| Node {
                machine: None,
                life: 0,
                disk: None,
                db: Db::absent(),
                running: None,
                waiting: Vec::new(),
                gateway: None,
                fence: None,
                frozen_until: 0,
                stalled_until: 0,
                inbox: Vec::new(),
                wake: None,
                drift_ppm: chance.between(0, 400) as i64 - 200,
                offset: chance.between(1_000_000, 90_000_000),
                wall_wrong: 0,
                watch_hangs: false,
                lies: false,
                seen_revision: 0,
                told_etcd: None,
                highest: Epoch::NONE,
                disk_full: false,
                claims: 0,
                promotions: 0,
            })
            .collect();
        let n = nodes.len();
        let mut world = Self {
            now: 0,
            chance,
            nodes,
            store: Store::default(),
            queue: BTreeMap::new(),
            sequence: 0,
            link: vec![vec![true; n]; n],
            link_etcd: vec![true; n],
            etcd_up: true,
            replication,
            flap,
            next_write: 0,
            acked: Vec::new(),
            asks: BTreeMap::new(),
            next_ask: 0,
            cut_since: vec![vec![None; n]; n],
            silent_since: vec![None; n],
            trouble: 0,
            trace: Vec::new(),
            keep_trace: false,
            moves: std::collections::BTreeSet::new(),
        };
        for i in 0..n {
            world.boot(i);
        }
        world
    }

    // === time ===

    pub(crate) fn local(&self, i: usize) -> Moment {
        let node = &self.nodes[i];
        let ns = i128::from(self.now) * 1_000_000;
        let drift = ns * i128::from(node.drift_ppm) / 1_000_000;
        Moment::from_nanos((ns + drift) as u64 + node.offset * 1_000_000)
    }

    pub(crate) fn frozen(&self, i: usize) -> bool {
        self.now < self.nodes[i].frozen_until
    }

    pub(crate) fn alive(&self, i: usize) -> bool {
        self.nodes[i].machine.is_some() && !self.frozen(i)
    }

    pub(crate) fn run(&mut self, ms: Ms) {
        let end = self.now + ms;
        while self.now < end {
            self.tick();
        }
    }

    /// Runs until `what` holds; gives up after `ms`.
    pub(crate) fn until(&mut self, ms: Ms, what: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + ms;
        while self.now < end {
            if what(self) {
                return true;
            }
            self.tick();
        }
        what(self)
    }

    fn tick(&mut self) {
        self.now += TICK;
        self.watchdogs();
        self.databases();
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let act = entry.remove();
            self.act(act);
        }
        self.looks();
        for i in 0..self.nodes.len() {
            self.finish_actions(i);
            self.watch(i);
            self.loop_of(i);
        }
        self.check();
    }

    fn later(&mut self, low: Ms, high: Ms, act: Act) {
        let at = self.now + self.chance.between(low, high);
        self.at(at, act);
    }

    fn at(&mut self, at: Ms, act: Act) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), act);
    }

    pub(crate) fn say(&mut self, text: String) {
        if self.keep_trace {
            self.trace.push(format!("{:>7} {text}", self.now));
        }
    }

    // === faults ===

    pub(crate) fn boot(&mut self, i: usize) {
        if self.nodes[i].machine.is_some() {
            return;
        }
        let mut config: Config = config(i, self.nodes.len(), self.replication);
        config.timers.flap_window = self.flap;
        let status = self.status(i);
        let node = &mut self.nodes[i];
        node.life += 1;
        node.machine = Some(Machine::new(config));
        node.seen_revision = 0;
        node.told_etcd = None;
        let memory = node.disk.clone();
        node.inbox = vec![Event::Started { database: status, memory }];
        self.say(format!("{} boots", region(i)));
    }

    /// The node dies, and with it everything that it runs. What it has sent is still on its way.
    pub(crate) fn crash(&mut self, i: usize) {
        self.say(format!("{} crashes", region(i)));
        let node = &mut self.nodes[i];
        node.machine = None;
        node.inbox.clear();
        node.wake = None;
        node.running = None;
        node.waiting.clear();
        node.gateway = None;
        node.fence = None;
        node.db.stop();
    }

    pub(crate) fn crash_database(&mut self, i: usize) {
        self.say(format!("database of {} crashes", region(i)));
        self.nodes[i].db.stop();
        let status = self.status(i);
        self.nodes[i].inbox.push(Event::Database(status));
    }

    /// All that etcd knew is gone.
    pub(crate) fn wipe(&mut self) {
        self.say("etcd is wiped".to_owned());
        self.store = Store::default();
        for node in &mut self.nodes {
            node.seen_revision = 0;
        }
    }

    /// An event from outside.
    pub(crate) fn tell(&mut self, i: usize, event: &Event) {
        self.nodes[i].inbox.push(event.clone());
    }

    /// A standby that remembers to have sealed itself for the current epoch, though the holder is well.
    pub(crate) fn seal_by_force(&mut self, i: usize) {
        self.crash(i);
        let epoch = self.store.epoch;
        if let Some(memory) = &mut self.nodes[i].disk {
            memory.sealed = Some(epoch);
        }
        self.boot(i);
    }

    fn etcd(&self, i: usize) -> bool {
        self.etcd_up && self.link_etcd[i]
    }

    fn connected(&self, a: usize, b: usize) -> bool {
        self.link[a][b] && self.link[b][a]
    }

    // === databases ===

    fn watchdogs(&mut self) {
        for i in 0..self.nodes.len() {
            if self.frozen(i) {
                continue;
            }
            let now = self.local(i);
            let kill = self.chance.between(0, 40) * TICK;
            let at = self.now;
            let node = &mut self.nodes[i];
            let fence_age = node.fence.map_or(Duration::ZERO, |fence| now.since(fence));
            if node.fence.is_some_and(|fence| now >= fence) {
                node.fence = None;
                node.running = None;
                node.waiting.clear();
                // After a thaw nothing is left of the time to stop: the kill comes before anything else.
                let late = fence_age > Duration::from_millis(2 * TICK);
                if node.db.role != DatabaseRole::Absent {
                    node.db.dies_at = Some(if late { at } else { at + kill });
                }
                self.say(format!("watchdog of {} kills", region(i)));
            }
            let node = &mut self.nodes[i];
            if node.db.dies_at.is_some_and(|dies| at >= dies) {
                node.db.stop();
                let status = self.status(i);
                self.nodes[i].inbox.push(Event::Database(status));
            }
        }
    }

    fn databases(&mut self) {
        let n = self.nodes.len();
        for i in 0..n {
            if self.frozen(i) || self.nodes[i].db.role != DatabaseRole::Primary {
                continue;
            }
            if self.now.is_multiple_of(20) {
                self.next_write += 1;
                let write = self.next_write;
                self.nodes[i].db.log.push(write);
            }
        }
        for i in 0..n {
            self.replicate(i);
        }
        for i in 0..n {
            if self.frozen(i) || self.nodes[i].db.role != DatabaseRole::Primary {
                continue;
            }
            let db = &self.nodes[i].db;
            let have = db.log.len();
            let enough = match self.replication {
                Replication::Async => have,
                Replication::Quorum { acknowledgers } => {
                    let mut flushed: Vec<usize> = (0..n)
                        .filter(|s| *s != i && self.receives(*s, i))
                        .map(|s| self.nodes[s].db.log.len())
                        .collect();
                    flushed.sort_unstable();
                    flushed.iter().rev().nth(acknowledgers as usize - 1).copied().unwrap_or(0)
                }
            };
            let db = &mut self.nodes[i].db;
            if enough > db.acked {
                let new = db.log[db.acked..enough].to_vec();
                db.acked = enough;
                self.acked.extend(new);
            }
        }
    }

    fn receives(&self, s: usize, from: usize) -> bool {
        let (standby, upstream) = (&self.nodes[s].db, &self.nodes[from].db);
        standby.role == DatabaseRole::Standby
            && standby.upstream == Some(from)
            && !self.frozen(s)
            && !self.frozen(from)
            && matches!(upstream.role, DatabaseRole::Primary | DatabaseRole::Standby)
            && self.connected(s, from)
            && upstream.log.starts_with(&standby.log)
            && upstream.timeline >= standby.timeline
    }

    fn replicate(&mut self, s: usize) {
        let Some(from) = self.nodes[s].db.upstream else {
            self.nodes[s].db.streaming = false;
            return;
        };
        let flows = from != s && self.receives(s, from);
        self.nodes[s].db.streaming = flows;
        if flows && self.chance.percent(70) {
            let (log, timeline) = (self.nodes[from].db.log.clone(), self.nodes[from].db.timeline);
            let db = &mut self.nodes[s].db;
            db.log = log;
            db.timeline = timeline;
        }
    }

    pub(crate) fn status(&self, i: usize) -> DatabaseStatus {
        let db = &self.nodes[i].db;
        if matches!(db.role, DatabaseRole::Absent | DatabaseRole::Stopped) {
            return DatabaseStatus::stopped(db.role);
        }
        let standbys = (0..self.nodes.len()).filter(|s| *s != i && self.receives(*s, i));
        let standbys = standbys.map(|s| StandbyStatus {
            region: region(s),
            flushed: self.nodes[s].db.position().lsn,
            synchronous: true,
        });
        DatabaseStatus {
            role: db.role,
            received: db.position(),
            replayed: db.position().lsn,
            streaming: db.streaming,
            replay_lag_ms: Some(0),
            standbys: if db.role == DatabaseRole::Primary { standbys.collect() } else { Vec::new() },
        }
    }

    fn finish_actions(&mut self, i: usize) {
        if self.frozen(i) {
            return;
        }
        if self.nodes[i].running.is_none() && !self.nodes[i].waiting.is_empty() {
            let (id, action) = self.nodes[i].waiting.remove(0);
            let takes = match action {
                DatabaseAction::Stop => self.chance.between(0, 40) * TICK,
                DatabaseAction::Clone { .. } | DatabaseAction::Rejoin { .. } => {
                    self.chance.between(20, 200) * TICK
                }
                _ => self.chance.between(2, 40) * TICK,
            };
            self.nodes[i].running = Some((id, action, self.now + takes));
        }
        let Some((id, action, ends)) = self.nodes[i].running.clone() else { return };
        if self.now < ends {
            return;
        }
        self.nodes[i].running = None;
        let result = if self.chance.percent(self.trouble / 2) && action != DatabaseAction::Stop {
            Err("bad luck".to_owned())
        } else {
            self.carry_out(i, &action)
        };
        self.say(format!("{} database {action:?}: {result:?}", region(i)));
        let result = result.map(|()| Completed { status: self.status(i), detail: String::new() });
        self.nodes[i].inbox.push(Event::Finished { id, result });
    }

    fn carry_out(&mut self, i: usize, action: &DatabaseAction) -> Result<(), String> {
        let armed = self.nodes[i].fence.is_some_and(|f| f > self.local(i));
        if self.nodes[i].db.dies_at.is_some() {
            self.nodes[i].db.stop();
        }
        match action {
            DatabaseAction::Stop => self.nodes[i].db.stop(),
            DatabaseAction::Initialise => {
                let db = &mut self.nodes[i].db;
                if db.role == DatabaseRole::Absent {
                    *db = Db { role: DatabaseRole::Stopped, primary_dir: true, ..Db::absent() };
                }
            }
            DatabaseAction::StartPrimary { .. } | DatabaseAction::Promote { .. } if !armed => {
                return Err("no fence is armed".to_owned());
            }
            DatabaseAction::StartPrimary { .. } => {
                let db = &mut self.nodes[i].db;
                assert!(db.primary_dir, "{} starts a standby's directory as a primary", region(i));
                assert_ne!(db.role, DatabaseRole::Absent);
                db.role = DatabaseRole::Primary;
                self.primary_began(i);
            }
            DatabaseAction::Promote { .. } => self.promote(i)?,
            DatabaseAction::Follow { upstream, .. } => {
                let upstream = index(upstream);
                let db = &mut self.nodes[i].db;
                if matches!(db.role, DatabaseRole::Primary | DatabaseRole::Absent) {
                    return Err(format!("cannot follow: it is {:?}", db.role));
                }
                assert!(!db.primary_dir, "{} follows with a primary's directory", region(i));
                db.role = DatabaseRole::Standby;
                db.upstream = Some(upstream);
            }
            DatabaseAction::Seal => {
                let db = &mut self.nodes[i].db;
                if matches!(db.role, DatabaseRole::Primary | DatabaseRole::Absent) {
                    return Err(format!("cannot seal: it is {:?}", db.role));
                }
                db.role = DatabaseRole::Standby;
                db.upstream = None;
                db.streaming = false;
            }
            DatabaseAction::Clone { source } => {
                let from = self.source(i, index(source))?;
                let db = &mut self.nodes[i].db;
                if db.role == DatabaseRole::Absent {
                    *db = Db {
                        role: DatabaseRole::Stopped,
                        log: from.log,
                        timeline: from.timeline,
                        ..Db::absent()
                    };
                }
            }
            DatabaseAction::Rejoin { source, .. } => {
                let upstream = Some(index(source));
                let from = self.source(i, index(source))?;
                let role = DatabaseRole::Standby;
                assert_ne!(self.nodes[i].db.role, DatabaseRole::Primary, "a running primary rejoins");
                self.nodes[i].db =
                    Db { role, upstream, log: from.log, timeline: from.timeline, ..Db::absent() };
            }
        }
        Ok(())
    }

    /// What can be copied from a member: only a primary that answers.
    fn source(&self, i: usize, from: usize) -> Result<Db, String> {
        let answers = self.connected(i, from) && self.alive(from);
        let primary = answers && self.nodes[from].db.role == DatabaseRole::Primary;
        primary.then(|| self.nodes[from].db.clone()).ok_or_else(|| "the source does not answer".to_owned())
    }

    fn promote(&mut self, i: usize) -> Result<(), String> {
        let db = &mut self.nodes[i].db;
        match db.role {
            DatabaseRole::Primary => Ok(()),
            DatabaseRole::Standby => {
                db.timeline += 1;
                db.role = DatabaseRole::Primary;
                db.primary_dir = true;
                db.upstream = None;
                db.acked = 0;
                self.primary_began(i);
                Ok(())
            }
            role => Err(format!("cannot promote a database that is {role:?}")),
        }
    }

    /// A primary begins: nothing that was acknowledged may be missing in it (quorum).
    fn primary_began(&mut self, i: usize) {
        self.nodes[i].promotions += 1;
        if matches!(self.replication, Replication::Quorum { .. }) {
            let have: std::collections::HashSet<u64> = self.nodes[i].db.log.iter().copied().collect();
            let lost: Vec<u64> = self.acked.iter().copied().filter(|w| !have.contains(w)).collect();
            assert!(
                lost.is_empty(),
                "{} begins at {} without {} acknowledged writes",
                region(i),
                self.now,
                lost.len()
            );
        }
    }

    // === etcd ===

    fn watch(&mut self, i: usize) {
        if !self.alive(i) {
            return;
        }
        let reachable = self.etcd(i);
        if self.now.is_multiple_of(500) && self.nodes[i].told_etcd != Some(reachable) {
            self.nodes[i].told_etcd = Some(reachable);
            self.nodes[i].inbox.push(Event::Coordination { reachable });
        }
        let node = &self.nodes[i];
        if !reachable || node.watch_hangs || node.seen_revision > self.store.revision {
            return;
        }
        if node.seen_revision == self.store.revision + 1 || !self.chance.percent(20) {
            return;
        }
        let seen = self.nodes[i].seen_revision;
        let mut events = Vec::new();
        match &self.store.record {
            Some((record, revision)) if *revision >= seen => {
                events.push(Event::Record { record: Some(record.clone()), revision: *revision, asked: None });
            }
            None if seen == 0 => {
                events.push(Event::Record { record: None, revision: self.store.revision, asked: None });
            }
            _ => {}
        }
        events.extend(
            self.store.runs.values().filter(|(_, r)| *r >= seen).map(|(run, _)| Event::Run(run.clone())),
        );
        let members = self.store.members.values().filter(|(_, r)| *r >= seen);
        events.extend(members.map(|(report, _)| Event::Member(report.clone())));
        self.nodes[i].seen_revision = self.store.revision + 1;
        self.nodes[i].inbox.extend(events);
    }

    fn commit_swap(&mut self, i: usize, swap: &Swap) -> Outcome {
        let current = self.store.record.as_ref().map(|(_, revision)| *revision);
        let wanted = match swap.expect {
            Expect::Absent => None,
            Expect::Revision(revision) => Some(revision),
        };
        if current != wanted {
            return Outcome::Lost;
        }
        if let Some((old, _)) = &self.store.record {
            assert!(swap.record.epoch >= old.epoch, "the epoch goes down");
            let same = swap.record.epoch == old.epoch;
            assert!(!same || swap.record.holder == old.holder, "two holders in one epoch");
            assert_eq!(same, swap.purpose != Purpose::Claim, "only a claim changes the epoch");
        }
        self.store.revision += 1;
        let revision = self.store.revision;
        if swap.purpose == Purpose::Claim {
            self.say(format!("{} claims epoch {}", region(i), swap.record.epoch));
            self.nodes[i].claims += 1;
            self.store.epoch = swap.record.epoch;
            let run = swap.run.clone().expect("a claim brings its run");
            self.store.runs.insert(run.id.clone(), (run, revision));
        }
        self.store.record = Some((swap.record.clone(), revision));
        Outcome::Done(revision)
    }

    /// Sends something to etcd: gives when it arrives there, or `None` when it never does, and whether
    /// the answer comes back.
    fn send(&mut self, i: usize) -> (Option<Ms>, bool) {
        if !self.etcd(i) {
            return (None, false);
        }
        if self.chance.percent(self.trouble) {
            return match self.chance.below(3) {
                0 => (None, false),
                1 => (Some(self.chance.between(5, 100)), false),
                _ => (Some(self.chance.between(500, 9_000)), false),
            };
        }
        (Some(self.chance.between(5, 100)), true)
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Deliver(i, life, event) => {
                if self.nodes[i].machine.is_some() && self.nodes[i].life == life {
                    self.nodes[i].inbox.push(event);
                }
            }
            Act::Swap(i, life, swap, answers) => {
                if !self.etcd_up {
                    return;
                }
                let outcome = self.commit_swap(i, &swap);
                if answers && self.etcd(i) {
                    let event = Event::Swapped { attempt: swap.attempt, outcome };
                    self.later(5, 100, Act::Deliver(i, life, event));
                }
            }
            Act::Journal(i, life, attempt, run) => {
                if !self.etcd_up {
                    return;
                }
                let outcome = if self.store.epoch == run.epoch {
                    self.store.revision += 1;
                    let revision = self.store.revision;
                    check_order(&run);
                    self.store.runs.insert(run.id.clone(), (run, revision));
                    Outcome::Done(revision)
                } else {
                    Outcome::Lost
                };
                self.later(5, 100, Act::Deliver(i, life, Event::Journalled { attempt, outcome }));
            }
            Act::Read(i, life, asked) => {
                if self.etcd(i) {
                    let (record, revision) = match &self.store.record {
                        Some((record, revision)) => (Some(record.clone()), *revision),
                        None => (None, self.store.revision),
                    };
                    let event = Event::Record { record, revision, asked: Some(asked) };
                    self.later(5, 100, Act::Deliver(i, life, event));
                }
            }
            Act::Report(i, report) => {
                if self.etcd_up {
                    self.store.revision += 1;
                    self.store.members.insert(i, (report, self.store.revision));
                }
            }
            Act::Announce(from, to, announcement) => {
                if self.connected(from, to) && self.nodes[to].machine.is_some() {
                    self.nodes[to].inbox.push(Event::Announced(announcement));
                }
            }
            Act::Ask { from, life, to, promise, sent_at } => {
                if self.connected(from, to) && self.nodes[to].machine.is_some() {
                    self.next_ask += 1;
                    let ask = self.next_ask;
                    self.asks.insert(ask, (from, life, promise.epoch, sent_at));
                    self.nodes[to].inbox.push(Event::PromiseAsked { ask, promise });
                }
            }
            Act::Answer { from, to, life, epoch, sent_at, granted } => {
                if self.connected(from, to) && self.nodes[to].life == life && self.nodes[to].machine.is_some()
                {
                    let from = region(from);
                    self.nodes[to].inbox.push(Event::PromiseAnswer { from, epoch, sent_at, granted });
                }
            }
        }
    }

    // === what is seen of regions ===

    fn looks(&mut self) {
        let n = self.nodes.len();
        for t in 0..n {
            let now = self.now;
            for v in 0..n {
                let cut = !self.alive(t) || !self.connected(v, t);
                self.cut_since[v][t] = cut.then(|| self.cut_since[v][t].unwrap_or(now));
            }
            let silent = !self.alive(t) || !self.etcd(t);
            self.silent_since[t] = silent.then(|| self.silent_since[t].unwrap_or(now));
        }
        if !self.now.is_multiple_of(1_000) {
            return;
        }
        for i in 0..n {
            if !self.alive(i) || !self.etcd(i) {
                continue;
            }
            let regions = (0..n).map(|t| {
                let health = self.judge(i, t);
                RegionHealth {
                    region: region(t),
                    health,
                    reason: format!("seen as {health}"),
                    parts: Vec::new(),
                }
            });
            let regions = regions.collect();
            let status = self.status(i);
            self.nodes[i].inbox.push(Event::Regions(regions));
            self.nodes[i].inbox.push(Event::Database(status));
        }
    }

    fn judge(&mut self, i: usize, t: usize) -> Health {
        if self.nodes[i].lies && self.chance.percent(60) {
            return Health::Down;
        }
        let n = self.nodes.len();
        let long = |since: Option<Ms>, ms| since.is_some_and(|s| self.now - s > ms);
        let downs = (0..n)
            .filter(|v| *v != t && self.alive(*v) && self.etcd(*v) && long(self.cut_since[*v][t], 3_000));
        let ups = (0..n).filter(|v| self.alive(*v) && self.etcd(*v) && !long(self.cut_since[*v][t], 3_000));
        if downs.count() > n / 2 && long(self.silent_since[t], 4_000) {
            Health::Down
        } else if ups.count() > n / 2 {
            Health::Up
        } else {
            Health::Unknown
        }
    }

    // === the loop of a node ===

    fn loop_of(&mut self, i: usize) {
        if !self.alive(i) || self.now < self.nodes[i].stalled_until {
            return;
        }
        let mut events = std::mem::take(&mut self.nodes[i].inbox);
        let started = matches!(events.first(), Some(Event::Started { .. }));
        if self.nodes[i].wake.is_some_and(|wake| self.local(i) >= wake) && !started {
            events.insert(0, Event::Tick);
        }
        for event in events {
            self.step(i, event);
        }
    }

    fn step(&mut self, i: usize, event: Event) {
        let at = At {
            now: self.local(i),
            wall: Timestamp(1_700_000_000_000 + self.now as i64 + self.nodes[i].wall_wrong),
        };
        if self.keep_trace
            && !matches!(event, Event::Tick | Event::Regions(_) | Event::Member(_) | Event::Database(_))
        {
            let text = format!("{event:?}");
            self.say(format!("{} <- {}", region(i), text.chars().take(300).collect::<String>()));
        }
        let Some(machine) = self.nodes[i].machine.as_mut() else { return };
        let commands = machine.step(event, at);
        if let Some((wake, why)) = machine.wake_at() {
            assert!(wake > at.now, "wakes in the past: {why}");
        }
        self.nodes[i].wake = machine.wake_at().map(|(at, _)| at);
        let mut again = Vec::new();
        for command in commands {
            if let Some(event) = self.command(i, command) {
                again.push(event);
                break;
            }
        }
        for event in again {
            self.nodes[i].inbox.insert(0, event);
        }
    }

    fn command(&mut self, i: usize, command: Command) -> Option<Event> {
        let life = self.nodes[i].life;
        match command {
            Command::Swap(swap) => self.send_swap(i, swap),
            Command::ReadRecord { asked } => {
                if let (Some(delay), true) = self.send(i) {
                    self.later(delay, delay, Act::Read(i, life, asked));
                }
            }
            Command::Journal { attempt, run } => match self.send(i) {
                (Some(delay), true) => self.later(delay, delay, Act::Journal(i, life, attempt, run)),
                _ => {
                    let outcome = Outcome::Unknown("timeout".into());
                    self.later(900, 1_200, Act::Deliver(i, life, Event::Journalled { attempt, outcome }));
                }
            },
            Command::Report(report) => {
                if let (Some(delay), _) = self.send(i) {
                    self.later(delay, delay, Act::Report(i, report));
                }
            }
            Command::Announce(announcement) => self.announce(i, &announcement),
            Command::AskPromise { to, promise, sent_at } => {
                let to = index(&to);
                self.later(5, 150, Act::Ask { from: i, life, to, promise, sent_at });
            }
            Command::AnswerPromise { ask, granted, reason } => {
                self.say(format!("{} promises {granted}: {reason}", region(i)));
                if let Some((to, life, epoch, sent_at)) = self.asks.remove(&ask) {
                    self.later(5, 150, Act::Answer { from: i, to, life, epoch, sent_at, granted });
                }
            }
            Command::Remember(memory) => {
                if self.nodes[i].disk_full {
                    return Some(Event::NotRemembered { reason: "the disk is full".into() });
                }
                self.nodes[i].disk = Some(memory);
            }
            Command::OpenWrites { epoch, until } => {
                assert!(epoch >= self.nodes[i].highest, "writes are opened for an old epoch");
                self.nodes[i].highest = epoch;
                self.nodes[i].gateway = Some((epoch, until));
            }
            Command::CloseWrites { .. } => self.nodes[i].gateway = None,
            Command::DatabaseFence { at } => self.nodes[i].fence = at,
            Command::Database { id, action } => {
                if action == DatabaseAction::Stop {
                    self.nodes[i].running = None;
                    self.nodes[i].waiting.clear();
                }
                self.nodes[i].waiting.push((id, action));
            }
            Command::Step { kind, run } => {
                let event = if self.chance.percent(self.trouble) {
                    Event::StepFailed { run: run.id, kind, reason: "bad luck".into() }
                } else {
                    Event::StepDone { run: run.id, kind, detail: "done".into() }
                };
                self.later(20, 500, Act::Deliver(i, life, event));
            }
            Command::Log { text, .. } => {
                if let Some((from, rest)) = text.split_once(" -> ") {
                    let to = rest.split(';').next().unwrap_or_default();
                    self.moves.insert(format!("{from} -> {to}"));
                }
                self.say(format!("{} {text}", region(i)));
            }
        }
        None
    }

    fn announce(&mut self, from: usize, announcement: &meridian_model::group::Announcement) {
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            // Some come late, some twice, some never.
            let (first, again) = (self.chance.percent(90), self.chance.percent(10));
            for far in [first.then_some(150), again.then_some(8_000)].into_iter().flatten() {
                self.later(5, far, Act::Announce(from, to, announcement.clone()));
            }
        }
    }

    fn send_swap(&mut self, i: usize, swap: Swap) {
        let life = self.nodes[i].life;
        let (arrives, answers) = self.send(i);
        let unknown = Event::Swapped { attempt: swap.attempt, outcome: Outcome::Unknown("timeout".into()) };
        if !answers && self.chance.percent(80) {
            self.later(900, 1_200, Act::Deliver(i, life, unknown));
        }
        if let Some(delay) = arrives {
            self.later(delay, delay, Act::Swap(i, life, swap, answers));
        }
    }

    // === laws ===

    fn check(&self) {
        let n = self.nodes.len();
        let primaries: Vec<usize> =
            (0..n).filter(|i| !self.frozen(*i) && self.nodes[*i].db.role == DatabaseRole::Primary).collect();
        assert!(primaries.len() <= 1, "two primaries run at {}: {primaries:?}", self.now);
        let open: Vec<usize> = (0..n)
            .filter(|i| !self.frozen(*i))
            .filter(|i| self.nodes[*i].gateway.is_some_and(|(_, until)| self.local(*i) < until))
            .collect();
        assert!(open.len() <= 1, "two gateways are open at {}: {open:?}", self.now);
    }

    /// Everything is as it should be: one writer, everybody else streams from it, protected again.
    pub(crate) fn well(&self) -> bool {
        let n = self.nodes.len();
        let state = |i: usize| self.nodes[i].machine.as_ref().map(Machine::state);
        let leaders: Vec<usize> = (0..n).filter(|i| state(*i) == Some(State::Leading)).collect();
        let [leader] = leaders[..] else { return false };
        let finished = self.nodes[leader].machine.as_ref().and_then(Machine::run).is_some_and(Run::finished);
        let streams =
            |i: usize| i == leader || (state(i) == Some(State::Following) && self.receives(i, leader));
        finished && (0..n).all(streams)
    }

    pub(crate) fn states(&self) -> String {
        let of = |n: &Node| n.machine.as_ref().map_or("dead".to_owned(), |m| format!("{:?}", m.state()));
        self.nodes.iter().map(of).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn explain(&self, i: usize) -> String {
        let now = self.local(i);
        self.nodes[i]
            .machine
            .as_ref()
            .map_or(String::new(), |m| format!("{}: {}", region(i), m.explain(now).doing))
    }

    pub(crate) fn leader(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|i| {
            self.nodes[*i].machine.as_ref().is_some_and(|m| m.state() == State::Leading)
                && self.nodes[*i].gateway.is_some_and(|(_, until)| self.local(*i) < until)
        })
    }

    pub(crate) fn heal(&mut self) {
        self.say("everything heals".to_owned());
        let n = self.nodes.len();
        self.link = vec![vec![true; n]; n];
        self.link_etcd = vec![true; n];
        self.etcd_up = true;
        self.trouble = 0;
        for i in 0..n {
            let now = self.now;
            let node = &mut self.nodes[i];
            node.frozen_until = now;
            node.stalled_until = now;
            node.lies = false;
            node.watch_hangs = false;
            node.disk_full = false;
            self.boot(i);
        }
    }
}

/// Steps are done in order, and the one that runs comes after all that are done.
fn check_order(run: &Run) {
    use meridian_model::run::StepState;
    let rank = |s: &StepState| match s {
        StepState::Done { .. } => 0,
        StepState::Running { .. } => 1,
        StepState::Pending => 2,
    };
    let ranks: Vec<u8> = run.steps.iter().map(|s| rank(&s.state)).collect();
    assert!(ranks.is_sorted(), "steps out of order: {run:?}");
    assert!(ranks.iter().filter(|r| **r == 1).count() <= 1, "two steps at once: {run:?}");
}
