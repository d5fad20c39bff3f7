//! The gateway: the life of one PostgreSQL session between an application and the right database.
//!
//! Every region runs one. Ordinary clients connect to their region's gateway and are led to where
//! they belong: on the write port to the writer, wherever it is, on the read port to the nearest
//! database that may serve reads. While there is no writer, new sessions wait; when the writer moves,
//! its sessions end with a clear error. Bytes pass unchanged in both directions: what the gateway
//! knows of SQL is nothing.
//!
//! Why sessions and not a pool of server connections: a session holds what a transaction pool cannot
//! carry over (prepared statements, settings, locks), and pooling with the guarantees that the rest of
//! Meridian gives comes with the SQL parser. Until then one client connection is one server
//! connection, and [`GatewayLimits`](meridian_model::database::GatewayLimits) bounds them.
//!
//! Limits of this version, on purpose: the way from a gateway to a database is not encrypted (put it
//! on a private network); reads on the read port are kept to reading by
//! `default_transaction_read_only`, which is a default that a client may change and no wall (a
//! standby refuses writes by itself; only where the writer is the nearest reader can they pass, and
//! there they stand behind the fence like all others).
//!
//! This crate does not know coordination, the failover machine or the planner. It gets views and a
//! [`Fence`]. Open `session.rs` first.

mod cancel;
mod credentials;
mod door;
mod end;
mod fence;
mod hello;
mod hold;
mod moving;
mod pipe;
pub mod protocol;
mod relay;
mod route;
mod seek;
mod server;
mod session;
mod stream;
#[cfg(test)]
mod testing;
mod upstream;
mod waiting;
mod watch;

pub use credentials::Credentials;
pub use fence::{Fence, Gate};
pub use route::Port;
pub use server::{Config, Error, Listen, LocalAddress, Server, bind};
