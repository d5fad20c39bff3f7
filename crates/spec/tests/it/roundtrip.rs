//! What is written is read back equal, and fits the schema.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use meridian_model::database::{
    Database, GatewayLimits, Member, OnRpoBreach, PostgresMember, Replication, SwitchoverLimits,
};
use meridian_model::policy::{Audit, DataResidencyPolicy, Encryption};
use meridian_model::schedule::{ScheduledMove, TimeOfDay, Weekday};
use meridian_model::service::{Backend, HealthCheck, ProcessCompute, Retries, Service, TlsFiles};
use meridian_model::topology::{
    Coordination, Dial, Location, NodeAddresses, Objectives, Pattern, Population, Provider, Region, Role,
};
use meridian_model::{Name, Share, System, Timers, Topology};
use meridian_planner::derive;
use meridian_spec::{SourceFile, inspect, schema, write};
use proptest::prelude::*;
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::Value;

use super::plans;

pub(crate) fn name(prefix: &str, number: usize) -> Name {
    Name::new(&format!("{prefix}-{number}")).expect("a name")
}

fn location() -> impl Strategy<Value = Location> {
    (-90.0..=90.0, -180.0..=180.0).prop_map(|(latitude, longitude)| Location { latitude, longitude })
}

pub(crate) fn path() -> impl Strategy<Value = PathBuf> {
    "/[a-z]{1,8}/[a-zA-Z0-9 ._:#é-]{0,10}x".prop_map(PathBuf::from)
}

fn nanos(most: u64) -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..=most).prop_map(Duration::from_nanos),
        (0..=most / 1_000_000_000).prop_map(Duration::from_secs)
    ]
}

pub(crate) fn share() -> impl Strategy<Value = Share> {
    (0..=1_000_000_u32).prop_map(|m| Share::from_percent(f64::from(m) / 10_000.0).expect("in range"))
}

/// Periods that fit together: the defaults, all longer by one factor.
fn timers() -> impl Strategy<Value = Timers> {
    (1_000_000..9_000_000_u32, 1..=100_u32, 2..=4_u32, 1..=9_u32, nanos(1 << 50)).prop_map(
        |(micros, clock_drift_ppm, down_after, up_after, flap_window)| {
            let of = |d: Duration| d * (micros / 1000) / 1000;
            let standard = Timers::default();
            Timers {
                lease_ttl: of(standard.lease_ttl),
                renew_every: of(standard.renew_every),
                gateway_fence: of(standard.gateway_fence),
                database_fence: of(standard.database_fence),
                stop_within: of(Duration::from_millis(400)),
                probe_every: of(standard.probe_every),
                probe_timeout: of(standard.probe_timeout),
                observation_ttl: of(standard.observation_ttl),
                clock_drift_ppm,
                down_after,
                up_after,
                flap_window,
            }
        },
    )
}

fn node(number: usize, placed: bool) -> impl Strategy<Value = NodeAddresses> {
    let own = Ipv4Addr::new(127, 9, u8::try_from(number).expect("few"), 1);
    let address = IpAddr::V4(if placed { own } else { Ipv4Addr::UNSPECIFIED });
    let sockets =
        proptest::array::uniform6(prop_oneof![Just(None), Just(Some(IpAddr::V4(own.octets().into())))]);
    (sockets, 1024..9000_u16, proptest::collection::vec(any::<Ipv4Addr>(), 0..3), path()).prop_map(
        move |(elsewhere, first_port, public, data_dir)| {
            // The control address is the region's; others may be somewhere else.
            let at = |i: u16| {
                let other = elsewhere[usize::from(i)].filter(|_| i > 0);
                SocketAddr::new(other.unwrap_or(address), first_port + i)
            };
            NodeAddresses {
                control: at(0),
                dns: at(1),
                edge_http: at(2),
                edge_https: at(3),
                gateway_write: at(4),
                gateway_read: at(5),
                public: public.into_iter().map(IpAddr::V4).collect(),
                data_dir,
            }
        },
    )
}

fn region(number: usize, placed: bool) -> impl Strategy<Value = Region> {
    let provider =
        prop_oneof![Just(Provider::Aws), Just(Provider::Gcp), Just(Provider::Azure), Just(Provider::Other)];
    let dial = prop_oneof![share().prop_map(Dial::Share), Just(Dial::Drain), Just(Dial::Forbid)];
    let cidr = proptest::option::of(Just(format!("10.{number}.0.0/16").parse().expect("a network")));
    (provider, location(), cidr, dial, node(number, placed)).prop_map(
        move |(provider, location, cidr, dial, node)| {
            let role = match number {
                0 => Role::Primary,
                3 => Role::Witness,
                _ => Role::Secondary,
            };
            Region {
                name: name("r", number),
                provider,
                role,
                jurisdiction: name("law", number),
                location,
                cidr,
                dial,
                node,
            }
        },
    )
}

fn users() -> impl Strategy<Value = Vec<Population>> {
    (share(), location(), location(), proptest::collection::btree_set(any::<Ipv4Addr>(), 0..4)).prop_map(
        |(share, first, second, networks)| {
            let rest = f64::from(1_000_000 - share.millionths()) / 10_000.0;
            let networks = networks.into_iter().map(|ip| IpAddr::V4(ip).into()).collect();
            let rest = Share::from_percent(rest).expect("in range");
            vec![
                Population { name: name("p", 0), share, location: first, networks },
                Population { name: name("p", 1), share: rest, location: second, networks: Vec::new() },
            ]
        },
    )
}

/// Hours of the day for one region after the other.
fn schedule(regions: &[Region], days: &[Weekday]) -> Vec<ScheduledMove> {
    let zones = ["Europe/Berlin", "America/New_York", "Asia/Tokyo", "UTC"];
    let moved = |(hour, (region, zone)): (u8, (&Region, &str))| ScheduledMove {
        region: region.name.clone(),
        at: TimeOfDay::new(hour, hour * 14).expect("in range"),
        time_zone: zone.to_owned(),
        days: days.to_vec(),
    };
    let data = regions.iter().filter(|r| r.role != Role::Witness);
    (0..).zip(data.zip(zones)).map(moved).collect()
}

fn topology() -> impl Strategy<Value = Topology> {
    let regions = (prop_oneof![Just(1), Just(3), Just(4)], any::<bool>())
        .prop_flat_map(|(count, placed)| (0..count).map(|n| region(n, placed)).collect::<Vec<_>>());
    let pattern =
        prop_oneof![Just(Pattern::ActiveActive), Just(Pattern::ActivePassive), Just(Pattern::FollowTheSun)];
    let endpoints = prop_oneof![Just(0), Just(1), Just(3)];
    let otlp = proptest::option::of(Just("http://[fd00::1]:4317/v1".to_owned()));
    let objectives = (3_000_000..4_000_000_u64, 60..1000_u64)
        .prop_map(|(rto, rpo)| Objectives { rto: Duration::from_secs(rto), rpo: Duration::from_secs(rpo) });
    let days = proptest::sample::subsequence(Weekday::ALL.to_vec(), 1..=7);
    let rest = (endpoints, path(), otlp, days);
    (regions, users(), pattern, objectives, timers(), rest).prop_map(
        |(
            regions,
            users,
            pattern,
            objectives,
            timers,
            (endpoints, control_secret_file, otlp_endpoint, days),
        )| {
            let moves = pattern == Pattern::FollowTheSun;
            Topology {
                name: name("system", regions.len()),
                pattern,
                schedule: if moves { schedule(&regions, &days) } else { Vec::new() },
                objectives,
                regions,
                users,
                coordination: Coordination {
                    endpoints: (0..endpoints).map(|n| format!("http://127.0.0.1:{}", 2379 + n)).collect(),
                    control_secret_file,
                },
                timers,
                otlp_endpoint,
            }
        },
    )
}

type Knobs = (Vec<String>, u32, u32, Retries, String, Option<TlsFiles>, Duration);

fn service_knobs() -> impl Strategy<Value = Knobs> {
    let command = proptest::collection::vec("[^{]{1,12}", 1..4);
    let retries = (1..9_u32, share(), nanos(1 << 50)).prop_map(|(attempts, budget, try_timeout)| Retries {
        attempts,
        budget,
        try_timeout,
    });
    let tls = proptest::option::of(
        (path(), path()).prop_map(|(c, k)| TlsFiles { certificate_file: c, key_file: k }),
    );
    (command, 1..4_u32, 0..4_u32, retries, "/[a-z?=&~]{0,9}", tls, (0..900_u64).prop_map(Duration::from_secs))
}

fn postgres() -> impl Strategy<Value = PostgresMember> {
    let settings = proptest::collection::btree_map("\\PC{0,8}", "\\PC{0,8}", 0..3);
    let user = "\\PC{1,10}";
    (proptest::option::of(path()), path(), user, user, path(), user, path(), settings).prop_map(
        |(bin_dir, data_dir, run_as, superuser, password_file, app_user, app_password_file, settings)| {
            let settings: BTreeMap<String, String> = settings;
            PostgresMember {
                bin_dir,
                data_dir,
                run_as,
                superuser,
                password_file,
                app_user,
                app_password_file,
                settings: settings.into_iter().collect(),
            }
        },
    )
}

fn limits() -> impl Strategy<Value = GatewayLimits> {
    (1..9999_u32, any::<u32>(), any::<u64>(), nanos(1 << 55)).prop_map(
        |(max_sessions, max_waiting, max_waiting_bytes, max_wait)| GatewayLimits {
            max_sessions,
            max_waiting,
            max_waiting_bytes,
            max_wait,
        },
    )
}

fn breach() -> impl Strategy<Value = (OnRpoBreach, SwitchoverLimits)> {
    let on = prop_oneof![Just(OnRpoBreach::Block), Just(OnRpoBreach::Warn), Just(OnRpoBreach::Degrade)];
    (on, nanos(1 << 50), (1..=1_u64 << 50).prop_map(Duration::from_nanos), nanos(1 << 50))
        .prop_map(|(on, drain, catch_up, max_lag)| (on, SwitchoverLimits { drain, catch_up, max_lag }))
}

fn policy() -> impl Strategy<Value = DataResidencyPolicy> {
    (proptest::collection::vec("\\PC{0,10}", 0..3), any::<[bool; 4]>(), any::<u32>()).prop_map(
        |(data_classes, [a, b, c, d], retention_days)| DataResidencyPolicy {
            name: name("law", 0),
            data_classes,
            allowed_regions: vec!["r-*".to_owned(), "eu-west-1".to_owned()],
            blocked_regions: if a { vec!["cn-*".to_owned()] } else { Vec::new() },
            encryption: Encryption { at_rest_required: a, in_transit_required: b, customer_managed_keys: c },
            audit: Audit { access_logging: d, retention_days },
        },
    )
}

/// Every system that a spec can be accepted for, in all its fields.
fn system() -> impl Strategy<Value = System> {
    let database = ("\\PC{1,15}", any::<bool>(), nanos(1 << 60), postgres(), limits(), breach());
    let plan = proptest::option::of((plans::any_steps(), plans::triggers()));
    (topology(), service_knobs(), database, proptest::option::of(policy()), plan).prop_map(
        |(topology, service, (dbname, quorum, max_read_lag, postgres, gateway, breach), policy, plan)| {
            let data: Vec<Region> =
                topology.regions.iter().filter(|r| r.role != Role::Witness).cloned().collect();
            let quorum = quorum && data.len() > 2;
            let database = Database {
                name: name("db", 0),
                dbname,
                replication: if quorum {
                    Replication::Quorum { acknowledgers: 1 }
                } else {
                    Replication::Async
                },
                max_read_lag,
                on_rpo_breach: breach.0,
                switchover: breach.1,
                members: data.iter().map(|r| member(r, &postgres)).collect(),
                gateway,
            };
            let services = vec![make_service(&data, service)];
            let written = |(steps, triggers)| plans::plan(plans::in_order(steps), triggers, &breach.1);
            let mut system = System {
                topology,
                services,
                databases: vec![database.clone()],
                policies: policy.into_iter().collect(),
                plans: Vec::new(),
            };
            system.plans = vec![plan.map_or_else(|| derive(&system, &database), written)];
            system
        },
    )
}

fn member(region: &Region, postgres: &PostgresMember) -> Member {
    let address = SocketAddr::new(region.node.control.ip(), 15432);
    Member { region: region.name.clone(), address, postgres: postgres.clone() }
}

fn make_service(regions: &[Region], knobs: Knobs) -> Service {
    let (command, primary, standby, retries, path, tls, dns_ttl) = knobs;
    let backend = |(number, region): (u16, &Region)| {
        let at = |i: u16| SocketAddr::new(region.node.control.ip(), 20_000 + i);
        let compute = ProcessCompute {
            command: command.clone(),
            instances_standby: standby,
            instances_primary: primary,
        };
        Backend {
            region: region.name.clone(),
            endpoints: (0..4).map(at).collect(),
            compute: (number != 1).then_some(compute),
        }
    };
    Service {
        name: name("s", 0),
        hosts: vec!["shop.example.com".to_owned(), "example.com".to_owned()],
        zone: "example.com".to_owned(),
        dns_ttl,
        backends: (0..).zip(regions).map(backend).collect(),
        health_check: HealthCheck { path },
        retries,
        tls,
    }
}

/// The documents of a YAML text as JSON, by the rules of YAML 1.2's core schema.
fn documents(text: &str) -> Vec<Value> {
    let mut finished = Vec::new();
    let mut open: Vec<(Value, Option<String>)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let value = match event.expect("YAML").0 {
            Event::Scalar(text, ScalarStyle::Plain, ..) => {
                serde_json::from_str(&text).unwrap_or(Value::from(&*text))
            }
            Event::Scalar(text, ..) => Value::from(&*text),
            Event::SequenceStart(..) => {
                open.push((Value::Array(Vec::new()), None));
                continue;
            }
            Event::MappingStart(..) => {
                open.push((Value::Object(serde_json::Map::new()), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().expect("begun").0,
            _ => continue,
        };
        match open.last_mut() {
            None => finished.push(value),
            Some((Value::Array(items), _)) => items.push(value),
            Some((Value::Object(map), key)) => match key.take() {
                Some(key) => drop(map.insert(key, value)),
                None => *key = Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
            },
            Some(_) => unreachable!("only lists and mappings are open"),
        }
    }
    finished
}

fn fits_the_schema(text: &str) {
    let schema = schema();
    for document in documents(text) {
        assert_eq!(super::schema::fault(&schema, &document, ""), None, "{document}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back_equal(system in system()) {
        let text = write(&system);
        let inspection = inspect(&[SourceFile { name: "spec.yaml".to_owned(), text: text.clone() }]);
        let told: String = inspection.diagnostics.iter().map(ToString::to_string).collect();
        prop_assert_eq!(inspection.system.as_ref(), Some(&system), "{}\n{}", told, text);
        fits_the_schema(&text);
    }
}

#[test]
fn the_examples_fit_the_schema() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let files = std::fs::read_dir(examples).expect("examples").map(|entry| entry.expect("an entry").path());
    let specs: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "yaml")).collect();
    assert!(specs.len() >= 4, "{specs:?}");
    for spec in specs {
        fits_the_schema(&std::fs::read_to_string(spec).expect("readable"));
    }
}
