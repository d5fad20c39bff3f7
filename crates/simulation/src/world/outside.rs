//! What is done to a world from outside, and what it is asked: by schedules, scenes and stories.

use meridian_failover::{Event, Machine, Memory, State};

use super::World;
use crate::schedule::{Fault, Kind, Us};
use crate::shape::{region, word};

impl World {
    // === what is done from outside ===

    /// A fault begins now, and lasts for so long unless it is mended.
    pub fn strike(&mut self, kind: Kind, lasts: Us) {
        let at = self.now - self.began;
        self.faults.push(Fault { at, lasts, kind });
        self.fault_begins(self.faults.len() - 1);
    }

    /// All faults of that kind end now.
    pub fn mend(&mut self, kind: Kind) {
        let of_kind = self.active.iter().map(|(number, _)| *number).filter(|n| self.faults[*n].kind == kind);
        of_kind.collect::<Vec<_>>().into_iter().for_each(|number| self.end_now(number));
    }

    /// All faults end now.
    pub fn heal(&mut self) {
        let all: Vec<usize> = self.active.iter().map(|(number, _)| *number).collect();
        all.into_iter().for_each(|number| self.end_now(number));
    }

    fn end_now(&mut self, number: usize) {
        self.faults[number].lasts = self.now - self.began - self.faults[number].at;
        self.fault_ends(number);
    }

    /// An event from outside reaches a machine.
    pub fn tell(&mut self, i: usize, event: Event) {
        self.deliver(i, event);
    }

    /// What a node has on its disk, to be forged.
    pub fn memory_mut(&mut self, i: usize) -> Option<&mut Memory> {
        self.nodes[i].disk.as_mut()
    }

    /// From now on what happens is told.
    pub fn listen(&mut self) {
        self.story = Some(Vec::new());
    }

    // === what is asked from outside ===

    /// What was told.
    #[must_use]
    pub fn told_so_far(&self) -> &[String] {
        self.story.as_deref().unwrap_or_default()
    }

    /// How late it is.
    #[must_use]
    pub const fn now(&self) -> Us {
        self.now
    }

    /// Its database is a running primary.
    #[must_use]
    pub fn is_primary(&self, i: usize) -> bool {
        self.nodes[i].db.is_primary()
    }

    /// How often the database there has become a primary.
    #[must_use]
    pub fn promotions(&self, i: usize) -> u32 {
        self.nodes[i].promotions
    }

    /// The law that was broken, if one was.
    #[must_use]
    pub fn broken(&self) -> Option<&meridian_invariants::Violation> {
        self.watcher.broken.as_ref()
    }

    /// Where a machine stands.
    #[must_use]
    pub fn state(&self, i: usize) -> Option<State> {
        self.nodes[i].machine.as_ref().map(Machine::state)
    }

    /// Everything is as it should be: one writer whose run is finished, everybody else streams from it, and nobody
    /// waits for an order that is void.
    #[must_use]
    pub fn protected(&self) -> bool {
        self.redundant() && self.void_order().is_none()
    }

    /// One writer whose run is finished, and everybody else streams from it.
    fn redundant(&self) -> bool {
        let members = 0..self.shape.members();
        let mut leaders = members.clone().filter(|i| self.state(*i) == Some(State::Leading));
        let (Some(leader), None) = (leaders.next(), leaders.next()) else { return false };
        let mut living = members.filter(|i| *i != leader && !self.harm.dead[*i]);
        // Who came back counts again.
        if let Some(quorum) = self.record().and_then(|record| record.quorum.as_ref()) {
            let all = living.clone().all(|i| quorum.candidates.contains(&region(i)));
            if !all || quorum.acknowledgers == 0 {
                return false;
            }
        }
        let run = self.record().and_then(|record| record.run.as_ref());
        run.and_then(|id| self.etcd.runs.get(id)).is_some_and(|(run, _)| run.finished())
            && living.all(|i| {
                self.state(i) == Some(State::Following) && self.nodes[i].db.streams_from() == Some(leader)
            })
    }

    /// A fault takes data away for good. Where nobody has to acknowledge only a person may decide to go on without it.
    /// While not every member is back and has the common log the last copy may be gone, and then there is no way at all: a member that
    /// has yet to be made a copy does not take over, whoever agrees.
    pub(super) fn data_is_lost(&mut self) {
        let quorum = self.record().and_then(|record| record.quorum.as_ref());
        let nobody = quorum.is_none_or(|quorum| quorum.acknowledgers == 0);
        self.needs_a_person |= nobody;
        let timeline = |i: usize| self.nodes[i].db.log.timeline;
        let same = (1..self.shape.members()).all(|i| timeline(i) == timeline(0));
        let behind = !same || self.harm.wal_stuck.contains(&true);
        self.hopeless |= behind || !self.redundant() || self.harm.dead.contains(&true);
    }

    /// A person looks, and accepts the loss of data if nothing less helps.
    pub(crate) fn person_looks(&mut self) {
        if self.needs_a_person || self.hopeless {
            self.person_agrees(true);
        }
    }

    /// The writer: leads, and its gateway is open.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        (0..self.shape.members()).find(|i| self.state(*i) == Some(State::Leading) && self.gateway_open(*i))
    }

    /// The states of all machines in a line.
    #[must_use]
    pub fn states(&self) -> String {
        let of = |i| match self.state(i) {
            Some(state) => format!("{}: {state}", word(i)),
            None => format!("{}: dead", word(i)),
        };
        (0..self.nodes.len()).map(of).collect::<Vec<_>>().join(", ")
    }

    /// How many writes clients were told to be committed.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.wal.count
    }

    /// What every machine is at, for people.
    #[must_use]
    pub fn needs(&self) -> String {
        let void =
            self.void_order().map(|order| format!("order {} of epoch {} is open", order.id, order.epoch));
        let said = (0..self.nodes.len()).map(|i| self.explain(i)).chain(void);
        said.collect::<Vec<_>>().join("; ")
    }

    /// All faults have ended, and this is what became of it: the last laws are asked.
    pub fn end(&mut self, calm: meridian_invariants::Calm) {
        self.watcher.calm(calm);
    }

    /// Why a machine does what it does.
    #[must_use]
    pub fn explain(&self, i: usize) -> String {
        let now = self.local(i);
        let machine = self.nodes[i].machine.as_ref();
        machine.map_or(String::new(), |m| format!("{} {}", word(i), m.explain(now).doing))
    }
}
