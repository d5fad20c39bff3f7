//! A spec of some regions with one database, built by hand. Used by unit and integration tests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use meridian_model::database::{GatewayLimits, Member, PostgresMember, Replication};
use meridian_model::topology::{
    Coordination, Dial, Location, NodeAddresses, Objectives, Pattern, Provider, Region, Role,
};
use meridian_model::{Database, Name, RegionName, Share, System, Timers, Topology};

/// What a test says of a region.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) name: RegionName,
    pub(crate) database: SocketAddr,
    pub(crate) gateway_write: SocketAddr,
    pub(crate) gateway_read: SocketAddr,
}

/// Regions lie further away from the first, one after the other.
pub(crate) fn system(places: &[Place], limits: GatewayLimits) -> System {
    let second = Duration::from_secs(1);
    System {
        topology: Topology {
            name: Name::new("test").unwrap(),
            schedule: Vec::new(),
            pattern: Pattern::ActivePassive,
            objectives: Objectives { rto: 60 * second, rpo: 5 * second },
            regions: (0..).zip(places).map(region).collect(),
            users: Vec::new(),
            coordination: Coordination { endpoints: Vec::new(), control_secret_file: PathBuf::new() },
            timers: Timers::default(),
            otlp_endpoint: None,
        },
        services: Vec::new(),
        databases: vec![Database {
            on_rpo_breach: meridian_model::database::OnRpoBreach::default(),
            switchover: meridian_model::database::SwitchoverLimits::default(),
            name: Name::new("orders").unwrap(),
            dbname: "postgres".to_owned(),
            replication: Replication::Async,
            max_read_lag: 10 * second,
            members: places.iter().map(member).collect(),
            gateway: limits,
        }],
        plans: Vec::new(),
        policies: Vec::new(),
    }
}

fn region((index, place): (u8, &Place)) -> Region {
    let unused = SocketAddr::from(([127, 0, 0, 1], 1));
    Region {
        name: place.name.clone(),
        provider: Provider::Other,
        role: if index == 0 { Role::Primary } else { Role::Secondary },
        jurisdiction: Name::new("us").unwrap(),
        location: Location { latitude: 40.0, longitude: f64::from(index) * 40.0 },
        cidr: None,
        dial: Dial::Share(Share::ONE),
        node: NodeAddresses {
            control: unused,
            dns: unused,
            edge_http: unused,
            edge_https: unused,
            gateway_write: place.gateway_write,
            gateway_read: place.gateway_read,
            public: Vec::new(),
            data_dir: PathBuf::new(),
        },
    }
}

fn member(place: &Place) -> Member {
    Member {
        region: place.name.clone(),
        address: place.database,
        postgres: PostgresMember {
            bin_dir: None,
            data_dir: PathBuf::new(),
            run_as: "postgres".to_owned(),
            superuser: "meridian".to_owned(),
            password_file: PathBuf::new(),
            app_user: "app".to_owned(),
            app_password_file: PathBuf::new(),
            settings: Vec::new(),
        },
    }
}
