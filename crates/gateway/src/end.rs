//! How a session ends: the word for metrics and the message for the client, all on one page.

use std::time::Duration;

use meridian_model::{GroupName, RegionName};

use crate::protocol::{Fault, FrameError, sqlstate};
use crate::waiting::Full;

/// Why a session does not begin.
#[derive(Debug)]
pub(crate) enum Refusal {
    TooManySessions(u32),
    Replication,
    RoomFull {
        full: Full,
        why: String,
    },
    WaitedTooLong {
        after: Duration,
        why: String,
    },
    /// Another gateway sent it, and there is nothing for it in this region.
    NotHere {
        why: String,
    },
    Draining,
    ClientLeft,
    /// The server there does not take a running session over, and will not the next time.
    NotMoved {
        why: String,
    },
    /// An administrator ended it at its server.
    Terminated(String),
}

/// Why a running session ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The client closed it, or broke off.
    Client,
    /// The server closed it, after telling the client why.
    Server,
    /// The server broke off without a word.
    ServerLost(RegionName),
    /// The local writer may not acknowledge any more.
    Fenced(String),
    /// The writer changed, or the replica may not serve.
    Unseated(String),
    /// It was still busy at the end of a planned move's patience.
    Cut,
    /// It lost its server, and there is no other for it.
    Stranded(Refusal),
    /// The server there stopped waiting for its synchronous standby: what it acknowledges now, a failover
    /// may take back.
    Unreplicated(RegionName),
    /// This node stops.
    Draining,
    /// One of the two sent what is no message.
    Nonsense(FrameError),
}

const TRY_AGAIN: &str = "Try again; `meridian status` shows who may write and why.";
const RECONNECT: &str = "Reconnect: new sessions are led to the current database. \
    What was not acknowledged may or may not have been committed.";
const LOOK_FIRST: &str = "Reconnect and look whether the transaction is there before doing it again, \
    and do not cancel a COMMIT that waits for its standby.";

impl Refusal {
    /// A fixed word for metrics.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::TooManySessions(_) => "too-many-sessions",
            Self::Replication => "replication",
            Self::RoomFull { .. } => "too-many-waiting",
            Self::WaitedTooLong { .. } => "waited-too-long",
            Self::NotHere { .. } => "not-here",
            Self::Draining => "shutdown",
            Self::ClientLeft => "client-left",
            Self::NotMoved { .. } => "not-moved",
            Self::Terminated(_) => "terminated",
        }
    }

    /// What the client is told; nothing when it is gone.
    pub(crate) fn fault(&self, group: &GroupName) -> Option<Fault> {
        let fault = match self {
            Self::TooManySessions(max) => Fault::fatal(
                sqlstate::TOO_MANY_CONNECTIONS,
                format!("too many sessions: this gateway carries {max} for `{group}`"),
                "Close idle sessions, or raise `gateway.maxSessions` in the spec.",
            ),
            Self::Replication => crate::hello::no_replication(),
            Self::RoomFull { full, why } => Fault::fatal(
                sqlstate::TOO_MANY_CONNECTIONS,
                format!("no database can take sessions of `{group}` now ({why}), and {full}"),
                TRY_AGAIN,
            ),
            Self::WaitedTooLong { after, why } => Fault::fatal(
                sqlstate::CANNOT_CONNECT_NOW,
                format!("no database took this session of `{group}` within {after:?}: {why}"),
                TRY_AGAIN,
            ),
            Self::NotHere { why } => Fault::fatal(
                sqlstate::CANNOT_CONNECT_NOW,
                format!("no writer of `{group}` here: {why}"),
                TRY_AGAIN,
            ),
            Self::Draining => stopping(),
            Self::ClientLeft => return None,
            Self::NotMoved { why } => Fault::fatal(sqlstate::ADMIN_SHUTDOWN, ended(group, why), RECONNECT),
            Self::Terminated(message) => Fault::fatal(sqlstate::ADMIN_SHUTDOWN, message, ""),
        };
        Some(fault)
    }
}

impl End {
    /// A fixed word for metrics.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::ServerLost(_) => "server-lost",
            Self::Fenced(_) => "fenced",
            Self::Unseated(_) => "writer-moved",
            Self::Cut => "cut",
            Self::Stranded(refusal) => refusal.word(),
            Self::Unreplicated(_) => "unreplicated",
            Self::Draining => "shutdown",
            Self::Nonsense(_) => "error",
        }
    }

    /// What the client is told, if anything.
    pub(crate) fn fault(&self, group: &GroupName) -> Option<Fault> {
        let fault = match self {
            Self::Client | Self::Server => return None,
            Self::ServerLost(region) => Fault::fatal(
                sqlstate::CONNECTION_FAILURE,
                format!("the database of `{group}` in `{region}` closed the connection unexpectedly"),
                RECONNECT,
            ),
            Self::Fenced(why) | Self::Unseated(why) => {
                Fault::fatal(sqlstate::ADMIN_SHUTDOWN, ended(group, why), RECONNECT)
            }
            Self::Cut => {
                let why = "the writer is being moved, and its transaction took longer than the move waits";
                Fault::fatal(sqlstate::ADMIN_SHUTDOWN, ended(group, why), RECONNECT)
            }
            Self::Stranded(refusal) => return refusal.fault(group),
            Self::Unreplicated(region) => Fault::fatal(
                sqlstate::TRANSACTION_RESOLUTION_UNKNOWN,
                ended(
                    group,
                    &format!(
                        "the wait for a synchronous standby was cancelled; the transaction is committed in \
                         `{region}` but perhaps nowhere else, so whether it outlives a failover is unknown"
                    ),
                ),
                LOOK_FIRST,
            ),
            Self::Draining => stopping(),
            Self::Nonsense(error) => Fault::fatal(sqlstate::PROTOCOL_VIOLATION, error.to_string(), ""),
        };
        Some(fault)
    }
}

fn ended(group: &GroupName, why: &str) -> String {
    format!("this session of `{group}` is ended: {why}")
}

fn stopping() -> Fault {
    Fault::fatal(sqlstate::ADMIN_SHUTDOWN, "this gateway is being stopped", RECONNECT)
}
