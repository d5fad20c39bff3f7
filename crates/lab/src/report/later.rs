//! Outages that came when everybody had been served again: no part of the recovery time, and told all the same.

use meridian_page::scale::seconds;

use super::{Facts, LaterFact};

impl Facts {
    /// Reads and writes with their later outages.
    pub(super) fn later(&self) -> [(&'static str, LaterFact); 2] {
        [("reads", self.later_read_outages), ("writes", self.later_write_outages)]
    }

    /// The later outages of one kind were no longer than a recovery may be.
    pub(super) fn bearable(&self, later: LaterFact) -> bool {
        later.longest_seconds <= self.objectives.rto_seconds
    }

    /// What a person must not overlook although the recovery itself was good: a sentence for each kind. A drill fails
    /// by it only where its file says so (`readsGoOn`, `writesGoOn`).
    pub(super) fn later_warnings(&self) -> Vec<String> {
        let over = self.later().into_iter().filter(|(_, later)| !self.bearable(*later));
        let told = over.map(|(kind, later)| {
            format!(
                "{kind} stood still for {} after the recovery, longer than the objective of {} allows; \
                 `{kind}GoOn` among the expectations of the drill makes it fail by that",
                seconds(later.longest_seconds),
                seconds(self.objectives.rto_seconds)
            )
        });
        told.collect()
    }
}

/// `2, the longest 26.6 s`
pub(super) fn text(later: LaterFact) -> String {
    match later.count {
        0 => "none".to_owned(),
        1 => format!("1, of {}", seconds(later.longest_seconds)),
        n => format!("{n}, the longest {}", seconds(later.longest_seconds)),
    }
}
