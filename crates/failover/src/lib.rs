//! The failover machine: `(event, now)` in, commands out.
//!
//! One [`Machine`] runs in every region for every data group. It holds the lease of the group or
//! watches the one who does, and it is the only place that decides who may write. It has no clock, no
//! chance and no I/O: the runtime (crate `node`) feeds it [`Event`]s with the time, carries out the
//! [`Command`]s in order, and calls it again at [`Machine::wake_at`].
//!
//! What the crate does not know: etcd, PostgreSQL, addresses, health checks, steering.
//!
//! Open [`table`] first (every state and every move, from which `docs/failover.md` is printed), then
//! [`machine`].

pub mod command;
pub mod config;
pub mod event;
pub mod explain;
mod lease;
mod limits;
pub mod machine;
pub mod table;

pub use command::{Command, DatabaseAction, Expect, Level, Purpose, Swap};
pub use config::{Config, Plan};
pub use event::{At, Completed, Event, Memory, Outcome, PromiseKept};
pub use explain::{Explanation, Rule, RuleState};
pub use machine::{Machine, RpoBreach};
pub use table::{Row, State, TABLE, Trigger};
