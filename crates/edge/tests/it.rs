//! The edge on real sockets: `curl` and ill-behaved clients in front, scripted applications behind.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a broken expectation must stop the test, in helpers too"
)]

#[path = "it/lifecycle.rs"]
mod lifecycle;
#[path = "it/limits.rs"]
mod limits;
#[path = "it/regions.rs"]
mod regions;
#[path = "it/retries.rs"]
mod retries;
#[path = "it/rig.rs"]
mod rig;
#[path = "it/serving.rs"]
mod serving;
