//! From values to places on a drawing, and round numbers for the marks of an axis.

/// A stretch of values laid onto a stretch of pixels.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// The least value.
    pub from: f64,
    /// The greatest value.
    pub to: f64,
    /// Where the least value lies.
    pub start: f64,
    /// Where the greatest value lies.
    pub end: f64,
}

impl Scale {
    /// Where `value` lies; values outside lie on the edge.
    #[must_use]
    pub fn at(&self, value: f64) -> f64 {
        let span = (self.to - self.from).max(f64::EPSILON);
        let part = ((value - self.from) / span).clamp(0.0, 1.0);
        self.start + part * (self.end - self.start)
    }
}

/// Marks at round values (1, 2, 5 times a power of ten), about `wanted` of them, from `from` to `to`.
#[must_use]
pub fn marks(from: f64, to: f64, wanted: f64) -> Vec<f64> {
    let span = to - from;
    if !span.is_finite() || span <= 0.0 {
        return vec![from];
    }
    let rough = span / wanted;
    let power = 10_f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(power * 10.0);
    let first = (from / step).ceil();
    (0..100).map(|i| (first + f64::from(i)) * step).take_while(|mark| *mark <= to + step * 1e-9).collect()
}

/// The least round number that is no less than `value`, so that the axis ends at a mark.
#[must_use]
pub fn ceiling(value: f64) -> f64 {
    let top = value.max(f64::EPSILON);
    let power = 10_f64.powf(top.log10().floor());
    let fits = |m: &f64| m * power >= top - power * 1e-9;
    [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].into_iter().find(fits).unwrap_or(10.0) * power
}

/// A number without needless digits: `0.5`, `20`, `1.25`.
#[must_use]
pub fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A latency, given in seconds, as people say it: `85 ms`, `1.2 s`.
#[must_use]
pub fn latency(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{} s", number(seconds))
    } else {
        format!("{} ms", number((seconds * 1000.0).round()))
    }
}

/// Seconds as people say them: `0.21 s`, `7.4 s`, `41 s`.
#[must_use]
pub fn seconds(value: f64) -> String {
    match value.abs() {
        under if under < 1.0 => format!("{value:.2} s"),
        under if under < 100.0 => format!("{value:.1} s"),
        _ => format!("{value:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_marks() {
        assert_eq!(marks(0.0, 60.0, 6.0), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        assert_eq!(ceiling(8.7), 10.0);
        assert_eq!(ceiling(61.0), 80.0);
        assert_eq!(number(0.5), "0.5");
    }
}
