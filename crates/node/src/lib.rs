//! The node of one region: the loops observe, decide, commit, execute, and the data planes beside them.
//!
//! This crate puts the parts together and owns no rule. [`run`] reads as the life of a node; open
//! [`loops`] for what goes on while it lives, and [`group`] for how commands are carried out.

mod assemble;
mod board;
mod compute;
mod control;
mod database;
mod group;
mod knowledge;
mod loops;
mod memory;
mod publish;
mod steps;

pub mod peer;
pub mod secret;
pub mod status;

pub use assemble::{Error, run};
pub use control::PromiseAnswer;
