//! Law: numbers only rise. No observer sees an epoch after a higher one, and an epoch has one holder.

use std::collections::BTreeMap;

use crate::Violation;
use crate::world::World;

/// Checks the law.
///
/// # Errors
/// The observer that saw an epoch fall, or the epoch with two holders.
pub fn check(world: &World) -> Result<(), Violation> {
    let violation = |evidence| Err(Violation::new("epochs_rise", evidence));
    let mut highest = BTreeMap::new();
    let mut holders = BTreeMap::new();
    for seen in &world.epochs {
        let last = highest.entry(&seen.by).or_insert(seen.epoch);
        if seen.epoch < *last {
            return violation(format!("{} showed epoch {} after epoch {last}", seen.by, seen.epoch));
        }
        *last = seen.epoch;
        let Some(holder) = &seen.holder else { continue };
        let first = *holders.entry(seen.epoch).or_insert(holder);
        if first != holder {
            return violation(format!("epoch {} was held by {first} and by {holder}", seen.epoch));
        }
    }
    Ok(())
}
