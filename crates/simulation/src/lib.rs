//! The very machines of `failover`, `health` and `steering` under a world that is made from a seed and tries
//! to break them. Never shipped.
//!
//! A [`Schedule`] is a system and a list of faults; [`run()`] lets it happen in virtual time and asks every law of
//! `meridian_invariants` after every event that could break it; [`shrink()`] makes a schedule that broke one
//! shorter; [`story`] tells it. One seed replays everything exactly, on any machine: there is no clock, no thread
//! and no order of a hash here, except in [`campaign`], which runs many schedules on all cores.
//!
//! What the crate does not know: real etcd and PostgreSQL, sockets, processes. Those are the lab's.
//!
//! Open [`world`] first.

#![expect(
    clippy::indexing_slicing,
    reason = "regions are numbers that the world itself has given out; a wrong one must stop the run"
)]

pub mod campaign;
pub mod chance;
pub mod run;
pub mod schedule;
pub mod shape;
pub mod shrink;
mod watcher;
pub mod world;

pub use campaign::Campaign;
pub use run::{Outcome, Stage, run, story};
pub use schedule::{Fault, Kind, Schedule};
pub use shape::Shape;
pub use shrink::shrink;
pub use world::World;
