//! The safety properties of design.md, section 4: one file each, over a snapshot of the whole.
//!
//! Whoever watched a system from outside (a drill of the lab, the simulator, a doctor on a live system)
//! writes what was seen into a [`World`] and asks [`all`]. Every law is a pure function of that; what was
//! not watched is left empty, and a law about it then holds trivially.
//!
//! All times of one world are [`meridian_model::Moment`]s of *one* clock: the watcher's.
//!
//! What this crate does not know: how anything was measured, and what should be done about it.

pub mod acknowledged_kept;
pub mod dead_needs_evidence;
pub mod epochs_rise;
pub mod expiry_confirmed;
pub mod fence_before_promote;
pub mod flapping_held;
pub mod no_failover_while_healthy;
pub mod old_primary_rejoins;
pub mod one_writer;
pub mod protected_again;
pub mod quorum_kept;
pub mod residency_kept;
pub mod run_finishes;
pub mod run_in_order;
pub mod snapshot_not_emptied;
pub mod step_in_epoch;
pub mod world;

use serde::Serialize;

pub use world::{
    Ack, AnswerSeen, Begun, Calm, EpochSeen, Fault, FollowSeen, Ledger, QuorumSeen, Repeat, SealSeen,
    SnapshotSeen, StepSeen, VerdictSeen, World, WriterClaim,
};

/// A law that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The name of the law: the name of its file.
    pub invariant: &'static str,
    /// What was seen, in a sentence.
    pub evidence: String,
}

impl Violation {
    /// That law was broken; this was seen.
    #[must_use]
    pub const fn new(invariant: &'static str, evidence: String) -> Self {
        Self { invariant, evidence }
    }
}

/// A law: it holds, or this is what was seen.
pub type Law = fn(&World) -> Result<(), Violation>;

/// Every law with its name.
pub const LAWS: [(&str, Law); 16] = [
    ("one_writer", one_writer::check),
    ("epochs_rise", epochs_rise::check),
    ("acknowledged_kept", acknowledged_kept::check),
    ("quorum_kept", quorum_kept::check),
    ("fence_before_promote", fence_before_promote::check),
    ("run_in_order", run_in_order::check),
    ("run_finishes", run_finishes::check),
    ("step_in_epoch", step_in_epoch::check),
    ("no_failover_while_healthy", no_failover_while_healthy::check),
    ("dead_needs_evidence", dead_needs_evidence::check),
    ("expiry_confirmed", expiry_confirmed::check),
    ("flapping_held", flapping_held::check),
    ("old_primary_rejoins", old_primary_rejoins::check),
    ("residency_kept", residency_kept::check),
    ("snapshot_not_emptied", snapshot_not_emptied::check),
    ("protected_again", protected_again::check),
];

/// Checks every law; gives those that are broken.
#[must_use]
pub fn all(world: &World) -> Vec<Violation> {
    LAWS.iter().filter_map(|(_, law)| law(world).err()).collect()
}

#[cfg(test)]
mod tests;
