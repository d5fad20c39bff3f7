//! From what was written to what is meant: defaults are filled in, references are followed, and what
//! contradicts itself is told.
//!
//! Faults do not stop the work: a value that is missing or wrong gets a placeholder, so that everything
//! after it is looked at too. The placeholders never get out: a system with any error is dropped.

mod clash;
mod database;
mod glob;
mod plan;
mod policy;
mod regions;
mod schedule;
mod service;
mod timers;
mod topology;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use meridian_catalog::closest;
use meridian_model::topology::Role;
use meridian_model::{Name, System};
use meridian_planner::Subject;

use crate::diagnostic::Severity;
use crate::form::At;
use crate::kinds::{Body, Resource, ServiceForm, TopologyForm};
use crate::source::{Place, Problem, Problems};
use regions::Known;
pub(crate) use regions::provider_word;

/// What was made of the resources, and where each of its facts is written.
pub(crate) struct Meant {
    pub(crate) system: System,
    places: BTreeMap<Subject, Place>,
    /// Timers that are written in a field of another name, with that name.
    fields: BTreeMap<&'static str, &'static str>,
    /// The topology, for findings about what was not written at all.
    place: Place,
}

impl Meant {
    /// Where the subject of a finding is written.
    ///
    /// One about a timer that was not written is about those written ones on which it depends.
    pub(crate) fn place(&self, subject: &Subject) -> Place {
        let at = |subject: &Subject| self.places.get(subject).copied();
        let timer = |name: &&'static str| at(&Subject::Timer(name));
        let others = || match subject {
            Subject::Timer("observationTtl") => ["probeTimeout", "probeEvery"].iter().find_map(timer),
            Subject::Timer("probeTimeout") => timer(&"probeEvery"),
            Subject::Timer("leaseTtl") => {
                ["databaseFence", "stopWithin", "clockDriftPpm"].iter().find_map(timer)
            }
            Subject::Timer("gatewayFence") => ["databaseFence", "renewEvery"].iter().find_map(timer),
            Subject::Timer("renewEvery") => timer(&"gatewayFence"),
            _ => None,
        };
        at(subject).or_else(others).unwrap_or(self.place)
    }

    /// A text of the planner, which knows timers only, with the names that the user has written.
    pub(crate) fn in_users_words(&self, text: &str) -> String {
        timers::in_users_words(text, &self.fields)
    }
}

/// All that the meaning of a resource may depend on.
struct World<'a> {
    regions: Vec<Known>,
    /// The topology could be read and every region has a name; else an unknown one may be one of those.
    all_named: bool,
    folders: &'a [PathBuf],
    places: BTreeMap<Subject, Place>,
    fields: BTreeMap<&'static str, &'static str>,
    problems: &'a mut Problems,
}

impl World<'_> {
    /// A path as written in that file, from its folder.
    fn path(&self, file: usize, written: &Path) -> PathBuf {
        self.folders.get(file).map_or_else(|| written.to_owned(), |folder| folder.join(written))
    }

    /// `line 12`, with the file if it is another than that of `from`.
    fn line(&self, place: Place, from: Place) -> String {
        self.problems.line(place, from)
    }

    /// The region that is named there; tells if there is none.
    fn region(&mut self, name: &At<Name>) -> Option<Known> {
        let found = self.regions.iter().find(|r| r.name == name.value);
        if found.is_none() && self.all_named {
            let names = || self.regions.iter().map(|r| r.name.as_str());
            let hint = match closest(name.value.as_str(), names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    // A region that is listed twice is told as that.
                    let mut known: Vec<&str> = Vec::new();
                    names().for_each(|n| {
                        if !known.contains(&n) {
                            known.push(n)
                        }
                    });
                    format!("regions of this topology: {}", known.join(", "))
                }
            };
            self.problems.error(name.place, format!("there is no region `{}`", name.value), hint);
        }
        found.cloned()
    }

    /// The region that is named there, if it holds data; tells if it is a witness.
    fn data_region(&mut self, name: &At<Name>) -> Option<Known> {
        let region = self.region(name)?;
        if region.role == Role::Witness {
            let message =
                format!("region `{}` is a witness: it holds no data and runs no instances", name.value);
            self.problems.error(name.place, message, "leave it out here, or give it the role `secondary`");
            return None;
        }
        Some(region)
    }

    fn data_regions(&self) -> Vec<Known> {
        self.regions.iter().filter(|r| r.role != Role::Witness).cloned().collect()
    }
}

/// What the resources mean; none if the one topology is missing or no mapping: then it is told all the same what is
/// wrong with the others by themselves.
pub(crate) fn meant(resources: &[Resource], folders: &[PathBuf], problems: &mut Problems) -> Option<Meant> {
    let found = the_topology(resources, problems);
    unique_names(resources, problems);
    let (places, fields) = (BTreeMap::new(), BTreeMap::new());
    let mut world =
        World { regions: Vec::new(), all_named: found.is_some(), folders, places, fields, problems };
    let services: Vec<&ServiceForm> = resources.iter().filter_map(service_form).collect();
    let found = found.map(|(place, name, form)| {
        (place, form, topology::topology(name, form, place.file, &services, &mut world))
    });
    let services: Vec<_> = resources.iter().filter_map(|r| service::service(r, &mut world)).collect();
    service::unique_hosts(resources, world.problems);
    let databases: Vec<_> = resources.iter().filter_map(|r| database::database(r, &mut world)).collect();
    let policies = resources.iter().filter_map(|r| policy::policy(r, &mut world)).collect();
    let written = plan::written(resources, &services, &databases, &mut world);
    let (place, form, topology) = found?;
    schedule::members(form, &databases, &mut world);
    clash::addresses(form, resources, &topology, &services, &databases, world.problems);
    let mut system = System { topology, services, databases, policies, plans: Vec::new() };
    system.plans = plan::one_each(written, &system);
    let World { places, fields, .. } = world;
    Some(Meant { system, places, fields, place })
}

/// Several files with a Topology each are specs of their own. Tells that, and is true then: what they have in common,
/// and what one lacks that another has, is no fault.
pub(crate) fn are_separate(resources: &[Resource], problems: &mut Problems) -> bool {
    let mut firsts: Vec<&Resource> = Vec::new();
    for resource in resources.iter().filter(|r| matches!(r.body, Body::Topology(_))) {
        if firsts.iter().all(|first| first.place.file != resource.place.file) {
            firsts.push(resource);
        }
    }
    let [_, second, ..] = firsts.as_slice() else { return false };
    let file = |resource: &Resource| problems.file(resource.place.file).to_owned();
    let line = |r: &&Resource| format!("{}:{}: Topology {}", file(r), r.place.line, r.name.value);
    let problem = Problem {
        severity: Severity::Error,
        place: second.place,
        message: format!(
            "these are {} separate specs, each with a Topology of its own: none of them was checked as a whole",
            firsts.len()
        ),
        details: firsts.iter().map(line).collect(),
        suggestion: Some(format!(
            "name the files of one of them only, as in `meridian check {}`; a spec in several files has its Topology in \
             one of them",
            file(second)
        )),
    };
    problems.push(problem);
    true
}

fn service_form(resource: &Resource) -> Option<&ServiceForm> {
    match &resource.body {
        Body::Service(form) => form.as_deref(),
        _ => None,
    }
}

/// The one topology; tells if there is none, or more than one.
fn the_topology<'r>(
    resources: &'r [Resource],
    problems: &mut Problems,
) -> Option<(Place, Name, &'r TopologyForm)> {
    let topologies = || resources.iter().filter(|r| matches!(r.body, Body::Topology(_)));
    let Some(first) = topologies().next() else {
        let place = Place { file: 0, line: 1, column: 1, length: 1 };
        problems.absent(place, "there is no Topology", "a spec needs one document with `kind: Topology`");
        return None;
    };
    for more in topologies().skip(1) {
        let message =
            format!("a second Topology; the first is in {}", problems.line(first.place, more.place));
        problems.error(more.place, message, "a spec has one topology: move what is new into the first");
    }
    match &first.body {
        Body::Topology(Some(form)) => Some((first.place, first.name.value.clone(), form)),
        _ => None,
    }
}

/// Names are unique among resources of a kind.
fn unique_names(resources: &[Resource], problems: &mut Problems) {
    let mut seen: Vec<(std::mem::Discriminant<Body>, &At<Name>)> = Vec::new();
    for resource in resources.iter().filter(|r| !matches!(r.body, Body::Topology(_))) {
        let name = &resource.name;
        let kind = std::mem::discriminant(&resource.body);
        match seen.iter().find(|(k, n)| *k == kind && n.value == name.value) {
            Some((_, first)) => twice("the name", &name.value, name.place, first.place, problems),
            None => seen.push((kind, name)),
        }
    }
}

/// Tells that `value` is used twice.
fn twice(what: &str, value: &impl std::fmt::Display, place: Place, first: Place, problems: &mut Problems) {
    let message = format!("{what} `{value}` is used twice, first in {}", problems.line(first, place));
    problems.error(place, message, "each may be used once");
}
