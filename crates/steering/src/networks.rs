//! Which population a network belongs to, and how wide the answer holds.
//!
//! All networks of all populations become one binary tree per address family, pushed to its leaves
//! and merged where two halves agree. So the leaf that a client falls on *is* the widest network in
//! which everybody gets the same answer, which is exactly the scope that RFC 7871 wants to hear:
//! never wider (a more specific network inside has another answer), never narrower than needed
//! (resolver caches stay small).

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// Where a network ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// The index of the population; `None`: nobody's.
    pub(crate) population: Option<u16>,
    /// Everybody in this many leading bits of the address gets the same population.
    pub(crate) scope: u8,
}

/// The compiled networks.
#[derive(Debug)]
pub(crate) struct Networks {
    v4: Vec<Node>,
    v6: Vec<Node>,
}

impl Networks {
    /// Compiles `networks`, each with the index of its population. The first to claim a network
    /// keeps it.
    pub(crate) fn new(networks: impl IntoIterator<Item = (IpNet, u16)>) -> Self {
        let (mut v4, mut v6) = (Tree::Leaf(None), Tree::Leaf(None));
        let mut all: Vec<_> = networks.into_iter().map(|(net, p)| (normal_network(net), p)).collect();
        // Shorter prefixes first, so that a longer one overwrites its part; within one length the
        // first claim must win, hence the stable sort over the reversed list.
        all.reverse();
        all.sort_by_key(|(net, _)| net.prefix_len());
        for (net, population) in all {
            let tree = if net.addr().is_ipv4() { &mut v4 } else { &mut v6 };
            tree.claim(bits(net.addr()), net.prefix_len(), population);
        }
        Self { v4: flatten(v4), v6: flatten(v6) }
    }

    /// The population of `address`, of which only the first `source` bits are known.
    pub(crate) fn find(&self, address: IpAddr, source: u8) -> Found {
        let (nodes, width) = if address.is_ipv4() { (&self.v4, 32) } else { (&self.v6, 128) };
        let source = source.min(width);
        let mut way = masked(bits(address), source);
        let (mut at, mut depth, mut fallback) = (0_u32, 0_u8, None);
        loop {
            match nodes.get(at as usize) {
                Some(&Node::Fork { zero, one, any }) if depth < width => {
                    // Beyond the known bits the address is a guess: prefer somebody to nobody.
                    fallback = (depth >= source).then_some(any).flatten().or(fallback);
                    at = if way >> 127 == 0 { zero } else { one };
                    way <<= 1;
                    depth += 1;
                }
                Some(&Node::Leaf(population)) => {
                    return Found { population: population.or(fallback), scope: depth };
                }
                _ => return Found { population: fallback, scope: depth },
            }
        }
    }
}

/// `address` without the disguises of IPv4 in IPv6: mapped (`::ffff:0:0/96`) and NAT64
/// (`64:ff9b::/96`).
pub(crate) fn normal_address(address: IpAddr, prefix: u8) -> (IpAddr, u8) {
    match address {
        IpAddr::V6(v6) if prefix >= EMBEDDED_AT => match embedded(v6) {
            Some(v4) => (v4, prefix - EMBEDDED_AT),
            None => (address, prefix),
        },
        _ => (address, prefix),
    }
}

/// The first `prefix` bits of `address`; the rest is zero.
pub(crate) fn masked_address(address: IpAddr, prefix: u8) -> IpAddr {
    let kept = masked(bits(address), prefix);
    match address {
        // The upper 32 bits hold the address.
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(kept >> 96).unwrap_or_default().into()),
        IpAddr::V6(_) => IpAddr::V6(kept.into()),
    }
}

/// Where an IPv4 address begins in an IPv6 one that embeds it.
pub(crate) const EMBEDDED_AT: u8 = 96;

fn embedded(v6: Ipv6Addr) -> Option<IpAddr> {
    let nat64 = || {
        let [0x64, 0xff9b, 0, 0, 0, 0, _, _] = v6.segments() else { return None };
        let [.., a, b, c, d] = v6.octets();
        Some([a, b, c, d].into())
    };
    v6.to_ipv4_mapped().or_else(nat64).map(IpAddr::V4)
}

fn normal_network(net: IpNet) -> IpNet {
    let (address, prefix) = normal_address(net.addr(), net.prefix_len());
    IpNet::new(address, prefix).unwrap_or(net).trunc()
}

/// The address at the top of 128 bits.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => v6.into(),
    }
}

fn masked(bits: u128, prefix: u8) -> u128 {
    let keep = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
    bits & keep
}

// === The tree while it is built, and as it is walked ===

/// A tree whose leaves cover the whole address space.
#[derive(Debug)]
enum Tree {
    Leaf(Option<u16>),
    Fork(Box<[Self; 2]>),
}

impl Tree {
    /// Gives the first `length` bits of `way` to `population`. Recursion is at most 128 deep.
    fn claim(&mut self, way: u128, length: u8, population: u16) {
        if length == 0 {
            *self = Self::Leaf(Some(population));
            return;
        }
        if let Self::Leaf(owner) = self {
            *self = Self::Fork(Box::new([Self::Leaf(*owner), Self::Leaf(*owner)]));
        }
        let Self::Fork(halves) = self else { return };
        let [zero, one] = halves.as_mut();
        let half = if way >> 127 == 0 { zero } else { one };
        half.claim(way << 1, length - 1, population);
        if let [Self::Leaf(a), Self::Leaf(b)] = halves.as_ref()
            && a == b
        {
            *self = Self::Leaf(*a);
        }
    }

    fn any(&self) -> Option<u16> {
        match self {
            Self::Leaf(owner) => *owner,
            Self::Fork(halves) => halves.iter().find_map(Self::any),
        }
    }
}

/// One place of the walked tree. Indexes point into the same vector; the root is at 0.
#[derive(Debug, Clone, Copy)]
enum Node {
    Leaf(Option<u16>),
    Fork { zero: u32, one: u32, any: Option<u16> },
}

fn flatten(tree: Tree) -> Vec<Node> {
    let mut nodes = Vec::new();
    place(tree, &mut nodes);
    nodes
}

fn place(tree: Tree, nodes: &mut Vec<Node>) -> u32 {
    let at = nodes.len();
    let any = tree.any();
    nodes.push(Node::Leaf(any));
    if let Tree::Fork(halves) = tree {
        let [zero, one] = *halves;
        let (zero, one) = (place(zero, nodes), place(one, nodes));
        if let Some(slot) = nodes.get_mut(at) {
            *slot = Node::Fork { zero, one, any };
        }
    }
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
