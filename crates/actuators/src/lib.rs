//! The hands that carry out commands: PostgreSQL servers and instances of the application.
//!
//! Each adapter stands behind one trait ([`execute`]), is idempotent (doing twice is doing once), and
//! gives every wait a deadline that knows its reason. Nothing here decides anything: who may write and
//! when is the failover machine's business; here it is only made so, and refused when it would be
//! unsafe as seen from this machine (a primary without an armed fence, an epoch that is over, a data
//! directory that is not ours).
//!
//! Open [`execute`] first.

mod certificate;
pub mod compute;
pub mod deadline;
pub mod error;
pub mod execute;
pub mod guard;
pub mod lost;
pub mod postgres;
pub mod process;
pub mod rehearsal;
pub mod watchdog;

pub use compute::{ComputeConfig, ProcessInstances};
pub use error::{ActuatorError, Blame, Retry};
pub use execute::{
    BoxFuture, ComputeActuator, DatabaseActuator, RejoinMethod, Rejoined, StopMode, UnexpectedExit,
};
pub use lost::{LostReport, LostTransaction, read_lost};
pub use postgres::{Postgres, PostgresConfig};
pub use rehearsal::{Rehearsal, Rehearsed, Removed, Stage};
