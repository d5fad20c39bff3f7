//! Turns of a schedule within a drill.
//!
//! A drill is shorter than a day, and production has no clock that could be set. So the hours of the spec's
//! schedule are moved: the first turn to a full minute soon after the lab has come up, and the load begins
//! so long before it as the drill says. The time zones stay, the hours are those of their clocks.

use std::time::Duration;

use meridian_model::schedule::{ScheduledMove, Weekday};
use meridian_model::{RegionName, System, Timestamp};
use meridian_planner::schedule::clock;

use super::file::{Drill, What, When};

/// How long the lab may take until the load can begin; on a quiet machine it takes 15 s.
const STARTS_WITHIN: Duration = Duration::from_secs(90);
const MINUTE_MS: i64 = 60_000;

/// A system whose schedule was moved for a drill.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moved {
    /// What the lab runs.
    pub(super) system: System,
    /// When the load must begin; none without turns.
    pub(super) begin: Option<Timestamp>,
    /// What the report says of it.
    pub(super) told: Vec<String>,
}

/// Moves the hours of the schedule so that the turns of `drill` come when it says; of a drill without turns
/// the system as it is.
pub(super) fn moved(system: &System, drill: &Drill, now: Timestamp) -> Moved {
    let turns: Vec<(&RegionName, Duration)> = drill.timeline.iter().filter_map(turn).collect();
    let Some((_, first)) = turns.first() else {
        return Moved { system: system.clone(), begin: None, told: Vec::new() };
    };
    let begin = Timestamp(minute_after(later(later(now, STARTS_WITHIN), *first)).0 - millis(*first));
    let mut moved = Moved { system: system.clone(), begin: Some(begin), told: Vec::new() };
    let written = &system.topology.schedule;
    let hours = turns.into_iter().filter_map(|(to, at)| {
        let was = written.iter().find(|m| m.region == *to)?;
        let hour = clock(&was.time_zone, later(begin, at))?;
        let told = format!("{to} at {hour} {}, in the spec at {}", was.time_zone, was.at);
        Some((ScheduledMove { at: hour, days: Weekday::ALL.to_vec(), ..was.clone() }, told))
    });
    (moved.system.topology.schedule, moved.told) = hours.unzip();
    moved
}

fn turn(entry: &super::file::Timed) -> Option<(&RegionName, Duration)> {
    match (&entry.what, entry.when) {
        (What::Turn(to), When::At(at)) => Some((to, at)),
        _ => None,
    }
}

fn minute_after(at: Timestamp) -> Timestamp {
    Timestamp(at.0.div_euclid(MINUTE_MS).saturating_add(1).saturating_mul(MINUTE_MS))
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(millis(by)))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use meridian_planner::schedule::due;

    use super::*;
    use crate::drill::file::{self, Names};

    fn read(folder: &str, name: &str) -> meridian_spec::SourceFile {
        let path = format!("{}/../../{folder}/{name}", env!("CARGO_MANIFEST_DIR"));
        meridian_spec::SourceFile { text: std::fs::read_to_string(&path).unwrap(), name: path }
    }

    #[test]
    fn each_turn_is_due_at_its_time_and_no_other_before() {
        let system = meridian_spec::read(&[read("examples", "follow-the-sun.yaml")]).unwrap();
        let drill = file::read(read("drills", "follow-the-sun.yaml"), Some(&Names::of(&system))).unwrap();
        let turns: Vec<(&RegionName, Duration)> = drill.timeline.iter().filter_map(turn).collect();
        assert_eq!(turns.len(), 2);
        // Every start within an hour, seconds apart, across the change of New York's clocks.
        for second in (0..3_600).step_by(7) {
            let now = Timestamp(1_772_951_400_000 + second * 1_000);
            let moved = moved(&system, &drill, now);
            let begin = moved.begin.unwrap();
            assert!(begin >= later(now, STARTS_WITHIN) && begin < later(now, STARTS_WITHIN * 2));
            let schedule = &moved.system.topology.schedule;
            assert_eq!(due(schedule, now, later(begin, turns[0].1 - Duration::from_millis(1))), None);
            for (to, at) in &turns {
                let instant = later(begin, *at);
                let just_before = Timestamp(instant.0 - 1);
                assert_eq!(due(schedule, just_before, instant), Some(((*to).clone(), instant)));
            }
            assert_eq!(moved.told.len(), 2);
        }
    }

    #[test]
    fn without_turns_the_system_is_as_it_was() {
        let system = meridian_spec::read(&[read("examples", "three-regions.yaml")]).unwrap();
        let drill = file::read(read("drills", "region-loss.yaml"), Some(&Names::of(&system))).unwrap();
        let moved = moved(&system, &drill, Timestamp(0));
        assert_eq!((moved.system, moved.begin, moved.told), (system, None, Vec::new()));
    }
}
