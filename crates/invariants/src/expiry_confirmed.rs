//! Law 1: whoever cuts itself off from a holder has asked etcd itself, near the end of the lease, whether the
//! lease was renewed: a watch that hangs must not look like a holder that is gone.

use crate::Violation;
use crate::world::World;

/// Checks the law.
///
/// # Errors
/// The member that believed its watch alone.
pub fn check(world: &World) -> Result<(), Violation> {
    match world
        .seals
        .iter()
        .find(|seal| seal.unchanged_for.is_none_or(|for_so_long| for_so_long < seal.needed))
    {
        Some(seal) => {
            let shown = match seal.unchanged_for {
                Some(time) => format!("its last look at etcd showed the renewal {time:?} after it was sent"),
                None => "it had not looked at etcd for this renewal".to_owned(),
            };
            let evidence = format!(
                "{} cut itself off from {}: {shown}, {:?} are needed",
                seal.by, seal.holder, seal.needed
            );
            Err(Violation::new("expiry_confirmed", evidence))
        }
        None => Ok(()),
    }
}
