//! Laws 3 and 4: a blip, a slow link, the loss of a standby or of etcd moves no writer.

use crate::Violation;
use crate::world::World;

/// Checks the law. A world whose faults nobody knows is lawful.
///
/// # Errors
/// The failover that nothing justified.
pub fn check(world: &World) -> Result<(), Violation> {
    let Some(faults) = &world.faults else { return Ok(()) };
    for (at, from) in &world.failovers {
        let justified = faults.iter().any(|f| f.justifies_failover && &f.region == from && f.from <= *at);
        if !justified {
            let evidence = format!(
                "the writer was moved away from {from}, where nothing had happened that justifies it"
            );
            return Err(Violation::new("no_failover_while_healthy", evidence));
        }
    }
    Ok(())
}
