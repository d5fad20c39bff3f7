//! The plan of a lab: its number, its addresses, its files. (Stub; signatures hold.)

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use meridian_model::{GroupName, Name, RegionName};

/// How a lab is started.
#[derive(Debug, Clone, Default)]
pub struct LabOptions {
    /// The number of the lab (10 to 250); none: the one whose data is there, else the lowest free.
    pub number: Option<u8>,
    /// The state folder; none: `/var/tmp/meridian-lab-UID/TOPOLOGY-NUMBER`.
    pub dir: Option<PathBuf>,
    /// The program that is started as node; none: the one that runs now.
    pub meridian: Option<PathBuf>,
    /// Seed of jitter and loss.
    pub seed: u64,
    /// Remove the data of an earlier run first.
    pub fresh: bool,
    /// Start etcd and the WAN only: for tests of the lab itself.
    pub without_nodes: bool,
}

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
    /// An address in it to bind client sockets to (127.L.(200+k).1).
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
