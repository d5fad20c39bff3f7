//! The gateway: the life of one PostgreSQL session between an application and the right database.
//!
//! Every region runs one. Ordinary clients connect to their region's gateway and are led to where
//! they belong: on the write port to the writer, wherever it is, on the read port to the nearest
//! database that may serve reads. While there is no writer, new sessions wait. Bytes pass unchanged in both
//! directions.
//!
//! **When the writer moves**, a session of the write port that has nothing under way (no transaction open, all
//! answered, all answers passed on) goes on at the new writer: the gateway logs in there for it, sets up what
//! it had, and the client notices nothing but a pause (`moving.rs`). Before a *planned* move the gateways of all
//! regions are told to hold (`hold.rs`): from [`Fence::hold`] on no new transaction begins, what clients ask
//! stays in a bounded buffer and then with them; [`Fence::quiet`] says when the last transaction has ended,
//! [`Fence::cut`] ends those that take too long. The hold ends at its moment, with [`Fence::release`], or for
//! each session with a writer of a higher epoch. A higher epoch of the *same* writer moves nobody. While sessions are
//! held they log in at the next writer, a standby still ([`Fence::expect`]); its gateway lets nothing but the login pass
//! before it is the writer, and from then on stands before them as before all others.
//!
//! What can be carried to another server: the startup parameters, settings (`SET`, also within a committed
//! transaction), and prepared statements of the protocol, up to [`KEPT_MAX`](protocol::tracker::KEPT_MAX) bytes.
//! What cannot, and ends the session with `57P01` as every move did before: an open transaction or unanswered
//! command, a user whose password the gateway does not know ([`Credentials`]), `LISTEN`, `PREPARE` in SQL, cursors
//! `WITH HOLD`, temporary tables, advisory locks of the session, `set_config`, `currval` and `lastval`, `LOAD`, and
//! long texts that cannot be seen whole. The gateway has no SQL parser: it goes by the tags of the server's
//! answers and a look at the text, and when in doubt a session is not moved. What a *function* of the user
//! does to its session it cannot see; whoever hides a `SET` or a session lock in one should reconnect after a
//! move. A move cannot help a client that waits in one session while it holds a transaction open in another:
//! that transaction is cut.
//!
//! Why sessions and not a pool of server connections: a session holds what a transaction pool cannot
//! carry over at each transaction, and pooling with the guarantees that the rest of
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
mod settle;
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
