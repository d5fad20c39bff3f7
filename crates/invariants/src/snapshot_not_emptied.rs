//! Law 9: a node that could answer never publishes a snapshot that answers nothing, and generations rise.

use std::collections::BTreeMap;

use crate::Violation;
use crate::world::World;

/// Checks the law.
///
/// # Errors
/// The snapshot that emptied an answer, or that went back.
pub fn check(world: &World) -> Result<(), Violation> {
    let violation = |evidence| Err(Violation::new("snapshot_not_emptied", evidence));
    let mut last = BTreeMap::new();
    for seen in &world.snapshots {
        let Some((generation, answers)) = last.insert(&seen.region, (seen.generation, seen.answers)) else {
            continue;
        };
        if seen.generation < generation {
            return violation(format!(
                "{} went from snapshot {generation} back to {}",
                seen.region, seen.generation
            ));
        }
        if answers > 0 && seen.answers == 0 {
            return violation(format!("snapshot {} of {} emptied the answer", seen.generation, seen.region));
        }
    }
    Ok(())
}
