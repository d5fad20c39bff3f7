//! Law 1: for each data group there is at most one writer at any instant, and one region an epoch.
//!
//! Seen as times in which a region could write. An instant at which one ends and the other begins is no overlap.

use meridian_model::name::RegionName;

use crate::Violation;
use crate::world::{World, WriterClaim};

/// Checks the law.
///
/// # Errors
/// The two claims that contradict each other.
pub fn check(world: &World) -> Result<(), Violation> {
    let violation = |evidence| Err(Violation::new("one_writer", evidence));
    for (i, one) in world.writers.iter().enumerate() {
        for other in world.writers.iter().skip(i + 1).filter(|other| other.region != one.region) {
            if one.epoch == other.epoch {
                return violation(format!(
                    "{} and {} both wrote in epoch {}",
                    one.region, other.region, one.epoch
                ));
            }
            if one.from < other.to && other.from < one.to {
                let together = one.to.min(other.to).since(one.from.max(other.from));
                return violation(format!(
                    "{} (epoch {}) and {} (epoch {}) could both write for {together:?}",
                    one.region, one.epoch, other.region, other.epoch
                ));
            }
        }
    }
    Ok(())
}

/// The most regions that could write at one instant: 1 in a lawful world with a writer.
#[must_use]
pub fn most_at_once(writers: &[WriterClaim]) -> usize {
    let at = |moment| {
        let mut able: Vec<&RegionName> =
            writers.iter().filter(|w| w.from <= moment && moment < w.to).map(|w| &w.region).collect();
        able.sort();
        able.dedup();
        able.len()
    };
    let most = writers.iter().map(|w| at(w.from)).max().unwrap_or(0);
    most.max(usize::from(!writers.is_empty()))
}
