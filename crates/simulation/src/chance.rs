//! Chance from a seed, as a tree: each kind of thing draws from a branch of its own, so that one more
//! draw of one kind (or a fault less) does not shift all others.

/// A tiny generator (SplitMix64): the same seed draws the same numbers on every machine.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The branch of that name below a seed.
    #[must_use]
    pub fn branch(seed: u64, name: &str) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let mut chance = Self(seed ^ hash);
        chance.draw();
        chance
    }

    /// Any number.
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(n)) >> 64) as u64
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Yes in so many of a hundred cases.
    pub fn percent(&mut self, p: u64) -> bool {
        p > 0 && self.below(100) < p
    }

    /// From `low` to `high`, each power of two as likely as the next.
    pub fn scale(&mut self, low: u64, high: u64) -> u64 {
        let doublings = u64::from((high / low.max(1)).max(1).ilog2()) + 1;
        let from = low << self.below(doublings);
        self.between(from, (from * 2).min(high).max(from))
    }
}

/// One branch for each kind of thing in the world.
#[derive(Debug, Clone)]
pub struct Draws {
    /// Messages between nodes.
    pub messages: Chance,
    /// Requests to etcd and its watch.
    pub etcd: Chance,
    /// How long actions on databases take, and how they end.
    pub actuators: Chance,
    /// Replication between databases.
    pub wal: Chance,
    /// What clients do and when.
    pub clients: Chance,
    /// What probes see and when rounds begin.
    pub probes: Chance,
    /// The steps of runs.
    pub steps: Chance,
}

impl Draws {
    /// All branches below a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let of = |name| Chance::branch(seed, name);
        Self {
            messages: of("messages"),
            etcd: of("etcd"),
            actuators: of("actuators"),
            wal: of("wal"),
            clients: of("clients"),
            probes: of("probes"),
            steps: of("steps"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_differ_and_repeat() {
        let first = |name| Chance::branch(7, name).draw();
        assert_eq!(first("etcd"), first("etcd"));
        assert_ne!(first("etcd"), first("wal"));
        assert_ne!(first("etcd"), Chance::branch(8, "etcd").draw());
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        let mut chance = Chance::branch(1, "bounds");
        for _ in 0..1_000 {
            assert!(chance.below(3) < 3);
            assert!((5..=9).contains(&chance.between(5, 9)));
            assert!((100..=30_000).contains(&chance.scale(100, 30_000)));
            assert!(!chance.percent(0));
        }
    }
}
