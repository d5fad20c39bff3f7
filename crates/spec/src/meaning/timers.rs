//! The periods: from the topology's `timers`, and from health checks of services, which share them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use meridian_model::Timers;
use meridian_planner::Subject;

use super::World;
use crate::form::{At, AtLeastOne};
use crate::kinds::{HealthCheckForm, ServiceForm, TimersForm};

pub(super) fn timers(form: Option<&TimersForm>, services: &[&ServiceForm], world: &mut World<'_>) -> Timers {
    let standard = Timers::default();
    let checks: Vec<&HealthCheckForm> = services.iter().filter_map(|s| s.health_check.as_ref()).collect();
    let mut own = |name, pick: fn(&TimersForm) -> Option<At<Duration>>, standard| {
        settle(name, form.and_then(pick), [], world).unwrap_or(standard)
    };
    let lease_ttl = own("leaseTtl", |f| f.lease_ttl, standard.lease_ttl);
    let renew_every = own("renewEvery", |f| f.renew_every, standard.renew_every);
    let gateway_fence = own("gatewayFence", |f| f.gateway_fence, standard.gateway_fence);
    let database_fence = own("databaseFence", |f| f.database_fence, standard.database_fence);
    let stop_within = own("stopWithin", |f| f.stop_within, standard.stop_within);
    let observation_ttl = own("observationTtl", |f| f.observation_ttl, standard.observation_ttl);
    let flap_window = own("flapWindow", |f| f.flap_window, standard.flap_window);
    let drift = settle("clockDriftPpm", form.and_then(|f| f.clock_drift_ppm), [], world);
    let every = form.and_then(|f| f.probe_every);
    let timeout = form.and_then(|f| f.probe_timeout);
    let (down, up) = (form.and_then(|f| f.down_after), form.and_then(|f| f.up_after));
    let of = |pick: fn(&HealthCheckForm) -> Option<At<Duration>>| checks.iter().copied().filter_map(pick);
    let counts =
        |pick: fn(&HealthCheckForm) -> Option<At<AtLeastOne>>| checks.iter().copied().filter_map(pick);
    Timers {
        lease_ttl,
        renew_every,
        gateway_fence,
        database_fence,
        stop_within,
        observation_ttl,
        flap_window,
        clock_drift_ppm: drift.unwrap_or(standard.clock_drift_ppm),
        probe_every: settle("probeEvery", every, of(|c| c.interval), world).unwrap_or(standard.probe_every),
        probe_timeout: settle("probeTimeout", timeout, of(|c| c.timeout), world)
            .unwrap_or(standard.probe_timeout),
        down_after: settle("downAfter", down, counts(|c| c.unhealthy_threshold), world)
            .map_or(standard.down_after, |n| n.0),
        up_after: settle("upAfter", up, counts(|c| c.healthy_threshold), world)
            .map_or(standard.up_after, |n| n.0),
    }
}

/// What a timer is called where it can be written: in `timers`, and in a service's health check.
const IN_HEALTH_CHECK: [(&str, &str); 4] = [
    ("probeEvery", "healthCheck.interval"),
    ("probeTimeout", "healthCheck.timeout"),
    ("downAfter", "healthCheck.unhealthyThreshold"),
    ("upAfter", "healthCheck.healthyThreshold"),
];

/// The field in which the user has written that timer, if it is not the one of the same name.
fn field_of(timer: &str, in_timers: bool) -> Option<&'static str> {
    let field = IN_HEALTH_CHECK.into_iter().find(|(name, _)| *name == timer).map(|(_, field)| field);
    field.filter(|_| !in_timers)
}

/// Speaks of timers by the fields that the user has written: the planner knows the timers only.
pub(super) fn in_users_words(text: &str, fields: &BTreeMap<&'static str, &'static str>) -> String {
    fields.iter().fold(text.to_owned(), |text, (timer, field)| text.replace(timer, field))
}

/// The one value of a period that may be written in several places; tells where they differ.
fn settle<T: Copy + PartialEq + Debug>(
    name: &'static str,
    own: Option<At<T>>,
    of_services: impl IntoIterator<Item = At<T>>,
    world: &mut World<'_>,
) -> Option<T> {
    let in_timers = own.is_some();
    let mut written = own.into_iter().chain(of_services);
    let first = written.next()?;
    world.places.insert(Subject::Timer(name), first.place);
    world.fields.extend(field_of(name, in_timers).map(|field| (name, field)));
    for other in written.filter(|o| o.value != first.value) {
        let (first, name) = (world.line(first.place, other.place), field_of(name, in_timers).unwrap_or(name));
        let message = format!("this differs from {first}: the whole system has one {name}");
        let hint = "write the same in both places, or in one only";
        world.problems.error(other.place, message, hint);
    }
    Some(first.value)
}
