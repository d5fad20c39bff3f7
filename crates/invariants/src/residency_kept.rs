//! Law 5: users are never sent where they must not be, not even when nothing else is left.

use crate::Violation;
use crate::world::World;

/// Checks the law.
///
/// # Errors
/// The answer that named a forbidden region.
pub fn check(world: &World) -> Result<(), Violation> {
    for answer in &world.answers {
        if let Some(region) = answer.offered.iter().find(|region| answer.forbidden.contains(region)) {
            let evidence = format!("{} sent users to {region}, where they must never be sent", answer.by);
            return Err(Violation::new("residency_kept", evidence));
        }
    }
    Ok(())
}
