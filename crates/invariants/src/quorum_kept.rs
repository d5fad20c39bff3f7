//! Law 2, before anything is lost: what the record promises a claimant is true.
//!
//! A claimant counts R sealed candidates and goes on if R + W > N. So of the N candidates that the record names at
//! most N - W may be able to seal themselves *without* a write that a client was told of; otherwise those alone
//! could be taken for proof that nothing is missing. Asked whenever a client is told of a write and whenever
//! the record changes, while candidates come and go and W changes.

use crate::Violation;
use crate::world::World;

/// Checks the law.
///
/// # Errors
/// How many candidates lack the write, and how many may.
pub fn check(world: &World) -> Result<(), Violation> {
    let broken = world.quorums.iter().find(|seen| {
        seen.acknowledgers > 0 && seen.lacking.len() + seen.acknowledgers > seen.candidates.len()
    });
    let Some(seen) = broken else { return Ok(()) };
    let names = |regions: &[meridian_model::RegionName]| {
        regions.iter().map(meridian_model::RegionName::as_str).collect::<Vec<_>>().join(", ")
    };
    let evidence = format!(
        "in epoch {} the record says that {} of {} have each acknowledged write, and {} could do without the last",
        seen.epoch,
        seen.acknowledgers,
        names(&seen.candidates),
        names(&seen.lacking)
    );
    Err(Violation::new("quorum_kept", evidence))
}
