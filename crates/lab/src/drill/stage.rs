//! What stands around a drill: users, witnesses of the writers, observers of the nodes and of DNS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use meridian_model::{Moment, RegionName, System, Timestamp};
use meridian_node::secret::Secret;
use meridian_telemetry::clock;

use super::DrillError;
use super::file::Drill;
use super::observe::{Observer, Seen};
use super::rows::{self, Rows};
use super::witness::{self, Witness, Witnessed};
use crate::faults::LabEvent;
use crate::load::{Load, Plan, PopulationPlan, Recorded, Vantage, wait_served};
use crate::measure::ClockPair;
use crate::plan::{Addresses, DatabaseAddresses, PopulationAddresses, port};
use crate::regions::Lab;

/// How long the standbys get to catch up before their rows are compared.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How long users may be without service before a drill begins: the application makes its tables then.
const SERVED_WITHIN: Duration = Duration::from_secs(60);

/// Everything that runs beside the system while it is drilled.
pub(super) struct Stage {
    pub(super) load: Load,
    pub(super) observer: Observer,
    pub(super) clock: ClockPair,
    witness: Witness,
    token: String,
}

/// What all of them saw.
pub(super) struct SeenAll {
    pub(super) clock: ClockPair,
    pub(super) ended_at: Moment,
    pub(super) recorded: Recorded,
    pub(super) witnessed: Witnessed,
    pub(super) seen: Seen,
    pub(super) rows: Rows,
    pub(super) events: Vec<LabEvent>,
    pub(super) rejoined: Option<String>,
    /// Whose database has which address.
    pub(super) members: Vec<(RegionName, SocketAddr)>,
}

impl Stage {
    /// Sets all of them to work; the load begins at `begin`, or as soon as users are served.
    pub(super) async fn set(
        lab: &Lab,
        drill: &Drill,
        begin: Option<Timestamp>,
        seed: u64,
    ) -> Result<Self, DrillError> {
        let system = lab.system();
        let addresses = lab.addresses();
        let service = system.services.first().ok_or(DrillError::Nothing("service"))?;
        let database = addresses.databases.first().ok_or(DrillError::Nothing("database"))?;
        let host = service.hosts.first().cloned().ok_or(DrillError::Nothing("host name"))?;
        let secret = Secret::read(&addresses.control_secret_file)?;
        let token = token();
        let plan = plan(drill, system, addresses, Names { host: host.clone(), token: token.clone(), seed });
        wait_served(&plan, SERVED_WITHIN).await.map_err(DrillError::NotServed)?;
        if let Some(begin) = begin {
            wait_for(begin).await?;
        }
        let witness = Witness::start(database, witness::table_of(&token)).await?;
        let observer = Observer::start(addresses, secret, host.clone());
        let clock = ClockPair { at: clock::now(), wall: clock::wall() };
        Ok(Self { load: Load::start(plan), observer, clock, witness, token })
    }

    /// Stops them and reads what the databases hold.
    pub(super) async fn strike(self, lab: &Lab) -> Result<SeenAll, DrillError> {
        let ended_at = clock::now();
        let recorded = self.load.stop().await;
        let addresses = lab.addresses();
        let database = database(addresses)?;
        tokio::time::sleep(CATCH_UP).await;
        let rows = rows::read(database, &self.token).await?;
        let witnessed = self.witness.stop().await;
        let rejoined = super::observe::rejoined(addresses).await;
        let seen = self.observer.stop().await;
        Ok(SeenAll {
            clock: self.clock,
            ended_at,
            recorded,
            witnessed,
            seen,
            rows,
            events: lab.events(),
            rejoined,
            members: database.members.clone(),
        })
    }
}

/// Waits for a time of the wall clock, which the schedule goes by.
async fn wait_for(begin: Timestamp) -> Result<(), DrillError> {
    let now = clock::wall();
    match u64::try_from(begin.0.saturating_sub(now.0)) {
        Ok(left) => {
            tokio::time::sleep(Duration::from_millis(left)).await;
            Ok(())
        }
        Err(_) => Err(DrillError::TurnMissed { by: Duration::from_millis(now.0.abs_diff(begin.0)) }),
    }
}

fn database(addresses: &Addresses) -> Result<&DatabaseAddresses, DrillError> {
    addresses.databases.first().ok_or(DrillError::Nothing("database"))
}

/// What this drill's ids begin with: the time in base 36, so that no two drills have the same.
fn token() -> String {
    let mut rest = u64::try_from(clock::wall().0).unwrap_or_default();
    let mut text = String::new();
    while rest > 0 {
        let digit = u32::try_from(rest % 36).unwrap_or_default();
        text.insert(0, char::from_digit(digit, 36).unwrap_or('0'));
        rest /= 36;
    }
    format!("d{text}")
}

struct Names {
    host: String,
    token: String,
    seed: u64,
}

fn plan(drill: &Drill, system: &System, addresses: &Addresses, names: Names) -> Plan {
    let population = |seen: &PopulationAddresses| {
        let share =
            system.topology.users.iter().find(|u| u.name == seen.population).map(|u| u.share.as_f64());
        PopulationPlan {
            name: seen.population.clone(),
            rate: drill.load.rate * share.unwrap_or_default(),
            write_share: drill.load.writes,
            users: drill.load.users,
            vantage: vantage(seen),
        }
    };
    Plan {
        host: names.host,
        token: names.token,
        seed: names.seed,
        regions: addresses.regions.iter().map(|r| r.region.clone()).collect(),
        populations: addresses.populations.iter().map(population).collect(),
    }
}

fn vantage(seen: &PopulationAddresses) -> Vantage {
    let mut nearest: Vec<_> = seen.regions.iter().collect();
    nearest.sort_by_key(|r| r.rtt);
    let edge =
        |r: &&crate::plan::RegionSeen| (r.public, (r.region.clone(), (r.address, port::EDGE_HTTP).into()));
    Vantage {
        client: seen.client,
        dns: nearest.iter().map(|r| (r.address, port::DNS).into()).collect(),
        subnet: seen.network,
        reach: nearest.iter().map(edge).collect::<BTreeMap<_, _>>(),
    }
}
