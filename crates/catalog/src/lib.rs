//! Reference data, compiled in: cloud regions, published round-trip times, the middles of continents.
//!
//! Every fact carries its source and its date, because such facts age: latencies between the same two
//! regions differ by 3 to 5 % (median) between tables three years apart, and by a factor of two in the
//! worst pair. The data lie in `src/data` in the project's own compact form; nothing is fetched.
//!
//! **Jurisdiction** is our mapping from a region's country to a legal area, and a default that a spec
//! may override: `eu` (the European Economic Area, where the GDPR applies), `uk`, `us`, `us-gov`, `cn`,
//! `apac` (the other countries of Asia east of the Gulf, and of Oceania), else the country's ISO code.
//! It is no legal advice.
//!
//! This crate knows the world as published. It does not know a spec, and holds no opinion on which
//! region is good.

mod continent;
mod distance;
mod latency;
mod region;
mod words;

use std::time::Duration;

use meridian_model::topology::{Location, Provider};

pub use continent::{Continent, continent, continents};
pub use distance::{estimate, kilometres};
pub use region::{CloudRegion, region, regions, suggest};
pub use words::closest;

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

impl<'a> From<&'a meridian_model::topology::Region> for Place<'a> {
    fn from(region: &'a meridian_model::topology::Region) -> Self {
        Self { provider: region.provider, name: region.name.as_str(), location: region.location }
    }
}

impl<'a> From<&'a meridian_model::topology::Population> for Place<'a> {
    fn from(population: &'a meridian_model::topology::Population) -> Self {
        Self { provider: Provider::Other, name: population.name.as_str(), location: population.location }
    }
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

/// The round-trip time between two places: as published for that direction, else for the other one,
/// else the [`estimate`]. Two places in one region are [`WITHIN_REGION`] apart.
#[must_use]
pub fn round_trip(from: &Place<'_>, to: &Place<'_>) -> RoundTrip {
    if from.provider == to.provider && from.name == to.name {
        return RoundTrip { rtt: WITHIN_REGION, basis: Basis::Estimated };
    }
    let published = (from.provider == to.provider)
        .then(|| latency::published(from.provider, from.name, to.name))
        .flatten();
    published
        .unwrap_or_else(|| RoundTrip { rtt: estimate(from.location, to.location), basis: Basis::Estimated })
}

/// The round trip inside one region. Published diagonals (1 to 8 ms) include name resolution and are
/// not used; zones of one region are commonly below 2 ms apart.
pub const WITHIN_REGION: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
