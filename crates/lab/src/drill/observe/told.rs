//! What nodes say of why they do not act: a failover that a rule holds back, an order that was refused.

use std::collections::{BTreeMap, BTreeSet};

use meridian_model::order::OrderState;
use meridian_model::{GroupName, Moment, Name, RegionName};
use meridian_node::status::{GroupStatus, RuleStatus};

/// The rule that holds a second failover back, as nodes name it.
pub(super) const FLAP_WINDOW: &str = "FlapWindow";
/// The rules that say whether the holder is lost at all. What comes after them holds a failover back.
const EVIDENCE: [&str; 4] = ["CoordinationReachable", "SameTerms", "LeaseExpired", "HolderDown"];

/// All that was told, put down as it changes.
#[derive(Debug, Default)]
pub(in crate::drill) struct Told {
    /// Failovers that were held back.
    pub(in crate::drill) holds: Vec<Hold>,
    /// Orders that were refused.
    pub(in crate::drill) refusals: Vec<Refusal>,
    /// What holds each vantage back now.
    now: BTreeMap<(RegionName, GroupName), String>,
    known: BTreeSet<Name>,
}

/// The holder is lost, and a rule holds the failover by this vantage back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::drill) struct Hold {
    pub(in crate::drill) at: Moment,
    pub(in crate::drill) vantage: RegionName,
    pub(in crate::drill) rule: String,
    pub(in crate::drill) evidence: String,
}

/// An order was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::drill) struct Refusal {
    pub(in crate::drill) at: Moment,
    pub(in crate::drill) what: String,
}

impl Told {
    pub(super) fn take_in(&mut self, vantage: &RegionName, group: &GroupStatus, at: Moment) {
        let whose = (vantage.clone(), group.group.clone());
        match holding(&group.rules).filter(|_| STANDBY.contains(&group.state.as_str())) {
            Some(rule) if self.now.get(&whose) != Some(&rule.rule) => {
                self.now.insert(whose, rule.rule.clone());
                let (rule, evidence) = (rule.rule.clone(), rule.evidence.clone());
                self.holds.push(Hold { at, vantage: vantage.clone(), rule, evidence });
            }
            Some(_) => {}
            None => drop(self.now.remove(&whose)),
        }
        let Some(order) = &group.order else { return };
        if let OrderState::Refused { reason, .. } = &order.state
            && self.known.insert(order.id.clone())
        {
            let what = format!("the order of {} was refused: {reason}", order.by);
            self.refusals.push(Refusal { at, what });
        }
    }
}

/// The states of a node that could take over, as nodes name them.
const STANDBY: [&str; 2] = ["Following", "Sealed"];

/// The rule that alone stands between a lost holder and a failover by this node.
fn holding(rules: &[RuleStatus]) -> Option<&RuleStatus> {
    let first = rules.iter().find(|rule| !rule.allows)?;
    (!EVIDENCE.contains(&first.rule.as_str())).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(blocking: &[&str]) -> Vec<RuleStatus> {
        let all = ["CoordinationReachable", "LeaseExpired", "HolderDown", FLAP_WINDOW, "Sealed"];
        let rule = |rule: &str| RuleStatus {
            rule: rule.to_owned(),
            allows: !blocking.contains(&rule),
            evidence: format!("of {rule}"),
        };
        all.into_iter().map(rule).collect()
    }

    fn status(state: &str, blocking: &[&str]) -> GroupStatus {
        GroupStatus {
            group: Name::new("orders").unwrap(),
            epoch: meridian_model::Epoch(1),
            writer: None,
            reason: String::new(),
            state: state.to_owned(),
            doing: String::new(),
            database: None,
            record: None,
            members: Vec::new(),
            rules: rules(blocking),
            runs: Vec::new(),
            order: None,
            words: Vec::new(),
            losses: Vec::new(),
        }
    }

    #[test]
    fn only_a_standby_whose_holder_is_lost_is_held_back() {
        let mut told = Told::default();
        let (eu, at) = (Name::new("eu").unwrap(), Moment::from_millis(1));
        told.take_in(&eu, &status("Following", &["LeaseExpired", FLAP_WINDOW]), at);
        told.take_in(&eu, &status("Leading", &[FLAP_WINDOW]), at);
        assert!(told.holds.is_empty(), "{:?}", told.holds);
        for _ in 0..2 {
            told.take_in(&eu, &status("Following", &[FLAP_WINDOW, "Sealed"]), at);
        }
        assert_eq!(told.holds.len(), 1, "told once");
        assert_eq!(told.holds[0].evidence, "of FlapWindow");
        told.take_in(&eu, &status("Following", &["LeaseExpired", FLAP_WINDOW]), at);
        told.take_in(&eu, &status("Following", &[FLAP_WINDOW]), at);
        assert_eq!(told.holds.len(), 2, "told again when it happens again");
    }
}
