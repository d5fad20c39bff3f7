//! The populations: their samples apart, and what each of them went through.

use std::collections::BTreeMap;

use meridian_model::{Moment, RegionName};

use super::{Evidence, PopulationFact, Recovery, Times, lost_region, recovery, round};
use crate::load::{Kind, Sample};
use crate::measure::{percentiles, series};
use crate::report::{LatencyFact, SecondFact};

/// One population and its samples.
pub(super) struct Person<'a> {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) share: f64,
    pub(super) samples: Vec<Sample>,
    pub(super) home: Option<&'a RegionName>,
    pub(super) home_after: Option<&'a RegionName>,
    /// Its home is the region that was taken away.
    pub(super) hit: bool,
    pub(super) reads: Recovery,
    pub(super) writes: Recovery,
}

/// All populations, in the order of the spec.
pub(super) fn split<'a>(evidence: &Evidence<'a>, fault: Moment) -> Vec<Person<'a>> {
    let Evidence { system, played, seen, .. } = evidence;
    let regions: Vec<&RegionName> = system.region_names().collect();
    let lost = lost_region(played);
    let person = |(index, users): (usize, &meridian_model::topology::Population)| {
        let of_it = |s: &&Sample| usize::from(s.population) == index;
        let samples: Vec<Sample> = seen.recorded.samples.iter().filter(of_it).copied().collect();
        let home = busiest(&regions, samples.iter().filter(|s| s.ended < fault));
        let after = samples.iter().filter(|s| seen.ended_at.since(s.ended) < HOME_WITHIN);
        let of_kind = |kind| samples.iter().filter(|s| s.kind == kind).copied().collect::<Vec<_>>();
        Person {
            index,
            name: users.name.to_string(),
            share: users.share.as_f64(),
            home,
            home_after: busiest(&regions, after),
            hit: home.is_some() && home == lost,
            reads: recovery(&of_kind(Kind::Read), fault, seen.ended_at),
            writes: recovery(&of_kind(Kind::Write), fault, seen.ended_at),
            samples,
        }
    };
    system.topology.users.iter().enumerate().map(person).collect()
}

/// The last seconds by which it is told who serves a population at the end.
const HOME_WITHIN: std::time::Duration = std::time::Duration::from_secs(4);

/// The region that answered most of the samples.
fn busiest<'a, 's>(
    regions: &[&'a RegionName],
    samples: impl Iterator<Item = &'s Sample>,
) -> Option<&'a RegionName> {
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for region in samples.filter_map(|s| s.region) {
        *counts.entry(region).or_default() += 1;
    }
    let (most, _) = counts.into_iter().max_by_key(|(_, n)| *n)?;
    regions.get(usize::from(most)).copied()
}

/// What the report says of it.
pub(super) fn fact(person: &Person<'_>, times: Times) -> PopulationFact {
    let failed = person.samples.iter().filter(|s| !s.outcome.good()).count();
    PopulationFact {
        name: person.name.clone(),
        home: person.home.map(ToString::to_string),
        home_after: person.home_after.map(ToString::to_string),
        share: person.share,
        requests: super::count(person.samples.len()),
        failed: super::count(failed),
        rto_read_seconds: person.reads.after.map(round),
        rto_write_seconds: person.writes.after.map(round),
        latencies: latencies(&person.samples, times),
        series: seconds_of(&person.samples, times),
    }
}

fn latencies(samples: &[Sample], times: Times) -> Vec<LatencyFact> {
    // What was due just before the fault and was answered after it had waited for the recovery.
    let before = |s: &Sample| s.ended < times.fault;
    let after = |s: &Sample| s.intended >= times.settled.max(times.fault) && s.intended < times.end;
    let stretch_of = |s: &Sample| match s {
        s if before(s) => "before",
        s if after(s) => "after",
        _ => "during",
    };
    let mut list = Vec::new();
    for stretch in ["before", "during", "after"] {
        for (name, kind) in [("reads", Kind::Read), ("writes", Kind::Write)] {
            let of_it = |s: &&Sample| s.kind == kind && s.outcome.good() && stretch_of(s) == stretch;
            let p = percentiles(samples.iter().filter(of_it).map(Sample::latency));
            let [p50_seconds, p95_seconds, p99_seconds] = [p.p50, p.p95, p.p99].map(round);
            list.push(LatencyFact {
                stretch,
                kind: name,
                count: p.count,
                p50_seconds,
                p95_seconds,
                p99_seconds,
            });
        }
    }
    list
}

fn seconds_of(samples: &[Sample], times: Times) -> Vec<SecondFact> {
    let second = |bucket: crate::measure::Bucket| {
        let good = bucket.reads + bucket.writes > 0;
        SecondFact {
            reads: bucket.reads,
            writes: bucket.writes,
            failed: bucket.failed,
            p50_seconds: good.then(|| round(bucket.p50)),
            p95_seconds: good.then(|| round(bucket.p95)),
        }
    };
    series(samples, times.start, times.end.since(times.start)).into_iter().map(second).collect()
}
