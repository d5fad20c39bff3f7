//! The directed links between places: their shape, and when bytes sent now arrive.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::faults::bandwidth_text;

/// Payload of one packet: how many a chunk is made of decides how likely one of them is lost.
const PACKET: usize = 1448;
/// Linux's least retransmission timeout.
const RTO_MIN: Duration = Duration::from_millis(200);
/// Losses of one chunk in a row that are still modelled.
const LOSSES_MAX: u32 = 6;

/// How one direction of a link behaves.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shape {
    /// From one end to the other: half of the round trip.
    pub delay: Duration,
    /// Up to this much is added, evenly spread.
    pub jitter: Duration,
    /// The share of packets lost, 0 to 1. A stream gets the delay of a retransmission, a datagram is gone.
    pub loss: f64,
    /// Bytes a second; none: no limit.
    pub bandwidth: Option<u64>,
}

impl Shape {
    /// A link with that round trip and jitter of 2 % of it, 2 ms at most.
    #[must_use]
    pub fn of_round_trip(rtt: Duration) -> Self {
        let jitter = (rtt / 50).min(Duration::from_millis(2));
        Self { delay: rtt / 2, jitter, loss: 0.0, bandwidth: None }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms one way", self.delay.as_millis())?;
        if self.loss > 0.0 {
            write!(f, ", loss {:.2} %", self.loss * 100.0)?;
        }
        self.bandwidth.iter().try_for_each(|b| write!(f, ", {}", bandwidth_text(*b)))
    }
}

/// All directed links.
#[derive(Debug)]
pub(super) struct Links(BTreeMap<(usize, usize), Link>);

impl Links {
    pub(super) fn new(places: usize, shapes: &BTreeMap<(usize, usize), Shape>, seed: u64) -> Self {
        let pairs = (0..places).flat_map(|from| (0..places).map(move |to| (from, to)));
        let link = |pair: (usize, usize)| {
            let own = seed ^ ((pair.0 as u64) << 32 | pair.1 as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (pair, Link::new(shapes.get(&pair).copied().unwrap_or_default(), own))
        };
        Self(pairs.map(link).collect())
    }

    pub(super) fn get(&self, pair: (usize, usize)) -> Option<&Link> {
        self.0.get(&pair)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ((usize, usize), &Link)> {
        self.0.iter().map(|(pair, link)| (*pair, link))
    }

    /// Packets from the first to the second are swallowed.
    pub(super) fn is_cut(&self, pair: (usize, usize)) -> bool {
        self.get(pair).is_some_and(Link::is_cut)
    }
}

/// One direction between two places.
#[derive(Debug)]
pub(super) struct Link {
    base: Shape,
    state: watch::Sender<State>,
    lane: Mutex<Lane>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct State {
    shape: Shape,
    cut: bool,
}

/// What changes with every chunk: chance, and when the line is free again.
#[derive(Debug)]
struct Lane {
    random: u64,
    free_at: Option<Instant>,
}

impl Link {
    fn new(base: Shape, seed: u64) -> Self {
        let state = watch::Sender::new(State { shape: base, cut: false });
        Self { base, state, lane: Mutex::new(Lane { random: seed, free_at: None }) }
    }

    pub(super) fn shape(&self) -> Shape {
        self.state.borrow().shape
    }

    pub(super) fn is_cut(&self) -> bool {
        self.state.borrow().cut
    }

    /// `shape`: instead of the first one.
    pub(super) fn set(&self, shape: Option<Shape>, cut: bool) {
        let new = State { shape: shape.unwrap_or(self.base), cut };
        self.state.send_if_modified(|state| std::mem::replace(state, new) != new);
    }

    /// Returns at once if packets pass, else when they do again.
    pub(super) async fn open(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.state.subscribe().wait_for(|state| !state.cut).await;
    }

    /// Returns when the link is not cut (`was` true) or is cut (`was` false).
    pub(super) async fn cut_is_not(&self, was: bool) {
        let _ = self.state.subscribe().wait_for(|state| state.cut != was).await;
    }

    /// When `bytes` of a stream, sent now, have arrived: queueing, delay, jitter, retransmissions.
    pub(super) fn arrival(&self, bytes: usize, back: Duration) -> Instant {
        let shape = self.shape();
        let mut lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = lane.transmit(bytes, shape.bandwidth);
        let resent = lane.retransmissions(bytes, shape.loss, shape.delay + back);
        sent + shape.delay + lane.up_to(shape.jitter) + resent
    }

    /// When a datagram sent now arrives; `None` when it is lost.
    pub(super) fn datagram(&self, bytes: usize) -> Option<Instant> {
        let State { shape, cut } = *self.state.borrow();
        let mut lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        if cut || lane.chance() < shape.loss {
            return None;
        }
        let sent = lane.transmit(bytes, shape.bandwidth);
        Some(sent + shape.delay + lane.up_to(shape.jitter))
    }

    /// Bytes that one connection may have under way: enough for the line, not for a lake.
    pub(super) fn window(&self) -> usize {
        const MOST: u64 = 4 << 20;
        const LEAST: u64 = 256 << 10;
        let shape = self.shape();
        let line = shape.bandwidth.map_or(MOST, |b| {
            let millis = u64::try_from((shape.delay * 2).as_millis()).unwrap_or(u64::MAX).saturating_add(200);
            b.saturating_mul(millis) / 1000
        });
        usize::try_from(line.clamp(LEAST, MOST)).unwrap_or(usize::MAX)
    }
}

impl Lane {
    /// When the last of `bytes` has left, behind all that was sent before.
    fn transmit(&mut self, bytes: usize, bandwidth: Option<u64>) -> Instant {
        let now = Instant::now();
        let Some(bandwidth) = bandwidth else { return now };
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / bandwidth.max(1);
        let left = self.free_at.map_or(now, |free| free.max(now)) + Duration::from_nanos(nanos);
        self.free_at = Some(left);
        left
    }

    /// The delay that lost packets of a chunk cost: each loss in a row one doubled timeout.
    fn retransmissions(&mut self, bytes: usize, loss: f64, rtt: Duration) -> Duration {
        if loss <= 0.0 {
            return Duration::ZERO;
        }
        let packets = i32::try_from(bytes.div_ceil(PACKET).max(1)).unwrap_or(i32::MAX);
        let any = 1.0 - (1.0 - loss).powi(packets);
        let mut lost = u32::from(self.chance() < any);
        // The retransmission is one packet again.
        while lost > 0 && lost < LOSSES_MAX && self.chance() < loss {
            lost += 1;
        }
        (rtt + RTO_MIN) * (2_u32.pow(lost) - 1)
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.chance())
    }

    /// Evenly in 0..1 (SplitMix64).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(shape: Shape) -> Link {
        Link::new(shape, 7)
    }

    #[test]
    fn bandwidth_queues_and_delay_adds() {
        let shape =
            Shape { delay: Duration::from_millis(40), bandwidth: Some(1_000_000), ..Shape::default() };
        let link = link(shape);
        let start = Instant::now();
        let first = link.arrival(100_000, Duration::ZERO);
        assert!(first - start >= Duration::from_millis(140));
        assert_eq!(link.arrival(100_000, Duration::ZERO) - first, Duration::from_millis(100));
    }

    #[test]
    fn lost_packets_of_a_stream_come_later_and_datagrams_never() {
        let always = link(Shape { loss: 1.0, ..Shape::default() });
        assert!(always.arrival(10, Duration::ZERO) - Instant::now() >= RTO_MIN);
        assert_eq!(always.datagram(10), None);
        let half = link(Shape { loss: 0.5, ..Shape::default() });
        let arrived = (0..1000).filter(|_| half.datagram(10).is_some()).count();
        assert!((400..600).contains(&arrived), "{arrived} of 1000 arrived");
    }

    #[test]
    fn jitter_is_bounded_and_repeats_with_the_seed() {
        let jitter = Shape::of_round_trip(Duration::from_millis(90)).jitter;
        let draw = |seed| {
            let mut lane = Lane { random: seed, free_at: None };
            (0..100).map(|_| lane.up_to(jitter)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().all(|d| *d < jitter));
    }
}
