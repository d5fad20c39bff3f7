//! Nothing is bound twice: every address with a port has one user.

use std::net::SocketAddr;

use meridian_model::database::Database;
use meridian_model::service::Service;
use meridian_model::topology::{Region, Topology};
use meridian_model::{Name, RegionName};

use crate::kinds::{Body, Resource, TopologyForm};
use crate::source::{Place, Problems};

/// Who uses an address, and where that is written.
struct Use {
    region: RegionName,
    address: SocketAddr,
    what: String,
    place: Place,
}

/// Tells every address that two parts would bind to; the first clash between any two of them.
pub(super) fn addresses(
    form: &TopologyForm,
    resources: &[Resource],
    topology: &Topology,
    services: &[Service],
    databases: &[Database],
    problems: &mut Problems,
) {
    let nodes = topology.regions.iter().flat_map(|r| node_uses(r, form));
    let members = databases.iter().flat_map(|d| member_uses(d, resources));
    let instances = services.iter().flat_map(|s| instance_uses(s, resources));
    let uses: Vec<Use> = nodes.chain(members).chain(instances).collect();
    let mut told: Vec<[Place; 2]> = Vec::new();
    let mut regions_told: Vec<[&RegionName; 2]> = Vec::new();
    let mut first_of = std::collections::BTreeMap::new();
    for user in &uses {
        let Some(first) = first_of.insert(key(user), user) else { continue };
        first_of.insert(key(user), first);
        let (places, regions) = ([user.place, first.place], [&user.region, &first.region]);
        // A region that is listed twice is told as that; two regions at one address once for all their parts.
        let same = user.region == first.region;
        if (same && user.what == first.what)
            || told.contains(&places)
            || (!same && regions_told.contains(&regions))
        {
            continue;
        }
        told.push(places);
        regions_told.push(regions);
        tell(user, first, problems);
    }
}

/// Regions without an address get one each from the lab: they clash only with themselves.
fn key(user: &Use) -> (Option<&RegionName>, SocketAddr) {
    (user.address.ip().is_unspecified().then_some(&user.region), user.address)
}

fn tell(user: &Use, first: &Use, problems: &mut Problems) {
    let shown = match user.address.ip().is_unspecified() {
        true => format!("port {} of region {}", user.address.port(), user.region),
        false => user.address.to_string(),
    };
    let message = format!("{shown} is used twice: by {} and by {}", first.what, user.what);
    let hint = if user.region == first.region {
        "give one of them another port"
    } else {
        "give each region an address of its own, or leave `address` out for the lab"
    };
    problems.error(user.place, message, hint);
}

fn node_uses(region: &Region, form: &TopologyForm) -> impl Iterator<Item = Use> {
    let forms = form.regions.iter().flat_map(|r| &r.value);
    let mut named = forms.filter(|f| f.name.as_ref().is_some_and(|n| n.value == region.name));
    let place = named.next().map(|f| f.address.map_or(f.place, |a| a.place)).unwrap_or_default();
    let node = &region.node;
    let all = [
        ("control", node.control),
        ("DNS", node.dns),
        ("edge HTTP", node.edge_http),
        ("edge HTTPS", node.edge_https),
        ("gateway write", node.gateway_write),
        ("gateway read", node.gateway_read),
    ];
    let name = region.name.clone();
    all.into_iter().map(move |(part, address)| Use {
        region: name.clone(),
        address,
        what: format!("{part} of region {name}"),
        place,
    })
}

fn member_uses<'a>(database: &'a Database, resources: &'a [Resource]) -> impl Iterator<Item = Use> + 'a {
    let place = place_of(resources, &database.name, |b| matches!(b, Body::Database(_)));
    database.members.iter().map(move |m| Use {
        region: m.region.clone(),
        address: m.address,
        what: format!("PostgreSQL of database {} in {}", database.name, m.region),
        place,
    })
}

fn instance_uses<'a>(service: &'a Service, resources: &'a [Resource]) -> impl Iterator<Item = Use> + 'a {
    let place = place_of(resources, &service.name, |b| matches!(b, Body::Service(_)));
    let all = service.backends.iter().flat_map(|b| b.endpoints.iter().map(move |e| (b, *e)));
    all.map(move |(backend, address)| Use {
        region: backend.region.clone(),
        address,
        what: format!("an instance of service {} in {}", service.name, backend.region),
        place,
    })
}

fn place_of(resources: &[Resource], name: &Name, kind: fn(&Body) -> bool) -> Place {
    let mut same = resources.iter().filter(|r| kind(&r.body)).map(|r| &r.name);
    same.find(|n| n.value == *name).map(|n| n.place).unwrap_or_default()
}
