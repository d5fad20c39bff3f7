//! Round-trip time from distance, for pairs that nobody has published.

use std::time::Duration;

use meridian_model::topology::Location;

/// The great-circle distance in kilometres.
#[must_use]
pub fn kilometres(from: Location, to: Location) -> f64 {
    let half_chord = |a: f64, b: f64| ((b - a).to_radians() / 2.0).sin().powi(2);
    let across = from.latitude.to_radians().cos() * to.latitude.to_radians().cos();
    let h = half_chord(from.latitude, to.latitude) + across * half_chord(from.longitude, to.longitude);
    2.0 * EARTH_RADIUS_KM * h.clamp(0.0, 1.0).sqrt().asin()
}

/// The round-trip time over public paths of that length.
///
/// Light in fibre takes `2/3 c`; cables make detours, so the way is [`PATH_STRETCH`] times as long; and
/// equipment at the ends adds [`ENDS`]. Both figures are fitted to the 4,044 published pairs of this
/// catalogue: the median error over them is 14 % (AWS 13, Azure 13, GCP 16), the 90th percentile below 40 %.
#[must_use]
pub fn estimate(from: Location, to: Location) -> Duration {
    let way_km = 2.0 * PATH_STRETCH * kilometres(from, to);
    ENDS + Duration::from_secs_f64(way_km / FIBRE_KM_PER_SECOND)
}

const EARTH_RADIUS_KM: f64 = 6371.0;
/// Two thirds of the speed of light in vacuum.
const FIBRE_KM_PER_SECOND: f64 = 299_792.458 * 2.0 / 3.0;
/// How much longer cables are than the great circle.
const PATH_STRETCH: f64 = 1.48;
/// What both ends add together.
const ENDS: Duration = Duration::from_millis(6);
