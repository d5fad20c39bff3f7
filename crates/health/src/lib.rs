//! Observations become verdicts: thresholds with hysteresis, a quorum of vantage points, expiry, and
//! `unknown` as an answer of its own.
//!
//! How votes are counted. Every region is a vantage point, `n` of them. A *majority* is more than half
//! of **all** `n`, also of the dead and the silent ones: of three, two. A vantage says nothing
//! (`unknown`) when its report is older than `observation_ttl`; it says nothing *against others* when it
//! sees no other region (it is then itself the one that is cut off) or, here, when etcd cannot be
//! reached and its report could not be shared.
//!
//! - A **part** of a region is `up` or `down` when a majority says so, else `unknown`.
//! - A **region** is `down` when a majority of vantage points find its node down and its edge not up,
//!   *and* its own report is silent: two kinds of evidence. With three regions of which one is dead, that is
//!   both survivors (2 of 3), and the dead one's silence. It is `up` when a majority finds its node or
//!   its edge up; its own living report is one of these votes. Else it is `unknown`.
//!
//! With two regions and no witness a dead region can never be told from a cut cable: `unknown`.
//!
//! What this crate does not know: how to probe, how reports travel, what follows from a verdict.

pub mod tracker;
pub mod verdict;

pub use tracker::Tracker;
pub use verdict::{Received, bare_verdicts, verdicts};
