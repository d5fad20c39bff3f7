//! Requests to etcd: they come late, twice or never, and so do their answers.

use std::sync::Arc;

use meridian_failover::{Event, Expect, Outcome, Purpose, Swap};
use meridian_model::Epoch;
use meridian_model::group::GroupRecord;
use meridian_model::order::{Order, OrderState};
use meridian_model::run::Run;

use super::etcd::{Etcd, Request};
use super::{Act, World};
use crate::schedule::{MS, SECOND, Us};
use crate::shape::{index, word};
use crate::watcher::Claim;

/// A request or an answer takes at least and at most this long when nothing is wrong.
const TAKES: (Us, Us) = (2 * MS, 40 * MS);
/// A request is given up after about this long.
const GIVEN_UP: (Us, Us) = (900 * MS, 1_200 * MS);
/// A request that goes wrong may still arrive after as long as this.
const LATE: (Us, Us) = (SECOND / 2, 9 * SECOND);

impl World {
    pub(super) fn etcd_takes(&mut self) -> Us {
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
            Request::Read { .. } | Request::Mark(_) | Request::Member(_) | Request::Sight(_) => return,
        };
        if self.draws.etcd.percent(85) {
            let wait = self.draws.etcd.between(GIVEN_UP.0, GIVEN_UP.1);
            self.after(wait, Act::Deliver(i, life, Box::new(event)));
        }
    }

    pub(super) fn request_arrives(&mut self, i: usize, life: u32, request: &Request, answers: bool) {
        if !self.etcd_works() {
            if answers {
                self.no_answer(i, life, request);
            }
            return;
        }
        let event = match request {
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
            Request::Mark(order) => {
                self.mark(order);
                None
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
            self.no_answer(i, life, request);
        }
    }

    /// The compare-and-set of the record.
    fn commit(&mut self, i: usize, swap: &Swap, sent: Us) -> Outcome {
        let current = self.etcd.record.as_ref();
        let as_expected = match &swap.expect {
            Expect::Absent => current.is_none(),
            Expect::Revision(wanted) => current.is_some_and(|(_, revision)| revision == wanted),
            Expect::Told(wanted, _) => current.is_some_and(|(record, _)| *record == **wanted),
        };
        if !as_expected {
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
                self.etcd.runs.insert(run.id.clone(), (Arc::new(run.clone()), revision));
            }
        }
        self.watcher.recorded(&swap.record, self.now);
        let promise = self.etcd.record.as_ref().is_none_or(|(old, _)| old.quorum != swap.record.quorum);
        self.etcd.record = Some((swap.record.clone(), revision));
        self.etcd.renewal_sent = sent;
        if promise {
            self.say(|_| {
                let quorum = swap.record.quorum.as_ref().map(|q| (q.acknowledgers, &q.candidates));
                format!("etcd: whose acknowledgements count: {quorum:?}")
            });
            self.promise_is_kept();
        }
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

    fn journal(&mut self, run: &Arc<Run>) -> Outcome {
        if self.etcd.epoch != run.epoch {
            return Outcome::Lost;
        }
        self.etcd.revision += 1;
        self.watcher.journalled(run);
        self.etcd.runs.insert(run.id.clone(), (Arc::clone(run), self.etcd.revision));
        Outcome::Done(self.written())
    }

    /// A person orders something.
    pub(super) fn ordered(&mut self, order: &Order) {
        self.etcd.revision += 1;
        self.etcd.order = Some((order.clone(), self.etcd.revision));
        self.written();
    }

    /// Only the order that stands there, and only while it is open.
    fn mark(&mut self, order: &Order) {
        let open = |there: &Order| there.id == order.id && there.state == OrderState::Open;
        if self.etcd.order.as_ref().is_some_and(|(there, _)| open(there)) {
            self.ordered(order);
        }
    }

    /// An order of an earlier reign that still stands there as open.
    #[must_use]
    pub fn void_order(&self) -> Option<&Order> {
        let order = self.etcd.order.as_ref().map(|(order, _)| order);
        order.filter(|order| order.state == OrderState::Open && order.epoch < self.etcd.epoch)
    }

    /// A person's or a test's look at the record.
    #[must_use]
    pub fn record(&self) -> Option<&GroupRecord> {
        self.etcd.record.as_ref().map(|(record, _)| record)
    }

    /// The run of that epoch, as etcd has it.
    #[must_use]
    pub fn run_of(&self, epoch: Epoch) -> Option<&Run> {
        self.etcd.runs.values().map(|(run, _)| &**run).find(|run| run.epoch == epoch)
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
