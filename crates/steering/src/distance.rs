//! How far apart two places are, as a round trip.
//!
//! Between two regions of a cloud the catalogue may have a published figure. Where people live is
//! only a point on the globe, so that their distances are always estimated from the great circle.

use std::fmt;
use std::time::Duration;

use meridian_model::topology::Location;

/// A round-trip time and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoundTrip {
    /// How long.
    pub time: Duration,
    /// It is computed from the distance, not published by anybody who measured it.
    pub estimated: bool,
}

impl RoundTrip {
    /// From here to here.
    pub const ZERO: Self = Self { time: Duration::ZERO, estimated: false };

    /// The estimate for the way between two points.
    #[must_use]
    pub fn between(a: Location, b: Location) -> Self {
        let ms = ACCESS_MS + kilometres(a, b) * DETOUR * 2.0 / FIBRE_KM_PER_MS;
        Self { time: Duration::from_secs_f64(ms / 1_000.0), estimated: true }
    }
}

impl fmt::Display for RoundTrip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = if self.estimated { "about " } else { "" };
        write!(f, "{about}{:.0} ms", self.time.as_secs_f64() * 1_000.0)
    }
}

/// The great-circle distance (haversine formula on a sphere), in kilometres.
#[must_use]
pub fn kilometres(a: Location, b: Location) -> f64 {
    let (lat_a, lat_b) = (a.latitude.to_radians(), b.latitude.to_radians());
    let half_lat = ((lat_b - lat_a) / 2.0).sin();
    let half_lon = ((b.longitude - a.longitude).to_radians() / 2.0).sin();
    let chord = half_lat.mul_add(half_lat, lat_a.cos() * lat_b.cos() * half_lon * half_lon);
    2.0 * EARTH_RADIUS_KM * chord.clamp(0.0, 1.0).sqrt().asin()
}

/// Mean radius of the earth.
const EARTH_RADIUS_KM: f64 = 6_371.0;
/// Light in glass: two thirds of its speed in a vacuum.
const FIBRE_KM_PER_MS: f64 = 200.0;
/// Cables do not follow the great circle. The median of the published pairs is near 1.5.
const DETOUR: f64 = 1.5;
/// What the access networks at both ends add.
const ACCESS_MS: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_distances_are_met_within_one_percent() {
        let frankfurt = Location { latitude: 50.11, longitude: 8.68 };
        let singapore = Location { latitude: 1.35, longitude: 103.82 };
        let km = kilometres(frankfurt, singapore);
        assert!((km - 10_260.0).abs() < 103.0, "{km}");
        assert!(kilometres(frankfurt, frankfurt) < 1e-6);
    }

    #[test]
    fn antipodes_and_poles_are_numbers() {
        let a = Location { latitude: 90.0, longitude: 0.0 };
        let b = Location { latitude: -90.0, longitude: 180.0 };
        let km = kilometres(a, b);
        assert!((km - 20_015.0).abs() < 30.0, "{km}");
        assert!(RoundTrip::between(a, b).time < Duration::from_secs(1));
    }
}
