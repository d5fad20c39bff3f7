//! Liveness: once all faults have ended, the system is protected again within a stated time.

use crate::Violation;
use crate::world::World;

/// Checks the law. A world in which faults still last is lawful.
///
/// # Errors
/// What it was still waiting for.
pub fn check(world: &World) -> Result<(), Violation> {
    let Some(calm) = &world.calm else { return Ok(()) };
    if calm.protected_after.is_some_and(|after| after <= calm.allowed) {
        return Ok(());
    }
    let evidence =
        format!("not protected again within {:?} after the last fault: {}", calm.allowed, calm.state);
    Err(Violation::new("protected_again", evidence))
}
