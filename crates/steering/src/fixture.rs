//! Test helpers: the three regions of the README as a checked system, and snapshots of it.
//!
//! Addresses are made up so that each can be told from the others; tests that open sockets replace
//! them. All fields are public, so that a test changes just what it is about.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test helpers: a wrong constant must stop the test"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use meridian_model::database::{
    Database, GatewayLimits, Member, OnRpoBreach, PostgresMember, Replication, SwitchoverLimits,
};
use meridian_model::health::{Health, Part, RegionHealth, Target, Verdict};
use meridian_model::service::{Backend, HealthCheck, Retries, Service};
use meridian_model::snapshot::{GroupState, ReaderState};
use meridian_model::topology::{
    Coordination, Dial, Location, NodeAddresses, Objectives, Pattern, Population, Provider, Region, Role,
    Topology,
};
use meridian_model::{Epoch, Name, Share, Snapshot, System, Timers, Timestamp};

/// The region of the writer.
pub const US: &str = "us-east-1";
/// A standby.
pub const EU: &str = "eu-central-1";
/// A standby.
pub const AP: &str = "ap-southeast-1";

/// A checked name.
#[must_use]
pub fn name(text: &str) -> Name {
    Name::new(text).expect("a test writes names right")
}

/// Three regions, three populations (`10.1.0.0/16` America, `10.2.0.0/16` Europe, `10.3.0.0/16` Asia,
/// and the same as `fd00:1::/32` and so on), one service `shop`, one database `shop`.
#[must_use]
pub fn system() -> System {
    System {
        topology: topology(),
        services: vec![service()],
        databases: vec![database()],
        policies: Vec::new(),
        plans: Vec::new(),
    }
}

/// A snapshot in which every region and part has the given health; regions not named are up. The
/// first region writes.
#[must_use]
pub fn snapshot(system: &System, healths: &[(&str, Health)]) -> Snapshot {
    let health = |region: &Name| {
        healths.iter().find(|(name, _)| *name == region.as_str()).map_or(Health::Up, |(_, health)| *health)
    };
    let regions: Vec<_> = system.region_names().map(|r| region_health(r, health(r))).collect();
    let readers = system.region_names().map(|r| ReaderState { region: r.clone(), lag_s: 0 }).collect();
    Snapshot {
        generation: 7,
        region: name(US),
        made_at: Timestamp(0),
        regions,
        groups: vec![GroupState {
            group: name("shop"),
            epoch: Epoch(3),
            writer: Some(name(US)),
            reason: String::new(),
            readers,
        }],
        dials: Vec::new(),
    }
}

/// Changes one part of one region in a snapshot.
pub fn set_part(snapshot: &mut Snapshot, region: &str, part: Part, health: Health) {
    let of_region = snapshot.regions.iter_mut().filter(|r| r.region.as_str() == region);
    for verdict in of_region.flat_map(|r| r.parts.iter_mut()).filter(|v| v.target.part == part) {
        verdict.health = health;
        verdict.reason = format!("the test says {health}");
    }
}

fn region_health(region: &Name, health: Health) -> RegionHealth {
    let reason = format!("the test says {health}");
    let part = |part| Verdict {
        target: Target { region: region.clone(), part },
        health,
        reason: reason.clone(),
        evidence: Vec::new(),
    };
    RegionHealth {
        region: region.clone(),
        health,
        reason: reason.clone(),
        parts: Part::ALL.into_iter().map(part).collect(),
    }
}

fn topology() -> Topology {
    Topology {
        name: name("test"),
        pattern: Pattern::ActivePassive,
        schedule: Vec::new(),
        objectives: Objectives { rto: Duration::from_secs(60), rpo: Duration::from_secs(5) },
        regions: vec![
            region(1, US, Role::Primary, (38.95, -77.45)),
            region(2, EU, Role::Secondary, (50.11, 8.68)),
            region(3, AP, Role::Secondary, (1.35, 103.82)),
        ],
        users: vec![
            population(1, "america", 40.0, (39.8, -98.6)),
            population(2, "europe", 35.0, (50.1, 9.0)),
            population(3, "asia", 25.0, (13.7, 100.5)),
        ],
        coordination: Coordination { endpoints: Vec::new(), control_secret_file: PathBuf::from("/none") },
        timers: Timers::default(),
        otlp_endpoint: None,
    }
}

fn region(number: u8, text: &str, role: Role, (latitude, longitude): (f64, f64)) -> Region {
    let at = |port| SocketAddr::from(([127, 250, number, 1], port));
    Region {
        name: name(text),
        provider: Provider::Aws,
        role,
        jurisdiction: name("none"),
        location: Location { latitude, longitude },
        cidr: None,
        dial: Dial::Share(Share::ONE),
        node: NodeAddresses {
            control: at(7400),
            dns: at(5353),
            edge_http: at(8080),
            edge_https: at(8443),
            gateway_write: at(6432),
            gateway_read: at(6433),
            public: vec![
                [192, 0, 2, number].into(),
                [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)].into(),
            ],
            data_dir: PathBuf::from("/none"),
        },
    }
}

fn population(number: u8, text: &str, percent: f64, (latitude, longitude): (f64, f64)) -> Population {
    Population {
        name: name(text),
        share: Share::from_percent(percent).expect("a test writes shares right"),
        location: Location { latitude, longitude },
        networks: vec![
            format!("10.{number}.0.0/16").parse().unwrap(),
            format!("fd00:{number}::/32").parse().unwrap(),
        ],
    }
}

fn service() -> Service {
    let backend = |number, region| Backend {
        region: name(region),
        endpoints: vec![
            SocketAddr::from(([127, 250, number, 1], 9001)),
            SocketAddr::from(([127, 250, number, 1], 9002)),
        ],
        compute: None,
    };
    Service {
        name: name("shop"),
        hosts: vec!["shop.example.com".to_owned()],
        zone: "example.com".to_owned(),
        dns_ttl: Duration::from_secs(5),
        backends: vec![backend(1, US), backend(2, EU), backend(3, AP)],
        health_check: HealthCheck { path: "/health".to_owned() },
        retries: Retries::default(),
        tls: None,
    }
}

fn database() -> Database {
    let member = |number: u8, region| Member {
        region: name(region),
        address: SocketAddr::from(([127, 250, number, 1], 5432)),
        postgres: PostgresMember {
            bin_dir: None,
            data_dir: PathBuf::from("/none"),
            run_as: "postgres".to_owned(),
            superuser: "meridian".to_owned(),
            password_file: PathBuf::from("/none"),
            app_user: "app".to_owned(),
            app_password_file: PathBuf::from("/none"),
            settings: Vec::new(),
        },
    };
    Database {
        name: name("shop"),
        dbname: "shop".to_owned(),
        replication: Replication::Async,
        max_read_lag: Duration::from_secs(10),
        on_rpo_breach: OnRpoBreach::default(),
        switchover: SwitchoverLimits::default(),
        members: vec![member(1, US), member(2, EU), member(3, AP)],
        gateway: GatewayLimits::default(),
    }
}
