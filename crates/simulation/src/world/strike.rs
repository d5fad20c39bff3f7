//! Faults begin, change and end.

use meridian_failover::Event;
use meridian_model::order::{Order, OrderState, Wish};
use meridian_model::{Epoch, Name, Timestamp};

use super::harm::Harm;
use super::replication::Db;
use super::{Act, World};
use crate::schedule::{FOR_GOOD, Kind, SECOND, Us};
use crate::shape::{group, region};
use crate::watcher::Reason;

/// A fault that ended this long ago is no reason for a failover any more: a lease, an expired observation, a
/// seal and a claim take less.
pub(crate) const AFTERMATH: Us = 12 * SECOND;

impl World {
    pub(super) fn fault_begins(&mut self, number: usize) {
        let fault = self.faults[number];
        self.say(|_| match fault.lasts {
            FOR_GOOD => format!("FAULT: {}, for good", fault.kind),
            lasts => format!("FAULT: {}, for {:.2} s", fault.kind, lasts as f64 / SECOND as f64),
        });
        if fault.for_good() || matches!(fault.kind, Kind::DiskLost(_)) {
            self.data_is_lost();
        }
        match fault.kind {
            Kind::NodeDies(i) | Kind::RegionDies(i) => self.crash(i),
            Kind::DiskLost(i) => {
                self.crash(i);
                self.nodes[i].disk = None;
                self.nodes[i].db = Db::default();
            }
            Kind::DatabaseDies(i) => self.crash_database(i),
            Kind::WallJumps(i, by) => {
                self.nodes[i].clock.wall_wrong += by;
                self.watcher.wall_jumped = true;
            }
            Kind::ClockDrifts(i, ppm) => self.nodes[i].clock.drift(self.now, ppm),
            Kind::StepDown(i) => self.deliver(i, Event::StepDown { reason: "maintenance".to_owned() }),
            Kind::PersonAgrees(accept_data_loss) => self.person_agrees(accept_data_loss),
            Kind::Switchover(to) => self.person_switches(to),
            Kind::Acknowledgers(wanted) => self.acknowledgers = Some(wanted),
            _ => {}
        }
        if fault.kind.instant() {
            return;
        }
        self.active.push((number, true));
        if let Kind::LinkFlaps(_, _, every) = fault.kind {
            self.after(every, Act::Change(number));
        }
        self.after(fault.lasts, Act::End(number));
        self.harm_changes();
    }

    /// A line that flaps is cut, or mended again.
    pub(super) fn fault_changes(&mut self, number: usize) {
        let Some((_, cut)) = self.active.iter_mut().find(|(n, _)| *n == number) else { return };
        *cut = !*cut;
        if let Kind::LinkFlaps(_, _, every) = self.faults[number].kind {
            self.after(every, Act::Change(number));
        }
        self.harm_changes();
    }

    pub(super) fn fault_ends(&mut self, number: usize) {
        let fault = self.faults[number];
        let known = self.active.len();
        self.active.retain(|(n, _)| *n != number);
        if self.active.len() == known {
            return;
        }
        self.say(|_| format!("ENDS: {}", fault.kind));
        match fault.kind {
            Kind::WallJumps(i, by) => self.nodes[i].clock.wall_wrong -= by,
            Kind::ClockDrifts(i, _) => {
                let ppm = self.nodes[i].clock.ppm() / 2;
                self.nodes[i].clock.drift(self.now, ppm);
            }
            _ => {}
        }
        self.harm_changes();
    }

    /// What is broken is worked out anew, and what follows from the difference happens.
    fn harm_changes(&mut self) {
        let reached = (0..self.nodes.len()).map(|i| self.reaches_etcd(i)).collect();
        let old = std::mem::replace(&mut self.harm, Harm::of(&self.faults, &self.active));
        self.etcd_regroups(reached);
        self.lines_change();
        for i in 0..self.nodes.len() {
            let (was, is) = (paused(&old, i), paused(&self.harm, i));
            if was.iter().zip(&is).any(|(was, is)| *was && !*is) {
                self.resume(i);
                self.after(SECOND / 10, Act::Reach(i));
            }
            if self.harm.asleep[i] && !old.asleep[i] {
                self.watcher.unable(i, self.now);
            }
            if old.dead[i] && !self.harm.dead[i] {
                self.boot(i);
            }
            if old.watch_hangs[i] && !self.harm.watch_hangs[i] {
                self.news_for(i);
            }
        }
    }

    /// A person lets every member fail over, whoever holds the group now.
    pub(super) fn person_agrees(&mut self, accept_data_loss: bool) {
        let epoch = self.etcd.epoch;
        self.watcher.agreed(epoch, accept_data_loss);
        self.give(&self.order(Wish::Failover { accept_data_loss }, epoch));
    }

    /// A person wants the writer elsewhere.
    fn person_switches(&mut self, to: usize) {
        self.give(&self.order(Wish::Switchover { to: region(to) }, self.etcd.epoch));
    }

    /// It stands in etcd, and all members hear of it at once.
    fn give(&mut self, order: &Order) {
        self.ordered(order);
        for i in 0..self.shape.members() {
            self.deliver(i, Event::Ordered(Some(order.clone())));
        }
    }

    /// An order of now; it does not expire before the schedule ends.
    fn order(&self, wish: Wish, epoch: Epoch) -> Order {
        Order {
            id: Name::new(&format!("order-{}", self.now)).unwrap_or_else(|_| group()),
            group: group(),
            wish,
            epoch,
            by: "ada".to_owned(),
            at: Timestamp(i64::try_from(self.now).unwrap_or(i64::MAX)),
            expires_at: Timestamp(i64::MAX),
            state: OrderState::Open,
        }
    }

    /// The faults that may be a reason to move the writer away from that region now.
    pub(super) fn reasons_against(&self, holder: Option<usize>) -> Vec<Reason> {
        let Some(holder) = holder else { return Vec::new() };
        let hits = |kind: Kind| match kind {
            // A vantage point that misjudges may call any region down.
            Kind::Misjudges(_) => true,
            kind => kind.regions().contains(&Some(holder)),
        };
        let since = self.now.saturating_sub(self.began);
        let recent = self
            .faults
            .iter()
            .filter(|fault| fault.at <= since && fault.at + fault.lasts + AFTERMATH >= since);
        recent
            .filter(|fault| fault.kind.justifies_failover() && hits(fault.kind))
            .map(|fault| Reason { from: self.began + fault.at, to: self.began + fault.at + fault.lasts })
            .collect()
    }
}

/// The ways in which a node is paused.
const fn paused(harm: &Harm, i: usize) -> [bool; 3] {
    [harm.asleep[i], harm.process_asleep[i], harm.stalled[i]]
}
