//! The inverse of reading: a system as a spec, with nothing left to defaults.
//!
//! Used by the lab, which hands each region's node a spec of its own. Paths are written as they are:
//! make them absolute first, or read the result from the folder that they are relative to.

mod plan;
mod yaml;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use meridian_model::database::{Database, Member, OnRpoBreach, PostgresMember, Replication};
use meridian_model::policy::DataResidencyPolicy;
use meridian_model::schedule::ScheduledMove;
use meridian_model::service::{Backend, ProcessCompute, Service};
use meridian_model::topology::{Dial, Location, NodeAddresses, Pattern, Population, Region, Role};
use meridian_model::units::duration_text;
use meridian_model::{System, Timers, Topology};

use crate::form::bytes_text;
use crate::kinds::GROUP;
use crate::meaning::provider_word;
use yaml::{Yaml, list, map, number, text};

/// The spec that [`crate::read`] turns into the equal system.
#[must_use]
pub fn write(system: &System) -> String {
    let topology = document("Topology", system.topology.name.as_str(), topology(&system.topology));
    let services = system.services.iter().map(|s| document("Service", s.name.as_str(), service(s)));
    let databases = system.databases.iter().map(|d| document("Database", d.name.as_str(), database(d)));
    let policies =
        system.policies.iter().map(|p| document("DataResidencyPolicy", p.name.as_str(), policy(p)));
    let plans = system.plans.iter().map(|p| document("RecoveryPlan", p.name.as_str(), plan::plan(p)));
    let all: Vec<String> =
        [topology].into_iter().chain(services).chain(databases).chain(policies).chain(plans).collect();
    all.join("---\n")
}

fn document(kind: &str, name: &str, spec: Yaml) -> String {
    map([
        ("apiVersion", text(GROUP)),
        ("kind", text(kind)),
        ("metadata", map([("name", text(name))])),
        ("spec", spec),
    ])
    .to_string()
}

fn topology(topology: &Topology) -> Yaml {
    let pattern = match topology.pattern {
        Pattern::ActiveActive => "active-active",
        Pattern::ActivePassive => "active-passive",
        Pattern::FollowTheSun => "follow-the-sun",
    };
    let coordination = &topology.coordination;
    map([
        ("pattern", text(pattern)),
        (
            "schedule",
            match topology.schedule.as_slice() {
                [] => Yaml::Nothing,
                moves => list(moves.iter().map(scheduled)),
            },
        ),
        (
            "objectives",
            map([("rto", duration(topology.objectives.rto)), ("rpo", duration(topology.objectives.rpo))]),
        ),
        ("regions", list(topology.regions.iter().map(region))),
        ("users", list(topology.users.iter().map(population))),
        (
            "coordination",
            map([
                ("endpoints", list(coordination.endpoints.iter().map(text))),
                ("controlSecretFile", path(&coordination.control_secret_file)),
            ]),
        ),
        ("timers", timers(&topology.timers)),
        ("telemetry", map([("otlpEndpoint", topology.otlp_endpoint.as_ref().map_or(Yaml::Nothing, text))])),
    ])
}

fn scheduled(scheduled: &ScheduledMove) -> Yaml {
    map([
        ("region", text(scheduled.region.as_str())),
        ("at", text(scheduled.at.to_string())),
        ("timeZone", text(&scheduled.time_zone)),
        ("days", list(scheduled.days.iter().map(|day| text(day.to_string())))),
    ])
}

fn region(region: &Region) -> Yaml {
    let role = match region.role {
        Role::Primary => "primary",
        Role::Secondary => "secondary",
        Role::Witness => "witness",
    };
    let dial = match region.dial {
        Dial::Share(share) => share.to_string(),
        Dial::Drain => "drain".to_owned(),
        Dial::Forbid => "forbid".to_owned(),
    };
    let node = &region.node;
    let address = node.control.ip();
    map([
        ("name", text(region.name.as_str())),
        ("provider", text(provider_word(region.provider))),
        ("role", text(role)),
        ("jurisdiction", text(region.jurisdiction.as_str())),
        ("location", location(region.location)),
        ("cidr", region.cidr.map_or(Yaml::Nothing, |c| text(c.to_string()))),
        ("dial", text(dial)),
        ("address", if node.placed() { text(address.to_string()) } else { Yaml::Nothing }),
        ("listen", listen(node, address)),
        ("public", list(node.public.iter().map(|ip| text(ip.to_string())))),
        ("dataDir", path(&node.data_dir)),
    ])
}

fn listen(node: &NodeAddresses, address: IpAddr) -> Yaml {
    let unplaced = !node.placed();
    let socket = |socket: SocketAddr| match socket {
        s if s.ip() == address && !(unplaced && s.is_ipv6()) => number(s.port()),
        s => text(s.to_string()),
    };
    map([
        ("control", socket(node.control)),
        ("dns", socket(node.dns)),
        ("edgeHttp", socket(node.edge_http)),
        ("edgeHttps", socket(node.edge_https)),
        ("gatewayWrite", socket(node.gateway_write)),
        ("gatewayRead", socket(node.gateway_read)),
    ])
}

fn location(location: Location) -> Yaml {
    map([("latitude", number(location.latitude)), ("longitude", number(location.longitude))])
}

fn population(population: &Population) -> Yaml {
    map([
        ("name", text(population.name.as_str())),
        ("share", text(population.share.to_string())),
        ("location", location(population.location)),
        ("networks", list(population.networks.iter().map(|n| text(n.to_string())))),
    ])
}

fn timers(timers: &Timers) -> Yaml {
    map([
        ("leaseTtl", duration(timers.lease_ttl)),
        ("renewEvery", duration(timers.renew_every)),
        ("gatewayFence", duration(timers.gateway_fence)),
        ("databaseFence", duration(timers.database_fence)),
        ("stopWithin", duration(timers.stop_within)),
        ("clockDriftPpm", number(timers.clock_drift_ppm)),
        ("probeEvery", duration(timers.probe_every)),
        ("probeTimeout", duration(timers.probe_timeout)),
        ("downAfter", number(timers.down_after)),
        ("upAfter", number(timers.up_after)),
        ("observationTtl", duration(timers.observation_ttl)),
        ("flapWindow", duration(timers.flap_window)),
    ])
}

fn service(service: &Service) -> Yaml {
    let retries = &service.retries;
    let tls = service.tls.as_ref().map_or(Yaml::Nothing, |tls| {
        map([("certificateFile", path(&tls.certificate_file)), ("keyFile", path(&tls.key_file))])
    });
    map([
        ("hosts", list(service.hosts.iter().map(text))),
        ("dns", map([("zone", text(&service.zone)), ("ttl", duration(service.dns_ttl))])),
        ("healthCheck", map([("path", text(&service.health_check.path))])),
        ("backends", list(service.backends.iter().map(backend))),
        (
            "retries",
            map([
                ("attempts", number(retries.attempts)),
                ("budget", text(retries.budget.to_string())),
                ("tryTimeout", duration(retries.try_timeout)),
            ]),
        ),
        ("tls", tls),
    ])
}

fn backend(backend: &Backend) -> Yaml {
    map([
        ("region", text(backend.region.as_str())),
        ("endpoints", list(backend.endpoints.iter().map(|e| text(e.to_string())))),
        ("compute", backend.compute.as_ref().map_or(Yaml::Nothing, compute)),
    ])
}

fn compute(compute: &ProcessCompute) -> Yaml {
    let instances =
        [("primary", number(compute.instances_primary)), ("standby", number(compute.instances_standby))];
    map([("command", list(compute.command.iter().map(text))), ("instances", map(instances))])
}

fn database(database: &Database) -> Yaml {
    let replication = match database.replication {
        Replication::Async => map([("mode", text("async"))]),
        Replication::Quorum { acknowledgers } => {
            map([("mode", text("quorum")), ("acknowledgers", number(acknowledgers))])
        }
    };
    let on_rpo_breach = match database.on_rpo_breach {
        OnRpoBreach::Block => "block",
        OnRpoBreach::Warn => "warn",
        OnRpoBreach::Degrade => "degrade",
    };
    let (gateway, switchover) = (&database.gateway, &database.switchover);
    map([
        ("database", text(&database.dbname)),
        ("replication", replication),
        ("maxReadLag", duration(database.max_read_lag)),
        ("onRpoBreach", text(on_rpo_breach)),
        (
            "switchover",
            map([
                ("drain", duration(switchover.drain)),
                ("catchUp", duration(switchover.catch_up)),
                ("maxLag", duration(switchover.max_lag)),
            ]),
        ),
        ("members", list(database.members.iter().map(member))),
        (
            "gateway",
            map([
                ("maxSessions", number(gateway.max_sessions)),
                ("maxWaiting", number(gateway.max_waiting)),
                ("maxWaitingBytes", text(bytes_text(gateway.max_waiting_bytes))),
                ("maxWait", duration(gateway.max_wait)),
            ]),
        ),
    ])
}

fn member(member: &Member) -> Yaml {
    map([
        ("region", text(member.region.as_str())),
        ("address", text(member.address.to_string())),
        ("postgres", postgres(&member.postgres)),
    ])
}

fn postgres(postgres: &PostgresMember) -> Yaml {
    let settings = postgres.settings.iter().map(|(name, value)| (name.clone(), text(value)));
    map([
        ("binDir", postgres.bin_dir.as_deref().map_or(Yaml::Nothing, path)),
        ("dataDir", path(&postgres.data_dir)),
        ("runAs", text(&postgres.run_as)),
        ("superuser", text(&postgres.superuser)),
        ("passwordFile", path(&postgres.password_file)),
        ("appUser", text(&postgres.app_user)),
        ("appPasswordFile", path(&postgres.app_password_file)),
        ("settings", Yaml::Map(settings.collect())),
    ])
}

fn policy(policy: &DataResidencyPolicy) -> Yaml {
    let want = |required| text(if required { "required" } else { "optional" });
    let keys = if policy.encryption.customer_managed_keys { "customer-managed" } else { "provider-managed" };
    let logging = if policy.audit.access_logging { "enabled" } else { "disabled" };
    map([
        ("dataClassification", list(policy.data_classes.iter().map(text))),
        ("allowedRegions", list(policy.allowed_regions.iter().map(text))),
        ("blockedRegions", list(policy.blocked_regions.iter().map(text))),
        (
            "encryption",
            map([
                ("atRest", want(policy.encryption.at_rest_required)),
                ("inTransit", want(policy.encryption.in_transit_required)),
                ("keyManagement", text(keys)),
            ]),
        ),
        (
            "audit",
            map([("accessLogging", text(logging)), ("retentionDays", number(policy.audit.retention_days))]),
        ),
    ])
}

fn duration(duration: Duration) -> Yaml {
    text(duration_text(duration))
}

fn path(path: &Path) -> Yaml {
    text(path.to_string_lossy())
}
