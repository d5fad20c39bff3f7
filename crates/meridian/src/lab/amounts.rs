//! Amounts on the command line: a number and its unit, as in specs; a bare number is an error.

use std::time::Duration;

/// `300ms`, `2s`, `5m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    let seconds = amount(text, &units).ok_or_else(|| wrong(text, "a time such as 300ms, 2s, 5m or 1h"))?;
    Duration::try_from_secs_f64(seconds).map_err(|e| format!("`{text}`: {e}"))
}

/// A time that is not nought.
pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.as_millis() == 0 { Err(format!("`{text}` is no time at all")) } else { Ok(time) }
}

/// A number that a lab can have.
pub(crate) fn lab_number(text: &str) -> Result<u8, String> {
    let number = text.parse().map_err(|e| format!("{e}"))?;
    meridian_lab::plan::check_number(number).map(|()| number).map_err(|e| e.to_string())
}

/// `1%`, as a share of one.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share = amount(text, &[("%", 0.01)]).filter(|share| *share <= 1.0);
    share.ok_or_else(|| wrong(text, "a percentage from 0% to 100%, such as 1%"))
}

/// `10MiB/s`, in bytes a second.
pub(super) fn bandwidth(text: &str) -> Result<u64, String> {
    meridian_lab::parse_bandwidth(text)
        .ok_or_else(|| wrong(text, "a rate such as 10MiB/s, 500KiB/s or 2000B/s"))
}

fn wrong(text: &str, wanted: &str) -> String {
    format!("`{text}` is not {wanted}")
}

/// The first unit that fits decides.
fn amount(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    let number: f64 = number.trim_end().parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_need_their_units() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("1.5 s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        assert!(some_time("0s").is_err() && some_time("0.1ms").is_err());
        assert_eq!(some_time("1ms"), Ok(Duration::from_millis(1)));
        assert_eq!((lab_number("10"), lab_number("250")), (Ok(10), Ok(250)));
        assert_eq!(lab_number("9").unwrap_err(), "there is no lab 9: numbers go from 10 to 250");
        assert!(lab_number("300").is_err() && lab_number("x").is_err());
        assert_eq!(share("1%"), Ok(0.01));
        assert_eq!(bandwidth("2KiB/s"), Ok(2048));
        for bad in ["300", "", "ms", "-1s", "infs", "1d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(share("0.5").is_err() && share("101%").is_err());
        assert!(bandwidth("0B/s").is_err() && bandwidth("10Mbit/s").is_err());
    }
}
