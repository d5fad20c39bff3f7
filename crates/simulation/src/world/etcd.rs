//! etcd: members that are lost and elect, requests that come late, twice or never, answers that get lost, and
//! the watch.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_failover::{Event, Expect, Outcome, Purpose, Swap};
use meridian_model::group::{GroupRecord, MemberReport};
use meridian_model::health::Report;
use meridian_model::name::RunId;
use meridian_model::run::Run;
use meridian_model::{Epoch, Moment};

use super::{Act, World};
use crate::schedule::{MS, SECOND, Us};
use crate::shape::{REGIONS_MAX, Shape, index, word};
use crate::watcher::Claim;

/// What is asked of etcd.
#[derive(Debug, Clone)]
pub(super) enum Request {
    /// Change the record; when it was sent.
    Swap(Box<Swap>, Us),
    /// Read it.
    Read { asked: Moment },
    /// Write a run.
    Journal { attempt: u64, run: Run },
    /// Publish what a member says of itself.
    Member(MemberReport),
    /// Publish what a vantage point has seen.
    Sight(Arc<Report>),
}

/// What etcd holds, and how it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Etcd {
    pub(crate) record: Option<(GroupRecord, i64)>,
    revision: i64,
    /// When the last change of the record was sent.
    renewal_sent: Us,
    /// The epoch key: journal entries compare it.
    pub(crate) epoch: Epoch,
    pub(crate) runs: BTreeMap<RunId, (Run, i64)>,
    members: [Option<(MemberReport, i64)>; REGIONS_MAX],
    sights: [Option<(Arc<Report>, i64)>; REGIONS_MAX],
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
    pub(super) told: Option<bool>,
    /// The renewals that the last looks at etcd itself showed, and how long after they were sent: the newest
    /// may not have been told to the machine yet.
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
/// A request or an answer takes at least and at most this long when nothing is wrong.
const TAKES: (Us, Us) = (2 * MS, 40 * MS);
/// A request is given up after about this long.
const GIVEN_UP: (Us, Us) = (900 * MS, 1_200 * MS);
/// A request that goes wrong may still arrive after as long as this.
const LATE: (Us, Us) = (SECOND / 2, 9 * SECOND);

impl Etcd {
    pub(super) fn new(shape: Shape) -> Self {
        let mut reached = [false; REGIONS_MAX];
        reached[..shape.nodes()].fill(true);
        Self { quorum: true, reached, ..Self::default() }
    }
}

impl World {
    // === what is looked up ===

    /// A node sees the record in etcd itself: which renewal, and how long after it was sent.
    fn looked_up(&mut self, i: usize) {
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
    fn written(&mut self) -> i64 {
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
        let etcd = &self.etcd;
        let mut events = Vec::new();
        match &etcd.record {
            Some((record, revision)) if *revision > seen => {
                events.push(Event::Record { record: Some(record.clone()), revision: *revision, asked: None });
            }
            None if anew => events.push(Event::Record { record: None, revision: etcd.revision, asked: None }),
            _ => {}
        }
        let runs = etcd.runs.values().filter(|(_, revision)| *revision > seen);
        events.extend(runs.map(|(run, _)| Event::Run(run.clone())));
        let members = etcd.members.iter().flatten().filter(|(_, revision)| *revision > seen);
        events.extend(members.map(|(report, _)| Event::Member(report.clone())));
        for vantage in 0..self.nodes.len() {
            let new = self.etcd.sights[vantage].as_ref().filter(|(_, revision)| *revision > seen);
            if let Some(report) = new.map(|(report, _)| Arc::clone(report)) {
                self.hear_report(i, vantage, report);
            }
        }
        for event in events {
            self.deliver(i, event);
        }
    }

    // === requests ===

    fn etcd_takes(&mut self) -> Us {
        let slow = self.harm.etcd_slow;
        let draws = &mut self.draws.etcd;
        draws.between(TAKES.0, TAKES.1) + if slow > 0 { draws.below(slow) } else { 0 }
    }

    /// Sends a request: it arrives, or does not; it is answered, or is not.
    pub(super) fn send(&mut self, i: usize, request: Request) {
        if let Request::Swap(swap, _) = &request
            && swap.purpose != Purpose::Renew
        {
            self.say(|_| {
                format!(
                    "{}: sends attempt {} ({:?}, epoch {})",
                    word(i),
                    swap.attempt,
                    swap.purpose,
                    swap.record.epoch
                )
            });
        }
        let life = self.nodes[i].life;
        if !self.reaches_etcd(i) {
            return self.no_answer(i, life, &request);
        }
        let takes = self.etcd_takes();
        let draws = &mut self.draws.etcd;
        let (arrives, answers) = if draws.percent(self.harm.etcd_trouble) {
            match draws.below(3) {
                0 => (None, false),
                1 => (Some(takes), false),
                _ => (Some(draws.between(LATE.0, LATE.1)), false),
            }
        } else {
            (Some(takes), takes * 2 < GIVEN_UP.0)
        };
        if !answers {
            self.no_answer(i, life, &request);
        }
        if let Some(takes) = arrives {
            self.after(takes, Act::Request(i, life, Box::new(request), answers));
        }
    }

    /// Whoever waits for an answer gives up; some never say so.
    fn no_answer(&mut self, i: usize, life: u32, request: &Request) {
        let outcome = Outcome::Unknown("timed out".to_owned());
        let event = match request {
            Request::Swap(swap, _) => Event::Swapped { attempt: swap.attempt, outcome },
            Request::Journal { attempt, .. } => Event::Journalled { attempt: *attempt, outcome },
            Request::Read { .. } | Request::Member(_) | Request::Sight(_) => return,
        };
        if self.draws.etcd.percent(85) {
            let wait = self.draws.etcd.between(GIVEN_UP.0, GIVEN_UP.1);
            self.after(wait, Act::Deliver(i, life, Box::new(event)));
        }
    }

    pub(super) fn request_arrives(&mut self, i: usize, life: u32, request: Request, answers: bool) {
        if !self.etcd_works() {
            if answers {
                self.no_answer(i, life, &request);
            }
            return;
        }
        let event = match &request {
            Request::Swap(swap, sent) => {
                Some(Event::Swapped { attempt: swap.attempt, outcome: self.commit(i, swap, *sent) })
            }
            Request::Journal { attempt, run } => {
                Some(Event::Journalled { attempt: *attempt, outcome: self.journal(run) })
            }
            Request::Read { asked } => {
                self.looked_up(i);
                let (record, revision) = match &self.etcd.record {
                    Some((record, revision)) => (Some(record.clone()), *revision),
                    None => (None, self.etcd.revision),
                };
                Some(Event::Record { record, revision, asked: Some(*asked) })
            }
            Request::Member(report) => {
                self.etcd.revision += 1;
                self.etcd.members[index(&report.region)] = Some((report.clone(), self.etcd.revision));
                self.written();
                None
            }
            Request::Sight(report) => {
                self.etcd.revision += 1;
                self.etcd.sights[i] = Some((Arc::clone(report), self.etcd.revision));
                self.written();
                None
            }
        };
        let Some(event) = event.filter(|_| answers) else { return };
        if self.reaches_etcd(i) {
            let takes = self.etcd_takes();
            self.after(takes, Act::Deliver(i, life, Box::new(event)));
        } else {
            self.no_answer(i, life, &request);
        }
    }

    /// The compare-and-set of the record.
    fn commit(&mut self, i: usize, swap: &Swap, sent: Us) -> Outcome {
        let current = self.etcd.record.as_ref().map(|(_, revision)| *revision);
        let wanted = match swap.expect {
            Expect::Absent => None,
            Expect::Revision(revision) => Some(revision),
        };
        if current != wanted {
            return Outcome::Lost;
        }
        if swap.purpose == Purpose::Claim {
            self.claimed(i, swap);
        }
        self.etcd.revision += 1;
        let revision = self.etcd.revision;
        if swap.purpose == Purpose::Claim {
            self.etcd.epoch = swap.record.epoch;
            if let Some(run) = &swap.run {
                self.watcher.journalled(run);
                self.etcd.runs.insert(run.id.clone(), (run.clone(), revision));
            }
        }
        self.watcher.recorded(&swap.record, self.now);
        self.etcd.record = Some((swap.record.clone(), revision));
        self.etcd.renewal_sent = sent;
        Outcome::Done(self.written())
    }

    /// A new epoch begins: what the world is like at that instant is for the laws to judge.
    fn claimed(&mut self, i: usize, swap: &Swap) {
        self.say(|_| format!("etcd: {} holds epoch {}", word(i), swap.record.epoch));
        let old = self.etcd.record.as_ref().map(|(record, _)| record.clone());
        let able: Vec<usize> = (0..self.shape.members())
            .filter(|j| *j != i && !self.harm.asleep[*j])
            .filter(|j| self.nodes[*j].db.is_primary() || self.gateway_open(*j))
            .collect();
        let reasons = self.reasons_against(old.as_ref().map(|record| index(&record.holder)));
        let wall = self.nodes[i].clock.wall(self.now);
        let claim = Claim { by: i, old, new: &swap.record, run: swap.run.as_ref(), able, reasons, wall };
        self.watcher.claimed(claim, self.now);
    }

    fn journal(&mut self, run: &Run) -> Outcome {
        if self.etcd.epoch != run.epoch {
            return Outcome::Lost;
        }
        self.etcd.revision += 1;
        self.watcher.journalled(run);
        self.etcd.runs.insert(run.id.clone(), (run.clone(), self.etcd.revision));
        Outcome::Done(self.written())
    }

    /// A person's or a test's look at the record.
    #[must_use]
    pub fn record(&self) -> Option<&GroupRecord> {
        self.etcd.record.as_ref().map(|(record, _)| record)
    }

    /// The run of that epoch, as etcd has it.
    #[must_use]
    pub fn run_of(&self, epoch: Epoch) -> Option<&Run> {
        self.etcd.runs.values().map(|(run, _)| run).find(|run| run.epoch == epoch)
    }

    /// All that etcd knew is gone.
    pub fn wipe_etcd(&mut self) {
        let Etcd { leader, electing_until, quorum, reached, .. } = std::mem::take(&mut self.etcd);
        self.etcd = Etcd { leader, electing_until, quorum, reached, ..Etcd::default() };
        for i in 0..self.nodes.len() {
            self.nodes[i].watch.anew = true;
            self.news_for(i);
        }
        self.watcher.forget_records();
    }
}
