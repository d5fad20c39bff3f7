//! One population over time: a bucket for each second in which answers came.
//!
//! By the end of each request, not by when it was due: while writes stand still none is counted, and those that
//! were due before a fault and answered long after it do not make the time before it look slow.

use std::time::Duration;

use meridian_model::Moment;

use super::percentiles;
use crate::load::{Kind, Sample};

/// The most buckets: an hour. What ends later falls into the last one.
const BUCKETS_MAX: usize = 3600;

/// What ended in one second, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket {
    /// Reads that were answered.
    pub reads: u32,
    /// Writes that were acknowledged.
    pub writes: u32,
    /// Requests that failed.
    pub failed: u32,
    /// Half of the good answers were no slower.
    pub p50: Duration,
    /// 95 % of the good answers were no slower.
    pub p95: Duration,
}

/// The seconds from `start` on, as many as `length` spans.
#[must_use]
pub fn series(samples: &[Sample], start: Moment, length: Duration) -> Vec<Bucket> {
    let count = usize::try_from(length.as_secs()).unwrap_or(BUCKETS_MAX).saturating_add(1).min(BUCKETS_MAX);
    let mut slots: Vec<Vec<&Sample>> = vec![Vec::new(); count];
    for sample in samples {
        let second = usize::try_from(sample.ended.since(start).as_secs()).unwrap_or(usize::MAX);
        if let Some(slot) = slots.get_mut(second.min(count - 1)) {
            slot.push(sample);
        }
    }
    slots.iter().map(|slot| bucket(slot)).collect()
}

fn bucket(samples: &[&Sample]) -> Bucket {
    let good = || samples.iter().filter(|s| s.outcome.good());
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let latency = percentiles(good().map(|s| s.latency()));
    Bucket {
        reads: count(good().filter(|s| s.kind == Kind::Read).count()),
        writes: count(good().filter(|s| s.kind == Kind::Write).count()),
        failed: count(samples.len() - good().count()),
        p50: latency.p50,
        p95: latency.p95,
    }
}
