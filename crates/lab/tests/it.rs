//! The lab's integration tests: one binary.

#[path = "it/process.rs"]
mod process;
#[path = "it/regions.rs"]
mod regions;
#[path = "it/system.rs"]
mod system;
#[path = "it/wan.rs"]
mod wan;
