//! One vantage point's memory of one target: thresholds with hysteresis.
//!
//! A target changes its state only after so many equal outcomes in a row, more of them to go down than
//! to come up, so that one lost packet is no news and a flapping target does not flap for everybody.

use std::time::Duration;

use meridian_model::Timers;
use meridian_model::health::{Health, Observation, Target};

/// One vantage point's memory of one target.
#[derive(Debug, Clone)]
pub struct Tracker {
    target: Target,
    down_after: u32,
    up_after: u32,
    health: Health,
    last_ok: bool,
    in_a_row: u32,
    rtt_us: Option<u64>,
}

impl Tracker {
    /// A tracker that knows nothing yet. A threshold of zero counts as one.
    #[must_use]
    pub fn new(target: Target, timers: &Timers) -> Self {
        Self {
            target,
            down_after: timers.down_after.max(1),
            up_after: timers.up_after.max(1),
            health: Health::Unknown,
            last_ok: false,
            in_a_row: 0,
            rtt_us: None,
        }
    }

    /// Takes in how a probe ended (how long it took, or what went wrong) and says what to report.
    pub fn record(&mut self, outcome: Result<Duration, String>) -> Observation {
        let ok = outcome.is_ok();
        self.in_a_row = if ok == self.last_ok { self.in_a_row.saturating_add(1) } else { 1 };
        self.last_ok = ok;
        if ok && self.in_a_row >= self.up_after {
            self.health = Health::Up;
        } else if !ok && self.in_a_row >= self.down_after {
            self.health = Health::Down;
        }
        let detail = match outcome {
            Ok(rtt) => {
                self.rtt_us = Some(u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX));
                let tenths = (rtt.as_micros() + 50) / 100;
                format!("answered in {}.{} ms", tenths / 10, tenths % 10)
            }
            Err(reason) => reason,
        };
        Observation {
            target: self.target.clone(),
            health: self.health,
            in_a_row: self.in_a_row,
            rtt_us: self.rtt_us,
            detail,
        }
    }

    /// What the target is held to be now.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// What is tracked.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::Name;
    use meridian_model::health::Part;

    /// Feeds a line of outcomes (`+` good, `-` bad) and gives back what was held after each.
    fn walk(outcomes: &str) -> String {
        let target = Target { region: Name::new("eu").unwrap(), part: Part::Edge };
        let mut tracker = Tracker::new(target, &Timers::default());
        let say = |c| if c == '+' { Ok(Duration::from_millis(3)) } else { Err("timed out".to_owned()) };
        outcomes
            .chars()
            .map(|c| match tracker.record(say(c)).health {
                Health::Up => 'u',
                Health::Down => 'd',
                Health::Unknown => '?',
            })
            .collect()
    }

    #[test]
    fn thresholds_and_hysteresis() {
        for (outcomes, held) in [
            ("++", "?u"),
            ("---", "??d"),
            ("+-+-+-", "??????"),
            ("++--+--+", "?uuuuuuu"),
            ("++---", "?uuud"),
            ("++---+-+-++", "?uuuddddddu"),
        ] {
            assert_eq!(walk(outcomes), held, "{outcomes}");
        }
    }

    #[test]
    fn the_report_says_how_often_and_why() {
        let target = Target { region: Name::new("eu").unwrap(), part: Part::Node };
        let mut tracker = Tracker::new(target, &Timers::default());
        tracker.record(Ok(Duration::from_micros(1_500)));
        let seen = tracker.record(Err("connection timed out after 1s".to_owned()));
        assert_eq!((seen.in_a_row, seen.rtt_us), (1, Some(1_500)));
        assert_eq!(seen.detail, "connection timed out after 1s");
        assert_eq!(tracker.record(Err("x".to_owned())).in_a_row, 2);
    }
}
