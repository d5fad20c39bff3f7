//! The checks of a running system: would a recovery that began now fail by something that can be seen now?
//!
//! Each region's node looks at what it has at home ([`RegionFacts`]); here all of that is put side by side.
//! An error is what a recovery fails by, or loses by; a warning is what it may. What is not known is a
//! warning, never a pass and never a failure. The facts may be minutes old, so nothing here is a reason to
//! act: health and replication have their own, faster eyes.

mod alike;
mod alone;
mod begin;

pub use begin::Control;

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::facts::{MemberFacts, MemberSeen, PlanFile, RegionFacts, ServiceFacts};
use meridian_model::group::{DatabaseRole, DatabaseStatus, MemberReport};
use meridian_model::{Database, GroupName, RegionName, System, Timestamp};

use crate::finding::{Finding, Severity, Subject};

/// What is known of a running system.
#[derive(Debug, Clone, Copy)]
pub struct Live<'a> {
    /// By the wall clock of whoever judges.
    pub now: Timestamp,
    /// What each region's node has looked up last.
    pub facts: &'a [RegionFacts],
    /// Who writes each group, where somebody does.
    pub writers: &'a BTreeMap<GroupName, RegionName>,
    /// What the members of each group say of themselves, several times a second.
    pub members: &'a BTreeMap<GroupName, Vec<MemberReport>>,
    /// What lets a recovery begin, and what holds it back.
    pub control: Control<'a>,
}

/// All that is wrong with a running system, worst first; empty when a recovery could begin now.
#[must_use]
pub fn examine(system: &System, live: &Live<'_>) -> Vec<Finding> {
    let mut found = begin::check(system, live);
    found.extend(system.topology.regions.iter().flat_map(|r| region(system, &r.name, live)));
    found.extend(system.databases.iter().flat_map(|d| database(d, live)));
    found.sort_by_key(|f| std::cmp::Reverse(f.severity));
    found
}

/// Facts of this age say nothing any more: nodes look every minute, and again soon when something was amiss.
pub(crate) const FACTS_LAST_MS: i64 = 5 * 60 * 1_000;
/// What a member has said this long ago tells nothing of now: it says it several times a second.
const REPORT_LASTS_MS: i64 = 30 * 1_000;
/// A node looks again so long after a member of its own has become something else than it was looked at: by then
/// what comes with the change, such as a standby's connection to its upstream, has mostly come.
pub const LOOK_AFTER_CHANGE: Duration = Duration::from_secs(3);

impl<'a> Live<'a> {
    /// What is known of that region, unless it is too old.
    fn of(&self, region: &RegionName) -> Option<&'a RegionFacts> {
        let facts = self.facts.iter().find(|f| &f.region == region)?;
        (self.now.0.saturating_sub(facts.at.0) <= FACTS_LAST_MS).then_some(facts)
    }

    /// What a member has said of itself after that look, by the clock of its own node.
    fn since(&self, group: &GroupName, look: &RegionFacts) -> Option<&'a DatabaseStatus> {
        let report = self.members.get(group)?.iter().find(|m| m.region == look.region)?;
        (report.reported_at > look.at).then_some(&report.database)
    }

    /// That member reads from its upstream, or its node is about to let it: a slot may have been made just now.
    fn reads(&self, group: &GroupName, region: &RegionName) -> bool {
        let fresh = |report: &&MemberReport| {
            &report.region == region && self.now.0.saturating_sub(report.reported_at.0) <= REPORT_LASTS_MS
        };
        let report = self.members.get(group).and_then(|all| all.iter().find(fresh));
        let look = self.of(region).and_then(|facts| facts.members.iter().find(|m| m.group == *group));
        report.is_some_and(|report| report.database.streaming) || look.is_some_and(|look| look.at_work)
    }
}

/// One member with its facts.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) group: &'a GroupName,
    pub(crate) region: &'a RegionName,
    pub(crate) facts: &'a MemberFacts,
    /// What it has said of itself since.
    pub(crate) says: Option<&'a DatabaseStatus>,
    /// It has become something else since: the facts tell nothing of what comes with its role.
    pub(crate) outdated: bool,
}

impl Seen<'_> {
    fn subject(&self) -> Subject {
        Subject::Member(self.group.clone(), self.region.clone())
    }

    pub(crate) fn error(&self, code: &'static str, message: String) -> Finding {
        Finding::error(code, self.subject(), message)
    }

    pub(crate) fn warning(&self, code: &'static str, message: String) -> Finding {
        Finding::warning(code, self.subject(), message)
    }

    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.facts.settings.get(name).map(String::as_str)
    }

    /// A setting that is a size; none: without limit, or not known.
    pub(crate) fn size(&self, name: &str) -> Option<u64> {
        bytes(self.setting(name)?)
    }
}

// === regions ===

fn region(system: &System, region: &RegionName, live: &Live<'_>) -> Vec<Finding> {
    let subject = || Subject::Node(region.clone());
    let Some(facts) = live.of(region) else {
        let (code, told) = match live.facts.iter().find(|f| &f.region == region) {
            None => ("facts-absent", "has never told what it has at home".to_owned()),
            Some(old) => {
                let minutes = live.now.0.saturating_sub(old.at.0) / 60_000;
                ("facts-old", format!("told last {minutes} min ago what it has at home"))
            }
        };
        return vec![
            Finding::warning(code, subject(), format!("{region} {told}: it cannot be judged"))
                .suggest("look whether its node runs and reaches etcd: `meridian status`"),
        ];
    };
    let files = facts.open_files;
    let few = files.limit.filter(|limit| *limit < files.needed).map(|limit| {
        let message = format!(
            "the node may have {limit} files open, and all sessions of the gateway need {}",
            files.needed
        );
        Finding::warning("open-files", subject(), message).suggest(
            "raise the hard limit (LimitNOFILE= of its systemd unit), or lower `gateway.maxSessions`",
        )
    });
    let services = facts.services.iter().flat_map(|s| service(system, region, s, facts.at));
    let absent = facts.plan_files.iter().map(|file| plan_file(region, file));
    few.into_iter().chain(absent).chain(services).collect()
}

/// The step would fail there. A plan that goes on without it is no reason to call a recovery impossible.
fn plan_file(region: &RegionName, file: &PlanFile) -> Finding {
    let PlanFile { group, step, goes_on, file, problem } = file;
    let message = format!("step `{step}` of the plan of {group} would fail in {region}: {file} {problem}");
    let severity = if *goes_on { Severity::Warning } else { Severity::Error };
    Finding {
        severity,
        ..Finding::error("plan-file", Subject::Member(group.clone(), region.clone()), message)
    }
    .suggest("put it on that machine, where the user of the node can read it (a program: execute it)")
}

fn service(system: &System, region: &RegionName, facts: &ServiceFacts, at: Timestamp) -> Vec<Finding> {
    let subject = || Subject::Instances(facts.service.clone(), region.clone());
    let service = system.services.iter().find(|s| s.name == facts.service);
    let backend = service.and_then(|s| s.backends.iter().find(|b| &b.region == region));
    let dns = facts.dns.as_ref().map(|problem| {
        let message = format!("the name server of {region} does not answer for {}: {problem}", facts.service);
        Finding::error("dns-answer", subject(), message).suggest(
            "users who ask it are not sent anywhere; look at the node's log and at its `dns` address",
        )
    });
    let few = (facts.running < facts.wanted).then(|| {
        let message =
            format!("{} of {} instances of {} run in {region}", facts.running, facts.wanted, facts.service);
        Finding::error("instances-few", subject(), message)
            .suggest("their words are in the node's folder `logs`; they are started again by themselves")
    });
    let room = backend.and_then(|b| {
        let wanted = b.compute.as_ref()?.instances_primary;
        let room = u32::try_from(b.endpoints.len()).unwrap_or(u32::MAX);
        let writes_there = system.databases.iter().any(|d| d.member(region).is_some());
        (writes_there && room < wanted).then(|| {
            let message = format!(
                "{} is to run {wanted} instances in {region} when the writer is there, and has {room} addresses",
                facts.service
            );
            Finding::error("instances-room", subject(), message)
                .suggest("list more `endpoints`, or lower `compute.instances.primary`")
        })
    });
    let certificate = facts.certificate.as_ref().and_then(|certificate| {
        let (severity, message) = alone::ends_soon(certificate, at, region)?;
        let hint =
            format!("replace the file and restart the node of {region}: its edge reads it at its start");
        Some(Finding { severity, ..Finding::error("certificate", subject(), message) }.suggest(hint))
    });
    [dns, few, room, certificate].into_iter().flatten().collect()
}

// === databases ===

fn database(database: &Database, live: &Live<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for member in &database.members {
        let (group, region) = (&database.name, &member.region);
        let Some(at_home) = live.of(region) else { continue };
        let Some(look) = at_home.members.iter().find(|m| m.group == *group) else {
            found.push(unseen(database, region, "its node knows of no such member"));
            continue;
        };
        let says = live.since(group, at_home);
        let unknown = says.and_then(|says| outdated(look, says.role, (live.now, at_home)));
        match &look.facts {
            Ok(facts) => seen.push(Seen { group, region, facts, says, outdated: unknown.is_some() }),
            Err(_) if look.at_work && unknown.is_none() => {
                found.push(rejoins(database, region));
                continue;
            }
            Err(problem) if unknown.is_none() => found.push(unseen(database, region, problem)),
            Err(_) => {}
        }
        found.extend(unknown);
    }
    let writer = live.writers.get(&database.name);
    let Some(writer) = writer else {
        found.extend(seen.iter().flat_map(|member| alone::check(member, database)));
        return found;
    };
    found.extend(seen.iter().flat_map(|member| alone::check(member, database)));
    let (writers, others): (Vec<_>, Vec<_>) = seen.iter().partition(|m| m.region == writer);
    if let Some(writer) = writers.first() {
        found.extend(alone::slots(writer, database, |region| live.reads(&database.name, region)));
        found.extend(others.iter().flat_map(|other| alike::check(writer, other)));
    }
    found.extend(others.iter().filter_map(|other| alone::streaming(other)));
    found
}

fn unseen(database: &Database, region: &RegionName, problem: &str) -> Finding {
    let subject = Subject::Member(database.name.clone(), region.clone());
    let message = format!("the member of {} in {region} cannot be looked at: {problem}", database.name);
    Finding::error("member-unseen", subject, message)
        .suggest("look at the node's log and at `postgres.log` in its folder")
}

fn rejoins(database: &Database, region: &RegionName) -> Finding {
    let subject = Subject::Member(database.name.clone(), region.clone());
    let message = format!(
        "the member of {} in {region} is becoming a standby: until then it cannot take over",
        database.name
    );
    Finding::warning("member-rejoins", subject, message)
        .suggest("it is copied or rewound by itself: `meridian status` says how far it is")
}

/// A look from before a member became what it is now is no proof that it is well, nor that it is not.
fn outdated(
    look: &MemberSeen,
    is: DatabaseRole,
    (now, at_home): (Timestamp, &RegionFacts),
) -> Option<Finding> {
    let was = look.looked_as();
    is.outdates(was).then(|| {
        let ago = now.0.saturating_sub(at_home.at.0).max(0) / 1_000;
        let (group, region) = (&look.group, &at_home.region);
        let message = format!(
            "the member of {group} in {region} was looked at {ago} s ago, when it {}; now it {}",
            was.map_or("was not known yet", |was| word(was, "was a standby", "was a primary", "did not run")),
            word(is, "is a standby", "is a primary", "does not run")
        );
        let soon = LOOK_AFTER_CHANGE.as_secs();
        Finding::warning("member-unknown", Subject::Member(group.clone(), region.clone()), message).suggest(
            format!("the next look is within {soon} s of such a change: ask again; if it stays so, look at its node's log"),
        )
    })
}

const fn word(
    role: DatabaseRole,
    standby: &'static str,
    primary: &'static str,
    no: &'static str,
) -> &'static str {
    match role {
        DatabaseRole::Standby => standby,
        DatabaseRole::Primary => primary,
        DatabaseRole::Absent | DatabaseRole::Stopped | DatabaseRole::Starting => no,
    }
}

/// A size as PostgreSQL shows it, such as `256MB`; none for `-1`, which is no limit.
fn bytes(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(unit_at)?;
    let shift = match unit.trim() {
        "" | "B" => 0,
        "kB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A size for people.
pub(crate) fn size_text(bytes: u64) -> String {
    let mib = bytes >> 20;
    if mib < 10 << 10 { format!("{mib} MiB") } else { format!("{} GiB", mib >> 10) }
}

#[cfg(test)]
mod tests;
