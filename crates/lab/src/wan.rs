//! The WAN emulator: every connection between regions, and from users to regions, passes here.
//!
//! It works in user space on real sockets, because delays cannot be had from every kernel. For each
//! pair of places and each port it listens on an address of its own and forwards to the real one, with
//! the pair's delay, jitter, loss and bandwidth.
//!
//! A partition must look like one. A proxy that merely stops reading is too kind: handshakes still
//! succeed, data is still acknowledged. So a cut direction gets a socket filter (classic BPF, "drop all")
//! on the emulator's own sockets: SYNs are lost and `connect` hangs, data stays unacknowledged and is
//! retransmitted, keep-alives and user timeouts work as they would over a dead line, and a reset from a
//! killed process is never heard. When the filter goes, TCP's own retransmissions bring the bytes.
//!
//! What is not modelled: reordering, congestion control over the emulated path (both legs are loopback),
//! fragmentation, and ICMP errors toward UDP clients.

mod link;
mod listening;
mod owner;
mod pump;
mod registry;
mod tcp;
mod udp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::error::LabError;
pub use link::Shape;
use link::{Link, Links};
pub use owner::{Owners, owner_of};
use registry::Registry;

/// A region or a population: the ends of links. Its number is its place in [`WanConfig::places`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// For people.
    pub name: String,
    /// The source address of its connections as the far side sees it.
    pub client: IpAddr,
}

/// Who is at the near end of a forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The listening address belongs to this place.
    Place(usize),
    /// Any place: found from the process that owns the connecting socket ([`Owners`]).
    Owner,
}

/// The transport of a forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

/// One address at which a place is reached from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// From where.
    pub origin: Origin,
    /// To which place.
    pub to: usize,
    /// Where the emulator listens.
    pub listen: SocketAddr,
    /// Where the traffic goes.
    pub target: SocketAddr,
    /// How.
    pub transport: Transport,
}

/// All that an emulator is told at its start.
#[derive(Debug, Clone, Default)]
pub struct WanConfig {
    /// The ends of links.
    pub places: Vec<Place>,
    /// The shape of each directed link `(from, to)`; none: no delay.
    pub shapes: BTreeMap<(usize, usize), Shape>,
    /// What is forwarded.
    pub forwards: Vec<Forward>,
    /// Who owns connections of [`Origin::Owner`].
    pub owners: Owners,
    /// Seed of jitter and loss.
    pub seed: u64,
}

/// A running emulator. When it is dropped, all its sockets close.
#[derive(Debug)]
pub struct Wan {
    world: Arc<World>,
    faults: Mutex<NetworkFaults>,
    /// Held for its drop: aborts every task.
    _tasks: JoinSet<()>,
}

/// What the tasks of the emulator share.
#[derive(Debug)]
struct World {
    places: Vec<Place>,
    links: Links,
    registry: Registry,
    owners: Owners,
}

/// What is wrong with the network now.
#[derive(Debug, Default)]
struct NetworkFaults {
    partitions: BTreeSet<(usize, usize)>,
    isolated: BTreeSet<usize>,
    dark: BTreeSet<usize>,
    slow: BTreeMap<(usize, usize), Shape>,
}

impl Wan {
    /// Binds everything once, so that a taken address is an error now, and starts to forward.
    ///
    /// # Errors
    /// [`LabError::AddressInUse`] or [`LabError::Socket`].
    pub fn start(config: WanConfig) -> Result<Self, LabError> {
        for forward in config.forwards.iter().filter(|f| f.transport == Transport::Tcp) {
            check_free(forward.listen)?;
        }
        let links = Links::new(config.places.len(), &config.shapes, config.seed);
        let world = Arc::new(World {
            places: config.places,
            links,
            registry: Registry::default(),
            owners: config.owners,
        });
        let targets = config.forwards.iter().map(|f| f.target).collect();
        let mut tasks = JoinSet::new();
        let listening = listening::watch(targets, &mut tasks);
        for forward in config.forwards {
            match forward.transport {
                Transport::Tcp => tasks.spawn(tcp::serve(Arc::clone(&world), forward, listening.clone())),
                Transport::Udp => {
                    let socket = udp::bind(forward.listen)?;
                    tasks.spawn(udp::serve(Arc::clone(&world), forward, socket))
                }
            };
        }
        Ok(Self { world, faults: Mutex::default(), _tasks: tasks })
    }

    /// Swallows what `from` sends to `to`; with `both` also the way back.
    pub fn partition(&self, from: usize, to: usize, both: bool) {
        self.change(|faults| {
            faults.partitions.insert((from, to));
            if both {
                faults.partitions.insert((to, from));
            }
        });
    }

    /// Swallows everything between `place` and everybody else, until [`Wan::rejoin`] or [`Wan::heal`].
    pub fn isolate(&self, place: usize) {
        self.change(|faults| {
            faults.isolated.insert(place);
        });
    }

    /// Ends the isolation of `place`, if it was isolated. Partitions between pairs stay.
    pub fn rejoin(&self, place: usize) -> bool {
        let mut was = false;
        self.change(|faults| was = faults.isolated.remove(&place));
        was
    }

    /// Who is parted from `place` by a partition between the two, one way or both.
    #[must_use]
    pub fn parted_from(&self, place: usize) -> Vec<String> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let between = |a: usize, b: usize| faults.partitions.contains(&(a, b));
        let places = self.world.places.iter().enumerate();
        let parted = places.filter(|(i, _)| between(place, *i) || between(*i, place));
        parted.map(|(_, other)| other.name.clone()).collect()
    }

    /// As [`Wan::isolate`], for a place whose machines are off: ended by `set_dark(place, false)` only.
    /// When this returns, nothing that happens in `place` is heard elsewhere any more.
    pub fn set_dark(&self, place: usize, dark: bool) {
        self.change(|faults| {
            if dark {
                faults.dark.insert(place)
            } else {
                faults.dark.remove(&place)
            };
        });
    }

    /// Changes the link between two places, both ways; what is `None` stays as it is.
    pub fn slow(
        &self,
        from: usize,
        to: usize,
        rtt: Option<Duration>,
        loss: Option<f64>,
        bandwidth: Option<u64>,
    ) {
        self.change(|faults| {
            for pair in [(from, to), (to, from)] {
                let mut shape = self.world.links.get(pair).map(Link::shape).unwrap_or_default();
                shape.delay = rtt.map_or(shape.delay, |r| r / 2);
                shape.loss = loss.unwrap_or(shape.loss).clamp(0.0, 1.0);
                shape.bandwidth = bandwidth.or(shape.bandwidth);
                faults.slow.insert(pair, shape);
            }
        });
    }

    /// Ends partitions, isolations and bad links; dark places stay dark.
    pub fn heal(&self) {
        self.change(|faults| {
            faults.partitions.clear();
            faults.isolated.clear();
            faults.slow.clear();
        });
    }

    /// What is wrong with the network now, one sentence each.
    #[must_use]
    pub fn network_faults(&self) -> Vec<String> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let name = |i: &usize| self.world.places.get(*i).map_or("?", |p| p.name.as_str());
        let pair = |(from, to): &(usize, usize)| format!("{} -> {}", name(from), name(to));
        let cut = faults.partitions.iter().filter_map(|(from, to)| {
            let both = faults.partitions.contains(&(*to, *from));
            match both {
                // Told once, by the lower number.
                true => {
                    (from < to).then(|| format!("no packets pass between {} and {}", name(from), name(to)))
                }
                false => Some(format!("no packets pass from {} to {}", name(from), name(to))),
            }
        });
        let isolated = faults.isolated.iter().map(|i| format!("{} is isolated", name(i)));
        let dark = faults.dark.iter().map(|i| format!("{} is dark", name(i)));
        let slow = faults.slow.iter().map(|(p, s)| format!("slow {}: {s}", pair(p)));
        cut.chain(isolated).chain(dark).chain(slow).collect()
    }

    /// The shape of the link `from` → `to` now.
    #[must_use]
    pub fn shape(&self, from: usize, to: usize) -> Option<Shape> {
        self.world.links.get((from, to)).map(Link::shape)
    }

    /// Connections that pass now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.world.registry.connections()
    }

    /// Changes the faults and applies them to every link and open socket before it returns.
    fn change(&self, edit: impl FnOnce(&mut NetworkFaults)) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        edit(&mut faults);
        let apart = |i: usize| faults.isolated.contains(&i) || faults.dark.contains(&i);
        self.world.registry.set_apart((0..self.world.places.len()).filter(|i| apart(*i)).collect());
        for (pair, link) in self.world.links.iter() {
            let cut = faults.partitions.contains(&pair) || apart(pair.0) || apart(pair.1);
            link.set(faults.slow.get(&pair).copied(), cut);
        }
        self.world.registry.apply(&self.world.links);
    }
}

/// Fails if somebody else listens on `address`.
///
/// # Errors
/// [`LabError::AddressInUse`] with the owner's name, or [`LabError::Socket`].
pub fn check_free(address: SocketAddr) -> Result<(), LabError> {
    match tcp::bind(address) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {
            Err(LabError::AddressInUse { address, owner: owner_of(address) })
        }
        Err(source) => Err(LabError::Socket { doing: "bind", address, source }),
    }
}
