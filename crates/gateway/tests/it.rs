//! The gateway with PostgreSQL behind it and the clients that people use in front of it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests stop the test that uses them, as tests do"
)]

#[path = "it/bytewise.rs"]
mod bytewise;
#[path = "it/calling.rs"]
mod calling;
#[path = "it/clients.rs"]
mod clients;
#[path = "it/fencing.rs"]
mod fencing;
#[path = "it/holding.rs"]
mod holding;
#[path = "it/limits.rs"]
mod limits;
#[path = "it/moving.rs"]
mod moving;
#[path = "it/postgres.rs"]
mod postgres;
#[path = "it/rig.rs"]
mod rig;
#[path = "it/routing.rs"]
mod routing;
#[path = "it/standby.rs"]
mod standby;
#[path = "it/system.rs"]
mod system;
#[path = "it/traffic.rs"]
mod traffic;
