//! Commits that wait for the guard and are not confirmed: it was stopped, its connection is refused, or its thread
//! has ended. Nothing else shows that, for renewals and reads go on.

use std::collections::HashMap;
use std::time::Duration;

use meridian_model::Moment;

/// The commits that were seen waiting.
#[derive(Debug, Default)]
pub(super) struct Stuck {
    /// By process and transaction: a busy session is often seen waiting, each time with another transaction.
    since: HashMap<String, Moment>,
}

impl Stuck {
    /// What waits at this look, as `pid:xid` with spaces between; whether one of them has waited too long. After a yes
    /// they are counted anew.
    pub(super) fn look(&mut self, waiting: &str, now: Moment) -> bool {
        let seen = |name: &str| (name.to_owned(), self.since.get(name).copied().unwrap_or(now));
        self.since = waiting.split_ascii_whitespace().map(seen).collect();
        let stuck = self.since.values().any(|since| now.since(*since) >= TOO_LONG);
        if stuck {
            self.since.clear();
        }
        stuck
    }
}

/// A confirmation takes a fraction of a millisecond; a new guard process is confirming within some tens of them.
const TOO_LONG: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_millis(1_000_000 + ms)
    }

    #[test]
    fn only_a_transaction_that_goes_on_waiting_is_stuck() {
        let mut stuck = Stuck::default();
        for i in 0..8 {
            assert!(
                !stuck.look(&format!("17:{i}"), at(500 * i)),
                "one session, another transaction each time"
            );
        }
        assert!(!stuck.look("18:700 19:701", at(5_000)));
        assert!(!stuck.look("19:702 18:700", at(6_900)));
        assert!(stuck.look("18:700", at(7_000)));
        assert!(!stuck.look("18:700", at(7_500)), "counted anew");
        assert!(!stuck.look("", at(9_400)) && !stuck.look("18:700", at(9_500)));
    }
}
