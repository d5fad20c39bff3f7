//! Law 8: a group does not fail over twice within its window unless a person agrees.

use crate::Violation;
use crate::world::World;

/// Checks the law.
///
/// # Errors
/// The failover that came too soon.
pub fn check(world: &World) -> Result<(), Violation> {
    match world.repeats.iter().find(|repeat| !repeat.agreed && repeat.after < repeat.window) {
        Some(repeat) => {
            let evidence = format!(
                "epoch {} began {:?} after the last failover, within {:?}, and nobody had agreed",
                repeat.epoch, repeat.after, repeat.window
            );
            Err(Violation::new("flapping_held", evidence))
        }
        None => Ok(()),
    }
}
