//! Services: hosts, backends and the instances behind them.

use std::net::SocketAddr;
use std::time::Duration;

use meridian_catalog::closest;
use meridian_model::service::{Backend, HealthCheck, ProcessCompute, Retries, Service, TlsFiles};
use meridian_planner::Subject;

use super::regions::{Known, ports};
use super::{World, twice};
use crate::form::{At, AtLeastOne, clip};
use crate::kinds::{
    BackendForm, Body, ComputeForm, InstancesForm, Resource, RetriesForm, ServiceForm, TlsForm,
};
use crate::source::{Place, Problems};

/// What a service means; none if the resource is something else.
pub(super) fn service(resource: &Resource, world: &mut World<'_>) -> Option<Service> {
    let Body::Service(Some(form)) = &resource.body else { return None };
    let name = &resource.name;
    let hosts = hosts(form, world.problems);
    let dns = form.dns.as_ref();
    let ttl = dns.and_then(|d| d.ttl);
    let ttl_place = ttl.map_or(name.place, |t| t.place);
    world.places.insert(Subject::DnsTtl(name.value.clone()), ttl_place);
    Some(Service {
        zone: zone(dns.and_then(|d| d.zone.as_ref()), form, &hosts, world.problems),
        name: name.value.clone(),
        hosts,
        dns_ttl: whole_seconds(ttl, world.problems).unwrap_or(DNS_TTL),
        backends: backends(form, name.place, world),
        health_check: HealthCheck { path: health_path(form, world.problems) },
        retries: retries(form.retries.as_ref()),
        tls: form.tls.as_ref().and_then(|t| tls(t, resource.place.file, world)),
    })
}

/// A host belongs to one service.
pub(super) fn unique_hosts(resources: &[Resource], problems: &mut Problems) {
    let mut seen: Vec<At<String>> = Vec::new();
    for form in resources.iter().filter_map(super::service_form) {
        for host in form.hosts.iter().flat_map(|h| &h.value) {
            let host = At { value: canonical(&host.value), place: host.place };
            match seen.iter().find(|h| h.value == host.value) {
                Some(first) => twice("the host", &host.value, host.place, first.place, problems),
                None => seen.push(host),
            }
        }
    }
}

/// Lower case, without the dot at the end.
fn canonical(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn hosts(form: &ServiceForm, problems: &mut Problems) -> Vec<String> {
    let Some(hosts) = &form.hosts else { return Vec::new() };
    if hosts.value.is_empty() {
        problems.error(
            hosts.place,
            "a service needs at least one host",
            "such as `hosts: [shop.example.com]`",
        );
    }
    for host in &hosts.value {
        check_host("host name", &host.value, host.place, problems);
    }
    hosts.value.iter().map(|h| canonical(&h.value)).collect()
}

fn check_host(what: &str, text: &str, place: Place, problems: &mut Problems) {
    if !is_host(text) {
        let message = format!("`{}` is no {what}", clip(text));
        problems.error(
            place,
            message,
            "labels of letters, digits and `-`, with dots between: `shop.example.com`",
        );
    }
}

fn is_host(text: &str) -> bool {
    let name = canonical(text);
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |l: &str| {
        (1..=63).contains(&l.len()) && l.bytes().all(inner) && !l.starts_with('-') && !l.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// The zone as written, else the first host's parent; every host must lie in it.
fn zone(
    written: Option<&At<String>>,
    form: &ServiceForm,
    hosts: &[String],
    problems: &mut Problems,
) -> String {
    if let Some(zone) = written {
        check_host("zone", &zone.value, zone.place, problems);
    }
    let parent = || hosts.first().map(|h| h.split_once('.').map_or(h.as_str(), |(_, parent)| parent));
    let zone = written.map_or_else(|| parent().unwrap_or_default().to_owned(), |z| canonical(&z.value));
    for host in form.hosts.iter().flat_map(|h| &h.value) {
        let name = canonical(&host.value);
        let inside = name == zone || name.strip_suffix(&zone).is_some_and(|rest| rest.ends_with('.'));
        if !inside && !zone.is_empty() && is_host(&name) {
            let message = format!("host `{}` is not in the zone `{}`", clip(&name), clip(&zone));
            problems.error(host.place, message, "give the zone that holds all hosts as `dns.zone`");
        }
    }
    zone
}

/// DNS counts in whole seconds.
fn whole_seconds(ttl: Option<At<Duration>>, problems: &mut Problems) -> Option<Duration> {
    let ttl = ttl?;
    let fits = ttl.value.subsec_nanos() == 0 && ttl.value.as_secs() <= DNS_TTL_SECONDS_MAX;
    if !fits {
        let hint = format!("write whole seconds, at most {DNS_TTL_SECONDS_MAX}s");
        problems.error(ttl.place, "a TTL of DNS is a number of whole seconds", hint);
    }
    Some(ttl.value)
}

fn health_path(form: &ServiceForm, problems: &mut Problems) -> String {
    let Some(path) = form.health_check.as_ref().and_then(|c| c.path.as_ref()) else {
        return "/health".to_owned();
    };
    let fits = path.value.starts_with('/') && path.value.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if !fits {
        let message = format!("`{}` is no path of a URL", clip(&path.value));
        problems.error(path.place, message, "it begins with `/` and has no spaces: `/health`");
    }
    path.value.clone()
}

fn retries(form: Option<&RetriesForm>) -> Retries {
    let standard = Retries::default();
    Retries {
        attempts: form.and_then(|f| f.attempts).map_or(standard.attempts, |a| a.0),
        budget: form.and_then(|f| f.budget).unwrap_or(standard.budget),
        try_timeout: form.and_then(|f| f.try_timeout).unwrap_or(standard.try_timeout),
    }
}

fn tls(form: &TlsForm, file: usize, world: &World<'_>) -> Option<TlsFiles> {
    Some(TlsFiles {
        certificate_file: world.path(file, form.certificate_file.as_ref()?),
        key_file: world.path(file, form.key_file.as_ref()?),
    })
}

fn backends(form: &ServiceForm, place: Place, world: &mut World<'_>) -> Vec<Backend> {
    if let Some(compute) = &form.compute {
        check_command(compute, world.problems);
    }
    match &form.backends {
        Some(listed) => {
            let made = listed.value.iter().filter_map(|b| backend(b, form, world)).collect();
            unique_regions(&listed.value, world.problems);
            made
        }
        None => {
            if form.compute.is_none() {
                let hint = "add `compute:` to run instances, or `backends:` with their endpoints";
                world.problems.error(place, "nothing says where this service runs", hint);
            }
            let regions = world.data_regions();
            regions.iter().map(|r| everywhere(r, form.compute.as_ref())).collect()
        }
    }
}

/// The backend in a region that is not listed because all are meant.
fn everywhere(region: &Known, compute: Option<&ComputeForm>) -> Backend {
    Backend {
        region: region.name.clone(),
        endpoints: compute.map(|c| instance_addresses(region, c)).unwrap_or_default(),
        compute: compute.map(process),
    }
}

fn backend(form: &At<BackendForm>, service: &ServiceForm, world: &mut World<'_>) -> Option<Backend> {
    if let Some(compute) = &form.compute {
        check_command(compute, world.problems);
    }
    let region = world.data_region(form.region.as_ref()?)?;
    let compute = form.compute.as_ref().or(service.compute.as_ref());
    let endpoints = match (&form.endpoints, compute) {
        (Some(written), _) => written.value.clone(),
        (None, Some(compute)) => instance_addresses(&region, compute),
        (None, None) => {
            let hint = "list `endpoints:`, or say with `compute:` how instances are run";
            world.problems.error(form.place, "nothing says where this backend is", hint);
            Vec::new()
        }
    };
    if let Some(written) = &form.endpoints {
        enough_endpoints(written, compute, world.problems);
    }
    Some(Backend { region: region.name, endpoints, compute: compute.map(process) })
}

fn enough_endpoints(written: &At<Vec<SocketAddr>>, compute: Option<&ComputeForm>, problems: &mut Problems) {
    let wanted = compute.map_or(1, instances_max);
    let there = written.value.len();
    if there < usize::try_from(wanted).unwrap_or(usize::MAX) {
        let message = format!("{there} endpoints for {wanted} instances");
        problems.error(written.place, message, "give each instance an address, or run fewer");
    }
}

fn unique_regions(forms: &[At<BackendForm>], problems: &mut Problems) {
    let mut seen: Vec<&At<meridian_model::Name>> = Vec::new();
    for region in forms.iter().filter_map(|f| f.region.as_ref()) {
        match seen.iter().find(|r| r.value == region.value) {
            Some(first) => twice("the region", &region.value, region.place, first.place, problems),
            None => seen.push(region),
        }
    }
}

fn instances(form: &ComputeForm) -> (u32, u32) {
    let count =
        |pick: fn(&InstancesForm) -> Option<u32>| form.instances.as_deref().and_then(pick).unwrap_or(1);
    let primary = count(|i| i.primary.map(|p: At<AtLeastOne>| p.value.0));
    (primary, count(|i| i.standby.map(|s| s.value)))
}

fn instances_max(form: &ComputeForm) -> u32 {
    let (primary, standby) = instances(form);
    primary.max(standby)
}

/// Consecutive ports of the region's address.
fn instance_addresses(region: &Known, form: &ComputeForm) -> Vec<SocketAddr> {
    let first = form.port.map_or(ports::FIRST_INSTANCE, |p| p.value);
    let count = u16::try_from(instances_max(form)).unwrap_or(u16::MAX).min(INSTANCES_MAX);
    (0..count)
        .filter_map(|i| first.checked_add(i))
        .map(|port| SocketAddr::new(region.address, port))
        .collect()
}

fn process(form: &ComputeForm) -> ProcessCompute {
    let (instances_primary, instances_standby) = instances(form);
    let command = form.command.iter().flat_map(|c| &c.value).map(|word| word.value.clone()).collect();
    ProcessCompute { command, instances_standby, instances_primary }
}

/// The command names a program and only placeholders that are filled in; instances have a limit.
fn check_command(form: &ComputeForm, problems: &mut Problems) {
    if let Some(command) = &form.command {
        if command.value.first().is_none_or(|program| program.value.is_empty()) {
            problems.error(
                command.place,
                "the command names no program",
                "such as `[shop, --listen, \"{address}\"]`",
            );
        }
        for word in &command.value {
            check_placeholders(word, &PLACEHOLDERS, problems);
        }
    }
    let most = u32::from(INSTANCES_MAX);
    let counts = form.instances.as_ref().map(|i| (i.place, instances_max(form)));
    if let Some((place, count)) = counts.filter(|(_, count)| *count > most) {
        let message = format!("{count} instances are more than {most} in one region");
        problems.error(place, message, "use fewer, larger instances");
    }
}

/// Tells what stands in braces like a placeholder and is none of the known ones.
pub(super) fn check_placeholders(text: &At<String>, known: &[&str], problems: &mut Problems) {
    for part in text.value.split('{').skip(1) {
        let Some((name, _)) = part.split_once('}') else { continue };
        let word_like = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if !word_like || known.contains(&name) {
            continue;
        }
        let braced = |name: &str| format!("{{{name}}}");
        let hint = match closest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{}`?", braced(near)),
            None => format!("known: {}", known.iter().map(|p| braced(p)).collect::<Vec<_>>().join(", ")),
        };
        problems.error(
            text.place,
            format!("nothing is filled in for `{}`", braced(clip(name).as_str())),
            hint,
        );
    }
}

const PLACEHOLDERS: [&str; 5] = ["address", "region", "gateway_write", "gateway_read", "app_password_file"];
/// A part of the time to recover, so shorter than the minutes that are usual elsewhere.
const DNS_TTL: Duration = Duration::from_secs(30);
/// RFC 2181: 31 bits.
const DNS_TTL_SECONDS_MAX: u64 = 0x7FFF_FFFF;
/// Instances of one service in one region.
const INSTANCES_MAX: u16 = 256;
