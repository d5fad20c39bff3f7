//! What is broken now: worked out anew from the faults that last, whenever one begins or ends.

use crate::schedule::{Fault, Kind, Us};
use crate::shape::REGIONS_MAX;

/// How actions on a database go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ill {
    Fails,
    Hangs,
    Silent,
    Late,
}

/// What is broken now, by region.
#[derive(Debug, Clone, Default)]
pub(super) struct Harm {
    /// The node process was killed and stays dead.
    pub(super) dead: [bool; REGIONS_MAX],
    /// So was the etcd member of the region.
    pub(super) etcd_dead: [bool; REGIONS_MAX],
    /// The whole region is frozen.
    pub(super) asleep: [bool; REGIONS_MAX],
    /// The node process is frozen.
    pub(super) process_asleep: [bool; REGIONS_MAX],
    /// The loop of the group hangs.
    pub(super) stalled: [bool; REGIONS_MAX],
    /// Nothing passes from one region to another.
    pub(super) cut: [[bool; REGIONS_MAX]; REGIONS_MAX],
    /// No other node reaches the node; etcd and it reach each other.
    pub(super) lines_cut: [bool; REGIONS_MAX],
    /// The node does not reach etcd.
    pub(super) etcd_cut: [bool; REGIONS_MAX],
    pub(super) etcd_away: bool,
    /// Requests take so much longer, up to.
    pub(super) etcd_slow: Us,
    /// Percent of requests that go wrong.
    pub(super) etcd_trouble: u64,
    /// Percent of messages that go wrong.
    pub(super) message_trouble: u64,
    pub(super) watch_hangs: [bool; REGIONS_MAX],
    pub(super) observer_hangs: [bool; REGIONS_MAX],
    pub(super) disk_full: [bool; REGIONS_MAX],
    pub(super) misjudges: [bool; REGIONS_MAX],
    pub(super) actions: [Option<Ill>; REGIONS_MAX],
    pub(super) wal_stuck: [bool; REGIONS_MAX],
}

impl Harm {
    /// What these faults do together. A line that flaps is cut in every other phase.
    pub(super) fn of(faults: &[Fault], active: &[(usize, bool)]) -> Self {
        let mut harm = Self::default();
        for (number, cut) in active {
            harm.add(faults[*number].kind, *cut);
        }
        harm
    }

    fn add(&mut self, kind: Kind, cut: bool) {
        match kind {
            Kind::NodeDies(a) | Kind::DiskLost(a) => self.dead[a] = true,
            Kind::LinesCut(a) => self.lines_cut[a] = true,
            Kind::ObserverHangs(a) => self.observer_hangs[a] = true,
            Kind::RegionDies(a) => {
                self.dead[a] = true;
                self.etcd_dead[a] = true;
            }
            Kind::RegionSleeps(a) => self.asleep[a] = true,
            Kind::ProcessSleeps(a) => self.process_asleep[a] = true,
            Kind::LoopStalls(a) => self.stalled[a] = true,
            Kind::LinkCut(a, b) => self.cut(a, b),
            Kind::LinkFlaps(a, b, _) if cut => {
                self.cut(a, b);
                self.cut(b, a);
            }
            Kind::Isolated(a) => (0..REGIONS_MAX).for_each(|b| {
                self.cut(a, b);
                self.cut(b, a);
            }),
            Kind::EtcdCut(a) => self.etcd_cut[a] = true,
            Kind::EtcdAway => self.etcd_away = true,
            Kind::EtcdSlow(by) => self.etcd_slow = self.etcd_slow.max(by),
            Kind::EtcdTrouble(percent) => self.etcd_trouble = self.etcd_trouble.max(percent),
            Kind::MessageTrouble(percent) => self.message_trouble = self.message_trouble.max(percent),
            Kind::WatchHangs(a) => self.watch_hangs[a] = true,
            Kind::DiskFull(a) => self.disk_full[a] = true,
            Kind::Misjudges(a) => self.misjudges[a] = true,
            Kind::ActionsFail(a) => self.actions[a] = Some(Ill::Fails),
            Kind::ActionsHang(a) => self.actions[a] = Some(Ill::Hangs),
            Kind::ActionsSilent(a) => self.actions[a] = Some(Ill::Silent),
            Kind::ActionsLate(a) => self.actions[a] = Some(Ill::Late),
            Kind::WalStuck(a) => self.wal_stuck[a] = true,
            Kind::LinkFlaps(..)
            | Kind::DatabaseDies(_)
            | Kind::WallJumps(..)
            | Kind::ClockDrifts(..)
            | Kind::StepDown(_)
            | Kind::PersonAgrees(_)
            | Kind::Switchover(_)
            | Kind::Acknowledgers(_) => {}
        }
    }

    fn cut(&mut self, from: usize, to: usize) {
        if from != to {
            self.cut[from][to] = true;
        }
    }
}
