//! Where things go from here: requests of a service (the edge asks), and the writes and reads of a
//! data group (the gateway asks).

use std::net::SocketAddr;
use std::time::Duration;

use meridian_model::health::{Health, Part};
use meridian_model::service::{Backend, Service};
use meridian_model::snapshot::ReaderState;
use meridian_model::topology::{Dial, Region, Role};
use meridian_model::{Epoch, GroupName, RegionName, Share};

use crate::distance::RoundTrip;
use crate::rank::{self, Rank};
use crate::view::View;

// === Requests of a service ===

/// A place that an edge may send a request to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendChoice {
    /// Whose instances would answer.
    pub region: RegionName,
    /// The way there.
    pub via: Via,
    /// How good it is; never [`Rank::Never`].
    pub rank: Rank,
    /// How far from here.
    pub round_trip: RoundTrip,
    /// Why it stands where it stands.
    pub reason: String,
}

/// The way to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// Straight to the instances in this region. Not all of them need to run.
    Local(Vec<SocketAddr>),
    /// To the edge of another region (plain HTTP), which knows its own instances best. Never past it.
    Edge(SocketAddr),
}

impl View {
    /// Where the edge here may send requests of `service`, the best first: by rank, then from near to
    /// far, so that the own region comes first while it is well. Empty only if no region that has
    /// instances may serve.
    ///
    /// The share of a dial is not applied again (DNS did); drain and forbid are.
    #[must_use]
    pub fn backends(&self, service: &Service) -> Vec<BackendChoice> {
        let mut all: Vec<_> = service.backends.iter().filter_map(|b| self.backend(b)).collect();
        all.sort_by_key(|c| (c.rank, c.round_trip.time));
        all
    }

    fn backend(&self, backend: &Backend) -> Option<BackendChoice> {
        let region = self.system.region(&backend.region)?;
        let local = region.name == self.here;
        let (health, reason) = if local { self.own_app() } else { self.other_app(region) };
        let rank = backend_rank(region.role, self.dial(region), health)?;
        let round_trip = self.distance_to(&region.name);
        let (via, place) = if local {
            (Via::Local(backend.endpoints.clone()), "own region".to_owned())
        } else {
            (Via::Edge(region.node.edge_http), format!("{round_trip} away"))
        };
        let reason = format!("{place}; {reason}");
        Some(BackendChoice { region: region.name.clone(), via, rank, round_trip, reason })
    }

    /// The own region needs no edge but the one that asks; only its instances count.
    fn own_app(&self) -> (Health, String) {
        let seen = self.seen(&self.here);
        let health = rank::app(seen);
        let why = seen.map_or("no verdict yet", |s| rank::part_reason(s, Part::App));
        (health, format!("its application is {health}: {why}"))
    }

    /// Another region needs to be well as a whole, with its edge and its application.
    fn other_app(&self, region: &Region) -> (Health, String) {
        let seen = self.seen(&region.name);
        let standing = rank::standing(region, self.turned(&region.name), seen, true);
        match (standing.health, rank::app(seen)) {
            (Health::Up, app) => {
                let why = seen.map_or("no verdict yet", |s| rank::part_reason(s, Part::App));
                (app, format!("its application is {app}: {why}"))
            }
            (health, _) => (health, standing.reason),
        }
    }
}

fn backend_rank(role: Role, dial: Dial, health: Health) -> Option<Rank> {
    match (role, dial, health) {
        (Role::Witness, ..) | (_, Dial::Forbid, _) => None,
        (_, _, Health::Down) => Some(Rank::Down),
        (_, Dial::Drain | Dial::Share(Share::ZERO), _) => Some(Rank::Drained),
        (_, _, Health::Unknown) => Some(Rank::Unknown),
        (_, _, Health::Up) => Some(Rank::Serving),
    }
}

// === Writes and reads of a data group ===

/// Who takes the writes of a data group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriterChoice {
    /// PostgreSQL in this region. Whether it may acknowledge right now is for the fence to say.
    Local {
        /// Its PostgreSQL.
        database: SocketAddr,
        /// The reign.
        epoch: Epoch,
    },
    /// Another region.
    Remote {
        /// Which.
        region: RegionName,
        /// Its gateway's write port, where its fence stands. The way to take.
        gateway: SocketAddr,
        /// Its PostgreSQL, as reached from here.
        database: SocketAddr,
        /// The reign.
        epoch: Epoch,
        /// How far from here.
        round_trip: RoundTrip,
    },
    /// Nobody now: new work waits.
    Nobody {
        /// The last reign that is known.
        epoch: Epoch,
        /// Why, in words for a log or an error.
        reason: String,
    },
}

impl WriterChoice {
    /// The reign that this rests on.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        match self {
            Self::Local { epoch, .. } | Self::Remote { epoch, .. } | Self::Nobody { epoch, .. } => *epoch,
        }
    }
}

/// A database that may serve reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderChoice {
    /// Where.
    pub region: RegionName,
    /// Its PostgreSQL, as reached from here.
    pub database: SocketAddr,
    /// How far behind the writer it was when last seen; zero for the writer itself.
    pub lag: Duration,
    /// It is the writer.
    pub is_writer: bool,
    /// How far from here.
    pub round_trip: RoundTrip,
    /// Why it stands where it stands.
    pub reason: String,
}

impl View {
    /// Who takes the writes of `group`. Health plays no part: only the holder of the epoch may write,
    /// also when it looks unwell from here.
    #[must_use]
    pub fn writer(&self, group: &GroupName) -> WriterChoice {
        let nobody = |epoch, reason| WriterChoice::Nobody { epoch, reason };
        let Some(state) = self.snapshot.group(group) else {
            return nobody(Epoch::NONE, format!("nothing is known yet about data group `{group}`"));
        };
        let Some(writer) = &state.writer else { return nobody(state.epoch, state.reason.clone()) };
        let Some((database, region)) = self.member(group, writer) else {
            return nobody(state.epoch, format!("the writer `{writer}` is no member in this spec"));
        };
        if writer == &self.here {
            return WriterChoice::Local { database, epoch: state.epoch };
        }
        WriterChoice::Remote {
            region: writer.clone(),
            gateway: region.node.gateway_write,
            database,
            epoch: state.epoch,
            round_trip: self.distance_to(writer),
        }
    }

    /// Who may serve reads of `group`, the best first: databases that are up from near to far, then
    /// those nobody can tell about, then the ones held to be down (their verdict may be older than
    /// the snapshot's list of readers). Empty when no member is fresh enough.
    #[must_use]
    pub fn readers(&self, group: &GroupName) -> Vec<ReaderChoice> {
        let Some(state) = self.snapshot.group(group) else { return Vec::new() };
        let writer = state.writer.as_ref();
        let reader = |r: &ReaderState| self.reader(group, r, writer == Some(&r.region));
        let mut all: Vec<_> = state.readers.iter().filter_map(reader).collect();
        all.sort_by(|(health_a, a), (health_b, b)| {
            let key = |health, c: &ReaderChoice| (rank::health_order(health), c.round_trip.time, c.lag);
            key(*health_a, a).cmp(&key(*health_b, b)).then_with(|| a.region.cmp(&b.region))
        });
        all.into_iter().map(|(_, choice)| choice).collect()
    }

    fn reader(
        &self,
        group: &GroupName,
        state: &ReaderState,
        is_writer: bool,
    ) -> Option<(Health, ReaderChoice)> {
        let (database, region) = self.member(group, &state.region)?;
        let health = self.database_health(&region.name);
        let round_trip = self.distance_to(&region.name);
        let lag = Duration::from_secs(state.lag_s);
        let what = if is_writer { "the writer" } else { "a standby" };
        let reason = format!("{what}, {health}, {} s behind, {round_trip} away", state.lag_s);
        let region = region.name.clone();
        Some((health, ReaderChoice { region, database, lag, is_writer, round_trip, reason }))
    }

    /// The database of a region; its own is judged without the rest of the region.
    fn database_health(&self, region: &RegionName) -> Health {
        match self.seen(region) {
            None => Health::Unknown,
            Some(seen) if region != &self.here && seen.health == Health::Down => Health::Down,
            Some(seen) => seen.part(Part::Database),
        }
    }

    fn member(&self, group: &GroupName, region: &RegionName) -> Option<(SocketAddr, &Region)> {
        let database = self.system.databases.iter().find(|d| &d.name == group)?;
        Some((database.member(region)?.address, self.system.region(region)?))
    }
}

#[cfg(test)]
mod tests;
