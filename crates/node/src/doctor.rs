//! The checks that run all the time: each node looks at what it has at home, shares it, and judges the whole.
//!
//! What is looked up goes to etcd, one small key a region, so that a region that is away has still said what
//! it had, and every node comes to the same judgement. Nothing waits for any of this: it is a task of its own,
//! with connections of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meridian_actuators::{DatabaseActuator, earliest_end};
use meridian_coordination::{Keys, Store, encode, txns};
use meridian_failover::State;
use meridian_model::facts::{CertificateFacts, MemberSeen, OpenFiles, RegionFacts, ServiceFacts};
use meridian_model::group::DatabaseRole;
use meridian_model::health::RegionHealth;
use meridian_model::{GroupName, Name, RegionName, ServiceName, System, Timestamp};
use meridian_planner::{Control, Finding, LOOK_AFTER_CHANGE, Live, Severity, Subject, examine};
use meridian_telemetry::events::CheckChanged;
use meridian_telemetry::{Metrics, clock};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::board::{Board, GroupFacts};
use crate::compute::Compute;
use crate::knowledge::Knowledge;
use crate::status::CoordinationStatus;

mod dns;
mod files;

/// Where the judgement of a node is asked for.
pub const DOCTOR: &str = "/v1/doctor";

/// How often a node looks. What is looked for changes by people's hands and over hours, and a look opens a
/// connection to each database of the server; a person who mends something waits no longer than this. A member that
/// has become something else is looked at sooner ([`LOOK_AFTER_CHANGE`]).
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How soon it looks again when something at home fails, or could not be looked at, that did not before: at the
/// start, PostgreSQL is not there yet, and whoever mends something wants to see it. While the same goes on failing
/// the pause doubles up to [`LOOK_EVERY`].
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How long one member may take to answer; sizes of databases are counted file by file.
const LOOK_WITHIN: Duration = Duration::from_secs(45);
/// The most that a region shares, in bytes: half of what one key may hold. A member with 40 roles takes 10 KiB.
const SHARED_MAX: usize = 128 << 10;

/// What one node finds wrong with the whole system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Whose judgement.
    pub region: RegionName,
    /// Etcd answers: it has heard what the others have.
    pub reachable: bool,
    /// By its wall clock.
    pub at: Timestamp,
    /// What each region's node has told last, and when.
    pub looked: Vec<Looked>,
    /// The worst first.
    pub findings: Vec<Found>,
}

/// When a region has last told what it has at home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// Where.
    pub region: RegionName,
    /// By its own wall clock.
    pub at: Timestamp,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// A recovery would fail by it; else it might.
    pub fails: bool,
    /// The check, by its stable name.
    pub check: String,
    /// The data group that it is about.
    pub group: Option<GroupName>,
    /// The region that it is in.
    pub region: Option<RegionName>,
    /// The group's or service's name, else the region's: the label of the metric.
    pub subject: Name,
    /// What is wrong: one sentence.
    pub message: String,
    /// The sum that shows it, line by line.
    pub details: Vec<String>,
    /// What to do.
    pub suggestion: String,
}

/// What this node finds wrong now, for whoever asks.
pub(crate) fn diagnose(system: &System, board: &Board) -> Diagnosis {
    let (now, here) = (clock::wall(), &board.here);
    let reachable = board.coordination.borrow().reachable;
    let verdicts = Arc::clone(&board.verdicts.borrow());
    let sight = Sight { here, reachable, regions: &verdicts, now };
    let (facts, findings) = judge(system, &board.knowledge, sight);
    Diagnosis {
        region: here.clone(),
        reachable,
        at: now,
        looked: facts.into_iter().map(|f| Looked { region: f.region, at: f.at }).collect(),
        findings: findings.into_iter().map(|finding| told(finding, here)).collect(),
    }
}

fn told(finding: Finding, here: &RegionName) -> Found {
    Found {
        fails: finding.severity == Severity::Error,
        check: finding.code.to_owned(),
        group: finding.subject.group().cloned(),
        region: finding.subject.region().cloned(),
        subject: finding.subject.name().unwrap_or(here).clone(),
        message: finding.message,
        details: finding.details,
        suggestion: finding.suggestion,
    }
}

/// What a node knows beside what etcd has told.
struct Sight<'a> {
    here: &'a RegionName,
    reachable: bool,
    regions: &'a [RegionHealth],
    now: Timestamp,
}

fn judge(
    system: &System,
    knowledge: &Mutex<Knowledge>,
    sight: Sight<'_>,
) -> (Vec<RegionFacts>, Vec<Finding>) {
    let known = knowledge.lock().unwrap_or_else(PoisonError::into_inner);
    let groups = || system.databases.iter().map(|d| &d.name);
    let records: BTreeMap<_, _> = groups().filter_map(|g| Some((g.clone(), known.record(g)?))).collect();
    let runs = groups().filter_map(|g| Some((g.clone(), known.runs(g).into_iter().next()?))).collect();
    let members = groups().map(|g| (g.clone(), known.members(g))).collect();
    let (facts, maintenance) = (known.facts(), known.maintenance());
    drop(known);
    let holds = records.values().filter(|r| !r.released);
    let writers = holds.map(|r| (r.group.clone(), r.holder.clone())).collect();
    let Sight { here, reachable, regions, now } = sight;
    let maintenance = maintenance.as_ref();
    let control = Control { here, reachable, maintenance, records: &records, runs: &runs, regions };
    let live = Live { now, facts: &facts, writers: &writers, members: &members, control };
    let findings = examine(system, &live);
    (facts, findings)
}

/// A member at home.
pub(crate) struct Patient {
    pub(crate) group: GroupName,
    pub(crate) database: Arc<dyn DatabaseActuator>,
    /// What its group's loop says of it.
    pub(crate) facts: watch::Receiver<GroupFacts>,
}

/// Looks, shares, judges.
pub(crate) struct Doctor {
    pub(crate) system: Arc<System>,
    pub(crate) here: RegionName,
    pub(crate) members: Vec<Patient>,
    pub(crate) compute: Arc<Compute>,
    /// Those that the edge shows.
    pub(crate) certificates: BTreeMap<ServiceName, CertificateFacts>,
    pub(crate) open_files: OpenFiles,
    pub(crate) knowledge: Arc<Mutex<Knowledge>>,
    pub(crate) verdicts: watch::Receiver<Arc<Vec<RegionHealth>>>,
    pub(crate) coordination: watch::Receiver<CoordinationStatus>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Keys,
    pub(crate) metrics: Metrics,
}

fn role_of(facts: &GroupFacts) -> Option<DatabaseRole> {
    facts.database.as_ref().map(|database| database.role)
}

/// Its node is about to make a standby of it.
fn at_work(facts: &GroupFacts) -> bool {
    matches!(facts.explanation.state, State::Starting | State::Cloning | State::Rejoining)
}

/// When the certificates end that the edge shows in this region. It has read them just now, and never does again.
pub(crate) fn certificates(system: &System) -> BTreeMap<ServiceName, CertificateFacts> {
    let of_service = |service: &meridian_model::service::Service| {
        let path = &service.tls.as_ref()?.certificate_file;
        let expires_at = std::fs::read_to_string(path).ok().and_then(|pem| earliest_end(&pem))?;
        Some((service.name.clone(), CertificateFacts { file: path.display().to_string(), expires_at }))
    };
    system.services.iter().filter_map(of_service).collect()
}

/// How often each check finds something, by subject and severity.
type Counts = BTreeMap<(&'static str, Name, Severity), u32>;

impl Doctor {
    /// Goes on until it is dropped.
    pub(crate) async fn run(self) {
        let (mut counts, mut failing, mut last) = (Counts::new(), Failing::new(), LOOK_AGAIN);
        loop {
            let facts = self.look().await;
            self.knowledge.lock().unwrap_or_else(PoisonError::into_inner).take_facts(facts.clone());
            self.share(&facts).await;
            let findings = self.findings().await;
            counts = self.count(&findings, counts);
            let before = std::mem::replace(&mut failing, fails_at(&self.here, findings));
            last = pause(&failing, &before, last);
            let looked: Vec<_> = facts.members.iter().map(MemberSeen::looked_as).collect();
            tokio::select! {
                () = tokio::time::sleep(last) => {}
                () = self.changed(&looked) => tokio::time::sleep(LOOK_AFTER_CHANGE).await,
            }
        }
    }

    /// What is wrong with the whole. Etcd may not have answered yet when the node has just begun: it is given some
    /// time, or each start would count as a fault of it.
    async fn findings(&self) -> Vec<Finding> {
        let mut coordination = self.coordination.clone();
        let reachable = tokio::time::timeout(LOOK_AGAIN, coordination.wait_for(|c| c.reachable)).await;
        let verdicts = Arc::clone(&self.verdicts.borrow());
        let reachable = matches!(reachable, Ok(Ok(_)));
        let sight = Sight { here: &self.here, reachable, regions: &verdicts, now: clock::wall() };
        judge(&self.system, &self.knowledge, sight).1
    }

    /// Ends when a member is something else than it was looked at as.
    async fn changed(&self, looked: &[Option<DatabaseRole>]) {
        let mut waits = JoinSet::new();
        for (member, looked_as) in self.members.iter().zip(looked.iter().copied()) {
            let mut facts = member.facts.clone();
            let news = move |facts: &GroupFacts| role_of(facts).is_some_and(|is| is.outdates(looked_as));
            waits.spawn(async move { facts.wait_for(news).await.is_ok() });
        }
        while let Some(ended) = waits.join_next().await {
            if matches!(ended, Ok(true)) {
                return;
            }
        }
        // Without members, or when their loops have ended.
        std::future::pending().await
    }

    async fn look(&self) -> RegionFacts {
        let mut members = Vec::new();
        for Patient { group, database, facts } in &self.members {
            let (role, at_work) = (role_of(&facts.borrow()), at_work(&facts.borrow()));
            let late = || Err(format!("it did not answer within {LOOK_WITHIN:?}"));
            let looked = tokio::time::timeout(LOOK_WITHIN, database.inspect()).await;
            let facts = looked.map_or_else(|_| late(), |facts| facts.map_err(|e| e.to_string()));
            members.push(MemberSeen { group: group.clone(), role, at_work, facts });
        }
        let services = self.services().await;
        let (region, at, open_files) = (self.here.clone(), clock::wall(), self.open_files);
        let plan_files = files::absent(&self.system, &self.here).await;
        fitted(RegionFacts { region, at, members, services, open_files, plan_files })
    }

    async fn services(&self) -> Vec<ServiceFacts> {
        let (running, mut all) = (self.compute.status(), Vec::new());
        let server = self.system.region(&self.here).map(|region| region.node.dns);
        for service in &self.system.services {
            let dns = match (server, service.hosts.first()) {
                (Some(server), Some(host)) => dns::answers(server, host).await.err(),
                _ => None,
            };
            let status = running.iter().find(|s| s.service == service.name);
            all.push(ServiceFacts {
                service: service.name.clone(),
                running: status.map_or(0, |s| s.running),
                wanted: status.map_or(0, |s| s.wanted),
                dns,
                certificate: self.certificates.get(&service.name).cloned(),
            });
        }
        all
    }

    /// One that does not arrive is sent again with the next look.
    async fn share(&self, facts: &RegionFacts) {
        let txn = txns::publish(self.keys.facts(&self.here), encode(facts));
        if let Err(error) = self.store.commit(txn).await {
            tracing::debug!(%error, "what this region has at home was not shared");
        }
    }

    /// Tells what has changed since `before`.
    fn count(&self, findings: &[Finding], before: Counts) -> Counts {
        let key = |f: &Finding| (f.code, f.subject.name().unwrap_or(&self.here).clone(), f.severity);
        let mut now = Counts::new();
        findings.iter().for_each(|finding| *now.entry(key(finding)).or_default() += 1);
        let mended = before.keys().filter(|key| !now.contains_key(*key)).map(|key| (key, 0));
        let found = now.iter().map(|(key, count)| (key, *count));
        for (which, findings_now) in mended.chain(found) {
            if before.get(which) == Some(&findings_now) {
                continue;
            }
            let (check, subject, fails) = (which.0, &which.1, which.2 == Severity::Error);
            let message = findings.iter().find(|f| key(f) == *which).map_or("", |f| f.message.as_str());
            CheckChanged { check, subject, fails, findings: findings_now, message }.emit(&self.metrics);
        }
        now
    }
}

/// Which checks fail, and of what. Not the words for it: they hold figures that always change.
type Failing = BTreeSet<(&'static str, Subject)>;

/// When a node looks again: `last` is the pause before.
fn pause(failing: &Failing, before: &Failing, last: Duration) -> Duration {
    match failing.is_empty() {
        true => LOOK_EVERY,
        false if failing == before => LOOK_EVERY.min(last * 2),
        false => LOOK_AGAIN,
    }
}

/// What a recovery would fail by in that region.
fn fails_at(here: &RegionName, findings: Vec<Finding>) -> Failing {
    let at_home = |f: &Finding| f.subject.region() == Some(here) && f.severity == Severity::Error;
    findings.into_iter().filter(at_home).map(|f| (f.code, f.subject)).collect()
}

/// Leaves out what is longest until the rest can be shared, and says so.
fn fitted(mut facts: RegionFacts) -> RegionFacts {
    for what in ["roles", "databases"] {
        if encode(&facts).len() <= SHARED_MAX {
            return facts;
        }
        for member in facts.members.iter_mut().filter_map(|m| m.facts.as_mut().ok()) {
            match what {
                "roles" => member.roles.clear(),
                _ => member.databases.clear(),
            }
            member.missing.truncate(MISSING_MAX);
            member.missing.push(format!("{what}: there are more than can be shared"));
        }
    }
    if encode(&facts).len() > SHARED_MAX {
        let too_much = || Err("there is more to tell of it than can be shared".to_owned());
        facts.members.iter_mut().for_each(|m| m.facts = too_much());
    }
    facts
}

/// Of what could not be looked up, so many things are named when there is much to tell.
const MISSING_MAX: usize = 16;

#[cfg(test)]
mod tests;
