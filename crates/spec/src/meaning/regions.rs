//! The regions of a topology.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use meridian_catalog::{CloudRegion, region as in_catalogue, suggest};
use meridian_model::topology::{Dial, Location, NodeAddresses, Pattern, Provider, Region, Role};
use meridian_model::{Name, Share};

use super::{World, twice};
use crate::form::At;
use crate::kinds::{ListenForm, LocationForm, RegionForm, SocketForm};
use crate::source::{Place, Problems};

/// What other resources need to know of a region.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) name: Name,
    pub(super) role: Role,
    /// Where it is reached; unspecified in a spec that only the lab runs.
    pub(super) address: IpAddr,
    pub(super) data_dir: PathBuf,
}

/// The regions that have a name; the world learns them.
pub(super) fn regions(
    forms: &At<Vec<At<RegionForm>>>,
    pattern: Option<Pattern>,
    file: usize,
    world: &mut World<'_>,
) -> Vec<Region> {
    if forms.value.is_empty() {
        world.problems.error(forms.place, "a topology needs at least one region", "add one under `regions`");
    }
    let alone = forms.value.len() == 1;
    let made = forms.value.iter().filter_map(|form| region(form, alone, file, world)).collect();
    world.all_named = forms.value.iter().all(|r| r.name.is_some());
    unique(&forms.value, world.problems);
    roles(forms, pattern, alone, world.problems);
    overlaps(&forms.value, world.problems);
    made
}

fn region(form: &RegionForm, alone: bool, file: usize, world: &mut World<'_>) -> Option<Region> {
    let name = form.name.as_ref()?;
    let (location, jurisdiction) = place_and_law(form, name, world.problems)?;
    let address = form.address.map_or(UNPLACED, |a| a.value);
    if let Some(written) = form.address.filter(|a| a.value.is_unspecified()) {
        let hint = "give the address at which the region is reached; leave it out for the lab";
        world.problems.error(written.place, format!("no region is reached at `{address}`"), hint);
    }
    let data_dir = match &form.data_dir {
        Some(path) => world.path(file, path),
        None => PathBuf::from("/var/lib/meridian").join(name.value.as_str()),
    };
    let role = role(form, alone);
    let node = node(form, role, address, data_dir.clone());
    world.regions.push(Known { name: name.value.clone(), role, address, data_dir });
    Some(Region {
        name: name.value.clone(),
        provider: form.provider.map_or(Provider::Other, |p| p.value),
        role,
        jurisdiction,
        location,
        cidr: form.cidr.map(|c| c.value),
        dial: form.dial.map_or(Dial::Share(Share::ONE), |d| d.value),
        node,
    })
}

fn role(form: &RegionForm, alone: bool) -> Role {
    form.role.map_or(if alone { Role::Primary } else { Role::Secondary }, |r| r.value)
}

/// Where a region lies and which law rules there: as written, else as the catalogue says.
fn place_and_law(form: &RegionForm, name: &At<Name>, problems: &mut Problems) -> Option<(Location, Name)> {
    let known = form.provider.and_then(|p| in_catalogue(p.value, name.value.as_str()));
    let complete = form.location.is_some() && form.jurisdiction.is_some();
    if let (Some(provider), None, false) = (form.provider, known, complete) {
        unknown_region(form, provider, name, problems);
    }
    let from_catalogue = |region: &CloudRegion| Name::new(region.jurisdiction).ok();
    let jurisdiction = match &form.jurisdiction {
        Some(written) => written.value.clone(),
        // A placeholder where an error was told: the region's own name.
        None => known.and_then(from_catalogue).unwrap_or_else(|| name.value.clone()),
    };
    let location = match (&form.location, known) {
        (Some(written), _) => location(written, problems),
        (None, Some(region)) => region.location,
        (None, None) => NOWHERE,
    };
    Some((location, jurisdiction))
}

fn unknown_region(form: &RegionForm, provider: At<Provider>, name: &At<Name>, problems: &mut Problems) {
    if provider.value == Provider::Other {
        for (missing, there) in
            [("location", form.location.is_some()), ("jurisdiction", form.jurisdiction.is_some())]
        {
            if !there {
                let message =
                    format!("a region of provider `other` needs a `{missing}`: no catalogue knows it");
                problems.error(name.place, message, format!("add `{missing}:` to this region"));
            }
        }
        return;
    }
    let cloud = provider_word(provider.value);
    let hint = match suggest(provider.value, name.value.as_str()) {
        Some(near) if near.provider == provider.value => {
            format!("did you mean `{}` ({})?", near.name, near.city)
        }
        Some(near) if near.name == name.value.as_str() => {
            format!("it is a region of {0}: write `provider: {0}`", provider_word(near.provider))
        }
        _ => "if it is new, give its `location` and `jurisdiction` here".to_owned(),
    };
    problems.error(name.place, format!("the catalogue knows no region `{}` of {cloud}", name.value), hint);
}

/// The word by which a provider is written.
pub(crate) fn provider_word(provider: Provider) -> &'static str {
    match provider {
        Provider::Aws => "aws",
        Provider::Gcp => "gcp",
        Provider::Azure => "azure",
        Provider::Other => "other",
    }
}

/// A written place; tells what is not on earth.
pub(super) fn location(form: &LocationForm, problems: &mut Problems) -> Location {
    let mut degrees = |written: &Option<At<f64>>, most: f64, what: &str| {
        let Some(written) = written else { return 0.0 };
        if written.value.abs() > most {
            let message = format!("a {what} of {} is not on earth", written.value);
            problems.error(written.place, message, format!("write degrees from -{most} to {most}"));
        }
        written.value
    };
    Location {
        latitude: degrees(&form.latitude, 90.0, "latitude"),
        longitude: degrees(&form.longitude, 180.0, "longitude"),
    }
}

fn node(form: &RegionForm, role: Role, address: IpAddr, data_dir: PathBuf) -> NodeAddresses {
    let listen = form.listen.as_ref();
    let socket = |pick: fn(&ListenForm) -> Option<SocketForm>, port: u16| {
        listen.and_then(pick).unwrap_or(SocketForm::Port(port)).at(address)
    };
    let edge_http: SocketAddr = socket(|l| l.edge_http, ports::EDGE_HTTP);
    let public = match &form.public {
        Some(written) => written.value.clone(),
        None if role == Role::Witness || edge_http.ip().is_unspecified() => Vec::new(),
        None => vec![edge_http.ip()],
    };
    NodeAddresses {
        control: socket(|l| l.control, ports::CONTROL),
        dns: socket(|l| l.dns, ports::DNS),
        edge_http,
        edge_https: socket(|l| l.edge_https, ports::EDGE_HTTPS),
        gateway_write: socket(|l| l.gateway_write, ports::GATEWAY_WRITE),
        gateway_read: socket(|l| l.gateway_read, ports::GATEWAY_READ),
        public,
        data_dir,
    }
}

fn unique(forms: &[At<RegionForm>], problems: &mut Problems) {
    let mut seen: Vec<&At<Name>> = Vec::new();
    for name in forms.iter().filter_map(|f| f.name.as_ref()) {
        match seen.iter().find(|n| n.value == name.value) {
            Some(first) => twice("the region", &name.value, name.place, first.place, problems),
            None => seen.push(name),
        }
    }
}

/// With `active-passive` exactly one region is primary; in every pattern at least one.
fn roles(forms: &At<Vec<At<RegionForm>>>, pattern: Option<Pattern>, alone: bool, problems: &mut Problems) {
    let place = |f: &At<RegionForm>| f.role.map_or(f.place, |r| r.place);
    let primaries: Vec<Place> =
        forms.value.iter().filter(|f| role(f, alone) == Role::Primary).map(place).collect();
    match (primaries.as_slice(), pattern) {
        ([], _) if !forms.value.is_empty() => {
            let hint = "give the region that writes at the start `role: primary`";
            problems.error(forms.place, "no region is primary", hint);
        }
        ([first, more @ ..], Some(Pattern::ActivePassive)) => {
            for place in more {
                let message = format!("a second primary; the first is in {}", problems.line(*first, *place));
                let hint = "with `active-passive` one region writes: make this one `secondary`";
                problems.error(*place, message, hint);
            }
        }
        _ => {}
    }
}

/// Networks of regions do not overlap.
fn overlaps(forms: &[At<RegionForm>], problems: &mut Problems) {
    let cidrs: Vec<_> = forms.iter().filter_map(|f| Some((f.name.as_ref()?, f.cidr?))).collect();
    for (at, (_, cidr)) in cidrs.iter().enumerate() {
        let mut before = cidrs.iter().take(at);
        let hit = before.find(|(_, c)| c.value.contains(&cidr.value) || cidr.value.contains(&c.value));
        if let Some((name, other)) = hit {
            let message = format!("`{}` overlaps `{}` of region {}", cidr.value, other.value, name.value);
            problems.error(cidr.place, message, "give each region a network of its own");
        }
    }
}

/// The ports of a node where the spec names none.
pub(crate) mod ports {
    pub(crate) const CONTROL: u16 = 7400;
    pub(crate) const DNS: u16 = 5353;
    pub(crate) const EDGE_HTTP: u16 = 8080;
    pub(crate) const EDGE_HTTPS: u16 = 8443;
    pub(crate) const GATEWAY_WRITE: u16 = 6432;
    pub(crate) const GATEWAY_READ: u16 = 6433;
    pub(crate) const POSTGRES: u16 = 5432;
    pub(crate) const ETCD_CLIENT: u16 = 2379;
    pub(crate) const FIRST_INSTANCE: u16 = 9001;
}

/// The address of a region that has none.
pub(crate) const UNPLACED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// A placeholder where an error was told.
const NOWHERE: Location = Location { latitude: 0.0, longitude: 0.0 };
