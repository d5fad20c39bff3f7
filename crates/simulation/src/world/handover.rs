//! A planned move of the writer, from both sides: gateways that hold new transactions, a successor that catches
//! up, an orderly stop, and a replay to its end.

use std::time::Duration;

use meridian_failover::{DatabaseAction, Event};
use meridian_model::Epoch;
use meridian_model::group::HoldId;

use super::serve::Peer;
use super::wal::Log;
use super::{Act, World};
use crate::schedule::{MS, SECOND, Us};
use crate::shape::{index, region, word};

/// How long a transaction that is under way may still take, at most.
const TRANSACTION: Us = 3 * SECOND / 2;
/// In so many percent of the cases one is.
const UNDER_WAY: u64 = 30;
/// Whoever waits for a standby looks again after this long.
const LOOK_AGAIN: Us = 20 * MS;

impl World {
    // === gateways that hold ===

    /// All gateways are asked to hold new transactions of that epoch until then, or to hold them no longer.
    pub(super) fn ask_to_hold(&mut self, i: usize, hold: HoldId, until: Option<Us>) {
        for to in 0..self.nodes.len() {
            let message = Peer::Hold { hold, until };
            if to == i {
                self.message(i, i, message);
            } else {
                self.post(i, to, message);
            }
        }
    }

    /// A gateway hears of it and says what is still under way there.
    pub(super) fn hold(&mut self, from: usize, to: usize, hold: HoldId, until: Option<Us>) {
        if !self.process(to) {
            return;
        }
        // An order that another one has overtaken, or the end of the same hold, changes nothing.
        let late = self.nodes[to]
            .holds
            .is_some_and(|(last, held)| hold < last || (hold == last && held.is_none() && until.is_some()));
        if late {
            return;
        }
        self.nodes[to].holds = Some((hold, until));
        if until.is_none() {
            return;
        }
        let busy = self.draws.messages.percent(UNDER_WAY);
        if busy {
            self.post(to, from, Peer::Held { hold, busy: 1 });
            let ends = self.draws.messages.below(TRANSACTION);
            self.after(ends, Act::Quiet { from: to, to: from, hold });
        } else {
            self.quiet(to, from, hold);
        }
    }

    /// Nothing is under way at a gateway any more.
    pub(super) fn quiet(&mut self, from: usize, to: usize, hold: HoldId) {
        if from == to {
            self.deliver(to, Event::Held { from: region(from), hold, busy: 0 });
        } else {
            self.post(from, to, Peer::Held { hold, busy: 0 });
        }
    }

    /// The gateway of a region lets no new transaction of that epoch through.
    pub(super) fn gateway_holds(&self, i: usize, epoch: Epoch) -> bool {
        let holds = |(hold, until): (HoldId, Option<Us>)| {
            hold.epoch == epoch && until.is_some_and(|until| self.now < until)
        };
        self.nodes[i].holds.is_some_and(holds)
    }

    // === databases that hand over ===

    /// In how long an action that waits for a standby looks again; `None`: it need not wait, or has waited long
    /// enough.
    pub(super) fn waits_on(&self, i: usize, action: &DatabaseAction, began: Us) -> Option<Us> {
        let limit = |within: &Duration| self.now < began + within.as_micros() as Us;
        let waits = match action {
            DatabaseAction::CatchUp { to, within } => limit(within) && self.streams_to(i, index(to)).is_err(),
            DatabaseAction::Replay { within, .. } => limit(within) && self.replayed(i, action).is_err(),
            _ => false,
        };
        waits.then_some(LOOK_AGAIN)
    }

    pub(super) fn streams_to(&self, i: usize, to: usize) -> Result<(), String> {
        let (here, there) = (&self.nodes[i].db, &self.nodes[to].db);
        let well = here.is_primary() && there.streams_from() == Some(i) && there.log == here.log;
        well.then_some(()).ok_or_else(|| format!("{} has not everything", word(to)))
    }

    pub(super) fn replayed(&self, i: usize, action: &DatabaseAction) -> Result<(), String> {
        let DatabaseAction::Replay { beyond, .. } = action else { return Ok(()) };
        let log = self.nodes[i].db.log;
        let there = log.timeline >= beyond.timeline && log.len > beyond.lsn.0;
        there.then_some(()).ok_or_else(|| format!("replayed to {} of {}", log.len, beyond.lsn.0))
    }

    /// The shutdown checkpoint goes to all standbys that can receive, and then it stops. Gives where the
    /// checkpoint begins.
    ///
    /// # Errors
    /// It is no primary.
    pub(super) fn stop_in_order(&mut self, i: usize) -> Result<Log, String> {
        if !self.nodes[i].db.is_primary() {
            return Err("it is no primary".to_owned());
        }
        let end = self.nodes[i].db.log;
        self.nodes[i].db.log.len += 1;
        let log = self.nodes[i].db.log;
        for s in self.other_members(i) {
            let receives = self.nodes[s].db.streams_from() == Some(i) && !self.harm.wal_stuck[s];
            if receives && !self.harm.asleep[s] && self.connected(i, s) {
                self.nodes[s].db.log = log;
            }
        }
        self.stop_database(i);
        Ok(end)
    }
}
