//! The plan of a lab: every address, file and link, derived from the system and the lab's number.
//!
//! Lab L has 127.L.0.0/16. Region i (from 1) binds at 127.L.i.1. Region j as region i sees it is
//! 127.L.i.(100+j), and as population k sees it 127.L.(200+k).(100+j): there the WAN emulator listens.
//! etcd members advertise one address for all, 127.L.i.254. The ports are the same everywhere, so that a
//! person can guess them.

mod files;
pub(crate) mod made_for;
mod number;
mod options;
mod rewrite;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_model::service::Backend;
use meridian_model::{GroupName, Name, RegionName, System};

use crate::error::LabError;
use crate::wan::{Forward, Origin, Place, Shape, Transport, WanConfig};
pub(crate) use files::{Files, write_private};
pub(crate) use made_for::{MadeFor, fingerprint};
pub use number::{Holder, check_number, default_root};
pub(crate) use number::{Number, NumberLock, Occupied, Wish, choose, known_labs};
pub use options::LabOptions;

/// The ports of every region.
pub mod port {
    /// DNS, UDP and TCP.
    pub const DNS: u16 = 5353;
    /// The edge, plain.
    pub const EDGE_HTTP: u16 = 8080;
    /// The edge, TLS.
    pub const EDGE_HTTPS: u16 = 8443;
    /// The gateway to the writer.
    pub const GATEWAY_WRITE: u16 = 6432;
    /// The gateway to the nearest replica.
    pub const GATEWAY_READ: u16 = 6433;
    /// The node's control interface and metrics.
    pub const CONTROL: u16 = 7400;
    /// The first database's PostgreSQL; the next ones follow.
    pub const POSTGRES: u16 = 5432;
    /// etcd's clients.
    pub const ETCD_CLIENT: u16 = 2379;
    /// etcd's peers.
    pub const ETCD_PEER: u16 = 2380;
    /// The first instance of the first service; 100 further for the next service.
    pub const APP: u16 = 9001;
}

/// Regions that the address plan has room for.
const REGIONS_MAX: usize = 99;
/// Populations that the address plan has room for.
const POPULATIONS_MAX: usize = 50;

/// Where everything of a lab is reached, for load, drills and people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The regions, in the order of the spec.
    pub regions: Vec<RegionAddresses>,
    /// What each population sees.
    pub populations: Vec<PopulationAddresses>,
    /// Each database.
    pub databases: Vec<DatabaseAddresses>,
    /// The lab's certificate authority (PEM), which signs the edges' certificates.
    pub ca_file: PathBuf,
    /// The secret of the control interface.
    pub control_secret_file: PathBuf,
}

/// A region as one who stands in it sees it: no WAN between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionAddresses {
    /// Which.
    pub region: RegionName,
    /// 127.L.i.1: also what DNS answers with for this region.
    pub public: IpAddr,
    /// DNS.
    pub dns: SocketAddr,
    /// The edge, plain.
    pub edge_http: SocketAddr,
    /// The edge, TLS.
    pub edge_https: SocketAddr,
    /// The gateway to the writer.
    pub gateway_write: SocketAddr,
    /// The gateway to the nearest replica.
    pub gateway_read: SocketAddr,
    /// The control interface and metrics.
    pub control: SocketAddr,
    /// etcd's client port.
    pub etcd: SocketAddr,
    /// The spec that its node reads.
    pub spec_file: PathBuf,
}

/// What one population sees: every address crosses the WAN from where it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopulationAddresses {
    /// Which.
    pub population: Name,
    /// Its network, 127.L.(200+k).0/24: put it into EDNS client subnet.
    pub network: ipnet::IpNet,
    /// The address that servers see its clients come from (127.L.(200+k).1).
    pub client: IpAddr,
    /// Each region as seen from here, in the order of the spec; same ports as at home.
    pub regions: Vec<RegionSeen>,
}

/// A region as seen over the WAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionSeen {
    /// Which.
    pub region: RegionName,
    /// The address DNS answers with for it.
    pub public: IpAddr,
    /// The address at which this population reaches it (127.L.(200+k).(100+j)).
    pub address: IpAddr,
    /// The undisturbed round trip from here.
    pub rtt: Duration,
}

impl PopulationAddresses {
    /// Where this population must dial when DNS has answered `public`.
    #[must_use]
    pub fn dial(&self, public: IpAddr) -> Option<IpAddr> {
        self.regions.iter().find(|r| r.public == public).map(|r| r.address)
    }
}

/// How a database is reached past the gateway, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseAddresses {
    /// Which.
    pub group: GroupName,
    /// The database inside PostgreSQL.
    pub dbname: String,
    /// PostgreSQL itself in each member's region, no WAN between.
    pub members: Vec<(RegionName, SocketAddr)>,
    /// The superuser that Meridian works as.
    pub superuser: String,
    /// Its password's file.
    pub password_file: PathBuf,
    /// The user of applications.
    pub app_user: String,
    /// Its password's file.
    pub app_password_file: PathBuf,
}

/// All that is decided before anything runs.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) number: u8,
    pub(crate) system: System,
    pub(crate) files: Files,
    pub(crate) addresses: Addresses,
    /// Without the owners, which are known when etcd runs.
    pub(crate) wan: WanConfig,
    pub(crate) etcd: EtcdPlan,
    /// The user that PostgreSQL runs as when we are root.
    pub(crate) run_as: String,
}

/// How the etcd members are started.
#[derive(Debug, Clone)]
pub(crate) struct EtcdPlan {
    /// `--initial-cluster`.
    pub(crate) cluster: String,
    /// Half of the longest round trip, 100 ms at least.
    pub(crate) heartbeat: Duration,
    /// Ten heartbeats.
    pub(crate) election: Duration,
}

impl Plan {
    /// Makes the plan of lab `number` in `dir`; `meridian` is the program whose folder has the application's.
    pub(crate) fn new(
        system: &System,
        number: u8,
        dir: &Path,
        seed: u64,
        meridian: &Path,
    ) -> Result<Self, LabError> {
        check(system)?;
        let files = Files::new(dir);
        let grid = Grid { number };
        let addresses = addresses(system, grid, &files);
        let wan = wan(system, grid, seed);
        let etcd = etcd(system, grid, &wan);
        let system = rewrite::common(system, grid, &files, meridian);
        let run_as =
            system.databases.iter().flat_map(|d| &d.members).map(|m| m.postgres.run_as.clone()).next();
        let run_as = run_as.unwrap_or_else(|| "postgres".to_owned());
        Ok(Self { number, system, files, addresses, wan, etcd, run_as })
    }

    /// The spec that the node of region `i` (from 0) reads.
    pub(crate) fn spec_of(&self, i: usize) -> String {
        meridian_spec::write(&rewrite::seen_from(&self.system, Grid { number: self.number }, &self.files, i))
    }

    /// The address that region `i` binds.
    pub(crate) fn home(&self, i: usize) -> Ipv4Addr {
        Grid { number: self.number }.home(i)
    }

    /// Everything that the processes of the regions bind; to be checked before they are started.
    pub(crate) fn bound_addresses(&self) -> Vec<SocketAddr> {
        let homes = self.wan.forwards.iter().filter(|f| f.transport == Transport::Tcp).map(|f| f.target);
        let mut all: Vec<_> = homes.collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// The address arithmetic of one lab; regions and populations count from 0 here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    number: u8,
}

impl Grid {
    /// Where region `i` binds.
    pub(crate) fn home(self, i: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, self.number, octet(i + 1), 1)
    }

    /// Region `j` as region `i` sees it: itself at home.
    pub(crate) fn seen(self, i: usize, j: usize) -> Ipv4Addr {
        if i == j { self.home(i) } else { Ipv4Addr::new(127, self.number, octet(i + 1), octet(101 + j)) }
    }

    /// Region `j` as population `k` sees it.
    pub(crate) fn seen_by_population(self, k: usize, j: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, self.number, octet(201 + k), octet(101 + j))
    }

    /// The address that clients of population `k` come from.
    pub(crate) fn client(self, k: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, self.number, octet(201 + k), 1)
    }

    /// 127.L.(200+k).0/24.
    pub(crate) fn network(self, k: usize) -> ipnet::IpNet {
        ipnet::IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(127, self.number, octet(201 + k), 0), 24))
    }

    /// What the etcd member of region `i` advertises to its peers.
    pub(crate) fn etcd_peer(self, i: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(127, self.number, octet(i + 1), 254), port::ETCD_PEER))
    }
}

/// The plan's numbers are checked by [`check`]; 255 would not be used.
fn octet(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}

fn check(system: &System) -> Result<(), LabError> {
    let too_many =
        |what, n, most| Err(LabError::Unsupported(format!("it has {n} {what}, {most} at most fit")));
    match (system.topology.regions.len(), system.topology.users.len()) {
        (0, _) => Err(LabError::Unsupported("it has no region".to_owned())),
        (n, _) if n > REGIONS_MAX => too_many("regions", n, REGIONS_MAX),
        (_, n) if n > POPULATIONS_MAX => too_many("populations", n, POPULATIONS_MAX),
        _ => Ok(()),
    }
}

fn at(ip: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((ip, port))
}

fn addresses(system: &System, grid: Grid, files: &Files) -> Addresses {
    let regions = system.region_names().enumerate();
    let region = |(i, name): (usize, &RegionName)| {
        let home = grid.home(i);
        RegionAddresses {
            region: name.clone(),
            public: home.into(),
            dns: at(home, port::DNS),
            edge_http: at(home, port::EDGE_HTTP),
            edge_https: at(home, port::EDGE_HTTPS),
            gateway_write: at(home, port::GATEWAY_WRITE),
            gateway_read: at(home, port::GATEWAY_READ),
            control: at(home, port::CONTROL),
            etcd: at(home, port::ETCD_CLIENT),
            spec_file: files.spec(name),
        }
    };
    Addresses {
        regions: regions.map(region).collect(),
        populations: (0..system.topology.users.len()).filter_map(|k| population(system, grid, k)).collect(),
        databases: databases(system, grid, files),
        ca_file: files.ca(),
        control_secret_file: files.control_secret(),
    }
}

fn population(system: &System, grid: Grid, k: usize) -> Option<PopulationAddresses> {
    let people = system.topology.users.get(k)?;
    let seen = |(j, region): (usize, &meridian_model::topology::Region)| RegionSeen {
        region: region.name.clone(),
        public: grid.home(j).into(),
        address: grid.seen_by_population(k, j).into(),
        rtt: meridian_catalog::round_trip(&people.into(), &region.into()).rtt,
    };
    Some(PopulationAddresses {
        population: people.name.clone(),
        network: grid.network(k),
        client: grid.client(k).into(),
        regions: system.topology.regions.iter().enumerate().map(seen).collect(),
    })
}

fn databases(system: &System, grid: Grid, files: &Files) -> Vec<DatabaseAddresses> {
    let place = |name: &RegionName| system.region_names().position(|r| r == name);
    let database = |(d, database): (usize, &meridian_model::Database)| {
        let members = database.members.iter();
        let first = database.members.first().map(|m| &m.postgres);
        DatabaseAddresses {
            group: database.name.clone(),
            dbname: database.dbname.clone(),
            members: members
                .filter_map(|m| Some((m.region.clone(), at(grid.home(place(&m.region)?), postgres_port(d)))))
                .collect(),
            superuser: first.map_or("meridian", |p| &p.superuser).to_owned(),
            password_file: files.password(&database.name),
            app_user: first.map_or("app", |p| &p.app_user).to_owned(),
            app_password_file: files.app_password(&database.name),
        }
    };
    system.databases.iter().enumerate().map(database).collect()
}

/// The port of the `d`th database (from 0).
fn postgres_port(d: usize) -> u16 {
    port::POSTGRES.saturating_add(u16::try_from(d).unwrap_or(u16::MAX))
}

/// The port of the first instance of the `s`th service.
fn app_port(s: usize) -> u16 {
    port::APP.saturating_add(u16::try_from(s).unwrap_or(u16::MAX).saturating_mul(100))
}

/// Instances that may run at once.
fn instances(backend: &Backend) -> u16 {
    let most = backend.compute.as_ref().map_or(0, |c| c.instances_primary.max(c.instances_standby));
    u16::try_from(most).unwrap_or(99).min(99)
}

/// The ports at which the regions reach each other.
fn region_ports(system: &System) -> Vec<u16> {
    use port::{CONTROL, DNS, EDGE_HTTP, EDGE_HTTPS, ETCD_CLIENT, GATEWAY_READ, GATEWAY_WRITE};
    let fixed = [DNS, EDGE_HTTP, EDGE_HTTPS, GATEWAY_WRITE, GATEWAY_READ, CONTROL, ETCD_CLIENT];
    let postgres = (0..system.databases.len()).map(postgres_port);
    let apps = system.services.iter().enumerate().flat_map(|(s, service)| {
        let most = service.backends.iter().map(instances).max().unwrap_or(0);
        (0..most).map(move |n| app_port(s) + n)
    });
    fixed.into_iter().chain(postgres).chain(apps).collect()
}

fn wan(system: &System, grid: Grid, seed: u64) -> WanConfig {
    let (regions, users) = (&system.topology.regions, &system.topology.users);
    let region_places = regions
        .iter()
        .enumerate()
        .map(|(i, r)| Place { name: r.name.to_string(), client: grid.home(i).into() });
    let user_places = users
        .iter()
        .enumerate()
        .map(|(k, u)| Place { name: u.name.to_string(), client: grid.client(k).into() });
    let catalogued: Vec<meridian_catalog::Place<'_>> =
        regions.iter().map(Into::into).chain(users.iter().map(Into::into)).collect();
    let mut shapes = BTreeMap::new();
    for (i, from) in catalogued.iter().enumerate() {
        for (j, to) in catalogued.iter().enumerate().filter(|(j, _)| i != *j) {
            shapes.insert((i, j), Shape::of_round_trip(meridian_catalog::round_trip(from, to).rtt));
        }
    }
    WanConfig {
        places: region_places.chain(user_places).collect(),
        shapes,
        forwards: forwards(system, grid),
        seed,
        ..WanConfig::default()
    }
}

fn forwards(system: &System, grid: Grid) -> Vec<Forward> {
    let n = system.topology.regions.len();
    let mut all = Vec::new();
    for j in 0..n {
        let to = |origin, listen, port| Forward {
            origin,
            to: j,
            listen,
            target: at(grid.home(j), port),
            transport: Transport::Tcp,
        };
        all.push(to(Origin::Owner, grid.etcd_peer(j), port::ETCD_PEER));
        for i in (0..n).filter(|i| *i != j) {
            let listen = |port| to(Origin::Place(i), at(grid.seen(i, j), port), port);
            all.extend(region_ports(system).into_iter().map(listen));
        }
        for k in 0..system.topology.users.len() {
            let listen = |port| to(Origin::Place(n + k), at(grid.seen_by_population(k, j), port), port);
            let ports =
                [port::DNS, port::EDGE_HTTP, port::EDGE_HTTPS, port::GATEWAY_WRITE, port::GATEWAY_READ];
            all.extend(ports.into_iter().map(listen));
            all.push(Forward { transport: Transport::Udp, ..listen(port::DNS) });
        }
    }
    all
}

/// etcd's advice: a heartbeat of about half to one and a half of the round trip, elections ten times as long.
fn etcd(system: &System, grid: Grid, wan: &WanConfig) -> EtcdPlan {
    let regions = system.topology.regions.len();
    let between = wan.shapes.iter().filter(|((i, j), _)| *i < regions && *j < regions);
    let longest = between.map(|(_, shape)| shape.delay).max().unwrap_or_default();
    // `delay` is one way: half of the round trip.
    let millis =
        u64::try_from(longest.as_millis()).unwrap_or(u64::MAX).div_ceil(10).saturating_mul(10).max(100);
    let members =
        system.region_names().enumerate().map(|(i, name)| format!("{name}=http://{}", grid.etcd_peer(i)));
    EtcdPlan {
        cluster: members.collect::<Vec<_>>().join(","),
        heartbeat: Duration::from_millis(millis),
        election: Duration::from_millis(millis.saturating_mul(10).max(1000)),
    }
}
