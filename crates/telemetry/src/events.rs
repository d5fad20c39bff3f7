//! Everything that can happen and is told: one struct each, whose `emit` writes the log line and
//! counts it.
//!
//! A log line has a level, a sentence, its facts as fields, the field `event` (the struct's name in
//! kebab case), and the target `meridian::<area>`, by which filters choose. Levels: `error` somebody
//! must act; `warn` protection is less than it was; `info` a decision or a change of state, few a
//! minute; `debug` what happens per session, call or probe; `trace` per request or packet.
//!
//! - [`seen`]: clocks, probes, verdicts, lag, snapshots;
//! - [`control`]: leases, epochs, fences;
//! - [`runs`]: runs and their steps;
//! - [`coordination`]: calls to etcd and the watch;
//! - [`moves`]: sessions of the gateway when the writer moves;
//! - [`traffic`]: DNS, edge and gateway. What happens per request goes through a meter ([`DnsMeter`],
//!   [`EdgeMeter`], [`GatewayMeter`]): its counters are looked up once, then counting is one atomic
//!   addition. No address of a client is ever a label; in logs they appear at `trace` only.

pub mod control;
pub mod coordination;
pub mod moves;
pub(crate) mod own;
pub mod runs;
pub mod seen;
pub mod traffic;

pub use control::*;
pub use coordination::*;
pub use moves::*;
pub use runs::*;
pub use seen::*;
pub use traffic::*;
