//! One round of probes: all targets in parallel, each with its own deadline, one report at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use meridian_health::Tracker;
use meridian_model::database::{Database, Member};
use meridian_model::health::{Observation, Part, Report, Target};
use meridian_model::topology::{Region, Role};
use meridian_model::{RegionName, System, Timers};
use meridian_telemetry::events::ProbeFinished;
use meridian_telemetry::{Metrics, clock};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::http::Page;
use crate::probe::{Probe, Services};
use crate::session::Greeting;
use crate::sql::Sql;

/// Why a prober cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProberError {
    /// The own region is not in the spec.
    #[error("region `{0}` is not in the spec: use one of its regions")]
    UnknownRegion(RegionName),
    /// The password for the SQL probe cannot be read.
    #[error("the password file {path} cannot be read: {source}; make it readable for this user")]
    Password {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Looks at every part of every region from here, once every `probe_every`.
pub struct Prober {
    here: RegionName,
    timers: Timers,
    /// The part of a period by which this region's rounds come after the full period.
    offset: Duration,
    watched: Vec<Watched>,
    metrics: Metrics,
}

/// A target with what is remembered of it.
struct Watched {
    probe: Probe,
    tracker: Tracker,
}

impl Prober {
    /// A prober of `system` whose vantage point is `here`. Reads the superusers' password files once.
    ///
    /// # Errors
    /// An unknown region, an unreadable password file.
    pub fn new(system: Arc<System>, here: RegionName, metrics: Metrics) -> Result<Self, ProberError> {
        let timers = system.topology.timers;
        let count = u32::try_from(system.topology.regions.len()).unwrap_or(u32::MAX).max(1);
        let Some(index) = system.region_names().position(|name| name == &here) else {
            return Err(ProberError::UnknownRegion(here));
        };
        let mut watched = Vec::new();
        for region in &system.topology.regions {
            for (part, probe) in probes_of(&system, region, &here)? {
                let target = Target { region: region.name.clone(), part };
                watched.push(Watched { probe, tracker: Tracker::new(target, &timers) });
            }
        }
        let offset = timers.probe_every / count * u32::try_from(index).unwrap_or(0);
        Ok(Self { here, timers, offset, watched, metrics })
    }

    /// Probes until `shutdown` is true, sending one report a round.
    ///
    /// Rounds start on schedule, whatever the one before took; the regions start theirs at different
    /// parts of the period, so that a target is not asked by all of them at once.
    pub async fn run(mut self, reports: watch::Sender<Option<Report>>, mut shutdown: watch::Receiver<bool>) {
        let mut schedule = interval_at(Instant::now() + self.offset, self.timers.probe_every);
        schedule.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut round = 0;
        let rounds = async {
            loop {
                schedule.tick().await;
                round += 1;
                let observations = self.look().await;
                reports.send_replace(Some(Report { vantage: self.here.clone(), round, observations }));
            }
        };
        tokio::select! {
            () = rounds => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }

    /// One look at every target.
    pub async fn look(&mut self) -> Vec<Observation> {
        let within = self.timers.probe_timeout;
        join_all(self.watched.iter_mut().map(|watched| watched.look(within, &self.metrics))).await
    }
}

impl Watched {
    async fn look(&mut self, within: Duration, metrics: &Metrics) -> Observation {
        let began = clock::now();
        let outcome = timeout(within, self.probe.ask()).await;
        let outcome = outcome
            .unwrap_or_else(|_| Err(format!("no answer within {:?}", clock::now().since(began).min(within))));
        let told = outcome.as_ref().copied().map_err(String::as_str);
        ProbeFinished { target: self.tracker.target(), outcome: told }.emit(metrics);
        self.tracker.record(outcome)
    }
}

/// What is asked of a region: all parts it has. A witness is only a node.
fn probes_of(system: &System, region: &Region, here: &RegionName) -> Result<Vec<(Part, Probe)>, ProberError> {
    let node = &region.node;
    let mut probes = vec![(Part::Node, Probe::Page(Page::new(node.control, "/healthz", None)))];
    if region.role == Role::Witness {
        return Ok(probes);
    }
    probes.push((Part::Edge, Probe::Page(Page::new(node.edge_http, EDGE_HEALTH, None))));
    let services = Services::of(system, &region.name);
    if !services.is_empty() {
        probes.push((Part::App, Probe::App(services)));
    }
    let mut members = Vec::new();
    for database in &system.databases {
        if let Some(member) = database.member(&region.name) {
            members.push(sql_probe(database, member, here)?);
        }
    }
    // The first database's port is enough: one program binds all of them or none. And what one database's
    // clients can do to its own port (take all places at its door) is no reason to leave the region.
    if !system.databases.is_empty() {
        probes.push((Part::Gateway, Probe::Gateway(Greeting::new(node.gateway_write))));
    }
    if !members.is_empty() {
        probes.push((Part::Database, Probe::Database(members)));
    }
    Ok(probes)
}

/// By the own region's user and password file; a region without a member uses the target's.
fn sql_probe(database: &Database, member: &Member, here: &RegionName) -> Result<Sql, ProberError> {
    let own = &database.member(here).unwrap_or(member).postgres;
    let password = read_password(&own.password_file)?;
    Ok(Sql::new(member.address, &own.superuser, &password))
}

fn read_password(path: &Path) -> Result<String, ProberError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ProberError::Password { path: path.to_owned(), source })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// What the edge answers itself, with 200 while it takes traffic.
const EDGE_HEALTH: &str = "/.meridian/health";
