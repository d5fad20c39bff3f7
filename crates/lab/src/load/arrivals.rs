//! When requests arrive and of which kind they are: a Poisson process from a seed.
//!
//! The same seed gives the same schedule, so that two runs of a drill ask the same things at the same
//! times. The kinds are spread evenly by carrying the rounding error over, so that also a short drill
//! has the share of writes that was asked for.

use std::time::Duration;

use super::Kind;

/// The longest pause between two arrivals: also with a tiny rate the schedule goes on.
const PAUSE_MAX: f64 = 3600.0;

/// An endless schedule: how long after the start, and what.
#[derive(Debug)]
pub struct Arrivals {
    random: u64,
    rate: f64,
    write_share: f64,
    write_debt: f64,
    at: f64,
}

impl Arrivals {
    /// `rate` requests a second, of which `write_share` (0 to 1) are writes.
    #[must_use]
    pub fn new(rate: f64, write_share: f64, seed: u64) -> Self {
        Self { random: seed, rate, write_share, write_debt: 0.0, at: 0.0 }
    }

    /// A number in (0, 1] (SplitMix64, 53 bits).
    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let fraction = ((z >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        fraction
    }
}

impl Iterator for Arrivals {
    type Item = (Duration, Kind);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rate <= 0.0 {
            return None;
        }
        self.at += (-self.uniform().ln() / self.rate).min(PAUSE_MAX);
        self.write_debt += self.write_share;
        let kind = if self.write_debt >= 1.0 { Kind::Write } else { Kind::Read };
        if kind == Kind::Write {
            self.write_debt -= 1.0;
        }
        Some((Duration::try_from_secs_f64(self.at).ok()?, kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_rate_and_share() {
        let all: Vec<_> = Arrivals::new(100.0, 0.3, 7).take_while(|(at, _)| at.as_secs() < 100).collect();
        assert!((9_500..10_500).contains(&all.len()), "{} arrivals in 100 s at 100/s", all.len());
        let writes = all.iter().filter(|(_, kind)| *kind == Kind::Write).count();
        assert!(writes.abs_diff(all.len() * 3 / 10) <= 2, "{writes} writes of {}", all.len());
        assert!(all.is_sorted_by_key(|(at, _)| *at));
    }

    #[test]
    fn same_seed_same_schedule() {
        let take = |seed| Arrivals::new(10.0, 0.5, seed).take(50).collect::<Vec<_>>();
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
    }

    #[test]
    fn a_population_without_requests_is_silent() {
        assert_eq!(Arrivals::new(0.0, 0.5, 1).next(), None);
    }
}
