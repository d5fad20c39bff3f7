//! What a run rests on, kept with it: who reads the run in a year need not have been there.

use std::time::Duration;

use meridian_model::database::Replication;
use meridian_model::group::{GroupRecord, WalPosition};
use meridian_model::order::Order;
use meridian_model::run::{EVIDENCE_MAX, Evidence, Missing, RULES_MAX, RuleSaid, RunKind};

use super::Machine;
use super::facts::FirstDown;
use crate::explain::Rule;

/// What is asked of a member that the lease was handed to; the old writer has looked at the rest.
const OF_A_HANDOVER: [Rule; 4] =
    [Rule::CoordinationReachable, Rule::SameTerms, Rule::LeaseExpired, Rule::NoPromise];

impl Machine {
    /// The evidence of the run that replaces the record.
    pub(super) fn evidence(&self, kind: RunKind) -> Evidence {
        let Some(record) = &self.facts.record else {
            return Evidence { missing: Missing::Nothing, ..Evidence::default() };
        };
        Evidence {
            rules: self.said(kind),
            detected: self.detected(kind).map(|down| short(&down.verdict)).unwrap_or_default(),
            last_renewal_at: Some(record.renewed_at),
            missing: self.missing(kind, record),
            order: self.order_of(kind, record).cloned(),
            handover: record.handover.clone().filter(|_| kind == RunKind::Switchover),
        }
    }

    /// When the loss was first seen, and by what; only a failover has one.
    pub(super) fn detected(&self, kind: RunKind) -> Option<&FirstDown> {
        self.facts.holder_down.as_ref().filter(|_| kind == RunKind::Failover)
    }

    fn said(&self, kind: RunKind) -> Vec<RuleSaid> {
        let asked = |rule: Rule| match kind {
            RunKind::Failover => true,
            RunKind::Switchover => OF_A_HANDOVER.contains(&rule),
            // The same writer goes on: it takes over from nobody.
            RunKind::Start | RunKind::Resume => false,
        };
        let rules = self.explain(self.at.now).rules.into_iter().filter(|r| asked(r.rule)).take(RULES_MAX);
        let said = rules.map(|r| RuleSaid {
            rule: format!("{:?}", r.rule),
            allows: r.allows,
            evidence: short(&r.evidence),
        });
        said.collect()
    }

    /// The same figure that the proof of data rests on.
    fn missing(&self, kind: RunKind, record: &GroupRecord) -> Missing {
        if kind != RunKind::Failover {
            return Missing::Nothing;
        }
        let forced = self.consent(record.epoch).is_some_and(|c| c.accept_data_loss);
        match self.config.replication {
            Replication::Quorum { .. } if forced => Missing::Unknown,
            Replication::Quorum { .. } => Missing::Nothing,
            Replication::Async => match self.lag_of(record, self.position_here(record)) {
                Some(lag) => Missing::Last { ms: u64::try_from(lag.as_millis()).unwrap_or(u64::MAX) },
                None => Missing::Unknown,
            },
        }
    }

    /// What may be lost is counted to the end of the holder's right: it could acknowledge for another
    /// `gateway_fence` after its last renewal, or after the last promise that it was given. `None`: the log
    /// here lags more than is remembered.
    pub(super) fn lag_of(&self, record: &GroupRecord, here: WalPosition) -> Option<Duration> {
        let lived = self.facts.learned_at.max(self.facts.promised_at);
        let end = if record.released { lived } else { lived + self.config.timers.gateway_fence };
        self.facts.lag(here, end)
    }

    /// A person's order that let a failover begin; a switchover's own.
    fn order_of(&self, kind: RunKind, record: &GroupRecord) -> Option<&Order> {
        let order = self.handing.order.as_ref()?;
        let counts = match kind {
            RunKind::Failover => self.consent(record.epoch).is_some(),
            RunKind::Switchover => record.handover.as_ref().is_some_and(|token| token.order == order.id),
            RunKind::Start | RunKind::Resume => false,
        };
        counts.then_some(order)
    }
}

fn short(text: &str) -> String {
    text.chars().take(EVIDENCE_MAX).collect()
}
