//! How an order ends: whoever carries it out or refuses it says so where its asker looks, until etcd shows it.
//!
//! An order is for one reign. When that ends and nobody has said what became of it (its holder was lost, or began its
//! next reign by itself), it is void: only the holder of its own reign could have begun it. Then the holder of the
//! present one ends it, as soon as it leads: as done when a run of a later reign did what was wanted, else as refused.
//! The runtime writes an end only while etcd shows that order open, so of two who end it the first is heard, and to say
//! it again is harmless.

use std::collections::VecDeque;

use meridian_model::Moment;
use meridian_model::name::Name;
use meridian_model::order::{Order, OrderState, Wish};
use meridian_model::run::{Run, RunKind};

use super::Machine;
use super::runner::{Runner, promoted};
use crate::command::{Command, Level};
use crate::limits::{ORDER_AGAIN, ORDERS_ENDED_MAX};

/// Orders that were ended here.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended {
    /// Their names: etcd may still show them open.
    names: VecDeque<Name>,
    /// The last of them, and when that was last said.
    last: Option<(Order, Moment)>,
}

impl Ended {
    pub(super) fn contains(&self, order: &Name) -> bool {
        self.names.contains(order)
    }

    fn push(&mut self, order: Order, now: Moment) {
        self.names.push_back(order.id.clone());
        while self.names.len() > ORDERS_ENDED_MAX {
            self.names.pop_front();
        }
        self.last = Some((order, now));
    }
}

impl Machine {
    /// Says what became of an order.
    pub(super) fn end_order(&mut self, order: &Order, refused: Option<String>) {
        let ended_at = self.at.wall;
        let state = match refused {
            Some(reason) => {
                self.log(Level::Warn, format!("order {} is refused: {reason}", order.id));
                OrderState::Refused { ended_at, reason }
            }
            None => OrderState::Done { ended_at },
        };
        let ended = Order { state, ..order.clone() };
        self.handing.ended.push(ended.clone(), self.at.now);
        self.asides.push(Command::EndOrder(ended));
    }

    /// An order of an earlier reign that nobody has ended.
    pub(super) fn end_void_order(&mut self, order: &Order) {
        let why = || {
            let (old, new) = (order.epoch, self.memory.epoch);
            format!(
                "it was given in epoch {old}, and now it is {new}: the order is void; give it again if it is still \
                 wanted"
            )
        };
        let refused = (!self.runner.did_what_was_wanted(order)).then(why);
        self.end_order(order, refused);
    }

    /// The last end, once more, while etcd goes on showing that order open: it may not have been written.
    pub(super) fn end_order_again(&mut self) -> Option<Command> {
        let shown = self.handing.order.as_ref().filter(|order| order.state == OrderState::Open)?;
        let (ended, said_at) = self.handing.ended.last.as_ref().filter(|(ended, _)| ended.id == shown.id)?;
        let (ended, said_at) = (ended.clone(), *said_at);
        if !self.facts.coordination || !self.due(said_at + ORDER_AGAIN, "an order's end is said again") {
            return None;
        }
        self.handing.ended.last = Some((ended.clone(), self.at.now));
        Some(Command::EndOrder(ended))
    }
}

impl Runner {
    /// A later reign began as the order wanted it, by the order or by itself.
    fn did_what_was_wanted(&self, order: &Order) -> bool {
        let moved = |run: &Run| {
            let moves = matches!(run.kind, RunKind::Failover | RunKind::Switchover) && !run.prepares();
            moves && run.epoch > order.epoch && (run.aborted.is_none() || promoted(run))
        };
        self.known().any(|run| match &order.wish {
            Wish::Switchover { to } => moved(run) && run.to == *to,
            Wish::Failover { .. } => moved(run),
        })
    }
}
