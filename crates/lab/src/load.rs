//! The load: populations of simulated users who do what real ones do, and who remember what they were told.
//!
//! Requests *arrive* by a schedule that does not wait for answers (an open loop). A closed loop would
//! send nothing while the system stalls and so hide the very stall that a drill wants to measure; here
//! each latency counts from the instant at which the request was due. What is in flight is bounded: an
//! arrival beyond the bound is recorded as not sent, which counts as a failure.
//!
//! Users find the service by DNS with their own client subnet, keep answers for their TTL, connect like
//! a browser does (the next address after 250 ms, RFC 8305), keep connections alive, retry reads at
//! another address, and repeat a write under the same id only while nobody acknowledged it.

mod arrivals;
mod connection;
mod resolver;
mod sample;
mod shop;
mod user;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use meridian_model::{Moment, Name, RegionName};
use meridian_telemetry::clock;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use arrivals::Arrivals;
pub use resolver::{Question, ResolveError, Resolved, Resolver};
pub use sample::{Kind, Outcome, Progress, Recorded, Sample};

use sample::Recorder;
use user::User;

/// Requests of one population that may be under way at once.
const IN_FLIGHT_MAX: usize = 400;
/// How long the end of the load waits for the last answers: a little more than a write may take.
const DRAIN: Duration = Duration::from_secs(6);
/// How finely the schedule looks at the stop signal while nothing is due.
const IDLE: Duration = Duration::from_secs(1);

/// All that the load needs to know.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The host name of the service, as users type it.
    pub host: String,
    /// What the ids of this drill's writes begin with, so that two drills on one database differ.
    pub token: String,
    /// The seed of the arrival schedule.
    pub seed: u64,
    /// Every region's name, in the order of the spec: samples name regions by their place in it.
    pub regions: Vec<RegionName>,
    /// The users.
    pub populations: Vec<PopulationPlan>,
}

/// One population: who they are, where they sit, what they do.
#[derive(Debug, Clone)]
pub struct PopulationPlan {
    /// Its name in the spec.
    pub name: Name,
    /// Requests per second of them all.
    pub rate: f64,
    /// The share of requests that write, 0 to 1.
    pub write_share: f64,
    /// How many users: each has its own DNS cache and its own connections.
    pub users: usize,
    /// The world as seen from there.
    pub vantage: Vantage,
}

/// The world as one population sees it.
#[derive(Debug, Clone)]
pub struct Vantage {
    /// The address that its sockets bind to; the WAN emulator knows the population by it.
    pub client: IpAddr,
    /// DNS servers, the nearest first.
    pub dns: Vec<SocketAddr>,
    /// The client subnet that goes with every DNS question.
    pub subnet: ipnet::IpNet,
    /// Where an address that DNS answers is reached from here, and whose region it is.
    pub reach: BTreeMap<IpAddr, (RegionName, SocketAddr)>,
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    recorder: Arc<Recorder>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// When it began.
    pub started_at: Moment,
}

impl Load {
    /// Starts all populations.
    #[must_use]
    pub fn start(plan: Plan) -> Self {
        let (stop, stopped) = watch::channel(false);
        let recorder = Arc::new(Recorder::default());
        let started_at = clock::now();
        let mut tasks = JoinSet::new();
        let regions: Arc<[RegionName]> = plan.regions.into();
        for (index, population) in plan.populations.into_iter().enumerate() {
            let seed = plan.seed.wrapping_add(u64::try_from(index).unwrap_or_default());
            let shared = Shared {
                population: u16::try_from(index).unwrap_or(u16::MAX),
                host: plan.host.clone(),
                id_prefix: format!("{}-{}", plan.token, population.name),
                regions: Arc::clone(&regions),
                recorder: Arc::clone(&recorder),
            };
            tasks.spawn(drive(population, Arc::new(shared), seed, started_at, stopped.clone()));
        }
        Self { recorder, stop, tasks, started_at }
    }

    /// How it goes so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.recorder.progress()
    }

    /// Lets no more requests arrive, waits for the last answers, and hands over all that was seen.
    pub async fn stop(mut self) -> Recorded {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN * 4, all).await.is_err() {
            tracing::warn!("the load did not end in time; what is still under way counts as not answered");
        }
        self.tasks.abort_all();
        self.recorder.take()
    }
}

/// Waits until users of every population are served, one read and one write each; what they write is in
/// no ledger.
///
/// # Errors
/// Who is not served within the time, and what they were told last.
pub async fn wait_served(plan: &Plan, within: Duration) -> Result<(), String> {
    let deadline = clock::now() + within;
    for population in &plan.populations {
        let health = resolver::ServerHealth::new(population.vantage.dns.len());
        let user = User::new(&plan.host, Arc::new(population.vantage.clone()), health);
        for (kind, name) in [(Kind::Read, "read"), (Kind::Write, "write")] {
            let id = format!("{}-{}{FIRST}", plan.token, population.name);
            while let Err(told) = user.try_for_answer(&plan.host, kind, &id).await {
                if clock::now() >= deadline {
                    return Err(format!("no {name} of {} is answered: {told}", population.name));
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }
    Ok(())
}

/// How the id of a population's first write ends.
const FIRST: &str = "-first";

/// It is the id of a write that [`wait_served`] made, which no ledger has.
#[must_use]
pub fn before_the_load(id: &str) -> bool {
    id.ends_with(FIRST)
}

/// The pause before somebody who was not served asks again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// What all requests of a population share.
#[derive(Debug)]
struct Shared {
    population: u16,
    host: String,
    id_prefix: String,
    regions: Arc<[RegionName]>,
    recorder: Arc<Recorder>,
}

/// One population: waits for what is due, hands it to a user, never waits for an answer.
async fn drive(
    plan: PopulationPlan,
    shared: Arc<Shared>,
    seed: u64,
    started_at: Moment,
    mut stopped: watch::Receiver<bool>,
) {
    let resolver_health = resolver::ServerHealth::new(plan.vantage.dns.len());
    let vantage = Arc::new(plan.vantage);
    let users: Vec<Arc<User>> = (0..plan.users.max(1))
        .map(|_| Arc::new(User::new(&shared.host, Arc::clone(&vantage), Arc::clone(&resolver_health))))
        .collect();
    let mut chosen = users.iter().cycle();
    let in_flight = Arc::new(AtomicUsize::new(0));
    let mut requests = JoinSet::new();
    for (sequence, (due, kind)) in (0_u64..).zip(Arrivals::new(plan.rate, plan.write_share, seed)) {
        let intended = started_at + due;
        if wait_until(intended, &mut stopped).await {
            break;
        }
        while requests.try_join_next().is_some() {}
        let Some(user) = chosen.next() else { break };
        if in_flight.fetch_add(1, Ordering::Relaxed) >= IN_FLIGHT_MAX {
            in_flight.fetch_sub(1, Ordering::Relaxed);
            shared.recorder.not_sent(shared.population, kind, intended);
            continue;
        }
        let request = user::Request { kind, sequence, intended };
        let (user, shared, in_flight) = (Arc::clone(user), Arc::clone(&shared), Arc::clone(&in_flight));
        requests.spawn(async move {
            user::perform(&user, &shared, request).await;
            in_flight.fetch_sub(1, Ordering::Relaxed);
        });
    }
    drain(requests).await;
}

/// Waits for the moment; true when the load was stopped first.
async fn wait_until(moment: Moment, stopped: &mut watch::Receiver<bool>) -> bool {
    loop {
        if *stopped.borrow() {
            return true;
        }
        let left = moment.since(clock::now());
        if left.is_zero() {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(IDLE)) => {}
            gone = stopped.changed() => if gone.is_err() { return true },
        }
    }
}

/// Lets the requests under way end, those with an outcome to be remembered above all.
async fn drain(mut requests: JoinSet<()>) {
    let all = async { while requests.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN * 3, all).await.is_err() {
        requests.abort_all();
    }
}
