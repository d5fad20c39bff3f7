//! What persons have said, as rules: maintenance, approval, and the order to fail over in spite of a rule.

use std::time::Duration;

use meridian_model::group::GroupRecord;
use meridian_model::order::Wish;
use meridian_model::plan::millis;
use meridian_model::{Epoch, Moment, Timestamp};

use super::Machine;
use super::rules::{Ruling, no, secs};
use crate::command::Command;
use crate::limits::ORDER_LASTS;

/// A person's order about one epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Consent<'a> {
    pub(super) by: &'a str,
    pub(super) accept_data_loss: bool,
}

impl Machine {
    /// While an order is being carried out it does not expire, however long the steps before the demotion take:
    /// whoever gave it goes on waiting, and nobody gives another one.
    pub(super) fn prolong_order(&mut self) {
        let Some(hand) = &mut self.handing.now else { return };
        let after = |wait: Duration| Timestamp(self.at.wall.0.saturating_add_unsigned(millis(wait)));
        if hand.order.expires_at >= after(ORDER_LASTS / 2) {
            return;
        }
        hand.order.expires_at = after(ORDER_LASTS);
        self.asides.push(Command::ProlongOrder(hand.order.clone()));
    }

    pub(super) fn no_maintenance(&self, record: &GroupRecord, _: Moment) -> Ruling {
        match (self.maintenance(), self.consent(record.epoch)) {
            (Some(why), None) => Err(no(why)),
            (Some(why), Some(consent)) => Ok(format!("{why}, but {} agrees", consent.by)),
            (None, _) => Ok("there is no maintenance".to_owned()),
        }
    }

    /// Why nothing may begin by itself, if so.
    pub(super) fn maintenance(&self) -> Option<String> {
        let maintenance = self.facts.maintenance.as_ref().filter(|m| self.at.wall < m.until)?;
        let left = u64::try_from(maintenance.until.0.saturating_sub(self.at.wall.0)).unwrap_or(0);
        let (left, word) = (secs(Duration::from_millis(left)), &maintenance.word);
        Some(format!("maintenance for another {left} ({}: {})", word.by, word.reason))
    }

    /// The plan leaves it to verdicts, or a person has ordered it.
    pub(super) fn is_approved(&self, record: &GroupRecord, _: Moment) -> Ruling {
        let plan = &self.config.plan;
        if let Some(consent) = self.consent(record.epoch) {
            return Ok(format!("{} ordered it", consent.by));
        }
        if !plan.automatic {
            return Err(no(format!("plan {} waits for a person: `meridian failover`", plan.name)));
        }
        if plan.approval {
            return Err(no(format!("plan {} wants a person's approval: `meridian failover`", plan.name)));
        }
        Ok("the plan leaves it to the verdicts".to_owned())
    }

    /// A person's order to replace the holder of that epoch.
    pub(super) fn consent(&self, epoch: Epoch) -> Option<Consent<'_>> {
        let order = self.handing.order.as_ref()?;
        let Wish::Failover { accept_data_loss } = order.wish else { return None };
        order.stands(epoch, self.at.wall).then_some(Consent { by: &order.by, accept_data_loss })
    }
}
