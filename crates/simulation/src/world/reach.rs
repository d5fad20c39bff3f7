//! Who reaches etcd: its members are together or not, one of them leads, and each node notices that it is gone or
//! back after a while.

use meridian_failover::Event;

use super::{Act, World};
use crate::schedule::{MS, SECOND, Us};
use crate::shape::word;

/// How long an election takes.
const ELECTION: (Us, Us) = (SECOND, 2_500 * MS);
/// A node notices that etcd is gone after this long, and that it is back.
const GONE_AFTER: (Us, Us) = (1_500 * MS, 2_000 * MS);
const BACK_AFTER: (Us, Us) = (50 * MS, 600 * MS);

impl World {
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
}
