//! When the service was good again, and the longest stretch in which it was not.

use std::time::Duration;

use meridian_model::Moment;

use super::STALL;
use crate::load::Sample;

/// A service that was good for so long has recovered.
const SETTLED: Duration = Duration::from_secs(10);

/// How one kind of request of one population came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// The good answer that counts: the service then stays good for [`SETTLED`]. None when it did not
    /// come back.
    pub good_at: Option<Moment>,
    /// From the fault to it.
    pub after: Option<Duration>,
    /// The longest outage of the whole drill; zero when there was none.
    pub longest_outage: Duration,
    /// Outages of the whole drill.
    pub outages: u32,
    /// Those of them that were over after the fault and began before [`Self::good_at`].
    pub before_good: Outages,
    /// Those that began later: no part of this recovery, and users stood still all the same.
    pub later: Outages,
}

/// Several outages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outages {
    /// How many.
    pub count: u32,
    /// How long the longest took.
    pub longest: Duration,
}

impl Outages {
    fn of(lengths: impl Iterator<Item = Duration>) -> Self {
        lengths.fold(Self::default(), |all, length| Self {
            count: all.count.saturating_add(1),
            longest: all.longest.max(length),
        })
    }
}

/// An outage: from the last good answer to the next; `to` is none when there is no next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outage {
    from: Moment,
    to: Option<Moment>,
}

/// Judges the samples of one kind and one population, in any order. `end` is when the load was stopped.
#[must_use]
pub fn recovery(samples: &[Sample], fault: Moment, end: Moment) -> Recovery {
    let Some(start) = samples.iter().map(|s| s.intended).min() else { return Recovery::default() };
    let outages = outages(samples, start, end);
    let lasts = |o: &Outage| o.to.unwrap_or(end).since(o.from);
    let first = || samples.iter().filter(|s| s.outcome.good() && s.intended >= fault).map(|s| s.ended).min();
    let good_at = settled(&outages, fault).unwrap_or_else(first);
    let is_later = |o: &&Outage| good_at.is_some_and(|good| o.from >= good);
    let of_this = |o: &&Outage| !is_later(o) && o.to.is_none_or(|to| to > fault);
    let all = Outages::of(outages.iter().map(lasts));
    Recovery {
        good_at,
        after: good_at.map(|at| at.since(fault)),
        longest_outage: all.longest,
        outages: all.count,
        before_good: Outages::of(outages.iter().filter(of_this).map(lasts)),
        later: Outages::of(outages.iter().filter(is_later).map(lasts)),
    }
}

/// The end of what the fault began: of the first outage after it, and of each further one that began
/// within [`SETTLED`] of the last. Outages after that have another cause (the region coming back, say);
/// they are counted, but do not belong to this recovery. The outer `None`: the fault began none; the
/// inner one: it never ended.
fn settled(outages: &[Outage], fault: Moment) -> Option<Option<Moment>> {
    let mut end: Option<Option<Moment>> = None;
    for outage in outages.iter().filter(|o| o.to.is_none_or(|to| to > fault)) {
        let calm_from = end.unwrap_or(Some(fault))?;
        if outage.from > calm_from + SETTLED {
            break;
        }
        end = Some(outage.to);
        if outage.to.is_none() {
            break;
        }
    }
    end
}

/// All outages, in order.
fn outages(samples: &[Sample], start: Moment, end: Moment) -> Vec<Outage> {
    let mut good: Vec<Moment> = samples.iter().filter(|s| s.outcome.good()).map(|s| s.ended).collect();
    good.sort_unstable();
    let from = std::iter::once(start).chain(good.iter().copied());
    let to = good.iter().copied().map(Some).chain(std::iter::once(None));
    let long = from.zip(to).filter(|(from, to)| to.unwrap_or(end).since(*from) >= STALL);
    long.filter(|(from, to)| samples.iter().any(|s| suffered(s, *from, to.unwrap_or(end))))
        .map(|(from, to)| Outage { from, to })
        .collect()
}

/// Somebody failed in that stretch, or waited in it for long.
fn suffered(sample: &Sample, from: Moment, to: Moment) -> bool {
    let failed = !sample.outcome.good() && sample.ended > from && sample.intended < to;
    let waited = sample.ended.min(to).since(sample.intended.max(from)) >= STALL;
    failed || waited
}
