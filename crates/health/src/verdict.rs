//! What all vantage points together make of every region. The counting rules are in the crate's doc.

use std::borrow::Borrow;
use std::time::Duration;

use meridian_model::health::{Evidence, Health, Observation, Part, RegionHealth, Report, Target, Verdict};
use meridian_model::name::RegionName;
use meridian_model::{Moment, Timers};

/// A report (or one that is shared) and when it came to be known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<R = Report> {
    /// The report.
    pub report: R,
    /// When this node learned of it, by its own clock.
    pub observed_at: Moment,
}

/// The state of every region of `regions` (all of them are vantage points), in that order, with what each
/// vantage point said.
///
/// `roster_here` is the region that judges, `coordination_alive` whether its own report can be shared
/// with the others now. Of several reports of one vantage the newest counts.
#[must_use]
pub fn verdicts<R: Borrow<Report>>(
    regions: &[RegionName],
    roster_here: &RegionName,
    reports: &[Received<R>],
    coordination_alive: bool,
    now: Moment,
    timers: &Timers,
) -> Vec<RegionHealth> {
    let vantages = vantages(regions, roster_here, reports, coordination_alive, now, timers);
    let mut judged = judge(regions, &vantages);
    for verdict in judged.iter_mut().flat_map(|region| &mut region.parts) {
        verdict.evidence = vantages.iter().map(|v| v.evidence(&verdict.target)).collect();
    }
    judged
}

/// The same without what each vantage point said, for who reads no evidence.
#[must_use]
pub fn bare_verdicts<R: Borrow<Report>>(
    regions: &[RegionName],
    roster_here: &RegionName,
    reports: &[Received<R>],
    coordination_alive: bool,
    now: Moment,
    timers: &Timers,
) -> Vec<RegionHealth> {
    judge(regions, &vantages(regions, roster_here, reports, coordination_alive, now, timers))
}

fn judge(regions: &[RegionName], vantages: &[Vantage<'_>]) -> Vec<RegionHealth> {
    regions.iter().map(|region| judge_region(region, vantages)).collect()
}

/// All vantage points, with what their words are worth now.
fn vantages<'r, R: Borrow<Report>>(
    regions: &'r [RegionName],
    roster_here: &RegionName,
    reports: &'r [Received<R>],
    coordination_alive: bool,
    now: Moment,
    timers: &Timers,
) -> Vec<Vantage<'r>> {
    let shared = |region| coordination_alive || region != roster_here;
    let ttl = timers.observation_ttl;
    let vantage = |region| Vantage::new(region, newest(reports, region), shared(region), now, ttl);
    regions.iter().map(vantage).collect()
}

/// The last report of a vantage.
fn newest<'r, R: Borrow<Report>>(
    reports: &'r [Received<R>],
    vantage: &RegionName,
) -> Option<(&'r Report, Moment)> {
    let reports = reports.iter().map(|r| (r.report.borrow(), r.observed_at));
    reports.filter(|(report, _)| &report.vantage == vantage).max_by_key(|(report, at)| (*at, report.round))
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
        received: Option<(&'r Report, Moment)>,
        shared: bool,
        now: Moment,
        ttl: Duration,
    ) -> Self {
        let age = received.map(|(_, at)| now.since(at));
        let fresh = received.filter(|(_, at)| now.since(*at) <= ttl).map(|(report, _)| report);
        let muted = if fresh.is_some_and(sees_nobody) {
            Some("it sees no other region, so it is itself cut off")
        } else if !shared {
            Some("etcd cannot be reached from here, so its view is not shared")
        } else {
            None
        };
        Self { region, fresh, age, muted }
    }

    fn observation(&self, region: &RegionName, part: Part) -> Option<&'r Observation> {
        self.fresh?.observations.iter().find(|o| o.target.part == part && &o.target.region == region)
    }

    /// What it says of one part, as far as it counts.
    fn part(&self, region: &RegionName, part: Part) -> Health {
        let seen = self.observation(region, part).map_or(Health::Unknown, |o| o.health);
        if self.not_counted(region, seen).is_some() { Health::Unknown } else { seen }
    }

    /// The same in its own words.
    fn evidence(&self, target: &Target) -> Evidence {
        let health = self.part(&target.region, target.part);
        let detail = match (self.observation(&target.region, target.part), self.age) {
            (Some(seen), _) => match self.not_counted(&target.region, seen.health) {
                Some(why) => format!("not counted: {why} ({})", seen.detail),
                None => seen.detail.clone(),
            },
            (None, _) if self.fresh.is_some() => "it has not looked".to_owned(),
            (None, Some(age)) => format!("its last report is {:.1} s old", age.as_secs_f64()),
            (None, None) => "it has not reported yet".to_owned(),
        };
        let age_ms = self.age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        Evidence { vantage: self.region.clone(), health, detail, age_ms }
    }

    /// What it says of a whole region: of its own it says `up` by living.
    fn whole(&self, region: &RegionName) -> Health {
        if self.fresh.is_some() && region == self.region {
            return Health::Up;
        }
        let part = |part| self.observation(region, part).map_or(Health::Unknown, |o| o.health);
        let health = match (part(Part::Node), part(Part::Edge)) {
            (Health::Up, _) | (_, Health::Up) => Health::Up,
            (Health::Down, _) => Health::Down,
            _ => Health::Unknown,
        };
        if self.not_counted(region, health).is_some() { Health::Unknown } else { health }
    }

    /// Why what it says of that region does not count.
    fn not_counted(&self, about: &RegionName, health: Health) -> Option<&'static str> {
        self.muted.filter(|_| health == Health::Down && about != self.region)
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
    let looked = |part: &Part| vantages.iter().any(|v| v.observation(region, *part).is_some());
    let parts = Part::ALL.into_iter().filter(looked).map(|part| judge_part(region, part, vantages));
    let (health, reason) = judge_whole(region, vantages);
    RegionHealth { region: region.clone(), health, reason, parts: parts.collect() }
}

fn judge_part(region: &RegionName, part: Part, vantages: &[Vantage<'_>]) -> Verdict {
    let (health, reason) = count(vantages.iter().map(|v| v.part(region, part)));
    Verdict { target: Target { region: region.clone(), part }, health, reason, evidence: Vec::new() }
}

fn judge_whole(region: &RegionName, vantages: &[Vantage<'_>]) -> (Health, String) {
    let (health, votes) = count(vantages.iter().map(|v| v.whole(region)));
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
fn count(votes: impl Iterator<Item = Health>) -> (Health, String) {
    let (mut all, mut up, mut down) = (0, 0, 0);
    for vote in votes {
        all += 1;
        up += usize::from(vote == Health::Up);
        down += usize::from(vote == Health::Down);
    }
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
