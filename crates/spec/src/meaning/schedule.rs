//! When the writer follows the sun: hours that exist, in places that can take it.

use meridian_catalog::closest;
use meridian_model::database::Database;
use meridian_model::schedule::{ScheduledMove, Weekday};
use meridian_model::topology::Pattern;
use meridian_planner::schedule::{is_time_zone, time_zones};

use super::World;
use crate::form::{At, clip};
use crate::kinds::{ScheduledForm, TopologyForm};
use crate::source::{Place, Problems};

/// The moves of a topology; tells a schedule that is missing, or has no use.
pub(super) fn schedule(form: &TopologyForm, world: &mut World<'_>) -> Vec<ScheduledMove> {
    match (form.pattern, &form.schedule) {
        (Some(pattern), Some(written)) if pattern.value != Pattern::FollowTheSun => {
            let hint = "remove it, or write `pattern: follow-the-sun`";
            world.problems.error(written.place, "only `follow-the-sun` has a schedule", hint);
        }
        (Some(pattern), None) if pattern.value == Pattern::FollowTheSun => {
            let hint = "add `schedule:`, such as `- { region: eu-central-1, at: \"08:00\", timeZone: Europe/Berlin }`";
            world.problems.error(pattern.place, "`follow-the-sun` needs a schedule", hint);
        }
        _ => {}
    }
    let Some(written) = &form.schedule else { return Vec::new() };
    moves_something(written, world.problems);
    let made: Vec<(Place, ScheduledMove)> =
        written.value.iter().filter_map(|f| Some((f.place, scheduled(f, world)?))).collect();
    for (at, (place, later)) in made.iter().enumerate() {
        let clashes = |(_, earlier): &&(Place, ScheduledMove)| same_hour(earlier, later);
        if let Some((first, _)) = made.iter().take(at).find(clashes) {
            let message =
                format!("the writer moves twice at {}, first in {}", later.at, world.line(*first, *place));
            world.problems.error(*place, message, "give it another hour, or other days");
        }
    }
    made.into_iter().map(|(_, made)| made).collect()
}

/// The writer can move there: every database has a member in each region of the schedule.
pub(super) fn members(form: &TopologyForm, databases: &[Database], world: &mut World<'_>) {
    let known = world.data_regions();
    let regions = form.schedule.iter().flat_map(|s| &s.value).filter_map(|f| f.region.as_ref());
    for region in regions.filter(|r| known.iter().any(|k| k.name == r.value)) {
        if let Some(without) = databases.iter().find(|d| d.member(&region.value).is_none()) {
            let message = format!("database `{}` has no member in `{}`", without.name, region.value);
            world.problems.error(
                region.place,
                message,
                "add the region to its members, or leave it out here",
            );
        }
    }
}

fn moves_something(written: &At<Vec<At<ScheduledForm>>>, problems: &mut Problems) {
    let mut regions: Vec<_> = written.value.iter().filter_map(|f| f.region.as_ref()).collect();
    regions.dedup_by_key(|r| &r.value);
    if written.value.is_empty() {
        problems.error(
            written.place,
            "the schedule is empty",
            "add an hour for each region that takes the writer",
        );
    } else if let ([only], true) = (regions.as_slice(), written.value.iter().all(|f| f.region.is_some())) {
        let message = format!("the writer would move to `{}` and stay there", only.value);
        problems.warning(only.place, message, "add an hour at which another region takes it");
    }
}

fn scheduled(form: &ScheduledForm, world: &mut World<'_>) -> Option<ScheduledMove> {
    let region = form.region.as_ref().and_then(|r| world.data_region(r));
    let time_zone = form.time_zone.as_ref();
    if let Some(zone) = time_zone.filter(|zone| !is_time_zone(&zone.value)) {
        let known = time_zones();
        let hint = match closest(&zone.value, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "an IANA name: a continent, `/` and a city, such as `Europe/Berlin`".to_owned(),
        };
        world.problems.error(zone.place, format!("there is no time zone `{}`", clip(&zone.value)), hint);
    }
    let days = form.days.as_ref();
    if let Some(empty) = days.filter(|d| d.value.is_empty()) {
        world.problems.error(
            empty.place,
            "there is no day here",
            "name days, or leave `days` out: then it is every day",
        );
    }
    let named = |day: &Weekday| days.is_none_or(|d| d.value.iter().any(|row| row.0.contains(day)));
    Some(ScheduledMove {
        region: region?.name,
        at: form.at?,
        time_zone: time_zone?.value.clone(),
        days: Weekday::ALL.into_iter().filter(named).collect(),
    })
}

fn same_hour(a: &ScheduledMove, b: &ScheduledMove) -> bool {
    a.at == b.at && a.time_zone == b.time_zone && a.days.iter().any(|day| b.days.contains(day))
}
