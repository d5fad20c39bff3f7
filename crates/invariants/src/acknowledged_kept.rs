//! Law 2, seen from the client: what was acknowledged is kept.
//!
//! With quorum replication nothing is lost. With asynchronous replication a lost write must have been
//! acknowledged within the allowed time before the last loss: an older one that is missing is a hole.

use std::time::Duration;

use crate::Violation;
use crate::world::World;

/// Checks the law. A world without a ledger is lawful.
///
/// # Errors
/// How many are lost, and which is the worst.
pub fn check(world: &World) -> Result<(), Violation> {
    let Some(ledger) = &world.ledger else { return Ok(()) };
    let lost = ledger.lost();
    let (Some((oldest, since)), Some((_, last))) = (lost.first(), lost.last()) else { return Ok(()) };
    let span = last.since(*since);
    if ledger.allowed_loss > Duration::ZERO && span <= ledger.allowed_loss {
        return Ok(());
    }
    let (count, told) = (lost.len(), ledger.acknowledged.len());
    let allowed = ledger.allowed_loss;
    let evidence = format!(
        "{count} of {told} acknowledged writes are missing, from {oldest} on, over {span:?}; {allowed:?} may be lost"
    );
    Err(Violation::new("acknowledged_kept", evidence))
}
