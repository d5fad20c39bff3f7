//! How far the regions of a system are from each other.

use std::time::Duration;

use meridian_catalog::{Place, round_trip};
use meridian_model::{RegionName, System};

/// The two regions that are furthest apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Furthest {
    pub(crate) from: RegionName,
    pub(crate) to: RegionName,
    pub(crate) rtt: Duration,
}

/// The pair of regions with the longest round trip; none when there is only one region.
pub(crate) fn furthest(system: &System) -> Option<Furthest> {
    let regions = &system.topology.regions;
    let pairs =
        regions.iter().flat_map(|a| regions.iter().filter(move |b| a.name < b.name).map(move |b| (a, b)));
    let measured = pairs.map(|(a, b)| Furthest {
        from: a.name.clone(),
        to: b.name.clone(),
        rtt: round_trip(&Place::from(a), &Place::from(b)).rtt,
    });
    measured.max_by_key(|pair| pair.rtt)
}

/// The longest round trip between two regions; zero when there is only one.
pub(crate) fn longest_rtt(system: &System) -> Duration {
    furthest(system).map_or(Duration::ZERO, |pair| pair.rtt)
}
