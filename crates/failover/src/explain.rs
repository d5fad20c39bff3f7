//! Why the machine acts or does not: every rule with its evidence.

use serde::Serialize;

use crate::table::State;

/// What the machine says of itself at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Where it stands.
    pub state: State,
    /// One sentence: what it does or waits for.
    pub doing: String,
    /// No rule blocks.
    pub would_act: bool,
    /// Every rule on the way to a failover by this member, in order.
    pub rules: Vec<RuleState>,
}

/// A rule and what it says now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleState {
    /// Which.
    pub rule: Rule,
    /// It lets a failover by this member go on.
    pub allows: bool,
    /// With what evidence.
    pub evidence: String,
}

/// The rules on the way to a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// etcd answers.
    CoordinationReachable,
    /// The holder's spec and the one here agree on what the proofs rest on.
    SameTerms,
    /// The record was not changed for a whole lease, by this clock, or was given up.
    LeaseExpired,
    /// The holder's region is down by two kinds of evidence, or has given the lease up.
    HolderDown,
    /// This member has promised nothing to the holder.
    NoPromise,
    /// The last failover that acted is long enough ago.
    FlapWindow,
    /// This member is a standby that no longer receives from the holder.
    Sealed,
    /// Enough of those that the record counts have sealed themselves for no acknowledged write to be missed.
    ProofOfData,
    /// No sealed member is further than this one.
    MostAdvanced,
    /// The lease was not handed to another member, or that one did not take it.
    Successor,
    /// Nobody has suspended what begins by itself.
    Maintenance,
    /// The plan leaves it to the verdicts, or a person has ordered it.
    Approved,
    /// A switchover's order is for this reign and has not expired.
    OrderIsForThisReign,
    /// No run is under way.
    NoOtherRun,
    /// The successor is up, streams and is close behind.
    SuccessorWell,
}
