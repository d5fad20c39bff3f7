//! A node: its life, its pauses, its gateway, and the watchdog that kills its database.

use std::collections::VecDeque;
use std::sync::Arc;

use meridian_failover::{Config, Event, Machine, Memory};
use meridian_model::database::Replication;
use meridian_model::group::HoldId;
use meridian_model::{Epoch, Moment, Snapshot, System};
use meridian_steering::View;

use super::actions::Actions;
use super::clock::Clock;
use super::etcd::WatchState;
use super::replication::Db;
use super::sight::Sight;
use super::{Act, World};
use crate::chance::Chance;
use crate::schedule::{MS, SECOND, Us};
use crate::shape::{Shape, region, word};

/// Never, as a true time.
pub(super) const NEVER: Us = Us::MAX;
/// Stopping PostgreSQL may take this long (`stop_within` of the timers).
const STOP_WITHIN: Us = 500 * MS;
/// Between two looks at the local database.
const STATUS_EVERY: Us = SECOND / 2;

/// The gateway's right to acknowledge writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gate {
    pub(crate) epoch: Epoch,
    /// The hard end, by the clock of the node.
    pub(crate) until: Moment,
}

/// A moment that a timer waits for, and the earliest entry for it in the queue. It moves twice a second, so
/// an entry that comes early is put off instead of each move making a new one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timer {
    pub(super) due: Option<Moment>,
    queued: Us,
}

impl Default for Timer {
    fn default() -> Self {
        Self { due: None, queued: NEVER }
    }
}

/// One region.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) machine: Option<Machine>,
    /// Rises with each start.
    pub(super) life: u32,
    pub(super) disk: Option<Memory>,
    pub(super) clock: Clock,
    /// Events that came while the loop did not run.
    pub(super) inbox: VecDeque<Event>,
    pub(super) tick: Timer,
    pub(crate) gateway: Option<Gate>,
    /// The last hold that the gateway heard of, and until when it holds new transactions; not once it was ended.
    pub(super) holds: Option<(HoldId, Option<Us>)>,
    pub(super) fence: Timer,
    pub(super) actions: Actions,
    pub(crate) db: Db,
    pub(super) sight: Sight,
    pub(super) watch: WatchState,
    /// How often the database here has become a primary.
    pub(crate) promotions: u32,
}

impl Node {
    pub(super) fn new(chance: &mut Chance, shape: Shape, view: Arc<View>) -> Self {
        let drift = chance.below(401) as i64 - 200;
        Self {
            machine: None,
            life: 0,
            disk: None,
            clock: Clock::new(chance.between(1_000_000, 90_000_000), drift),
            inbox: VecDeque::new(),
            tick: Timer::default(),
            gateway: None,
            holds: None,
            fence: Timer::default(),
            actions: Actions::default(),
            db: Db::default(),
            sight: Sight::new(shape, view),
            watch: WatchState::default(),
            promotions: 0,
        }
    }
}

/// A snapshot that knows nothing.
pub(super) fn unknown(system: &System, i: usize) -> Snapshot {
    Snapshot::unknown(region(i), system.region_names().cloned())
}

impl World {
    // === life ===

    /// The node process starts, unless it runs already.
    pub(crate) fn boot(&mut self, i: usize) {
        if self.nodes[i].machine.is_some() || self.harm.dead[i] {
            return;
        }
        let mut config = Config { me: region(i), ..Config::clone(&self.config) };
        if let Some(acknowledgers) = self.acknowledgers {
            config.replication = Replication::Quorum { acknowledgers };
        }
        let status = self.status(i);
        let node = &mut self.nodes[i];
        node.life += 1;
        let life = node.life;
        node.machine = Some(Machine::new(config));
        node.inbox.clear();
        node.watch.begin();
        node.sight.begin();
        let memory = node.disk.clone();
        self.say(|_| format!("{}: starts", word(i)));
        self.deliver(i, Event::Started { database: status, memory });
        let (round, status) = (self.draws.probes.below(SECOND), self.draws.probes.below(STATUS_EVERY));
        self.after(round, Act::Probe(i, life));
        if i < self.shape.members() {
            self.after(status, Act::Status(i, life));
        }
        let noticed = self.draws.etcd.between(20 * MS, 300 * MS);
        self.after(noticed, Act::Reach(i));
    }

    /// The node process dies, and everything that it runs with it. What it has sent is still on its way.
    pub(crate) fn crash(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        if node.machine.take().is_none() {
            return;
        }
        node.inbox.clear();
        node.tick.due = None;
        node.fence.due = None;
        node.gateway = None;
        node.holds = None;
        node.actions.clear();
        self.stop_database(i);
        self.watcher.unable(i, self.now);
    }

    /// The database ends by itself, and its node sees it.
    pub(crate) fn crash_database(&mut self, i: usize) {
        if !self.nodes[i].db.runs() {
            return;
        }
        self.stop_database(i);
        let status = self.status(i);
        self.deliver(i, Event::Database(status));
    }

    /// What was paused goes on: what is overdue comes first, then what has waited. A machine that slept is
    /// killed before it does anything else if its time is over.
    pub(super) fn resume(&mut self, i: usize) {
        if !self.harm.asleep[i] {
            match self.nodes[i].fence.due {
                Some(due) if self.local(i) >= due => {
                    self.nodes[i].fence.due = None;
                    self.fence_fires(i, 0);
                }
                due => self.arm(i, due),
            }
            self.watcher_looks(i);
            self.actions_go_on(i);
        }
        if !self.loops(i) {
            return;
        }
        self.wake(i);
        let waiting = std::mem::take(&mut self.nodes[i].inbox);
        for event in waiting {
            self.deliver(i, event);
        }
    }

    // === the loop ===

    /// An event reaches the loop, or waits for it.
    pub(super) fn deliver(&mut self, i: usize, event: Event) {
        if self.nodes[i].machine.is_none() {
            return;
        }
        if self.loops(i) {
            self.turn(i, event);
        } else {
            self.nodes[i].inbox.push_back(event);
        }
    }

    /// The machine gets its tick if it is due.
    pub(super) fn wake(&mut self, i: usize) {
        if self.nodes[i].tick.queued <= self.now {
            self.nodes[i].tick.queued = NEVER;
        }
        let Some(due) = self.nodes[i].tick.due.filter(|_| self.loops(i)) else { return };
        if self.local(i) >= due {
            self.nodes[i].tick.due = None;
            self.turn(i, Event::Tick);
        } else {
            self.wake_at(i, Some(due));
        }
    }

    pub(super) fn wake_at(&mut self, i: usize, due: Option<Moment>) {
        let now = self.now;
        let node = &mut self.nodes[i];
        let at = plan(&mut node.tick, &node.clock, due, now);
        if let Some(at) = at {
            self.at(at, Act::Wake(i));
        }
    }

    pub(super) fn read_status(&mut self, i: usize, life: u32) {
        if self.nodes[i].life != life || self.nodes[i].machine.is_none() {
            return;
        }
        if self.process(i) {
            let status = self.status(i);
            self.deliver(i, Event::Database(status));
        }
        self.after(STATUS_EVERY, Act::Status(i, life));
    }

    // === the gateway and the watchdog ===

    /// The gateway acknowledges writes now.
    pub(crate) fn gateway_open(&self, i: usize) -> bool {
        self.process(i) && self.nodes[i].gateway.is_some_and(|gate| self.local(i) < gate.until)
    }

    pub(super) fn arm(&mut self, i: usize, at: Option<Moment>) {
        let now = self.now;
        let node = &mut self.nodes[i];
        if let Some(at) = plan(&mut node.fence, &node.clock, at, now) {
            self.at(at, Act::Fence(i));
        }
    }

    /// The watchdog looks at its clock; the guard beside the database does the same when the process is
    /// frozen.
    pub(super) fn fence_due(&mut self, i: usize) {
        if self.nodes[i].fence.queued <= self.now {
            self.nodes[i].fence.queued = NEVER;
        }
        let Some(due) = self.nodes[i].fence.due else { return };
        if self.harm.asleep[i] {
            return;
        }
        if self.local(i) >= due {
            self.nodes[i].fence.due = None;
            let takes = self.draws.actuators.below(STOP_WITHIN);
            self.fence_fires(i, takes);
        } else {
            self.arm(i, Some(due));
        }
    }

    /// The database is killed, which takes so long; a running action is broken off.
    fn fence_fires(&mut self, i: usize, takes: Us) {
        self.say(|_| format!("{}: the database fence is due, PostgreSQL is killed", word(i)));
        self.nodes[i].db.kills += 1;
        let kill = self.nodes[i].db.kills;
        if takes == 0 {
            self.killed(i, kill);
        } else {
            self.after(takes, Act::Dead(i, kill));
        }
        self.break_off_actions(i);
    }

    pub(super) fn killed(&mut self, i: usize, kill: u32) {
        if self.nodes[i].db.kills != kill || !self.nodes[i].db.runs() {
            return;
        }
        self.stop_database(i);
        if self.nodes[i].machine.is_some() {
            let status = self.status(i);
            self.deliver(i, Event::Database(status));
        }
    }

    /// Tells the watcher whether the region can write now.
    pub(super) fn watcher_looks(&mut self, i: usize) {
        let primary = self.nodes[i].db.is_primary();
        let able = !self.harm.asleep[i] && (primary || self.gateway_open(i));
        if !able {
            return self.watcher.unable(i, self.now);
        }
        // What the others can do ends by itself, when a deadline passes: looked at when it matters.
        for other in (0..self.nodes.len()).filter(|other| *other != i) {
            let node = &self.nodes[other];
            let still = !self.harm.asleep[other] && (node.db.is_primary() || self.gateway_open(other));
            if !still {
                self.watcher.unable(other, self.now);
            }
        }
        let epoch = self.nodes[i].db.epoch;
        self.watcher.able(i, epoch, self.now);
    }
}

/// Notes what a timer waits for; gives when a new entry in the queue must come.
fn plan(timer: &mut Timer, clock: &Clock, due: Option<Moment>, now: Us) -> Option<Us> {
    timer.due = due;
    let at = clock.when(due?).max(now);
    (at < timer.queued).then(|| {
        timer.queued = at;
        at
    })
}
