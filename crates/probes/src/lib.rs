//! The hands that ask the world: HTTP, TCP and SQL probes of every part of every region.
//!
//! A [`Prober`] looks at every target once a round and tells what it saw as one
//! [`meridian_model::health::Report`]; thresholds and hysteresis are `health`'s. What a probe asks is what
//! a user would get: an HTTP answer, a PostgreSQL greeting, the result of a statement. An accepted
//! connection alone proves nothing, because the kernel accepts for a frozen program too.
//!
//! Connections are kept open where the other side keeps them too. One that hangs fails by its deadline and
//! is replaced: nothing of a probe outlives its round but a connection that has just worked.
//!
//! Open [`round`] first.

mod http;
mod probe;
pub mod round;
mod session;
mod sql;

pub use round::{Prober, ProberError};
