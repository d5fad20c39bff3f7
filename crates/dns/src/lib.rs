//! Authoritative DNS for the zones of the services: the nearest regions that may serve, by client
//! network.
//!
//! [`bind`] opens the sockets, [`Server::serve`] answers until it is told to stop. All answers are
//! compiled when the [`meridian_steering::View`] changes, one for each class of clients; a query is
//! then a look-up and a copy of bytes under its own id, flags and question.
//!
//! What this crate does not know: why a region is up or down, or how a client's place is found (both
//! are `steering`'s), zone transfers, signatures, recursion. Open `serve.rs` first.

mod error;
mod query;
mod respond;
mod serve;
mod tail;
mod tcp;
mod udp;
mod zones;

pub use error::Error;
pub use serve::{Config, Server, bind};
pub use tcp::{TCP_CONNECTIONS_MAX, TCP_IDLE};

/// For the fuzz target and nothing else: answers one packet of a stranger, or stays silent.
#[doc(hidden)]
#[must_use]
pub fn fuzz_respond(view: &std::sync::Arc<meridian_steering::View>, packet: &[u8]) -> Option<Vec<u8>> {
    let zones = zones::Zones::compile(view).ok()?;
    let from = std::net::IpAddr::from([192, 0, 2, 1]);
    let mut out = Vec::new();
    respond::respond(&zones, packet, from, meridian_telemetry::events::Transport::Udp, &mut out);
    (!out.is_empty()).then_some(out)
}
