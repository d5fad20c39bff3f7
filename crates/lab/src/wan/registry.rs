//! The emulator's open sockets, so that a cut takes hold of all of them before the call returns.
//!
//! A socket whose incoming direction is cut gets a filter that drops every segment: the peer's data,
//! acknowledgements, resets. Keep-alive of the emulator's own sockets is off meanwhile (its probes
//! could not be answered), and on otherwise: it finds ends that died behind a cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{SockFilter, SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

use super::Origin;
use super::link::Links;

/// `BPF_RET | BPF_K` with 0: accept no byte of the packet.
const DROP_ALL: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

/// An open socket, and what decides whether it hears anything.
#[derive(Debug)]
enum Entry {
    /// The socket at this end of the link whose packets come in: `(peer's place, other place)`.
    Stream { socket: Arc<TcpStream>, incoming: (usize, usize) },
    /// A listener of `origin` for `to`.
    Listener { socket: Arc<TcpListener>, origin: Origin, to: usize },
}

/// All open sockets.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    entries: BTreeMap<u64, Entry>,
    /// Places that are isolated or dark.
    apart: BTreeSet<usize>,
}

/// Keeps one socket registered.
#[derive(Debug)]
pub(super) struct Registered<'a> {
    registry: &'a Registry,
    id: u64,
}

impl Registry {
    pub(super) fn stream(
        &self,
        socket: &Arc<TcpStream>,
        incoming: (usize, usize),
        links: &Links,
    ) -> Registered<'_> {
        self.add(Entry::Stream { socket: Arc::clone(socket), incoming }, links)
    }

    pub(super) fn listener(
        &self,
        socket: &Arc<TcpListener>,
        origin: Origin,
        to: usize,
        links: &Links,
    ) -> Registered<'_> {
        self.add(Entry::Listener { socket: Arc::clone(socket), origin, to }, links)
    }

    /// Names the places that are isolated or dark.
    pub(super) fn set_apart(&self, apart: BTreeSet<usize>) {
        self.lock().apart = apart;
    }

    /// No SYN reaches the listener of `origin` for `to`: either direction of a handshake is cut.
    pub(super) fn unreachable(&self, origin: Origin, to: usize, links: &Links) -> bool {
        self.lock().unreachable(origin, to, links)
    }

    /// Puts filters where links are cut and takes them off where they are not.
    pub(super) fn apply(&self, links: &Links) {
        let inner = self.lock();
        inner.entries.values().for_each(|entry| inner.filter(entry, links));
    }

    /// Streams that pass; each has two sockets here.
    pub(super) fn connections(&self) -> usize {
        self.lock().entries.values().filter(|e| matches!(e, Entry::Stream { .. })).count().div_ceil(2)
    }

    fn add(&self, entry: Entry, links: &Links) -> Registered<'_> {
        let mut inner = self.lock();
        inner.filter(&entry, links);
        let id = inner.next;
        inner.next += 1;
        inner.entries.insert(id, entry);
        Registered { registry: self, id }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn unreachable(&self, origin: Origin, to: usize, links: &Links) -> bool {
        match origin {
            Origin::Place(from) => links.is_cut((from, to)) || links.is_cut((to, from)),
            Origin::Owner => self.apart.contains(&to),
        }
    }

    fn filter(&self, entry: &Entry, links: &Links) {
        match entry {
            Entry::Stream { socket, incoming } => {
                let cut = links.is_cut(*incoming);
                let socket = SockRef::from(socket.as_ref());
                set_filter(&socket, cut);
                set_keepalive(&socket, !cut);
            }
            Entry::Listener { socket, origin, to } => {
                set_filter(&SockRef::from(socket.as_ref()), self.unreachable(*origin, *to, links));
            }
        }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.registry.lock().entries.remove(&self.id);
    }
}

/// Detaching where nothing is attached fails with ENOENT, which is what is wanted.
fn set_filter(socket: &SockRef<'_>, drop_all: bool) {
    let done = if drop_all { socket.attach_filter(&DROP_ALL) } else { socket.detach_filter() };
    if let (Err(error), true) = (done, drop_all) {
        tracing::error!(%error, "the kernel refused a socket filter: this partition lets packets through");
    }
}

fn set_keepalive(socket: &SockRef<'_>, on: bool) {
    const IDLE: Duration = Duration::from_secs(30);
    let settings = TcpKeepalive::new().with_time(IDLE).with_interval(Duration::from_secs(5)).with_retries(3);
    let done = if on { socket.set_tcp_keepalive(&settings) } else { socket.set_keepalive(false) };
    if let Err(error) = done {
        tracing::debug!(%error, "keep-alive could not be set");
    }
}
