//! The words of Meridian: checked facts that every other crate speaks.
//!
//! A value of these types is right by construction. Forms that come from outside are turned into
//! them at the borders (`spec` for the file that a user writes, `coordination` for what is kept in
//! etcd, the wire code of the servers); inside, nobody checks again. This crate has no I/O, no clock
//! and no opinion: rules live in the minds.
//!
//! Open [`topology`] first.

pub mod database;
pub mod epoch;
pub mod facts;
pub mod group;
pub mod health;
pub mod moment;
pub mod name;
pub mod order;
pub mod plan;
pub mod policy;
pub mod rehearsal;
pub mod run;
pub mod schedule;
pub mod service;
pub mod snapshot;
pub mod timers;
pub mod topology;
pub mod traffic;
pub mod units;

pub use database::Database;
pub use epoch::Epoch;
pub use moment::{Moment, Timestamp};
pub use name::{GroupName, Name, NameError, RegionName, RunId, ServiceName};
pub use snapshot::Snapshot;
pub use timers::Timers;
pub use topology::{System, Topology};
pub use units::{Lsn, Share};
