//! The hold of a switchover: all gateways are asked for it once, and the writer waits until each has answered
//! that nothing is under way there. Answers to an earlier hold of the same reign count for nothing.

use meridian_model::group::HoldId;
use meridian_model::health::Health;
use meridian_model::name::RegionName;

use super::Machine;
use crate::command::{Command, Level};
use crate::limits::{HOLD_BEYOND, STOP_IN_ORDER};
use crate::table::State;

impl Machine {
    /// The gateways are asked to hold, once.
    pub(super) fn hold(&mut self) -> Option<Command> {
        let most = self.config.switchover.drain
            + self.config.switchover.catch_up
            + STOP_IN_ORDER
            + self.config.timers.lease_ttl.saturating_mul(2)
            + HOLD_BEYOND;
        let wanted = self.handing.now.as_ref().is_some_and(|hand| hand.hold.is_none());
        if !wanted || self.state != State::Draining {
            return None;
        }
        let hold = self.next_hold()?;
        let hand = self.handing.now.as_mut()?;
        hand.hold = Some(hold);
        let (to, reason) =
            (Some(hand.to.clone()), "writes are held while the writer is being moved".to_owned());
        Some(Command::Hold { hold, until: hand.held_since + most, to, reason })
    }

    /// A number that no hold of this reign has had: the count begins anew with each life of the node, and the lives
    /// are counted on disk.
    pub(super) fn next_hold(&mut self) -> Option<HoldId> {
        let epoch = self.lease.reign.as_ref()?.epoch;
        self.handing.holds = self.handing.holds.saturating_add(1);
        let attempt = self.memory.starts << u32::BITS | u64::from(self.handing.holds);
        Some(HoldId { epoch, attempt })
    }

    pub(super) fn held(&mut self, from: RegionName, hold: HoldId, busy: u32) {
        if let Some(hand) = self.handing.now.as_mut().filter(|hand| hand.hold == Some(hold)) {
            hand.busy.insert(from, busy);
        }
    }

    /// The deadline of the transactions that are under way.
    pub(super) fn wait_for_quiet(&mut self) {
        let Some(hand) = &self.handing.now else { return };
        let end = hand.held_since + self.config.switchover.drain;
        if self.is_quiet() || !self.due(end, "running transactions are cut") {
            return;
        }
        let Some(hand) = &mut self.handing.now else { return };
        let cut = hand.busy.values().sum();
        hand.cut = Some(cut);
        self.log(Level::Warn, format!("{cut} sessions are still inside a transaction: they are cut"));
        self.asides.push(Command::CutSessions);
    }

    /// Nothing new can be written any more but by who goes past the gateways.
    pub(super) fn is_quiet(&self) -> bool {
        let Some(hand) = &self.handing.now else { return false };
        let (ttl, now) = (self.config.timers.observation_ttl, self.at.now);
        let quiet = |region: &RegionName| {
            let gone = *region != self.config.me && self.facts.health(region, now, ttl) == Health::Down;
            gone || hand.busy.get(region) == Some(&0)
        };
        hand.cut.is_some() || self.config.gateways.iter().all(quiet)
    }
}
