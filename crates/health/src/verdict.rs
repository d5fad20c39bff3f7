//! What all vantage points together make of every region. The counting rules are in the crate's doc.

use std::time::Duration;

use meridian_model::health::{Evidence, Health, Observation, Part, RegionHealth, Report, Target, Verdict};
use meridian_model::name::RegionName;
use meridian_model::{Moment, Timers};

/// A report and when it came to be known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The report.
    pub report: Report,
    /// When this node learned of it, by its own clock.
    pub observed_at: Moment,
}

/// The state of every region of `regions` (all of them are vantage points), in that order.
///
/// `roster_here` is the region that judges, `coordination_alive` whether its own report can be shared
/// with the others now. Of several reports of one vantage the newest counts.
#[must_use]
pub fn verdicts(
    regions: &[RegionName],
    roster_here: &RegionName,
    reports: &[Received],
    coordination_alive: bool,
    now: Moment,
    timers: &Timers,
) -> Vec<RegionHealth> {
    let shared = |region| coordination_alive || region != roster_here;
    let ttl = timers.observation_ttl;
    let vantages: Vec<Vantage<'_>> = regions
        .iter()
        .map(|region| Vantage::new(region, newest(reports, region), shared(region), now, ttl))
        .collect();
    regions.iter().map(|region| judge_region(region, &vantages)).collect()
}

/// The last report of a vantage.
fn newest<'r>(reports: &'r [Received], vantage: &RegionName) -> Option<&'r Received> {
    reports.iter().filter(|r| &r.report.vantage == vantage).max_by_key(|r| (r.observed_at, r.report.round))
}

/// More than half of all vantage points, dead ones included.
const fn majority(vantages: usize) -> usize {
    vantages / 2 + 1
}

// === one vantage point ===

/// A vantage point with what its words are worth now.
struct Vantage<'r> {
    region: &'r RegionName,
    /// Its report, unless it has expired.
    fresh: Option<&'r Report>,
    age: Option<Duration>,
    /// Why its `down` does not count against other regions.
    muted: Option<&'static str>,
}

impl<'r> Vantage<'r> {
    fn new(
        region: &'r RegionName,
        received: Option<&'r Received>,
        shared: bool,
        now: Moment,
        ttl: Duration,
    ) -> Self {
        let age = received.map(|r| now.since(r.observed_at));
        let fresh = received.filter(|r| now.since(r.observed_at) <= ttl).map(|r| &r.report);
        let muted = if fresh.is_some_and(sees_nobody) {
            Some("it sees no other region, so it is itself cut off")
        } else if !shared {
            Some("etcd cannot be reached from here, so its view is not shared")
        } else {
            None
        };
        Self { region, fresh, age, muted }
    }

    fn observation(&self, target: &Target) -> Option<&'r Observation> {
        self.fresh?.observations.iter().find(|o| &o.target == target)
    }

    /// What it says of one part.
    fn part(&self, target: &Target) -> Evidence {
        match self.observation(target) {
            Some(seen) => self.say(&target.region, seen.health, seen.detail.clone()),
            None => self.silent(),
        }
    }

    /// What it says of a whole region: of its own it says `up` by living.
    fn whole(&self, region: &RegionName) -> Evidence {
        if self.fresh.is_none() {
            return self.silent();
        }
        if region == self.region {
            return self.evidence(Health::Up, "it reports itself".to_owned());
        }
        let part = |part| {
            let target = Target { region: region.clone(), part };
            self.observation(&target).map_or(Health::Unknown, |o| o.health)
        };
        let (node, edge) = (part(Part::Node), part(Part::Edge));
        let health = match (node, edge) {
            (Health::Up, _) | (_, Health::Up) => Health::Up,
            (Health::Down, _) => Health::Down,
            _ => Health::Unknown,
        };
        self.say(region, health, format!("node {node}, edge {edge}"))
    }

    fn say(&self, about: &RegionName, health: Health, detail: String) -> Evidence {
        match self.muted {
            Some(why) if health == Health::Down && about != self.region => {
                self.evidence(Health::Unknown, format!("not counted: {why} ({detail})"))
            }
            _ => self.evidence(health, detail),
        }
    }

    fn silent(&self) -> Evidence {
        let detail = match (self.fresh, self.age) {
            (Some(_), _) => "it has not looked".to_owned(),
            (None, Some(age)) => format!("its last report is {:.1} s old", age.as_secs_f64()),
            (None, None) => "it has not reported yet".to_owned(),
        };
        self.evidence(Health::Unknown, detail)
    }

    fn evidence(&self, health: Health, detail: String) -> Evidence {
        let age_ms = self.age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        Evidence { vantage: self.region.clone(), health, detail, age_ms }
    }
}

/// It looked at other regions' nodes and found every one of them down.
fn sees_nobody(report: &Report) -> bool {
    let mut others = report
        .observations
        .iter()
        .filter(|o| o.target.region != report.vantage && matches!(o.target.part, Part::Node | Part::Edge))
        .peekable();
    others.peek().is_some() && others.all(|o| o.health == Health::Down)
}

// === all vantage points together ===

fn judge_region(region: &RegionName, vantages: &[Vantage<'_>]) -> RegionHealth {
    let parts = Part::ALL.into_iter().filter_map(|part| {
        let target = Target { region: region.clone(), part };
        let looked = vantages.iter().any(|v| v.observation(&target).is_some());
        looked.then(|| judge_part(target, vantages))
    });
    let (health, reason) = judge_whole(region, vantages);
    RegionHealth { region: region.clone(), health, reason, parts: parts.collect() }
}

fn judge_part(target: Target, vantages: &[Vantage<'_>]) -> Verdict {
    let evidence: Vec<Evidence> = vantages.iter().map(|v| v.part(&target)).collect();
    let (health, reason) = count(&evidence);
    Verdict { target, health, reason, evidence }
}

fn judge_whole(region: &RegionName, vantages: &[Vantage<'_>]) -> (Health, String) {
    let evidence: Vec<Evidence> = vantages.iter().map(|v| v.whole(region)).collect();
    let (health, votes) = count(&evidence);
    let own = vantages.iter().find(|v| v.region == region);
    let age = own.and_then(|v| v.age);
    match (own.and_then(|v| v.fresh), age) {
        (Some(_), Some(age)) if health == Health::Down => {
            let age = age.as_secs_f64();
            (Health::Unknown, format!("{votes}, but its own report is only {age:.1} s old"))
        }
        (Some(_), _) => (health, votes),
        (None, Some(age)) => {
            (health, format!("{votes}, its own report is silent for {:.1} s", age.as_secs_f64()))
        }
        (None, None) => (health, format!("{votes}, its own report was never seen")),
    }
}

/// Counts the votes: a majority of all, or `unknown`.
fn count(evidence: &[Evidence]) -> (Health, String) {
    let votes = |health| evidence.iter().filter(|e| e.health == health).count();
    let (all, up, down) = (evidence.len(), votes(Health::Up), votes(Health::Down));
    let needed = majority(all);
    if down >= needed {
        (Health::Down, format!("{down} of {all} vantage points say down"))
    } else if up >= needed {
        (Health::Up, format!("{up} of {all} vantage points say up"))
    } else {
        (Health::Unknown, format!("{up} of {all} vantage points say up, {down} down; {needed} are needed"))
    }
}

#[cfg(test)]
mod tests;
