//! Observers: what every node says of itself, and whom every DNS server sends where.
//!
//! They stand inside the regions, so that no emulated distance is in their times, and only look: what
//! they see is put down as it changes, so that it stays small however long a drill lasts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use meridian_model::group::DatabaseRole;
use meridian_model::run::{Run, RunKind, StepState};
use meridian_model::{Epoch, GroupName, Moment, RegionName, RunId};
use meridian_node::peer::{self, Question as PeerQuestion};
use meridian_node::secret::Secret;
use meridian_node::status::{NodeStatus, STATUS};
use meridian_telemetry::clock;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::load::Question;
use crate::plan::Addresses;
use told::{FLAP_WINDOW, Told};

pub(super) mod told;

/// How often each node is asked.
const STATUS_EVERY: Duration = Duration::from_millis(200);
/// How long a node may take.
const STATUS_WITHIN: Duration = Duration::from_secs(1);
/// How often each DNS server is asked for each population.
const DNS_EVERY: Duration = Duration::from_millis(100);
/// After this long what a node said of its database counts no more.
const FRESH: Duration = Duration::from_millis(1500);

/// All that was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Each run, as far as anybody saw it get.
    pub(super) runs: BTreeMap<RunId, Run>,
    /// Changes of epoch and holder, as each node saw them.
    pub(super) epochs: Vec<EpochSeen>,
    /// Changes of DNS answers.
    pub(super) dns: Vec<DnsSeen>,
    /// The stretches in which every member was there and streamed: beginning, and end unless it lasts.
    pub(super) redundant: Vec<(Moment, Option<Moment>)>,
    /// What nodes said of why they do not act.
    pub(super) told: Told,
    /// Steps that were done twice within one run, a sentence each.
    pub(super) done_again: BTreeSet<String>,
    /// The newest version that a node named.
    pub(super) version: String,
    members: BTreeMap<(GroupName, RegionName), MemberSeen>,
}

/// A node saw a reign for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EpochSeen {
    pub(super) at: Moment,
    pub(super) vantage: RegionName,
    pub(super) group: GroupName,
    pub(super) epoch: Epoch,
    pub(super) holder: RegionName,
}

/// A DNS server changed its first answer to a population.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DnsSeen {
    pub(super) at: Moment,
    pub(super) population: usize,
    pub(super) server: RegionName,
    pub(super) answer: Option<RegionName>,
}

/// A member's database by its own node.
#[derive(Debug, Clone)]
struct MemberSeen {
    at: Moment,
    role: DatabaseRole,
    streaming: bool,
    standbys: usize,
}

/// The observers at work.
pub(super) struct Observer {
    seen: Arc<Mutex<Seen>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Observer {
    pub(super) fn start(addresses: &Addresses, secret: Secret, host: String) -> Self {
        let (stop, stopped) = watch::channel(false);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut tasks = JoinSet::new();
        let wanted: usize = addresses.databases.iter().map(|d| d.members.len()).sum();
        for region in &addresses.regions {
            let watch = StatusWatch { address: region.control, secret: secret.clone(), wanted };
            tasks.spawn(watch.go_on(Arc::clone(&seen), stopped.clone()));
        }
        let regions: Arc<BTreeMap<IpAddr, RegionName>> =
            Arc::new(addresses.regions.iter().map(|r| (r.public, r.region.clone())).collect());
        for (population, from) in addresses.populations.iter().enumerate() {
            for region in &addresses.regions {
                let question = Question {
                    server: region.dns,
                    client: IpAddr::from([127, 0, 0, 1]),
                    subnet: from.network,
                };
                let watch =
                    DnsWatch { question, host: host.clone(), population, server: region.region.clone() };
                tasks.spawn(watch.go_on(Arc::clone(&regions), Arc::clone(&seen), stopped.clone()));
            }
        }
        Self { seen, stop, tasks }
    }

    /// Looks at what was seen so far.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        at(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the observers and hands over what they saw.
    pub(super) async fn stop(mut self) -> Seen {
        self.stop.send_replace(true);
        self.tasks.shutdown().await;
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Seen {
    /// Every member is there and streams now.
    pub(super) fn redundant_now(&self) -> bool {
        self.redundant.last().is_some_and(|(_, end)| end.is_none())
    }

    /// The newest run since the first failover, that one included; a run of a later epoch takes the place
    /// of one that did not end. None without a failover.
    pub(super) fn run_since_failover(&self) -> Option<&Run> {
        let first = self.runs.values().filter(|r| r.kind == RunKind::Failover).map(|r| r.epoch).min()?;
        self.runs.values().filter(|r| r.epoch >= first).max_by_key(|r| (r.epoch, r.decided_at))
    }

    /// The flap window alone has held a failover back.
    pub(super) fn held_back(&self) -> bool {
        self.told.holds.iter().any(|hold| hold.rule == FLAP_WINDOW)
    }

    fn take_in(&mut self, status: NodeStatus, at: Moment, wanted: usize) {
        for group in status.groups {
            self.told.take_in(&status.region, &group, at);
            if let Some(record) = &group.record {
                self.note_epoch(EpochSeen {
                    at,
                    vantage: status.region.clone(),
                    group: group.group.clone(),
                    epoch: record.epoch,
                    holder: record.holder.clone(),
                });
            }
            for run in group.runs {
                self.note_run(run);
            }
            if let Some(database) = group.database {
                let member = MemberSeen {
                    at,
                    role: database.role,
                    streaming: database.streaming,
                    standbys: database.standbys.len(),
                };
                self.members.insert((group.group, status.region.clone()), member);
            }
        }
        self.version = status.version;
        self.judge_redundancy(at, wanted);
    }

    fn note_epoch(&mut self, seen: EpochSeen) {
        let same = |e: &EpochSeen| e.vantage == seen.vantage && e.group == seen.group;
        let last = self.epochs.iter().rfind(|e| same(e));
        if last.is_none_or(|l| (l.epoch, &l.holder) != (seen.epoch, &seen.holder)) {
            self.epochs.push(seen);
        }
    }

    /// Keeps the version of a run that is furthest.
    fn note_run(&mut self, run: Run) {
        if let Some(known) = self.runs.get(&run.id) {
            self.done_again.extend(done_again(known, &run));
        }
        let known = self.runs.get(&run.id).map_or(-1, progress);
        if progress(&run) >= known {
            self.runs.insert(run.id.clone(), run);
        }
    }

    /// One primary in each group that counts all others, and all others streaming, all of it heard lately.
    fn judge_redundancy(&mut self, now: Moment, wanted: usize) {
        let fresh = || self.members.values().filter(|m| now.since(m.at) < FRESH);
        let primaries = fresh().filter(|m| m.role == DatabaseRole::Primary).count();
        let standbys = fresh().filter(|m| m.role == DatabaseRole::Standby && m.streaming).count();
        let counted: usize = fresh().filter(|m| m.role == DatabaseRole::Primary).map(|m| m.standbys).sum();
        let groups: BTreeSet<&GroupName> = self.members.keys().map(|(group, _)| group).collect();
        let whole =
            primaries + standbys == wanted && counted == standbys && primaries == groups.len() && wanted > 0;
        match (whole, self.redundant_now()) {
            (true, false) => self.redundant.push((now, None)),
            (false, true) => {
                if let Some((_, end)) = self.redundant.last_mut() {
                    *end = Some(now);
                }
            }
            _ => {}
        }
    }
}

/// How far a run is: steps begun count one, steps done two.
fn progress(run: &Run) -> i32 {
    let points = |state: &StepState| match state {
        StepState::Pending => 0,
        StepState::Running { .. } => 1,
        StepState::Done { .. } | StepState::Failed { .. } | StepState::Skipped { .. } => 2,
    };
    run.steps.iter().map(|s| points(&s.state)).sum()
}

/// Steps that both copies of a run call done, at different times.
fn done_again(one: &Run, other: &Run) -> Vec<String> {
    let ended = |state: &StepState| match state {
        StepState::Done { at, .. } => Some(*at),
        _ => None,
    };
    let twice = one.steps.iter().filter_map(|step| {
        let name = &step.work.name;
        let (first, second) = (ended(&step.state)?, ended(&other.step(name)?.state)?);
        let text = || format!("step {name} of run {} was done twice: at {first} and at {second}", one.id);
        (first != second).then(text)
    });
    twice.collect()
}

struct StatusWatch {
    address: SocketAddr,
    secret: Secret,
    wanted: usize,
}

impl StatusWatch {
    async fn go_on(self, seen: Arc<Mutex<Seen>>, stopped: watch::Receiver<bool>) {
        let mut every = tokio::time::interval(STATUS_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while !*stopped.borrow() {
            every.tick().await;
            let question = PeerQuestion { method: Method::GET, path: STATUS, body: Vec::new() };
            let answer = peer::ask(self.address, &self.secret, question, STATUS_WITHIN).await;
            let status = answer.ok().and_then(|(_, body)| serde_json::from_slice::<NodeStatus>(&body).ok());
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            match status {
                Some(status) => seen.take_in(status, clock::now(), self.wanted),
                None => seen.judge_redundancy(clock::now(), self.wanted),
            }
        }
    }
}

struct DnsWatch {
    question: Question,
    host: String,
    population: usize,
    server: RegionName,
}

impl DnsWatch {
    async fn go_on(
        self,
        regions: Arc<BTreeMap<IpAddr, RegionName>>,
        seen: Arc<Mutex<Seen>>,
        stopped: watch::Receiver<bool>,
    ) {
        let mut every = tokio::time::interval(DNS_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut last: Option<Option<RegionName>> = None;
        while !*stopped.borrow() {
            every.tick().await;
            let resolved = self.question.ask(&self.host).await;
            let first = resolved.ok().and_then(|r| r.addresses.first().copied());
            let answer = first.and_then(|address| regions.get(&address).cloned());
            if last.as_ref() != Some(&answer) {
                last = Some(answer.clone());
                let change = DnsSeen {
                    at: clock::now(),
                    population: self.population,
                    server: self.server.clone(),
                    answer,
                };
                seen.lock().unwrap_or_else(PoisonError::into_inner).dns.push(change);
            }
        }
    }
}

/// How old writers came back, by the nodes' own counters: `followed`, `rewound`, `recloned`, each once.
pub(super) async fn rejoined(addresses: &Addresses) -> Option<String> {
    let mut methods = Vec::new();
    for region in &addresses.regions {
        let metrics = scrape(region.control).await.unwrap_or_default();
        methods.extend(rejoin_methods(&metrics));
    }
    methods.sort();
    methods.dedup();
    (!methods.is_empty()).then(|| methods.join(", "))
}

async fn scrape(address: SocketAddr) -> Option<String> {
    use http_body_util::{BodyExt, Empty, Limited};
    let get = async {
        let stream = tokio::net::TcpStream::connect(address).await.ok()?;
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.ok()?;
        let driver = tokio::spawn(connection);
        let request = http::Request::get("/metrics").header(http::header::HOST, address.to_string());
        let answer = sender.send_request(request.body(Empty::<bytes::Bytes>::new()).ok()?).await.ok()?;
        let body = Limited::new(answer.into_body(), METRICS_MAX).collect().await.ok()?;
        driver.abort();
        String::from_utf8(body.to_bytes().to_vec()).ok()
    };
    tokio::time::timeout(STATUS_WITHIN, get).await.ok()?
}

/// The most that a node's metrics may hold.
const METRICS_MAX: usize = 4 << 20;

/// The methods whose counter of rejoins is above zero.
fn rejoin_methods(metrics: &str) -> Vec<String> {
    let counts = metrics.lines().filter(|l| l.contains("rejoins_total{"));
    let method = |line: &str| {
        let (labels, value) = line.rsplit_once(' ')?;
        let method = labels.split_once("method=\"")?.1.split('"').next()?;
        (value.parse::<f64>().ok()? > 0.0).then(|| method.to_owned())
    };
    counts.filter_map(method).collect()
}

#[cfg(test)]
mod tests;
