//! The world: nodes with their machines and clocks, etcd, databases that replicate, clients, and everything
//! between them that can fail. True time moves from one event to the next.
//!
//! What happens is an [`Act`] in the queue; [`World::act`] is the list of them. How a machine is served (its
//! events and its commands) stands in one place, `world/serve.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use meridian_failover::{Config, Event, Machine};
use meridian_model::group::HoldId;
use meridian_model::health::Report;
use meridian_model::{Epoch, Moment};
use meridian_steering::View;

use crate::chance::Draws;
use crate::run::Serve;
use crate::schedule::{Fault, MS, SECOND, Us};
use crate::shape::Shape;
use crate::watcher::Watcher;

mod actions;
mod clients;
mod clock;
mod etcd;
mod handover;
mod harm;
mod node;
mod outside;
mod queue;
mod replication;
mod requests;
mod serve;
mod sight;
mod strike;
pub(crate) mod wal;

use etcd::{Etcd, Request};
use harm::Harm;
pub(crate) use node::Node;
use queue::Queue;
use serve::Peer;
use wal::{Log, Wal};

/// What happens at one instant.
#[derive(Debug, Clone)]
enum Act {
    /// A fault begins, changes (a line that flaps) or ends.
    Begin(usize),
    Change(usize),
    End(usize),
    /// The machine may want a tick.
    Wake(usize),
    /// The watchdog (or the guard) may have to kill a database.
    Fence(usize),
    /// A database that is being killed is dead now.
    Dead(usize, u32),
    /// An event reaches the loop of a node in that life.
    Deliver(usize, u32, Box<Event>),
    /// A message of a node reaches another.
    Message {
        from: usize,
        to: usize,
        message: Box<Peer>,
    },
    /// Nothing is under way at a gateway that holds any more.
    Quiet {
        from: usize,
        to: usize,
        hold: HoldId,
    },
    /// A request reaches etcd; with `true` its answer gets through, too.
    Request(usize, u32, Box<Request>, bool),
    /// The watch of a node brings what is new.
    Watch(usize),
    /// A node notices whether it reaches etcd.
    Reach(usize),
    /// A round of probes begins.
    Probe(usize, u32),
    /// A round of probes that took its time ends.
    Seen(usize, u32, Arc<Report>),
    /// An observation may have expired.
    Judge(usize, u32),
    /// The state of the local database is read.
    Status(usize, u32),
    /// A database action ends.
    ActionEnds(usize, u32),
    /// A standby tries to connect.
    Connect(usize, u32),
    /// A connection of a standby may have broken.
    Broken(usize, u32),
    /// Log reaches a standby over that connection.
    Shipped {
        to: usize,
        session: u32,
        log: Log,
    },
    /// A standby's word of how far it is reaches its primary.
    Flushed {
        from: usize,
        to: usize,
        life: u32,
        session: u32,
        log: Log,
    },
    /// The clients of a region do something.
    Clients(usize),
    /// A write reaches the gateway of a region.
    Write(usize, clients::Write),
}

/// The whole, and who watches it.
#[derive(Clone)]
pub struct World {
    pub(crate) now: Us,
    shape: Shape,
    /// What the machine of the first region is told: of the others but for their names the same.
    config: Arc<Config>,
    flap_window: Us,
    /// What the spec says by now, if not what the shape says.
    acknowledgers: Option<u32>,
    nodes: Vec<Node>,
    etcd: Etcd,
    wal: Wal,
    queue: Queue,
    draws: Draws,
    harm: Harm,
    /// The faults of the schedule, and which of them last now (with the phase of a line that flaps).
    faults: Vec<Fault>,
    active: Vec<(usize, bool)>,
    /// When the storm began.
    began: Us,
    /// Data may be lost for good, so that a person may have to accept that.
    needs_a_person: bool,
    /// The last copy of the data may be gone.
    pub(crate) hopeless: bool,
    asks: BTreeMap<u64, (usize, u32, Epoch, Moment)>,
    next_ask: u64,
    watcher: Watcher,
    pub(crate) serve: Serve,
    /// What happens, in words, if somebody wants to read it.
    pub(crate) story: Option<Vec<String>>,
    /// The moves of all machines, if somebody wants to know.
    pub(crate) moves: Option<BTreeSet<String>>,
    pub(crate) events: u64,
}

impl World {
    /// A system before its very first start.
    #[must_use]
    pub fn new(seed: u64, shape: Shape, flap_window: Us) -> Self {
        let n = shape.nodes();
        let mut chance = crate::chance::Chance::branch(seed, "clocks");
        let system = shape.system();
        let view =
            |i| View::new(Arc::clone(&system), crate::shape::region(i), Arc::new(node::unknown(&system, i)));
        let nodes = (0..n).map(|i| Node::new(&mut chance, shape, view(i))).collect();
        let mut world = Self {
            now: 0,
            shape,
            config: Arc::new(shape.config(0, Duration::from_micros(flap_window))),
            flap_window,
            acknowledgers: None,
            nodes,
            etcd: Etcd::new(shape),
            wal: Wal::default(),
            queue: Queue::default(),
            draws: Draws::new(seed),
            harm: Harm::default(),
            faults: Vec::new(),
            active: Vec::new(),
            began: 0,
            needs_a_person: false,
            hopeless: false,
            asks: BTreeMap::new(),
            next_ask: 0,
            watcher: Watcher::new(shape, Duration::from_micros(flap_window)),
            serve: Machine::step,
            story: None,
            moves: None,
            events: 0,
        };
        for i in 0..n {
            world.boot(i);
            let first = world.draws.clients.below(500 * MS);
            world.after(first, Act::Clients(i));
        }
        world
    }

    /// From now on all chance comes from this seed, and these faults happen.
    pub fn begin(&mut self, seed: u64, flap_window: Us, faults: &[Fault]) {
        self.draws = Draws::new(seed);
        self.began = self.now;
        self.faults = faults.to_vec();
        debug_assert_eq!(flap_window, self.flap_window);
        for (number, fault) in faults.iter().enumerate() {
            self.at(self.began + fault.at, Act::Begin(number));
        }
    }

    // === time ===

    /// Goes on until then, or until a law is broken.
    pub fn run_until(&mut self, end: Us) {
        while self.watcher.broken.is_none() {
            let Some((at, act)) = self.queue.pop_until(end) else { break };
            self.now = at;
            self.events += 1;
            self.act(act);
        }
        if self.watcher.broken.is_none() {
            self.now = self.now.max(end);
        }
    }

    /// Goes on for so long.
    pub fn run_for(&mut self, time: Us) {
        self.run_until(self.now + time);
    }

    /// Goes on until `what` holds, looking every so often; gives up after `time`.
    pub fn until(&mut self, time: Us, what: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + time;
        while self.now < end && self.watcher.broken.is_none() {
            if what(self) {
                return true;
            }
            self.run_until((self.now + LOOK_EVERY).min(end));
        }
        what(self)
    }

    fn at(&mut self, at: Us, act: Act) {
        self.queue.push(at, act);
    }

    fn after(&mut self, wait: Us, act: Act) {
        self.queue.push(self.now + wait, act);
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Begin(fault) => self.fault_begins(fault),
            Act::Change(fault) => self.fault_changes(fault),
            Act::End(fault) => self.fault_ends(fault),
            Act::Wake(i) => self.wake(i),
            Act::Fence(i) => self.fence_due(i),
            Act::Dead(i, kill) => self.killed(i, kill),
            Act::Deliver(i, life, event) => {
                if self.nodes[i].life == life {
                    self.deliver(i, *event);
                }
            }
            Act::Message { from, to, message } => self.message(from, to, *message),
            Act::Quiet { from, to, hold } => self.quiet(from, to, hold),
            Act::Request(i, life, request, answers) => self.request_arrives(i, life, &request, answers),
            Act::Watch(i) => self.watch(i),
            Act::Reach(i) => self.notice_reach(i),
            Act::Probe(i, life) => self.probe(i, life),
            Act::Seen(i, life, report) => self.round_ends(i, life, report),
            Act::Judge(i, life) => {
                if self.nodes[i].life == life {
                    self.judge(i);
                }
            }
            Act::Status(i, life) => self.read_status(i, life),
            Act::ActionEnds(i, number) => self.action_ends(i, number),
            Act::Connect(i, number) => self.connect(i, number),
            Act::Broken(i, session) => self.maybe_broken(i, session),
            Act::Shipped { to, session, log } => self.shipped(to, session, log),
            Act::Flushed { from, to, life, session, log } => self.flushed(from, to, life, session, log),
            Act::Clients(i) => self.clients(i),
            Act::Write(i, write) => self.write_arrives(i, write),
        }
    }

    /// A line of the story.
    fn say(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.story.is_some() {
            let line = format!("{:>9.3} s  {}", self.seconds(self.now), text(self));
            self.story.iter_mut().for_each(|story| story.push(line.clone()));
        }
    }

    fn seconds(&self, at: Us) -> f64 {
        (at as f64 - self.began as f64) / SECOND as f64
    }

    // === who works ===

    /// The node process runs.
    pub(crate) fn process(&self, i: usize) -> bool {
        self.nodes[i].machine.is_some() && !self.harm.asleep[i] && !self.harm.process_asleep[i]
    }

    /// Its loop takes events.
    fn loops(&self, i: usize) -> bool {
        self.process(i) && !self.harm.stalled[i]
    }

    /// Messages between nodes and databases pass both ways.
    fn connected(&self, a: usize, b: usize) -> bool {
        self.wired(a, b) && !self.harm.lines_cut[a] && !self.harm.lines_cut[b]
    }

    /// Messages between etcd's members, and to them, pass both ways.
    fn wired(&self, a: usize, b: usize) -> bool {
        !self.harm.cut[a][b] && !self.harm.cut[b][a]
    }

    fn local(&self, i: usize) -> Moment {
        self.nodes[i].clock.moment(self.now)
    }

    /// Another member of the group than `i`.
    fn other_members(&self, i: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.shape.members()).filter(move |j| *j != i)
    }
}

/// How often [`World::until`] looks.
const LOOK_EVERY: Us = 100 * MS;
