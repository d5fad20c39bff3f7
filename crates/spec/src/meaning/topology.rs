//! The topology: objectives, users, and the way to etcd.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use meridian_catalog::{closest, continent, continents};
use meridian_model::topology::{Coordination, Location, Objectives, Pattern, Population, Topology};
use meridian_model::{Name, Share};
use meridian_planner::Subject;

use super::regions::{location, ports, regions};
use super::{World, schedule, timers, twice};
use crate::form::{At, clip};
use crate::kinds::{CoordinationForm, ObjectivesForm, PopulationForm, ServiceForm, TopologyForm};
use crate::source::{Place, Problems};

/// What the topology means; the world learns its regions.
pub(super) fn topology(
    name: Name,
    form: &TopologyForm,
    file: usize,
    services: &[&ServiceForm],
    world: &mut World<'_>,
) -> Topology {
    let pattern = form.pattern.map(|p| p.value);
    let regions = form.regions.as_ref().map(|r| regions(r, pattern, file, world)).unwrap_or_default();
    world.all_named &= form.regions.is_some();
    remember_places(form, world);
    Topology {
        name,
        pattern: pattern.unwrap_or(Pattern::ActivePassive),
        schedule: schedule::schedule(form, world),
        objectives: objectives(form.objectives.as_ref()),
        regions,
        users: form.users.as_ref().map(|u| users(u, world.problems)).unwrap_or_default(),
        coordination: coordination(form.coordination.as_ref(), file, world),
        timers: timers::timers(form.timers.as_ref(), services, world),
        otlp_endpoint: form.telemetry.as_ref().and_then(|t| t.otlp_endpoint.as_ref()).map(|u| u.0.clone()),
    }
}

fn remember_places(form: &TopologyForm, world: &mut World<'_>) {
    let objectives = form.objectives.as_ref();
    let endpoints = form.coordination.as_ref().and_then(|c| c.endpoints.as_ref()).map(|e| e.place);
    let first_region = form.regions.as_ref().and_then(|r| r.value.first()).map(|r| r.place);
    let known: [(Subject, Option<Place>); 4] = [
        (Subject::Rto, objectives.and_then(|o| o.rto).map(|r| r.place)),
        (Subject::Rpo, objectives.and_then(|o| o.rpo).map(|r| r.place)),
        (Subject::Coordination, endpoints.or(first_region)),
        (Subject::Regions, first_region),
    ];
    world.places.extend(known.into_iter().filter_map(|(subject, place)| Some((subject, place?))));
}

fn objectives(form: Option<&ObjectivesForm>) -> Objectives {
    let get = |written: Option<At<Duration>>| written.map_or(Duration::ZERO, |w| w.value);
    Objectives { rto: get(form.and_then(|f| f.rto)), rpo: get(form.and_then(|f| f.rpo)) }
}

fn users(forms: &At<Vec<At<PopulationForm>>>, problems: &mut Problems) -> Vec<Population> {
    let made = forms.value.iter().filter_map(|form| population(form, problems)).collect();
    shares(forms, problems);
    unique(&forms.value, problems);
    made
}

fn population(form: &At<PopulationForm>, problems: &mut Problems) -> Option<Population> {
    let continent_name = form.continent.as_ref().and_then(|c| Name::new(&c.value).ok());
    let name = form.name.as_ref().map(|n| n.value.clone()).or(continent_name);
    let location = middle(form, problems);
    if name.is_none() {
        problems.error(
            form.place,
            "this population has no name",
            "add `name:`, or `continent:` for all of one",
        );
    }
    let networks = form.networks.as_ref().map(|n| n.value.iter().map(|n| n.value).collect());
    Some(Population {
        name: name?,
        share: form.share.map_or(Share::ZERO, |s| s.value),
        location,
        networks: networks.unwrap_or_default(),
    })
}

fn middle(form: &At<PopulationForm>, problems: &mut Problems) -> Location {
    let known = form.continent.as_ref().and_then(|c| continent(&c.value));
    if let (Some(written), None) = (&form.continent, known) {
        let names = || continents().iter().map(|c| c.name);
        let hint = match closest(&written.value, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of: {}", names().collect::<Vec<_>>().join(", ")),
        };
        problems.error(written.place, format!("there is no continent `{}`", clip(&written.value)), hint);
    }
    if form.continent.is_none() && form.location.is_none() {
        let hint = "add `continent: europe`, or `location:` with latitude and longitude";
        problems.error(form.place, "where are these users?", hint);
    }
    let written = form.location.as_ref().map(|l| location(l, problems));
    written.or(known.map(|c| c.middle)).unwrap_or(Location { latitude: 0.0, longitude: 0.0 })
}

/// Shares add up to 100 %; not told when one of them could not be read.
fn shares(forms: &At<Vec<At<PopulationForm>>>, problems: &mut Problems) {
    let shares: Option<Vec<At<Share>>> = forms.value.iter().map(|f| f.share).collect();
    let Some(shares) = shares else { return };
    let sum: u64 = shares.iter().map(|s| u64::from(s.value.millionths())).sum();
    let whole = u64::from(Share::ONE.millionths());
    if sum == whole {
        return;
    }
    let percent = |millionths: u64| format!("{}%", millionths as f64 / 10_000.0);
    let written: Vec<String> = shares.iter().map(|s| s.value.to_string()).collect();
    let message = match written.as_slice() {
        [] => "there are no users".to_owned(),
        written => format!("the shares of users add up to {}: {}", percent(sum), written.join(" + ")),
    };
    let hint = match sum < whole {
        true => format!("{} are missing", percent(whole - sum)),
        false => format!("{} are too many", percent(sum - whole)),
    };
    let place = shares.last().map_or(forms.place, |last| last.place);
    problems.error_apart(place, message, hint);
}

fn unique(forms: &[At<PopulationForm>], problems: &mut Problems) {
    let mut names: Vec<At<Name>> = Vec::new();
    let mut networks: Vec<At<IpNet>> = Vec::new();
    for form in forms {
        let continent = form
            .continent
            .as_ref()
            .and_then(|c| Some(At { value: Name::new(&c.value).ok()?, place: c.place }));
        if let Some(name) = form.name.clone().or(continent) {
            match names.iter().find(|n| n.value == name.value) {
                Some(first) => twice("the population", &name.value, name.place, first.place, problems),
                None => names.push(name),
            }
        }
        for network in form.networks.iter().flat_map(|n| &n.value) {
            match networks.iter().find(|n| n.value == network.value) {
                Some(first) => twice("the network", &network.value, network.place, first.place, problems),
                None => networks.push(*network),
            }
        }
    }
}

fn coordination(form: Option<&CoordinationForm>, file: usize, world: &World<'_>) -> Coordination {
    let written = form.and_then(|f| f.endpoints.as_ref());
    let endpoints = match written {
        Some(urls) => urls.value.iter().map(|u| u.0.clone()).collect(),
        None => default_endpoints(world),
    };
    let secret = form.and_then(|f| f.control_secret_file.as_ref());
    let control_secret_file = match secret {
        Some(path) => world.path(file, path),
        None => PathBuf::from("/etc/meridian/control-secret"),
    };
    Coordination { endpoints, control_secret_file }
}

/// One member in every region that has an address.
fn default_endpoints(world: &World<'_>) -> Vec<String> {
    let placed = world.regions.iter().filter(|r| !r.address.is_unspecified());
    placed.map(|r| format!("http://{}", std::net::SocketAddr::new(r.address, ports::ETCD_CLIENT))).collect()
}
