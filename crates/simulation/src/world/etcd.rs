//! etcd: members that are lost and elect, requests that come late, twice or never, answers that get lost, and
//! the watch.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_failover::{Event, Swap};
use meridian_model::group::{GroupRecord, MemberReport};
use meridian_model::health::Report;
use meridian_model::name::RunId;
use meridian_model::order::Order;
use meridian_model::run::Run;
use meridian_model::{Epoch, Moment};

use super::{Act, World};
use crate::schedule::{MS, SECOND, Us};
use crate::shape::{REGIONS_MAX, Shape, word};

/// What is asked of etcd.
#[derive(Debug, Clone)]
pub(super) enum Request {
    /// Change the record; when it was sent.
    Swap(Box<Swap>, Us),
    /// Read it.
    Read { asked: Moment },
    /// Write a run.
    Journal { attempt: u64, run: Arc<Run> },
    /// Write what became of an order, or until when it lasts.
    Mark(Order),
    /// Publish what a member says of itself.
    Member(MemberReport),
    /// Publish what a vantage point has seen.
    Sight(Arc<Report>),
}

/// What etcd holds, and how it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Etcd {
    pub(crate) record: Option<(GroupRecord, i64)>,
    pub(super) revision: i64,
    /// When the last change of the record was sent.
    pub(super) renewal_sent: Us,
    /// The epoch key: journal entries compare it.
    pub(crate) epoch: Epoch,
    pub(crate) runs: BTreeMap<RunId, (Arc<Run>, i64)>,
    /// What was last ordered.
    pub(super) order: Option<(Order, i64)>,
    pub(super) members: [Option<(MemberReport, i64)>; REGIONS_MAX],
    pub(super) sights: [Option<(Arc<Report>, i64)>; REGIONS_MAX],
    /// The region of the leader, and until when a new one is being elected.
    pub(super) leader: usize,
    pub(super) electing_until: Us,
    /// A majority of members is together.
    pub(super) quorum: bool,
    /// Which nodes reach it, when there is a leader.
    pub(super) reached: [bool; REGIONS_MAX],
}

/// What a node knows of etcd.
#[derive(Debug, Clone, Default)]
pub(super) struct WatchState {
    /// All up to this revision was brought; 0: everything is to be brought anew.
    seen: i64,
    pub(super) anew: bool,
    pending: bool,
    told: Option<bool>,
    /// The renewals that the last looks at etcd itself showed, and how long after they were sent: the newest may
    /// not have been told to the machine yet.
    looked_up: [Option<(u64, Us)>; LOOKS],
}

impl WatchState {
    /// A new life: nothing is known.
    pub(super) fn begin(&mut self) {
        *self = Self { anew: true, ..Self::default() };
    }
}

/// Renewals that a node has looked up and that may still be on the way to its machine: of some seconds.
const LOOKS: usize = 16;
/// How long an election takes.
const ELECTION: (Us, Us) = (SECOND, 2_500 * MS);
/// A node notices that etcd is gone after this long, and that it is back.
const GONE_AFTER: (Us, Us) = (1_500 * MS, 2_000 * MS);
const BACK_AFTER: (Us, Us) = (50 * MS, 600 * MS);

impl Etcd {
    pub(super) fn new(shape: Shape) -> Self {
        let mut reached = [false; REGIONS_MAX];
        reached[..shape.nodes()].fill(true);
        Self { quorum: true, reached, ..Self::default() }
    }
}

impl World {
    // === who reaches it ===

    /// Requests of a node are answered.
    pub(super) fn reaches_etcd(&self, i: usize) -> bool {
        self.etcd_works() && self.etcd.reached[i]
    }

    pub(super) fn etcd_works(&self) -> bool {
        self.etcd.quorum && !self.harm.etcd_away && self.now >= self.etcd.electing_until
    }

    /// Something in the network or the regions has changed: is there a majority, who leads it, who reaches it?
    /// `before`: which nodes reached it until now.
    pub(super) fn etcd_regroups(&mut self, before: Vec<bool>) {
        let all = self.shape.etcd_members();
        let lives = |world: &Self, m: usize| !world.harm.etcd_dead[m] && !world.harm.asleep[m];
        let with = |world: &Self, leader: usize| -> Vec<usize> {
            let near = |m: &usize| *m == leader || world.wired(*m, leader);
            (0..all).filter(|m| lives(world, *m)).filter(near).collect()
        };
        let leads = |world: &Self, m: usize| lives(world, m) && with(world, m).len() > all / 2;
        self.etcd.quorum = true;
        if !leads(self, self.etcd.leader) {
            match (0..all).find(|m| leads(self, *m)) {
                Some(next) => {
                    self.etcd.leader = next;
                    self.etcd.electing_until = self.now + self.draws.etcd.between(ELECTION.0, ELECTION.1);
                    let until = self.etcd.electing_until;
                    for i in 0..self.nodes.len() {
                        let noticed = self.draws.etcd.between(BACK_AFTER.0, BACK_AFTER.1);
                        self.at(until + noticed, Act::Reach(i));
                    }
                }
                None => self.etcd.quorum = false,
            }
        }
        let members = with(self, self.etcd.leader);
        for (i, before) in before.into_iter().enumerate() {
            let reached = members.iter().any(|m| *m == i || self.wired(i, *m));
            self.etcd.reached[i] = reached && !self.harm.etcd_cut[i];
            let now = self.reaches_etcd(i);
            if now != before {
                let (low, high) = if now { BACK_AFTER } else { GONE_AFTER };
                let noticed = self.draws.etcd.between(low, high);
                self.after(noticed, Act::Reach(i));
            }
        }
    }

    /// A node looks whether etcd answers it, and tells its machine if that is new.
    pub(super) fn notice_reach(&mut self, i: usize) {
        if !self.process(i) {
            return;
        }
        let reached = self.reaches_etcd(i);
        if self.nodes[i].watch.told != Some(reached) {
            self.nodes[i].watch.told = Some(reached);
            self.nodes[i].watch.anew |= reached;
            self.say(|_| {
                format!("{}: etcd {}", word(i), if reached { "answers" } else { "does not answer" })
            });
            self.deliver(i, Event::Coordination { reachable: reached });
            self.judge(i);
        }
        if reached {
            self.news_for(i);
        }
    }

    /// Whether this node holds etcd for reachable.
    pub(super) fn believes_in_etcd(&self, i: usize) -> bool {
        self.nodes[i].watch.told == Some(true)
    }

    /// A node sees the record in etcd itself: which renewal, and how long after it was sent.
    pub(super) fn looked_up(&mut self, i: usize) {
        let unchanged_for = self.now.saturating_sub(self.etcd.renewal_sent);
        let Some(renewal) = self.etcd.record.as_ref().map(|(record, _)| record.renewal) else { return };
        let looked_up = &mut self.nodes[i].watch.looked_up;
        if looked_up[0].is_some_and(|(known, _)| known != renewal) {
            looked_up.rotate_right(1);
        }
        looked_up[0] = Some((renewal, unchanged_for));
    }

    /// A member decides to cut itself off from the holder.
    pub(super) fn cuts_itself_off(&mut self, i: usize) {
        let machine = self.nodes[i].machine.as_ref();
        let Some(record) = machine.and_then(|machine| machine.record()).filter(|record| !record.released)
        else {
            return;
        };
        let mut looked_up = self.nodes[i].watch.looked_up.iter().flatten();
        let unchanged_for = looked_up.find(|(renewal, _)| *renewal == record.renewal).map(|(_, time)| *time);
        self.watcher.cut_off(i, record.holder.clone(), unchanged_for);
    }

    // === the watch ===

    /// Something was written: whoever watches hears of it in a while.
    pub(super) fn written(&mut self) -> i64 {
        (0..self.nodes.len()).for_each(|i| self.news_for(i));
        self.etcd.revision
    }

    pub(super) fn news_for(&mut self, i: usize) {
        if self.nodes[i].watch.pending || !self.process(i) || !self.reaches_etcd(i) {
            return;
        }
        self.nodes[i].watch.pending = true;
        let takes = self.etcd_takes();
        self.after(takes, Act::Watch(i));
    }

    pub(super) fn watch(&mut self, i: usize) {
        self.nodes[i].watch.pending = false;
        if !self.process(i) || !self.reaches_etcd(i) || self.harm.watch_hangs[i] {
            return;
        }
        let anew = std::mem::take(&mut self.nodes[i].watch.anew);
        let seen = if anew { 0 } else { self.nodes[i].watch.seen };
        self.nodes[i].watch.seen = self.etcd.revision;
        for vantage in 0..self.nodes.len() {
            let new = self.etcd.sights[vantage].as_ref().filter(|(_, revision)| *revision > seen);
            if let Some(report) = new.map(|(report, _)| Arc::clone(report)) {
                self.hear_report(i, vantage, report);
            }
        }
        // No machine changes etcd at once, so each event is made when it is its turn.
        match &self.etcd.record {
            Some((record, revision)) if *revision > seen => {
                let (record, revision) = (Some(record.clone()), *revision);
                self.deliver(i, Event::Record { record, revision, asked: None });
            }
            None if anew => {
                let revision = self.etcd.revision;
                self.deliver(i, Event::Record { record: None, revision, asked: None });
            }
            _ => {}
        }
        match &self.etcd.order {
            Some((order, revision)) if *revision > seen => {
                let order = order.clone();
                self.deliver(i, Event::Ordered(Some(order)));
            }
            None if anew => self.deliver(i, Event::Ordered(None)),
            _ => {}
        }
        let runs = self.etcd.runs.values().filter(|(_, revision)| *revision > seen);
        for run in runs.map(|(run, _)| Arc::clone(run)).collect::<Vec<_>>() {
            self.deliver(i, Event::Run(run));
        }
        for member in 0..self.shape.members() {
            let new = self.etcd.members[member].as_ref().filter(|(_, revision)| *revision > seen);
            if let Some(report) = new.map(|(report, _)| report.clone()) {
                self.deliver(i, Event::Member(report));
            }
        }
    }
}
