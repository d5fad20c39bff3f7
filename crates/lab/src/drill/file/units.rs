//! Values with units: durations, rates, shares, counts, words. Each tells what was expected, and where.

use std::time::Duration;

use meridian_model::Name;
use meridian_spec::reading::{Faults, Spot};

/// A value that was there: none when it could not be read, which has been told.
pub(super) type At<T> = Option<T>;

/// The longest time in a drill file.
const TIME_MAX: Duration = Duration::from_secs(3600);
/// The highest rate in a drill file, per second: more is a load test, not a drill.
const RATE_MAX: f64 = 5_000.0;

/// A set of words, one of which is wanted.
pub(super) struct Words {
    pub(super) what: &'static str,
    pub(super) words: &'static [&'static str],
}

/// Any text.
pub(super) fn text(spot: Spot<'_>, faults: &mut Faults) -> Option<String> {
    spot.text().map(str::to_owned).or_else(|| wrong(spot, "a text", "", faults))
}

/// A name.
pub(super) fn name(spot: Spot<'_>, faults: &mut Faults) -> Option<Name> {
    match Name::new(spot.text().unwrap_or_default()) {
        Ok(name) => Some(name),
        Err(error) if spot.text().is_some() => {
            faults.error(spot, error.to_string(), "");
            None
        }
        Err(_) => wrong(spot, "a name", "", faults),
    }
}

/// One of the words.
pub(super) fn word(spot: Spot<'_>, words: Words, faults: &mut Faults) -> Option<&'static str> {
    let text = spot.text().unwrap_or_default();
    let hint = || match meridian_catalog::closest(text, words.words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("one of: {}", words.words.join(", ")),
    };
    let found = words.words.iter().find(|w| **w == text).copied();
    found.or_else(|| wrong(spot, words.what, &hint(), faults))
}

/// `true` or `false`.
pub(super) fn truth(spot: Spot<'_>, faults: &mut Faults) -> Option<bool> {
    word(spot, Words { what: "true or false", words: &["true", "false"] }, faults).map(|w| w == "true")
}

/// `300ms`, `30s`, `5m`, `1h`.
pub(super) fn duration(spot: Spot<'_>, faults: &mut Faults) -> Option<Duration> {
    duration_or(spot, "write a number and its unit: 300ms, 30s, 5m, 1h", faults)
}

/// A duration, with a hint of what else could stand here.
pub(super) fn duration_or(spot: Spot<'_>, hint: &str, faults: &mut Faults) -> Option<Duration> {
    match spot.text().and_then(parse_duration) {
        Some(time) if time <= TIME_MAX => Some(time),
        Some(_) => wrong(spot, "at most one hour", "a drill is shorter than this", faults),
        None => wrong(spot, "a duration", hint, faults),
    }
}

/// A duration as an upper limit: `<= 12s`, or only `12s`.
pub(super) fn duration_limit(spot: Spot<'_>, faults: &mut Faults) -> Option<Duration> {
    let limit = spot.text().and_then(|text| parse_duration(without_sign(text)));
    limit.or_else(|| wrong(spot, "a longest time", "write `<= 12s`", faults))
}

/// A count as an upper limit: `<= 5`, or only `5`.
pub(super) fn count_limit(spot: Spot<'_>, faults: &mut Faults) -> Option<u64> {
    let limit = spot.text().and_then(|text| without_sign(text).parse().ok());
    limit.or_else(|| wrong(spot, "a count", "write a whole number, such as `0`", faults))
}

/// A whole number.
pub(super) fn count(spot: Spot<'_>, faults: &mut Faults) -> Option<u64> {
    let count = spot.text().and_then(|text| text.parse().ok());
    count.or_else(|| wrong(spot, "a whole number", "", faults))
}

/// `60/s`.
pub(super) fn rate(spot: Spot<'_>, faults: &mut Faults) -> Option<f64> {
    let number = spot.text().and_then(|text| plain_number(text.strip_suffix("/s")?));
    match number {
        Some(rate) if rate <= RATE_MAX => Some(rate),
        Some(_) => {
            wrong(spot, &format!("at most {RATE_MAX}/s"), "a drill measures recovery, not capacity", faults)
        }
        None => wrong(spot, "a rate", "write requests per second: 60/s", faults),
    }
}

/// `10MiB/s`, in bytes a second.
pub(super) fn bandwidth(spot: Spot<'_>, faults: &mut Faults) -> Option<u64> {
    let hint = "write it in bytes: 10MiB/s, 500KiB/s or 2000B/s";
    spot.text().and_then(crate::faults::parse_bandwidth).or_else(|| wrong(spot, "a rate", hint, faults))
}

/// `30%` as 0.3.
pub(super) fn percent(spot: Spot<'_>, faults: &mut Faults) -> Option<f64> {
    let number = spot.text().and_then(|text| plain_number(text.strip_suffix('%')?.trim_end()));
    let share = number.filter(|n| *n <= 100.0).map(|n| n / 100.0);
    share.or_else(|| wrong(spot, "a share", "write 0% to 100%", faults))
}

fn wrong<T>(spot: Spot<'_>, expected: &str, hint: &str, faults: &mut Faults) -> Option<T> {
    faults.error(spot, format!("expected {expected}, found {}", spot.found()), hint);
    None
}

fn without_sign(text: &str) -> &str {
    text.strip_prefix("<=").unwrap_or(text).trim_start()
}

/// Digits with at most one dot: no sign, no exponent, no `inf`.
fn plain_number(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.parse().ok().filter(|n: &f64| plain && n.is_finite())
}

pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let seconds = match unit.trim_start() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(plain_number(number)? * seconds).ok()
}
