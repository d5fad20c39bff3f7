//! Law 7: an old primary becomes a standby only after it was made a copy of the new one. What it wrote and
//! nobody else has would otherwise be taken for part of the common log.

use crate::Violation;
use crate::world::World;

/// Checks the law.
///
/// # Errors
/// The old primary that followed as it was.
pub fn check(world: &World) -> Result<(), Violation> {
    match world.follows.iter().find(|follow| follow.had_led) {
        Some(follow) => {
            let evidence =
                format!("{} had been the primary and follows without having rejoined", follow.region);
            Err(Violation::new("old_primary_rejoins", evidence))
        }
        None => Ok(()),
    }
}
