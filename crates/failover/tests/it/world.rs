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

mod databases;
mod etcd;
mod node;

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
    /// What became of orders.
    pub(crate) ended: Vec<meridian_model::order::Order>,
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
            ended: Vec::new(),
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

/// A step begins after all that it depends on.
fn check_order(run: &Run) {
    use meridian_model::run::StepState;
    let begun = run.steps.iter().filter(|s| !matches!(s.state, StepState::Pending));
    for step in begun {
        assert!(run.ready(step), "{} began too early: {run:?}", step.work.name);
    }
}
