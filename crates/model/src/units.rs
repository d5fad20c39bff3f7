//! Quantities with their units.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A share of a whole, 0 to 1, kept in millionths so that it compares and adds exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The whole.
    pub const ONE: Self = Self(1_000_000);

    /// From a percentage, 0 to 100; `None` outside it.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
    pub fn from_percent(percent: f64) -> Option<Self> {
        (0.0..=100.0).contains(&percent).then(|| Self((percent * 10_000.0).round() as u32))
    }

    /// In millionths, 0 to 1,000,000.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// As a fraction, 0.0 to 1.0.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1_000_000.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

/// A duration as people write it, exact: `500ms`, `4.5s`, `5m`, `2h`. `spec` reads it back.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let decimal = |whole: u64, rest: u64, digits: usize, unit: &str| {
        let fraction = format!("{rest:0digits$}");
        match fraction.trim_end_matches('0') {
            "" => format!("{whole}{unit}"),
            fraction => format!("{whole}.{fraction}{unit}"),
        }
    };
    match (duration.as_secs(), u64::from(duration.subsec_nanos())) {
        (0, 0) => "0s".to_owned(),
        (0, nanos) => decimal(nanos / 1_000_000, nanos % 1_000_000, 6, "ms"),
        (secs, 0) if secs >= 7200 && secs % 3600 == 0 => format!("{}h", secs / 3600),
        (secs, 0) if secs >= 300 && secs % 60 == 0 => format!("{}m", secs / 60),
        (secs, nanos) => decimal(secs, nanos, 9, "s"),
    }
}

/// A place in PostgreSQL's write-ahead log, in bytes; written as `16/B374D848`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Bytes from `earlier` to here; zero if `earlier` is ahead.
    #[must_use]
    pub const fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// A text that is no place in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an LSN: two hexadecimal numbers with `/` between are expected, such as 16/B374D848")]
pub struct LsnError(pub String);

impl FromStr for Lsn {
    type Err = LsnError;
    fn from_str(text: &str) -> Result<Self, LsnError> {
        let parse = || {
            let (high, low) = text.split_once('/')?;
            let high = u32::from_str_radix(high, 16).ok()?;
            let low = u32::from_str_radix(low, 16).ok()?;
            Some(Self(u64::from(high) << 32 | u64::from(low)))
        };
        parse().ok_or_else(|| LsnError(text.to_owned()))
    }
}
