//! Each rule is broken by itself, and named; and a sound system gets no finding.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use meridian_catalog::region as in_catalogue;
use meridian_model::database::{
    Database, GatewayLimits, Member, OnRpoBreach, PostgresMember, Replication, SwitchoverLimits,
};
use meridian_model::service::{Backend, HealthCheck, ProcessCompute, Retries, Service};
use meridian_model::topology::{
    Coordination, Dial, NodeAddresses, Objectives, Pattern, Provider, Region, Role, Topology,
};
use meridian_model::{Name, Share, System, Timers};
use proptest::prelude::*;

use super::*;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn socket() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 1))
}

fn region(text: &str, role: Role) -> Region {
    let known = in_catalogue(Provider::Aws, text).expect("in the catalogue");
    Region {
        name: name(text),
        provider: Provider::Aws,
        role,
        jurisdiction: name(known.jurisdiction),
        location: known.location,
        cidr: None,
        dial: Dial::Share(Share::ONE),
        node: NodeAddresses {
            control: socket(),
            dns: socket(),
            edge_http: socket(),
            edge_https: socket(),
            gateway_write: socket(),
            gateway_read: socket(),
            public: Vec::new(),
            data_dir: PathBuf::new(),
        },
    }
}

fn member(region: &Region) -> Member {
    Member {
        region: region.name.clone(),
        address: socket(),
        postgres: PostgresMember {
            bin_dir: None,
            data_dir: PathBuf::new(),
            run_as: String::new(),
            superuser: String::new(),
            password_file: PathBuf::new(),
            app_user: String::new(),
            app_password_file: PathBuf::new(),
            settings: Vec::new(),
        },
    }
}

/// The three regions of the README, with all defaults.
pub(crate) fn sound() -> System {
    let regions = vec![
        region("us-east-1", Role::Primary),
        region("eu-central-1", Role::Secondary),
        region("ap-southeast-1", Role::Secondary),
    ];
    let compute = ProcessCompute { command: Vec::new(), instances_standby: 1, instances_primary: 2 };
    let backend =
        |r: &Region| Backend { region: r.name.clone(), endpoints: vec![], compute: Some(compute.clone()) };
    let service = Service {
        name: name("shop"),
        hosts: Vec::new(),
        zone: String::new(),
        dns_ttl: Duration::from_secs(30),
        backends: regions.iter().map(backend).collect(),
        health_check: HealthCheck { path: String::new() },
        retries: Retries::default(),
        tls: None,
    };
    let database = Database {
        name: name("orders"),
        dbname: String::new(),
        replication: Replication::Async,
        max_read_lag: Duration::from_secs(10),
        on_rpo_breach: OnRpoBreach::default(),
        switchover: SwitchoverLimits::default(),
        members: regions.iter().map(member).collect(),
        gateway: GatewayLimits::default(),
    };
    let topology = Topology {
        name: name("shop"),
        pattern: Pattern::ActivePassive,
        schedule: Vec::new(),
        objectives: Objectives { rto: Duration::from_secs(60), rpo: Duration::from_secs(5) },
        regions,
        users: Vec::new(),
        coordination: Coordination { endpoints: Vec::new(), control_secret_file: PathBuf::new() },
        timers: Timers::default(),
        otlp_endpoint: None,
    };
    System {
        topology,
        services: vec![service],
        databases: vec![database],
        policies: Vec::new(),
        plans: Vec::new(),
    }
}

/// The short names of what is found after `change`.
fn found(change: impl FnOnce(&mut System)) -> Vec<&'static str> {
    let mut system = sound();
    change(&mut system);
    check(&system).iter().map(|f| f.code).collect()
}

#[test]
fn a_sound_system_has_no_findings() {
    assert_eq!(check(&sound()), []);
}

#[test]
fn each_rule_is_told_when_it_alone_is_broken() {
    let ms = Duration::from_millis;
    assert_eq!(found(|s| s.topology.timers.database_fence = ms(4_498)), ["safety-inequality"]);
    assert_eq!(found(|s| s.topology.timers.gateway_fence = ms(4_001)), ["fence-order"]);
    assert_eq!(found(|s| s.topology.timers.renew_every = ms(1_400)), ["renewal"]);
    assert_eq!(found(|s| s.topology.timers.renew_every = ms(800)), ["election"]);
    assert_eq!(found(|s| s.topology.timers.stop_within = ms(0)), ["period"]);
    assert_eq!(found(|s| s.topology.timers.probe_timeout = ms(1_001)), ["probe-overlap"]);
    assert_eq!(found(|s| s.topology.timers.probe_timeout = ms(600)), ["probe-timeout"]);
    assert_eq!(found(|s| s.topology.timers.observation_ttl = ms(2_200)), ["observation-ttl"]);
    assert_eq!(found(|s| s.topology.timers.down_after = 1), ["threshold"]);
    assert_eq!(found(|s| s.topology.objectives.rto = ms(30_000)), ["rto"]);
    assert_eq!(found(|s| s.topology.objectives.rpo = ms(0)), ["rpo"]);
    assert_eq!(found(|s| s.topology.objectives.rpo = ms(600)), ["rpo"]);
    assert_eq!(found(|s| s.databases[0].gateway.max_wait = ms(5_000)), ["gateway-wait"]);
    assert_eq!(found(|s| s.databases[0].members.truncate(1)), ["one-member"]);
    let quorum =
        |s: &mut System, acknowledgers| s.databases[0].replication = Replication::Quorum { acknowledgers };
    assert_eq!(found(|s| quorum(s, 0)), ["quorum"]);
    assert_eq!(found(|s| quorum(s, 2)), ["quorum"]);
    assert_eq!(found(|s| quorum(s, 1)), [""; 0]);
}

#[test]
fn votes_are_counted() {
    let endpoints =
        |s: &mut System, n| s.topology.coordination.endpoints = vec!["http://127.0.0.1:2379".into(); n];
    for (members, expected) in [
        (0, None),
        (1, Some("etcd-votes")),
        (2, Some("etcd-votes")),
        (3, None),
        (4, Some("etcd-votes")),
        (5, None),
    ] {
        assert_eq!(found(|s| endpoints(s, members)).first().copied(), expected, "{members} members");
    }
    let drop_one = |s: &mut System| {
        s.topology.regions.truncate(2);
        s.databases[0].members.truncate(2);
    };
    assert_eq!(found(drop_one), ["two-regions"]);
}

#[test]
fn the_sum_is_shown_term_by_term() {
    let mut system = sound();
    system.topology.timers.database_fence = Duration::from_millis(4_600);
    let finding = check(&system).remove(0);
    assert_eq!(finding.subject, Subject::Timer("leaseTtl"));
    assert_eq!(finding.severity, Severity::Error);
    let terms: Vec<&str> =
        finding.details.iter().filter_map(|l| l.split_whitespace().find(|w| w.ends_with('s'))).collect();
    assert_eq!(terms, ["4.6s", "500ms", "2.5ms", "5.1025s", "5s"]);
}

#[test]
fn a_switchover_has_limits_that_fit() {
    let ms = Duration::from_millis;
    assert_eq!(found(|s| s.databases[0].switchover.catch_up = ms(0)), ["catch-up"]);
    assert_eq!(found(|s| s.databases[0].switchover.drain = ms(29_000)), ["gateway-wait"]);
}

#[test]
fn the_quick_start_of_one_region_is_allowed() {
    let alone = |s: &mut System| {
        s.topology.regions.truncate(1);
        s.databases[0].members.truncate(1);
    };
    assert_eq!(found(alone), [""; 0]);
}

proptest! {
    /// The check says exactly what the inequality says.
    #[test]
    fn the_safety_check_is_the_inequality(ttl in 1..20_000_u64, fence in 1..20_000_u64, stop in 1..5_000_u64, ppm in 0..200_000_u32) {
        let mut system = sound();
        let timers = &mut system.topology.timers;
        timers.lease_ttl = Duration::from_millis(ttl);
        timers.database_fence = Duration::from_millis(fence);
        timers.stop_within = Duration::from_millis(stop);
        timers.clock_drift_ppm = ppm;
        let drift_ns = u128::from(ttl) * u128::from(ppm);
        let unsafe_sum = u128::from(fence + stop) * 1_000_000 + drift_ns >= u128::from(ttl) * 1_000_000;
        let told = check(&system).iter().any(|f| f.code == "safety-inequality");
        prop_assert_eq!(told, unsafe_sum);
    }
}
