//! Where should this client go: the answer that DNS gives, with the reason for each region.
//!
//! Every answer is a function of the service and the client's [`Class`]: its population, and on which
//! side of each partial dial its network falls. There are few classes, so DNS compiles one answer for
//! each when the view changes.

use std::net::IpAddr;

use meridian_model::health::Health;
use meridian_model::service::Service;
use meridian_model::topology::Region;
use meridian_model::{Name, RegionName};

use crate::distance::RoundTrip;
use crate::networks::{self, EMBEDDED_AT};
use crate::rank::{self, Rank, Standing};
use crate::view::View;

/// Who asks: as much of the address as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client {
    /// The address; bits after `prefix` are not looked at.
    pub address: IpAddr,
    /// How many leading bits are known: 32 or 128 for a whole address, fewer for a client subnet.
    pub prefix: u8,
}

impl Client {
    /// A client whose whole address is known.
    #[must_use]
    pub const fn at(address: IpAddr) -> Self {
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }
}

/// Everybody in one class gets the same answer of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class {
    /// The index of the population in the topology; `None`: nobody's network.
    pub population: Option<u16>,
    /// One bit for each partial dial, in the order of the spec: set if it takes this network.
    pub dials: u32,
}

/// A region in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub region: RegionName,
    /// How good it is for this client.
    pub rank: Rank,
    /// What the region and its edge are held to be, together.
    pub health: Health,
    /// How far from the client.
    pub round_trip: RoundTrip,
    /// Why it stands where it stands.
    pub reason: String,
}

/// Where a client should go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The regions that may serve, the best first. Empty only if all are forbidden.
    pub candidates: Vec<Candidate>,
    /// The regions that may not, or need not now, and why.
    pub left_out: Vec<Candidate>,
    /// The population that the client belongs to.
    pub population: Option<Name>,
    /// Everybody in this many leading bits of the client's address gets the same answer (the scope of
    /// RFC 7871). May be longer than the client's prefix: more bits would have told more.
    pub scope: u8,
}

impl Answer {
    /// What DNS gives out: the best region and one to fall back to, so that a client which tries the
    /// second address survives the loss of the first within the TTL. The second is never worse in
    /// kind than "up", unless the first is no better.
    pub fn offered(&self) -> impl Iterator<Item = &Candidate> {
        let best = self.candidates.first().map_or(Rank::Never, |c| c.rank);
        self.candidates.iter().take(OFFERED_MAX).filter(move |c| c.rank.is_up() || c.rank == best)
    }
}

impl View {
    /// Where `client` should go for `service`.
    #[must_use]
    pub fn answer(&self, service: &Service, client: Client) -> Answer {
        let (class, scope) = self.classify(client);
        Answer { scope, ..self.answer_for(service, class) }
    }

    /// The class of a client, and the scope in which everybody is in the same one.
    #[must_use]
    pub fn classify(&self, client: Client) -> (Class, u8) {
        let (address, prefix) = networks::normal_address(client.address, client.prefix);
        let found = self.geography().networks.find(address, prefix);
        let (dials, grain) = self.dials(address, prefix);
        let scope = found.scope.max(grain);
        let embedded = address.is_ipv4() && client.address.is_ipv6();
        let scope = if embedded { scope + EMBEDDED_AT } else { scope };
        (Class { population: found.population, dials }, scope)
    }

    /// The classes that clients of this view can be in: populations × 2^partial dials, but at most
    /// [`CLASSES_MAX`]. With more, those that are not listed have an answer all the same.
    #[must_use]
    pub fn classes(&self) -> Vec<Class> {
        let populations = (0..).zip(&self.system.topology.users).map(|(index, _)| Some(index));
        let masks = u32::try_from((1_u64 << self.partial().len()) - 1).unwrap_or(u32::MAX);
        let with_masks = |population| (0..=masks).map(move |dials| Class { population, dials });
        populations.chain([None]).flat_map(with_masks).take(CLASSES_MAX).collect()
    }

    /// The answer for everybody in `class`. Its scope is 0: it is [`View::classify`] that knows it.
    #[must_use]
    pub fn answer_for(&self, service: &Service, class: Class) -> Answer {
        let mut all: Vec<Candidate> = self.ranked(service, class).collect();
        // Stable, so that regions equal in everything keep the order of the spec.
        all.sort_by_key(|c| (c.rank, rank::health_order(c.health), c.round_trip.time));
        let best = all.first().map_or(Rank::Never, |c| c.rank);
        let (candidates, left_out) = all.into_iter().partition(|c| is_offered(c.rank, best));
        let population = class.population.and_then(|p| self.system.topology.users.get(usize::from(p)));
        Answer { candidates, left_out, population: population.map(|p| p.name.clone()), scope: 0 }
    }

    fn ranked(&self, service: &Service, class: Class) -> impl Iterator<Item = Candidate> {
        let has_backend = |name| service.backends.iter().any(|b| &b.region == name);
        self.regions_from(class.population).enumerate().map(move |(index, (region, round_trip))| {
            let (turned, seen) = (self.turned(&region.name), self.seen(&region.name));
            let standing = rank::standing(region, turned, seen, has_backend(&region.name));
            let inside = self.inside_dial(index, class.dials);
            candidate(region, round_trip, standing, inside)
        })
    }

    fn inside_dial(&self, region: usize, dials: u32) -> bool {
        let bit = self.partial().iter().position(|partial| *partial == region);
        bit.is_none_or(|bit| dials >> bit & 1 == 1)
    }

    /// Which partial dials take this network, and how many bits of the address that depends on.
    fn dials(&self, address: IpAddr, prefix: u8) -> (u32, u8) {
        let partial = self.partial();
        if partial.is_empty() {
            return (0, 0);
        }
        let grain = if address.is_ipv4() { GRAIN_V4 } else { GRAIN_V6 };
        let network = networks::masked_address(address, prefix.min(grain));
        let taken = |region: &usize| {
            let region = self.system.topology.regions.get(*region)?;
            Some(rank::takes(self.dial(region), roll(&region.name, network)))
        };
        let bits = partial.iter().enumerate().filter(|(_, r)| taken(r) == Some(true));
        (bits.fold(0, |mask, (bit, _)| mask | 1 << bit), grain)
    }
}

/// Ordinary ranks are offered together; an emergency (drained, down) only when it is the best there is.
fn is_offered(rank: Rank, best: Rank) -> bool {
    rank != Rank::Never && (rank.is_ordinary() || rank == best)
}

fn candidate(region: &Region, round_trip: RoundTrip, standing: Standing, inside: bool) -> Candidate {
    let Standing { rank, health, reason } = standing;
    let (rank, reason) = match rank {
        Rank::Serving if !inside => {
            (Rank::PastDial, format!("{reason}, but this network is beyond the share it takes"))
        }
        Rank::Down => (rank, format!("{reason}; served only while every region is down")),
        rank => (rank, reason),
    };
    let reason = if rank == Rank::Never { reason } else { format!("{reason}, {round_trip} away") };
    Candidate { region: region.name.clone(), rank, health, round_trip, reason }
}

/// A number from 0 to 999,999 that a region and a network always share: 64-bit FNV-1a, then mixed so
/// that neighbouring networks fall far apart. Independent from region to region.
fn roll(region: &Name, network: IpAddr) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    feed(region.as_str().as_bytes());
    match network {
        IpAddr::V4(v4) => feed(&v4.octets()),
        IpAddr::V6(v6) => feed(&v6.octets()),
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    u32::try_from(hash % 1_000_000).unwrap_or_default()
}

/// The nearest and one to fall back to.
const OFFERED_MAX: usize = 2;
/// Clients of one such IPv4 network always fall on the same side of a dial. Resolvers send /24.
const GRAIN_V4: u8 = 24;
/// The same for IPv6. Resolvers send /56.
const GRAIN_V6: u8 = 56;
/// Regions whose dial may be partial: the bits of a class. Later ones in the spec take everybody.
pub(crate) const PARTIAL_DIALS_MAX: usize = 32;
/// The most classes that [`View::classes`] lists.
pub const CLASSES_MAX: usize = 1_024;

#[cfg(test)]
mod tests;
