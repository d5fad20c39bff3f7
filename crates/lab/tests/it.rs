//! The lab's integration tests: one binary.

#[path = "it/wan.rs"]
mod wan;
