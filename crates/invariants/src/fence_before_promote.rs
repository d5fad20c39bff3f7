//! Law 1: the old side is fenced before a new epoch begins, and, seen from the client, its last
//! acknowledgement comes before the first of the new side.
//!
//! An acknowledgement may reach the client late, so a write counts for the old side from when it was
//! *sent*: a write sent to the old side after the new side had acknowledged one must not be acknowledged.

use meridian_model::name::RegionName;

use crate::Violation;
use crate::world::{Ack, World};

/// Checks the law.
///
/// # Errors
/// The write that the old side acknowledged too late, or the region that could still write.
pub fn check(world: &World) -> Result<(), Violation> {
    if let Some(begun) = world.begun.iter().find(|begun| !begun.able.is_empty()) {
        let able: Vec<&str> = begun.able.iter().map(RegionName::as_str).collect();
        let evidence =
            format!("epoch {} of {} began while {} could write", begun.epoch, begun.holder, able.join(", "));
        return Err(Violation::new("fence_before_promote", evidence));
    }
    let mut acks: Vec<&Ack> = world.acks.iter().filter(|a| a.server.is_some()).collect();
    acks.sort_by_key(|a| a.sent_at);
    for (i, old) in acks.iter().enumerate() {
        // Sent after another side's acknowledgement, although that side took over from this one before.
        let earlier = acks.iter().take(i);
        let took_over = earlier.clone().find(|new| new.server != old.server && new.acked_at < old.sent_at);
        let Some(new) = took_over else { continue };
        let was_old = earlier.clone().any(|a| a.server == old.server && a.sent_at < new.sent_at);
        let handed_back =
            world.writers.iter().any(|w| Some(&w.region) == old.server.as_ref() && w.from > new.acked_at);
        if was_old && !handed_back {
            let (old_at, new_at) = (name(old), name(new));
            let late = old.acked_at.since(new.acked_at);
            let evidence = format!(
                "{old_at} acknowledged write {} {late:?} after {new_at} had acknowledged write {}",
                old.id, new.id
            );
            return Err(Violation::new("fence_before_promote", evidence));
        }
    }
    Ok(())
}

fn name(ack: &Ack) -> String {
    ack.server.as_ref().map_or_else(|| "somebody".to_owned(), ToString::to_string)
}
