//! What the system is: its regions, its users, its objectives, and how its parts are reached.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::database::Database;
use crate::name::{Name, RegionName};
use crate::plan::RecoveryPlan;
use crate::policy::DataResidencyPolicy;
use crate::schedule::ScheduledMove;
use crate::service::Service;
use crate::timers::Timers;
use crate::units::Share;

/// Everything that one spec says, checked and joined: what `spec` makes and all else reads.
#[derive(Debug, Clone, PartialEq)]
pub struct System {
    /// The regions and the people.
    pub topology: Topology,
    /// The global HTTP(S) names.
    pub services: Vec<Service>,
    /// The databases; each is one data group for now.
    pub databases: Vec<Database>,
    /// What the law allows.
    pub policies: Vec<DataResidencyPolicy>,
    /// What is done when a region is lost or the writer moves: one for each database, derived where none
    /// was written.
    pub plans: Vec<RecoveryPlan>,
}

impl System {
    /// The region of that name.
    #[must_use]
    pub fn region(&self, name: &RegionName) -> Option<&Region> {
        self.topology.regions.iter().find(|r| &r.name == name)
    }

    /// Names of all regions, in the order of the spec.
    pub fn region_names(&self) -> impl Iterator<Item = &RegionName> {
        self.topology.regions.iter().map(|r| &r.name)
    }

    /// Where the writer of that database begins, and where a failback brings it: the primary region, or its first
    /// member where it has none there.
    #[must_use]
    pub fn home<'a>(&'a self, database: &'a Database) -> Option<&'a RegionName> {
        let primary = self.topology.regions.iter().find(|r| r.role == Role::Primary);
        let at_home = primary.map(|r| &r.name).filter(|name| database.member(name).is_some());
        at_home.or_else(|| database.members.first().map(|m| &m.region))
    }
}

/// How regions share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Every region serves and writes.
    ActiveActive,
    /// One region writes; the others stand by.
    ActivePassive,
    /// One region writes at a time; the writer moves with the day, by the topology's schedule.
    FollowTheSun,
}

/// What recovery must achieve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objectives {
    /// Time to recover.
    pub rto: Duration,
    /// Data that may be lost, as time.
    pub rpo: Duration,
}

/// The regions, the people who use them, the objectives and the way to etcd.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    /// The name of the whole; the first part of every key in etcd.
    pub name: Name,
    /// How regions share the work.
    pub pattern: Pattern,
    /// When the writer moves where: of `follow-the-sun` only, and never empty there.
    pub schedule: Vec<ScheduledMove>,
    /// What recovery must achieve.
    pub objectives: Objectives,
    /// At least one; in the order of the spec.
    pub regions: Vec<Region>,
    /// Where the users are. The shares add up to one.
    pub users: Vec<Population>,
    /// How the control plane agrees.
    pub coordination: Coordination,
    /// Every period that safety depends on.
    pub timers: Timers,
    /// Where telemetry goes, if anywhere (an OTLP/gRPC endpoint).
    pub otlp_endpoint: Option<String>,
}

/// What a region does in the pattern at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Writes.
    Primary,
    /// Serves, and may be promoted.
    Secondary,
    /// Votes and holds no data.
    Witness,
}

/// The cloud whose regions the catalogue knows; `Other` for any other place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provider {
    /// Amazon Web Services.
    Aws,
    /// Google Cloud.
    Gcp,
    /// Microsoft Azure.
    Azure,
    /// Anything else: location and jurisdiction must be given.
    Other,
}

/// A place on earth, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Location {
    /// North is positive, -90 to 90.
    pub latitude: f64,
    /// East is positive, -180 to 180.
    pub longitude: f64,
}

/// A place that runs a copy.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// Its name, such as `eu-central-1`.
    pub name: RegionName,
    /// Whose region it is.
    pub provider: Provider,
    /// What it does at the start.
    pub role: Role,
    /// The legal area, such as `eu`.
    pub jurisdiction: Name,
    /// Where it lies.
    pub location: Location,
    /// Its own network, if stated.
    pub cidr: Option<IpNet>,
    /// The share of arriving traffic it takes.
    pub dial: Dial,
    /// How the node of this region is reached and what it listens on.
    pub node: NodeAddresses,
}

/// The share of arriving traffic that a region takes, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dial {
    /// This share of what arrives.
    Share(Share),
    /// Only in an emergency: when nothing else is left.
    Drain,
    /// Never, not even in an emergency.
    Forbid,
}

/// Where the node of a region is: what it binds to at home and what others dial.
///
/// Each region's node reads a spec in which the *other* regions carry the addresses at which they can
/// be reached from there; its own are the ones it binds to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddresses {
    /// The control interface: promises, orders, status; also metrics under `/metrics`.
    pub control: SocketAddr,
    /// Authoritative DNS, UDP and TCP.
    pub dns: SocketAddr,
    /// The edge, plain HTTP.
    pub edge_http: SocketAddr,
    /// The edge, HTTPS.
    pub edge_https: SocketAddr,
    /// The gateway port that leads to the writer.
    pub gateway_write: SocketAddr,
    /// The gateway port that leads to the nearest replica.
    pub gateway_read: SocketAddr,
    /// The address that DNS answers with for this region; the edge's, unless a load balancer is in front.
    pub public: Vec<std::net::IpAddr>,
    /// Where the node keeps what must survive a restart (snapshot, promises, kept WAL).
    pub data_dir: PathBuf,
}

impl NodeAddresses {
    /// The region has addresses of its own. False in a spec without them: only the lab, which fills
    /// them in, can run it.
    #[must_use]
    pub fn placed(&self) -> bool {
        !self.control.ip().is_unspecified()
    }
}

/// A part of the users.
#[derive(Debug, Clone, PartialEq)]
pub struct Population {
    /// Its name, such as `europe`.
    pub name: Name,
    /// Its part of all users.
    pub share: Share,
    /// The middle of where they live: used to estimate distances.
    pub location: Location,
    /// The networks they come from; the longest match wins.
    pub networks: Vec<IpNet>,
}

/// How to reach etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordination {
    /// Client URLs of the members, as seen from the region that reads this; the own region's first.
    pub endpoints: Vec<String>,
    /// The file with the secret that nodes prove to each other on the control interface.
    pub control_secret_file: PathBuf,
}
