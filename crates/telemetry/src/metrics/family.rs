//! Families of counters, gauges and times with a fixed number of labels and a limit on their series.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use meridian_model::Name;
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The most series of one family; what would be beyond it is not counted. A guard against a
/// mistake: three regions with ten services stay under 200.
pub const SERIES_MAX: usize = 2_000;

/// The value of a label: a name of the spec, or a fixed word. Text of clients fits neither.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// A name of the spec.
    Name(Name),
    /// A word of the code.
    Fixed(&'static str),
}

impl From<&Name> for Word {
    fn from(name: &Name) -> Self {
        Self::Name(name.clone())
    }
}

impl From<&'static str> for Word {
    fn from(word: &'static str) -> Self {
        Self::Fixed(word)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name.as_str()),
            Self::Fixed(word) => f.write_str(word),
        }
    }
}

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.as_str().encode(encoder),
            Self::Fixed(word) => word.encode(encoder),
        }
    }
}

type Labels<const N: usize> = [(&'static str, Word); N];

/// A metric told apart by `N` labels, with at most [`SERIES_MAX`] series.
pub(crate) struct Series<const N: usize, M> {
    labels: [&'static str; N],
    family: Family<Labels<N>, M, fn() -> M>,
    make: fn() -> M,
    made: AtomicUsize,
}

/// Counters; `_total` is appended to their names by the format.
pub(crate) type Counters<const N: usize> = Series<N, Counter>;
/// Gauges of whole numbers.
pub(crate) type Gauges<const N: usize> = Series<N, Gauge>;
/// Histograms of seconds; `_seconds` is appended to their names.
pub(crate) type Seconds<const N: usize> = Series<N, Histogram>;

impl<const N: usize> Counters<N> {
    /// Adds the family to the registry.
    pub(crate) fn declare(r: &mut Registry, name: &str, help: &str, labels: [&'static str; N]) -> Self {
        let series = Self::new(labels, Counter::default);
        r.register(name, help, series.family.clone());
        series
    }
}

impl<const N: usize> Gauges<N> {
    /// Adds the family to the registry.
    pub(crate) fn declare(r: &mut Registry, name: &str, help: &str, labels: [&'static str; N]) -> Self {
        let series = Self::new(labels, Gauge::default);
        r.register(name, help, series.family.clone());
        series
    }
}

impl<const N: usize> Seconds<N> {
    /// Adds the family to the registry.
    pub(crate) fn declare(r: &mut Registry, name: &str, help: &str, labels: [&'static str; N]) -> Self {
        let series = Self::new(labels, histogram);
        r.register_with_unit(name, help, Unit::Seconds, series.family.clone());
        series
    }
}

impl<const N: usize, M: Clone> Series<N, M> {
    fn new(labels: [&'static str; N], make: fn() -> M) -> Self {
        Self { labels, family: Family::new_with_constructor(make), make, made: AtomicUsize::new(0) }
    }

    /// The metric of these label values; beyond the limit, one that is not shown.
    pub(crate) fn at(&self, values: [Word; N]) -> M {
        let key = key(self.labels, values);
        if let Some(metric) = self.family.get(&key) {
            return metric.clone();
        }
        if self.made.fetch_add(1, Ordering::Relaxed) >= SERIES_MAX {
            return (self.make)();
        }
        self.family.get_or_create_owned(&key)
    }
}

fn key<const N: usize>(labels: [&'static str; N], values: [Word; N]) -> Labels<N> {
    let mut values = values.into_iter();
    labels.map(|label| (label, values.next().unwrap_or(Word::Fixed(""))))
}

fn histogram() -> Histogram {
    Histogram::new(BOUNDS)
}

/// From a local DNS answer (50 µs) over a round trip around the world to a recovery (60 s).
const BOUNDS: [f64; 16] =
    [0.000_05, 0.000_25, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];
