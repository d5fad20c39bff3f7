//! Law 6: a run comes to its end, or a later one takes over. Judged when all faults have ended and the system
//! is protected again.

use meridian_model::run::Run;

use crate::Violation;
use crate::world::World;

/// Checks the law. A world in which faults still last is lawful.
///
/// # Errors
/// The run that nobody carries on.
pub fn check(world: &World) -> Result<(), Violation> {
    if world.calm.as_ref().is_none_or(|calm| calm.protected_after.is_none()) {
        return Ok(());
    }
    let latest = |run: &&Run| world.runs.iter().rev().find(|r| r.id == run.id) == Some(*run);
    let ended = world.runs.iter().filter(|run| run.finished()).map(|run| run.epoch).max();
    match world.runs.iter().filter(latest).find(|run| !run.finished() && Some(run.epoch) > ended) {
        Some(run) => {
            let evidence = format!("run {} of {} is not finished and no later one is", run.id, run.to);
            Err(Violation::new("run_finishes", evidence))
        }
        None => Ok(()),
    }
}
