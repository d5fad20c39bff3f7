//! Law 6: no step of a run is carried out under an epoch that is not current.
//!
//! A holder that has raised its own epoch and does not know it yet may still carry on the run before: it is
//! the holder of the current epoch all the same.

use crate::Violation;
use crate::world::World;

/// Checks the law.
///
/// # Errors
/// The step of a reign that was over.
pub fn check(world: &World) -> Result<(), Violation> {
    let over = |holder: &Option<_>, by| holder.as_ref().is_some_and(|holder| holder != by);
    match world.steps.iter().find(|step| step.epoch != step.current && over(&step.holder, &step.by)) {
        Some(step) => {
            let evidence = format!(
                "{} began a step of its run of epoch {} in epoch {}",
                step.by, step.epoch, step.current
            );
            Err(Violation::new("step_in_epoch", evidence))
        }
        None => Ok(()),
    }
}
