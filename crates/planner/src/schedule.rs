//! Follow the sun: which scheduled hour has come, and which comes next.
//!
//! An hour is one of a clock on a wall, so two days of the year are odd. Where the clocks go forward over
//! it, the move happens as much later as the gap is wide (02:30 becomes 03:30, as in RFC 5545); where they
//! go back over it, at the first of the two. So every scheduled hour happens, and happens once.
//!
//! The time zones are compiled in: nothing is read from the machine.

use jiff::civil::{Date, Weekday as Day};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp as Instant};
use meridian_model::schedule::{ScheduledMove, TimeOfDay, Weekday};
use meridian_model::{RegionName, Timestamp};

/// The latest scheduled hour after `last` and not after `now`, with the region that takes the writer
/// then; of two at the same instant, the later in the schedule.
#[must_use]
pub fn due(schedule: &[ScheduledMove], last: Timestamp, now: Timestamp) -> Option<(RegionName, Timestamp)> {
    let hours = schedule.iter().filter_map(|m| Some((latest(m, now).filter(|at| *at > last)?, m)));
    hours.max_by_key(|(at, _)| *at).map(|(at, m)| (m.region.clone(), at))
}

/// The first scheduled hour after `now`, with the region that takes the writer then; of two at the same
/// instant, the later in the schedule.
#[must_use]
pub fn next(schedule: &[ScheduledMove], now: Timestamp) -> Option<(RegionName, Timestamp)> {
    let hours = schedule.iter().rev().filter_map(|m| Some((earliest(m, now)?, m)));
    hours.min_by_key(|(at, _)| *at).map(|(at, m)| (m.region.clone(), at))
}

/// What the clocks of that time zone show at `now`, to the minute; none if there is no such zone.
#[must_use]
pub fn clock(time_zone: &str, now: Timestamp) -> Option<TimeOfDay> {
    let there = Instant::from_millisecond(now.0).ok()?.to_zoned(zone(time_zone)?);
    TimeOfDay::new(u8::try_from(there.hour()).ok()?, u8::try_from(there.minute()).ok()?)
}

/// There is a time zone of that name.
#[must_use]
pub fn is_time_zone(name: &str) -> bool {
    zone(name).is_some()
}

/// The names of all time zones, such as `Europe/Berlin`.
#[must_use]
pub fn time_zones() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).collect()
}

fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// The last hour of that move that is not after `now`.
fn latest(of: &ScheduledMove, now: Timestamp) -> Option<Timestamp> {
    around(of, now)?.into_iter().filter(|at| *at <= now).max()
}

/// The first hour of that move after `now`.
fn earliest(of: &ScheduledMove, now: Timestamp) -> Option<Timestamp> {
    around(of, now)?.into_iter().filter(|at| *at > now).min()
}

/// The hours of that move on the days around `now`: at least one before it and one after it.
fn around(of: &ScheduledMove, now: Timestamp) -> Option<Vec<Timestamp>> {
    let zone = zone(&of.time_zone)?;
    let today = Instant::from_millisecond(now.0).ok()?.to_zoned(zone.clone()).date();
    let days = (-DAYS_AROUND..=DAYS_AROUND).filter_map(|n| today.checked_add(Span::new().days(n)).ok());
    let meant = days.filter(|date| of.days.contains(&weekday(*date)));
    Some(meant.filter_map(|date| instant(of, &zone, date)).collect())
}

/// The instant of that move on that day.
fn instant(of: &ScheduledMove, zone: &TimeZone, date: Date) -> Option<Timestamp> {
    let (hour, minute) = (i8::try_from(of.at.hour()).ok()?, i8::try_from(of.at.minute()).ok()?);
    let hour = date.at(hour, minute, 0, 0);
    let instant = zone.to_ambiguous_timestamp(hour).compatible().ok()?;
    Some(Timestamp(instant.as_millisecond()))
}

fn weekday(date: Date) -> Weekday {
    match date.weekday() {
        Day::Monday => Weekday::Mon,
        Day::Tuesday => Weekday::Tue,
        Day::Wednesday => Weekday::Wed,
        Day::Thursday => Weekday::Thu,
        Day::Friday => Weekday::Fri,
        Day::Saturday => Weekday::Sat,
        Day::Sunday => Weekday::Sun,
    }
}

/// Each day of the week, and one more on each side: today's hour may be before or after `now`, and a gap
/// may carry it into the next day.
const DAYS_AROUND: i64 = 8;

#[cfg(test)]
mod tests;
