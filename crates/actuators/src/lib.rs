//! The hands that carry out commands: PostgreSQL servers, instances of the application, and the steps of a
//! plan that tell somebody, run a program or ask the running system.
//!
//! Each adapter stands behind one trait ([`execute`]), is idempotent (doing twice is doing once), and
//! gives every wait a deadline that knows its reason. Nothing here decides anything: who may write and
//! when is the failover machine's business; here it is only made so, and refused when it would be
//! unsafe as seen from this machine (a primary without an armed fence, an epoch that is over, a data
//! directory that is not ours).
//!
//! Open [`execute`] first.

mod certificate;
mod check;
pub mod compute;
pub mod deadline;
pub mod error;
pub mod execute;
pub mod guard;
pub mod lost;
mod notify;
pub mod outside;
pub mod postgres;
pub mod process;
mod program;
pub mod rehearsal;
pub mod watchdog;
mod web;

pub use certificate::earliest_end;
pub use check::Access;
pub use compute::{ComputeConfig, ProcessInstances};
pub use error::{ActuatorError, Blame, Retry};
pub use execute::{
    BoxFuture, ComputeActuator, DatabaseActuator, RejoinMethod, Rejoined, StopMode, UnexpectedExit,
};
pub use lost::{Lost, LostReport, LostTransaction, each_lost, read_lost};
pub use outside::Outside;
pub use postgres::{Postgres, PostgresConfig};
pub use rehearsal::{Rehearsal, Rehearsed, Removed, Stage};
