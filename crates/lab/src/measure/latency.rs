//! Percentiles of latencies, by the nearest rank: each figure is one that really occurred.

use std::time::Duration;

/// Latencies of one group of good answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Percentiles {
    /// How many answers.
    pub count: usize,
    /// Half were no slower.
    pub p50: Duration,
    /// 95 % were no slower.
    pub p95: Duration,
    /// 99 % were no slower.
    pub p99: Duration,
}

/// The percentiles; all zero when there is nothing.
#[must_use]
pub fn percentiles(latencies: impl Iterator<Item = Duration>) -> Percentiles {
    let mut sorted: Vec<Duration> = latencies.collect();
    sorted.sort_unstable();
    let rank = |percent: usize| {
        let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(index).copied().unwrap_or_default()
    };
    Percentiles { count: sorted.len(), p50: rank(50), p95: rank(95), p99: rank(99) }
}
