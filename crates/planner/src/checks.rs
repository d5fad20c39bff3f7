//! The rules, one small function each; every rule looks at the whole system by itself.

mod objectives;
mod probing;
mod replication;
mod safety;
mod votes;

use meridian_model::System;

use crate::finding::Finding;

/// All contradictions in `system`, worst first; empty when there is none.
#[must_use]
pub fn check(system: &System) -> Vec<Finding> {
    let rules: [fn(&System) -> Vec<Finding>; 5] =
        [safety::check, probing::check, votes::check, objectives::check, replication::check];
    let mut findings: Vec<Finding> = rules.iter().flat_map(|rule| rule(system)).collect();
    findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    findings
}
