//! Law 3: a region is called down only when a majority of all vantage points say so *and* its own report is
//! silent. One that sees nobody is itself cut off and says nothing against others; unknown is never rounded.

use meridian_model::health::Health;

use crate::Violation;
use crate::world::World;

/// Checks the law.
///
/// # Errors
/// The verdict that nothing supports.
pub fn check(world: &World) -> Result<(), Violation> {
    for verdict in &world.verdicts {
        let majority = |votes: usize| votes * 2 > verdict.all;
        let supported = match verdict.health {
            Health::Down => majority(verdict.down) && verdict.silent,
            Health::Up => majority(verdict.up),
            Health::Unknown => true,
        };
        if !supported {
            let evidence = format!(
                "{} calls {} {}: {} of {} vantage points say down, {} up, its own report is {}",
                verdict.by,
                verdict.region,
                verdict.health,
                verdict.down,
                verdict.all,
                verdict.up,
                if verdict.silent { "silent" } else { "fresh" }
            );
            return Err(Violation::new("dead_needs_evidence", evidence));
        }
    }
    Ok(())
}
