//! The lab's integration tests: one binary.

#[path = "it/load.rs"]
mod load;
#[path = "it/process.rs"]
mod process;
#[path = "it/regions.rs"]
mod regions;
#[path = "it/system.rs"]
mod system;
#[path = "it/wan.rs"]
mod wan;
