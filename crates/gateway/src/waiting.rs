//! The room in which new sessions wait for a server: bounded by count and by bytes. (The bound in
//! time is kept by the one who waits, in `seek.rs`.) Sessions that have a seat already need no place in it
//! when they are held or moved; they are only counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use meridian_model::Moment;
use meridian_model::database::GatewayLimits;
use meridian_telemetry::clock;
use meridian_telemetry::events::{
    GatewayMeter, GatewaySessionHeld, GatewaySessionReleased, GatewaySessionUnheld, GatewaySessionWaiting,
};

/// Counts who waits.
#[derive(Debug)]
pub(crate) struct Room {
    count: AtomicU32,
    bytes: AtomicU64,
    count_max: u32,
    bytes_max: u64,
}

/// A place in the room; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    bytes: u64,
    since: Moment,
    meter: GatewayMeter,
}

/// Counts a session that is held; until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    since: Moment,
    meter: GatewayMeter,
}

/// The bound that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("{0} sessions wait already")]
    Count(u32),
    #[error("waiting sessions hold {0} bytes already")]
    Bytes(u64),
}

impl Room {
    pub(crate) fn new(limits: &GatewayLimits) -> Arc<Self> {
        Arc::new(Self {
            count: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            count_max: limits.max_waiting,
            bytes_max: limits.max_waiting_bytes,
        })
    }

    /// Takes a place for a session that holds so many bytes.
    pub(crate) fn enter(
        self: &Arc<Self>,
        bytes: u64,
        why: &str,
        meter: &GatewayMeter,
    ) -> Result<Place, Full> {
        let one_more = |n: u32| (n < self.count_max).then(|| n + 1);
        if self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_err() {
            return Err(Full::Count(self.count_max));
        }
        let so_many_more = |n: u64| n.checked_add(bytes).filter(|n| *n <= self.bytes_max);
        if self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, so_many_more).is_err() {
            self.count.fetch_sub(1, Ordering::AcqRel);
            return Err(Full::Bytes(self.bytes_max));
        }
        GatewaySessionWaiting { reason: why }.emit(meter);
        Ok(Place { room: Arc::clone(self), bytes, since: clock::now(), meter: meter.clone() })
    }
}

impl Place {
    /// Since when.
    pub(crate) const fn since(&self) -> Moment {
        self.since
    }
}

impl Held {
    pub(crate) fn new(meter: &GatewayMeter) -> Self {
        GatewaySessionHeld.emit(meter);
        Self { since: clock::now(), meter: meter.clone() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        GatewaySessionUnheld { held: clock::now().since(self.since) }.emit(&self.meter);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.count.fetch_sub(1, Ordering::AcqRel);
        self.room.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        GatewaySessionReleased { waited: clock::now().since(self.since) }.emit(&self.meter);
    }
}

#[cfg(test)]
mod tests {
    use meridian_model::GroupName;
    use meridian_telemetry::Metrics;
    use meridian_telemetry::events::GatewayPort;

    use super::*;

    #[test]
    fn both_bounds_hold_and_places_come_back() {
        let meter = Metrics::new(None).gateway_meter(&GroupName::new("orders").unwrap(), GatewayPort::Write);
        let limits = GatewayLimits { max_waiting: 2, max_waiting_bytes: 100, ..GatewayLimits::default() };
        let room = Room::new(&limits);
        let first = room.enter(60, "none", &meter).unwrap();
        assert_eq!(room.enter(41, "none", &meter).unwrap_err(), Full::Bytes(100));
        let second = room.enter(40, "none", &meter).unwrap();
        assert_eq!(room.enter(0, "none", &meter).unwrap_err(), Full::Count(2));
        drop(first);
        let third = room.enter(60, "none", &meter).unwrap();
        drop((second, third));
        assert_eq!((room.count.load(Ordering::Acquire), room.bytes.load(Ordering::Acquire)), (0, 0));
    }
}
