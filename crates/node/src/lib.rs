//! The node of one region: the loops observe, decide, commit, execute, and the data planes beside them.
//!
//! This crate puts the parts together and owns no rule. [`run`] reads as the life of a node; open
//! `loops.rs` for what goes on while it lives, and `group.rs` for how commands are carried out.

mod assemble;
mod board;
mod compute;
mod control;
mod database;
pub mod descriptors;
mod doctor;
mod drain;
mod group;
mod knowledge;
mod loops;
mod losses;
mod memory;
mod publish;
mod rehearse;
mod steps;
mod sun;
#[cfg(test)]
mod testing;

pub mod peer;
pub mod secret;
pub mod status;

pub use assemble::{Error, GUARD, run};
pub use control::PromiseAnswer;
pub use control::asks::{
    ALERTS, DIALS, MAINTENANCE, MaintenanceAsked, ORDERS, OrderAsked, SayWord, WORDS, WordAsked,
};
pub use control::dials::DialAsked;
pub use control::lost::{LOST, LostAnswer, LostAsked, LostShown};
pub use doctor::{DOCTOR, Diagnosis, Found, Looked};
pub use meridian_actuators::guard::run as guard;
pub use meridian_actuators::lost::{LostChange, LostTransaction, LostValue, Operation};
pub use meridian_coordination::asks::Taken;
pub use rehearse::{REHEARSALS, RehearsalAsked, WITHIN_MAX};

/// Ends when the node is to end, or when nobody can say so any more.
pub(crate) async fn stopped(shutdown: &mut tokio::sync::watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}
