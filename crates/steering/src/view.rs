//! The spec and one snapshot, joined: what all answers are computed from.
//!
//! Distances and networks depend on the spec alone and are computed once; [`View::with_snapshot`]
//! keeps them, so that a change of health costs next to nothing.

use std::sync::Arc;
use std::time::Duration;

use meridian_model::health::RegionHealth;
use meridian_model::topology::{Dial, Population, Region};
use meridian_model::traffic::TurnedDial;
use meridian_model::{RegionName, Snapshot, System};

use crate::answer::PARTIAL_DIALS_MAX;
use crate::distance::RoundTrip;
use crate::networks::Networks;
use crate::rank;

/// All that a data plane knows: immutable, swapped whole.
#[derive(Debug)]
pub struct View {
    /// The checked spec, as read in the region `here`.
    pub system: Arc<System>,
    /// The region whose node this is.
    pub here: RegionName,
    /// The state of everything.
    pub snapshot: Arc<Snapshot>,
    geography: Arc<Geography>,
    /// Regions with a dial between nothing and all, by their index in the spec: an answer depends on the
    /// client's network then.
    partial: Vec<usize>,
}

/// What depends on the spec alone. Indexes follow the order of the spec.
#[derive(Debug)]
pub(crate) struct Geography {
    pub(crate) networks: Networks,
    /// For each population, and last for clients that belong to none: the distance of each region.
    from_people: Vec<Vec<RoundTrip>>,
    /// The distance of each region from here.
    from_here: Vec<RoundTrip>,
}

impl View {
    /// Joins the spec with a snapshot.
    #[must_use]
    pub fn new(system: Arc<System>, here: RegionName, snapshot: Arc<Snapshot>) -> Arc<Self> {
        let geography = Arc::new(Geography::of(&system, &here));
        Arc::new(Self::join(system, here, snapshot, geography))
    }

    /// The same spec with another snapshot.
    #[must_use]
    pub fn with_snapshot(&self, snapshot: Arc<Snapshot>) -> Arc<Self> {
        let (system, geography) = (Arc::clone(&self.system), Arc::clone(&self.geography));
        Arc::new(Self::join(system, self.here.clone(), snapshot, geography))
    }

    fn join(
        system: Arc<System>,
        here: RegionName,
        snapshot: Arc<Snapshot>,
        geography: Arc<Geography>,
    ) -> Self {
        let dial = |region: &Region| rank::dial(region, snapshot.turned(&region.name));
        let partial = system.topology.regions.iter().enumerate().filter(|(_, r)| is_partial(dial(r)));
        let partial = partial.map(|(index, _)| index).take(PARTIAL_DIALS_MAX).collect();
        Self { system, here, snapshot, geography, partial }
    }

    pub(crate) fn geography(&self) -> &Geography {
        &self.geography
    }

    pub(crate) fn partial(&self) -> &[usize] {
        &self.partial
    }

    /// The dial of a region as it stands now: the spec's, or what it was turned to since.
    #[must_use]
    pub fn dial(&self, region: &Region) -> Dial {
        rank::dial(region, self.turned(&region.name))
    }

    pub(crate) fn turned(&self, region: &RegionName) -> Option<&TurnedDial> {
        self.snapshot.turned(region)
    }

    /// What the snapshot says of a region.
    pub(crate) fn seen(&self, region: &RegionName) -> Option<&RegionHealth> {
        self.snapshot.regions.iter().find(|r| &r.region == region)
    }

    /// Each region with its distance from a population (`None`: from people anywhere).
    pub(crate) fn regions_from(&self, population: Option<u16>) -> impl Iterator<Item = (&Region, RoundTrip)> {
        let people = &self.geography.from_people;
        let nobody = people.len().saturating_sub(1);
        let row = people.get(population.map_or(nobody, usize::from)).map_or(&[][..], Vec::as_slice);
        let distances = row.iter().copied().chain(std::iter::repeat(FAR));
        self.system.topology.regions.iter().zip(distances)
    }

    /// The distance of a region from here.
    pub(crate) fn distance_to(&self, region: &RegionName) -> RoundTrip {
        let at = self.system.region_names().position(|name| name == region);
        at.and_then(|at| self.geography.from_here.get(at)).copied().unwrap_or(FAR)
    }
}

/// A distance that nobody beats in being far.
const FAR: RoundTrip = RoundTrip { time: Duration::from_secs(3_600), estimated: true };

impl Geography {
    fn of(system: &System, here: &RegionName) -> Self {
        let topology = &system.topology;
        let networks = (0..)
            .zip(&topology.users)
            .flat_map(|(index, population)| population.networks.iter().map(move |net| (*net, index)));
        let networks = Networks::new(networks);
        Self { networks, from_people: people_distances(system), from_here: here_distances(system, here) }
    }
}

fn is_partial(dial: Dial) -> bool {
    matches!(dial, Dial::Share(share) if share.millionths() > 0 && share.millionths() < 1_000_000)
}

/// One row for each population, and one more for people who belong to none: the mean over all users,
/// so that every name server of the zone gives them the same answer.
fn people_distances(system: &System) -> Vec<Vec<RoundTrip>> {
    let topology = &system.topology;
    let row = |from: &Population| topology.regions.iter().map(|r| RoundTrip::between(from, r)).collect();
    let mut rows: Vec<Vec<RoundTrip>> = topology.users.iter().map(row).collect();
    let shares: Vec<f64> = topology.users.iter().map(|p| p.share.as_f64()).collect();
    let mean = |region: usize| {
        let parts = rows.iter().zip(&shares);
        let seconds = parts.map(|(row, share)| row.get(region).map_or(0.0, |d| d.time.as_secs_f64() * share));
        RoundTrip { time: Duration::from_secs_f64(seconds.sum::<f64>().clamp(0.0, 3_600.0)), estimated: true }
    };
    let everybody = (0..topology.regions.len()).map(mean).collect();
    rows.push(everybody);
    rows
}

fn here_distances(system: &System, here: &RegionName) -> Vec<RoundTrip> {
    let home = system.region(here);
    let distance = |region: &Region| match home {
        Some(home) if home.name == region.name => RoundTrip::ZERO,
        Some(home) => RoundTrip::between(home, region),
        None => FAR,
    };
    system.topology.regions.iter().map(distance).collect()
}
