//! The life of a node: bind early, serve late, drain last. Each part brings its own `bind` or `new`;
//! here they are only called in order.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use meridian_actuators::{
    ActuatorError, ComputeActuator, DatabaseActuator, Outside, Postgres, PostgresConfig,
};
use meridian_coordination::asks::Asks;
use meridian_coordination::{Etcd, Keys, Store, Timeouts};
use meridian_gateway::Fence;
use meridian_model::health::{RegionHealth, Report};
use meridian_model::plan::Trigger;
use meridian_model::topology::{NodeAddresses, Region};
use meridian_model::{Database, GroupName, RegionName, System};
use meridian_steering::View;
use meridian_telemetry::Metrics;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::board::Board;
use crate::compute::{Compute, Instances};
use crate::control::{self, Control};
use crate::descriptors;
use crate::doctor::{self, Doctor, Patient};
use crate::drain::Running;
use crate::group::{Group, GroupEnds, Tools};
use crate::knowledge::Knowledge;
use crate::loops::{self, Inbox, Observer, Sources};
use crate::losses::Losses;
use crate::memory::{Memory, MemoryError};
use crate::publish::{Keeper, Publisher};
use crate::rehearse::Rehearser;
use crate::secret::{Secret, SecretError};
use crate::status::CoordinationStatus;
use crate::steps::Steps;
use crate::sun::Sun;

/// The first argument by which this program becomes the guard of a PostgreSQL: see [`meridian_actuators::guard`].
pub const GUARD: &str = "guard";

/// Threads that answer DNS: a second one takes over while the first compiles new answers.
const DNS_WORKERS: usize = 2;

mod parts;
use parts::Parts;

/// Why a node cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The region is not in the spec.
    #[error("the spec has no region `{0}`")]
    UnknownRegion(RegionName),
    /// The node's own files.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The control secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A listener of the node itself.
    #[error(
        "cannot listen on {address} for the {what}: {source}; is another node running, or does the address not belong to this machine?"
    )]
    Bind {
        /// For what.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// PostgreSQL or the instances of a service.
    #[error(transparent)]
    Actuator(#[from] ActuatorError),
    /// The probes.
    #[error(transparent)]
    Probes(#[from] meridian_probes::ProberError),
    /// The name server.
    #[error(transparent)]
    Dns(#[from] meridian_dns::Error),
    /// The edge.
    #[error(transparent)]
    Edge(#[from] meridian_edge::Error),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] meridian_gateway::Error),
    /// Etcd's address is none.
    #[error(transparent)]
    Coordination(#[from] meridian_coordination::ConnectError),
    /// The guard is this program itself.
    #[error("cannot find this program's own file, which is started again as the guard of PostgreSQL: {0}")]
    OwnProgram(std::io::Error),
    /// Signals cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}

/// Runs the node of `here` until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// [`Error`] when a part cannot start: a port in use, a missing program, an unreadable file. Once it
/// runs it does not give up by itself.
pub async fn run(system: System, here: RegionName, metrics: Metrics) -> Result<(), Error> {
    descriptors::warn_of_few(descriptors::raise(), &system);
    let (stop, stopped) = watch::channel(false);
    let node = Node::bind(Arc::new(system), here, metrics, &stopped).await?;
    let running = node.serve(stopped);
    ended().await?;
    tracing::info!("shutting down");
    stop.send_replace(true);
    running.drain().await;
    Ok(())
}

/// Everything bound, nothing served yet.
struct Node {
    listeners: Listeners,
    observer: Observer,
    prober: meridian_probes::Prober,
    reports: watch::Sender<Option<Report>>,
    groups: Vec<Group>,
    publisher: Publisher,
    keeper: Keeper,
    states: Vec<watch::Receiver<meridian_model::snapshot::GroupState>>,
    nudge: Arc<Notify>,
    control: Control,
    compute: Arc<Compute>,
    etcd: Arc<Etcd>,
    own_etcd: Option<String>,
    sun: Sun,
    doctor: Doctor,
}

struct Listeners {
    control: TcpListener,
    dns: meridian_dns::Server,
    edge: meridian_edge::Server,
    gateway: meridian_gateway::Server,
}

impl Node {
    async fn bind(
        system: Arc<System>,
        here: RegionName,
        metrics: Metrics,
        stop: &watch::Receiver<bool>,
    ) -> Result<Self, Error> {
        let region = system.region(&here).cloned().ok_or_else(|| Error::UnknownRegion(here.clone()))?;
        let memory = Memory::open(&region.node.data_dir)?;
        let secret = Secret::read(&system.topology.coordination.control_secret_file)?;
        let fence = Fence::new();
        let publisher = Publisher::new(Arc::clone(&system), here.clone(), &memory, metrics.clone());
        let keeper = Keeper::new(memory.clone(), &publisher);
        let listeners = bind(&system, &region, &publisher, &fence, &metrics).await?;
        let coordination = &system.topology.coordination;
        let endpoints = own_first(&coordination.endpoints, region.node.control.ip());
        let etcd = Arc::new(Etcd::connect(&endpoints, Timeouts::default(), metrics.clone())?);
        let compute = Arc::new(Compute::new(here.clone(), instances(&system, &here)?));
        let nudge = Arc::new(Notify::new());
        let losses = Losses::open(memory.clone(), system.databases.iter().map(|d| d.name.clone()));
        let parts = Parts {
            system: &system,
            region: &region,
            memory,
            losses: losses.clone(),
            secret: secret.clone(),
            fence: Arc::clone(&fence),
            nudge: &nudge,
            metrics: metrics.clone(),
        };
        let (groups, ends) = parts.groups(&etcd, &compute, &publisher)?;
        let names: Vec<_> = system.databases.iter().map(|d| d.name.clone()).collect();
        let knowledge = Arc::new(Mutex::new(Knowledge::new(&system.topology.name, names.clone())));
        let eyes = parts.eyes(&etcd, &knowledge, names.iter().zip(&ends));
        let board = Board {
            here: here.clone(),
            verdicts: eyes.verdicts,
            coordination: eyes.coordination,
            groups: ends.iter().map(|e| e.facts.clone()).collect(),
            knowledge: Arc::clone(&knowledge),
            views: publisher.views(),
            compute: Arc::clone(&compute),
            losses,
        };
        let doctor = parts.doctor(&etcd, &board, &ends);
        let rehearser = Arc::new(parts.rehearser(&etcd, &knowledge, &ends, stop));
        let asks = Asks::new(Arc::clone(&etcd) as Arc<dyn Store>, Keys::new(&system.topology.name));
        let states: Vec<_> = ends.iter().map(|e| e.state.clone()).collect();
        let sun = Sun {
            system: Arc::clone(&system),
            here: here.clone(),
            asks: asks.clone(),
            knowledge,
            groups: states.clone(),
        };
        let ways_in = |e: &GroupEnds| (e.promises.clone(), e.events.clone());
        let ways_in =
            names.into_iter().zip(ends.iter().map(ways_in)).map(|(name, (p, e))| (name, p, e)).collect();
        Ok(Self {
            listeners,
            observer: eyes.observer,
            prober: meridian_probes::Prober::new(Arc::clone(&system), here, metrics.clone())?,
            reports: eyes.reports,
            groups,
            publisher,
            keeper,
            states,
            sun,
            doctor,
            nudge,
            control: Control { system, asks, fence, secret, metrics, board, rehearser, groups: ways_in },
            compute,
            etcd,
            own_etcd: endpoints.into_iter().next(),
        })
    }

    /// Starts every loop. When `stop` says so the data planes drain; all that decides goes on until they
    /// have, for their sessions need the lease: traffic ends before databases do.
    fn serve(self, stop: watch::Receiver<bool>) -> Running {
        let (mut planes, mut groups, mut others) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        let (last, stop_last) = watch::channel(false);
        let views = self.publisher.views();
        let names = self.observer.groups.iter().map(|inbox| inbox.group.clone()).collect();
        let verdicts = self.observer.verdicts.subscribe();
        let knowledge = Arc::clone(&self.observer.knowledge);
        planes.spawn(reported("the name server", self.listeners.dns.serve(stop.clone())));
        planes.spawn(reported("the edge", self.listeners.edge.serve(stop.clone())));
        planes.spawn(self.listeners.gateway.serve(stop));
        for group in self.groups {
            groups.spawn(group.run(stop_last.clone()));
        }
        others.spawn(control::serve(self.listeners.control, Arc::new(self.control), stop_last.clone()));
        let metrics = self.observer.metrics.clone();
        others.spawn(self.observer.run(stop_last.clone()));
        others.spawn(self.prober.run(self.reports, stop_last));
        others.spawn(self.compute.follow(views.clone(), names));
        others.spawn(self.sun.follow());
        others.spawn(self.doctor.run());
        let sources = Sources { verdicts, groups: self.states, knowledge };
        others.spawn(loops::publish(self.publisher, self.nudge, sources, metrics));
        if let Some(own) = self.own_etcd {
            others.spawn(loops::lead_where_the_writer_is(self.etcd, own, views));
        }
        let keeper = tokio::spawn(self.keeper.run());
        Running { planes, groups, others, keeper, last }
    }
}

/// A part that cannot go on says so; the others do go on.
async fn reported<E: std::fmt::Display>(what: &'static str, part: impl Future<Output = Result<(), E>>) {
    if let Err(error) = part.await {
        tracing::error!(%error, "{what} has ended");
    }
}

async fn ended() -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn bind(
    system: &Arc<System>,
    region: &Region,
    publisher: &Publisher,
    fence: &Arc<Fence>,
    metrics: &Metrics,
) -> Result<Listeners, Error> {
    let NodeAddresses { control, dns, edge_http, edge_https, .. } = region.node;
    let views = publisher.views();
    let failed = |source| Error::Bind { what: "control interface", address: control, source };
    let dns = meridian_dns::Config { listen: dns, workers: DNS_WORKERS };
    let edge = meridian_edge::Config {
        http: edge_http,
        https: edge_https,
        workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        limits: meridian_edge::Limits::default(),
    };
    let gateway = meridian_gateway::Config::new(system, &region.name, Arc::clone(fence));
    Ok(Listeners {
        control: TcpListener::bind(control).await.map_err(failed)?,
        dns: meridian_dns::bind(dns, views.clone(), metrics.clone()).await?,
        edge: meridian_edge::bind(edge, views.clone(), metrics.clone()).await?,
        gateway: meridian_gateway::bind(gateway, views, metrics.clone()).await?,
    })
}

/// The member of etcd in the own region is asked first, whatever the order of the spec.
fn own_first(endpoints: &[String], home: IpAddr) -> Vec<String> {
    let host = |url: &str| {
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
        authority.parse::<SocketAddr>().ok().map(|address| address.ip())
    };
    let mut ordered = endpoints.to_vec();
    ordered.sort_by_key(|url| host(url) != Some(home));
    ordered
}

fn instances(system: &System, here: &RegionName) -> Result<Vec<Instances>, Error> {
    let mut all = Vec::new();
    for service in &system.services {
        let Some(backend) = service.backends.iter().find(|b| &b.region == here) else { continue };
        let Some(process) = &backend.compute else { continue };
        let actuator = meridian_actuators::ProcessInstances::new(system, service, here)?;
        let actuator: Arc<dyn ComputeActuator> = Arc::new(actuator);
        let (standby, primary) = (process.instances_standby, process.instances_primary);
        all.push(Instances { service: service.name.clone(), actuator, standby, primary });
    }
    Ok(all)
}

/// The plan of that database, its steps frozen for both kinds of run.
pub(crate) fn plan_of(system: &System, database: &Database) -> meridian_failover::Plan {
    let written = system.plans.iter().find(|plan| plan.group == database.name).cloned();
    let plan = written.unwrap_or_else(|| meridian_planner::derive(system, database));
    let (graceful, ungraceful) =
        (meridian_planner::freeze(&plan, true), meridian_planner::freeze(&plan, false));
    let automatic = plan.triggers.contains(&Trigger::RegionDown);
    let approval = meridian_planner::asks_before_promotion(&ungraceful);
    meridian_failover::Plan { name: plan.name, graceful, ungraceful, automatic, approval }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_member_of_etcd_comes_first_and_the_others_keep_their_order() {
        let urls =
            ["http://10.1.0.1:2379", "http://10.1.0.10:2379", "http://10.1.0.3:2379"].map(str::to_owned);
        let ordered = own_first(&urls, "10.1.0.10".parse().unwrap());
        assert_eq!(ordered, [&urls[1], &urls[0], &urls[2]].map(Clone::clone));
    }
}
