//! How far apart two places are, as a round trip, and how to say it.
//!
//! The figures are the catalogue's: published between two regions of a cloud where somebody measured,
//! estimated from the great circle otherwise; where people live is only a point, so their distances
//! are always estimates.

use std::fmt;
use std::time::Duration;

use meridian_catalog::{Basis, Place, round_trip};

/// A round-trip time and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoundTrip {
    /// How long.
    pub time: Duration,
    /// It is computed from the distance, not published by anybody who measured it.
    pub estimated: bool,
}

impl RoundTrip {
    /// From here to here.
    pub const ZERO: Self = Self { time: Duration::ZERO, estimated: false };

    /// What the catalogue knows of the way between two places.
    #[must_use]
    pub fn between<'a>(from: impl Into<Place<'a>>, to: impl Into<Place<'a>>) -> Self {
        let found = round_trip(&from.into(), &to.into());
        Self { time: found.rtt, estimated: found.basis == Basis::Estimated }
    }
}

impl fmt::Display for RoundTrip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = if self.estimated { "about " } else { "" };
        write!(f, "{about}{:.0} ms", self.time.as_secs_f64() * 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, AP, EU, US};

    #[test]
    fn regions_are_as_far_apart_as_was_published() {
        let system = fixture::system();
        let region = |name| system.region(&fixture::name(name)).unwrap();
        let way = |a, b| RoundTrip::between(region(a), region(b));
        assert!(!way(US, EU).estimated && !way(EU, AP).estimated);
        assert!((80..110).contains(&way(US, EU).time.as_millis()), "{}", way(US, EU));
        assert!(way(US, EU) < way(EU, AP) && way(EU, AP) < way(US, AP));
    }

    #[test]
    fn people_are_estimated_and_it_is_said() {
        let system = fixture::system();
        let way = RoundTrip::between(&system.topology.users[1], system.region(&fixture::name(AP)).unwrap());
        assert!(way.estimated && way.to_string().starts_with("about "), "{way}");
    }
}
