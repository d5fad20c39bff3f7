//! A store like etcd: calls that come late, twice or never, and the watch.

use super::*;

impl World {
    pub(super) fn watch(&mut self, i: usize) {
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

    pub(super) fn commit_swap(&mut self, i: usize, swap: &Swap) -> Outcome {
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
    pub(super) fn send(&mut self, i: usize) -> (Option<Ms>, bool) {
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

    pub(super) fn act(&mut self, act: Act) {
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
}
