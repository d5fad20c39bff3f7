//! The system that the lab's tests run: three real regions, no application.
#![expect(clippy::unwrap_used, reason = "the helpers of tests stop the test that uses them, as tests do")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use meridian_model::database::{
    GatewayLimits, Member, OnRpoBreach, PostgresMember, Replication, SwitchoverLimits,
};
use meridian_model::topology::{
    Coordination, Dial, Location, NodeAddresses, Objectives, Pattern, Population, Provider, Region, Role,
    Topology,
};
use meridian_model::{Database, Name, Share, System, Timers};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// us-east-1, eu-central-1, ap-southeast-1; one database; users in Europe.
pub(crate) fn three_regions(topology: &str) -> System {
    let regions = vec![
        region("us-east-1", Role::Primary, "us", 38.9, -77.0),
        region("eu-central-1", Role::Secondary, "eu", 50.1, 8.7),
        region("ap-southeast-1", Role::Secondary, "apac", 1.35, 103.8),
    ];
    let members = regions.iter().map(|r| member(&r.name)).collect();
    System {
        topology: Topology {
            name: name(topology),
            pattern: Pattern::ActivePassive,
            schedule: Vec::new(),
            objectives: Objectives { rto: Duration::from_secs(60), rpo: Duration::from_secs(5) },
            regions,
            users: vec![Population {
                name: name("europe"),
                share: Share::ONE,
                location: Location { latitude: 50.0, longitude: 10.0 },
                networks: Vec::new(),
            }],
            coordination: Coordination {
                endpoints: Vec::new(),
                control_secret_file: PathBuf::from("secret"),
            },
            timers: Timers::default(),
            otlp_endpoint: None,
        },
        services: Vec::new(),
        databases: vec![Database {
            name: name("orders"),
            dbname: "orders".to_owned(),
            replication: Replication::Async,
            max_read_lag: Duration::from_secs(10),
            on_rpo_breach: OnRpoBreach::default(),
            switchover: SwitchoverLimits::default(),
            members,
            gateway: GatewayLimits::default(),
        }],
        policies: Vec::new(),
        plans: Vec::new(),
    }
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

fn region(text: &str, role: Role, jurisdiction: &str, latitude: f64, longitude: f64) -> Region {
    Region {
        name: name(text),
        provider: Provider::Aws,
        role,
        jurisdiction: name(jurisdiction),
        location: Location { latitude, longitude },
        cidr: None,
        dial: Dial::Share(Share::ONE),
        node: NodeAddresses {
            control: nowhere(),
            dns: nowhere(),
            edge_http: nowhere(),
            edge_https: nowhere(),
            gateway_write: nowhere(),
            gateway_read: nowhere(),
            public: Vec::new(),
            data_dir: PathBuf::from("data"),
        },
    }
}

fn member(region: &Name) -> Member {
    Member {
        region: region.clone(),
        address: nowhere(),
        postgres: PostgresMember {
            bin_dir: None,
            data_dir: PathBuf::from("pg"),
            run_as: "postgres".to_owned(),
            superuser: "meridian".to_owned(),
            password_file: PathBuf::from("p"),
            app_user: "app".to_owned(),
            app_password_file: PathBuf::from("a"),
            settings: Vec::new(),
        },
    }
}
