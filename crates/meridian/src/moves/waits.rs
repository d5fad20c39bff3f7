//! What an order waits for, told to whoever gave it.

use std::io::Write as _;
use std::time::Duration;

use meridian_model::order::{Order, Wish};
use meridian_model::{Moment, Timers};
use meridian_node::status::{GroupStatus, NodeStatus};
use meridian_telemetry::clock;

use crate::explain::held_up;
use crate::silent::silent;

/// A failover that nothing holds up, and each part of a switchover, is over by then.
const TOLD_AFTER: Duration = Duration::from_millis(1_500);

/// What was told last.
pub(super) struct Waits {
    began: Moment,
    told: Vec<String>,
}

impl Waits {
    pub(super) fn begin() -> Self {
        Self { began: clock::now(), told: Vec::new() }
    }

    /// Says on standard error what the order waits for, when that is new.
    pub(super) fn tell(&mut self, statuses: &[NodeStatus], order: &Order, timers: &Timers, words: &str) {
        if clock::now().since(self.began) < TOLD_AFTER {
            return;
        }
        let Some((what, text)) = waits_for(statuses, order, timers, words) else { return };
        if what != self.told {
            self.told = what;
            let _ = writeln!(std::io::stderr().lock(), "waits: {text}");
        }
    }
}

/// What is new when it changes, and the sentence. The evidence has times that change with each look.
fn waits_for(
    statuses: &[NodeStatus],
    order: &Order,
    timers: &Timers,
    words: &str,
) -> Option<(Vec<String>, String)> {
    let of = |node: &'_ NodeStatus| node.groups.iter().position(|group| group.group == order.group);
    let known: Vec<(&NodeStatus, &GroupStatus)> =
        statuses.iter().filter_map(|node| Some((node, node.groups.get(of(node)?)?))).collect();
    let (best, group) = *known.first()?;
    let nodes: Vec<&NodeStatus> = statuses.iter().collect();
    if let Some(silent) = silent((best, group), &nodes, timers) {
        return Some((vec!["silent".to_owned()], silent.text()));
    }
    let Some(writer) = &group.writer else {
        let held = held_up(known.iter().copied(), words);
        let lost = matches!(order.wish, Wish::Switchover { .. });
        let lost = if lost { format!("nobody writes: {}; ", group.reason) } else { String::new() };
        return held.map(|held| (held.what, format!("{lost}{}", held.text)));
    };
    let (_, writes) = known.iter().find(|(node, _)| node.region == *writer)?;
    Some((vec![writes.state.clone()], format!("{writer} {}", writes.doing)))
}

#[cfg(test)]
mod tests {
    use meridian_model::group::GroupRecord;
    use meridian_model::order::OrderState;
    use meridian_model::{Epoch, Timestamp};
    use meridian_node::status::RuleStatus;

    use super::*;
    use crate::runs::fixture::{group, name, node};

    #[test]
    fn who_waits_is_told_what_holds_the_order_up_and_what_would_help() {
        let order = |wish| Order {
            id: name("2-1"),
            group: name("orders"),
            wish,
            epoch: Epoch(2),
            by: "ana".to_owned(),
            at: Timestamp(0),
            expires_at: Timestamp(60_000),
            state: OrderState::Open,
        };
        let failover = order(Wish::Failover { accept_data_loss: false });
        let switchover = order(Wish::Switchover { to: name("eu") });
        let rule = |evidence: &str| RuleStatus {
            rule: "ProofOfData".to_owned(),
            allows: false,
            evidence: evidence.to_owned(),
        };
        let seen = |region: &str, writer: Option<&str>, evidence| {
            let record = GroupRecord::begin(name("orders"), Epoch(2), name("us"), Timestamp(0));
            let (reason, doing) = ("its lease is over".to_owned(), "prepares to hand over".to_owned());
            let (record, rules, writer) = (Some(record), vec![rule(evidence)], writer.map(name));
            node(region, vec![GroupStatus { reason, doing, record, rules, writer, ..group(vec![], vec![]) }])
        };
        let told = |nodes: &[NodeStatus], order| waits_for(nodes, order, &Timers::default(), "").unwrap();
        let lost = [seen("eu", None, "9 s may be missing")];
        let held = "eu does not take over: ProofOfData: 9 s may be missing. A person agrees with: meridian \
                    failover --accept-data-loss";
        assert_eq!(told(&lost, &failover).1, held);
        assert_eq!(told(&lost, &switchover).1, format!("nobody writes: its lease is over; {held}"));
        let later = [seen("eu", None, "10 s may be missing")];
        assert_eq!(told(&later, &failover).0, told(&lost, &failover).0, "that is no news");
        let well = [seen("eu", Some("us"), ""), seen("us", Some("us"), "")];
        assert_eq!(told(&well, &switchover).1, "us prepares to hand over");
        let mut silent = [seen("eu", Some("us"), "")];
        silent[0].at = Timestamp(4_000);
        assert!(told(&silent, &failover).1.starts_with("us is silent: its lease ends in 1.0 s"));
    }
}
