//! A database: its members, how they replicate, and its gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::name::{GroupName, RegionName};

/// A PostgreSQL database with one writer and streaming replicas: one data group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its name; also the name of its data group.
    pub name: GroupName,
    /// The database inside PostgreSQL that applications use.
    pub dbname: String,
    /// How commits reach the replicas.
    pub replication: Replication,
    /// A standby further behind than this serves no reads. Default 10 s.
    pub max_read_lag: Duration,
    /// What happens when the objective for data loss is not kept.
    pub on_rpo_breach: OnRpoBreach,
    /// What bounds a switchover.
    pub switchover: SwitchoverLimits,
    /// The members, one a region at most.
    pub members: Vec<Member>,
    /// The limits of the gateway.
    pub gateway: GatewayLimits,
}

impl Database {
    /// The member in that region.
    #[must_use]
    pub fn member(&self, region: &RegionName) -> Option<&Member> {
        self.members.iter().find(|m| &m.region == region)
    }
}

/// How commits reach the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// A commit waits for nobody; what is not yet shipped may be lost.
    Async,
    /// A commit waits for this many standbys (`ANY n`); none is lost while promotion has proof.
    Quorum {
        /// W of the proof rule: how many standbys acknowledge each commit.
        acknowledgers: u32,
    },
}

/// What happens while the RPO is not kept: under `async`, when the measured lag of the best standby
/// passes it; under `quorum`, when too few standbys are there to acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnRpoBreach {
    /// Writes wait: under `async` new ones, until the lag is at most half the RPO again; with no standby
    /// connected they stop one RPO after the first write that none has. Under `quorum` commits, which is
    /// PostgreSQL's own behaviour.
    Block,
    /// It is told, as an event and a metric; nothing else. Under `quorum` commits wait all the same.
    #[default]
    Warn,
    /// Service goes on with less. Under `async` the database is read-only (by default: who asks to write may)
    /// until the lag is at most half the RPO again.
    /// Under `quorum` it goes on asynchronously; the group's record says so, and no failover happens by
    /// itself meanwhile.
    Degrade,
}

/// What bounds a switchover. Where one is passed the move is given up and the old writer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwitchoverLimits {
    /// How long running transactions may still take; then they are cut. Default 2 s.
    pub drain: Duration,
    /// How long the target may take to replay what is left. Default 2 s.
    pub catch_up: Duration,
    /// It is not begun while the target lags more than this. Default 1 s.
    pub max_lag: Duration,
}

impl Default for SwitchoverLimits {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(2),
            catch_up: Duration::from_secs(2),
            max_lag: Duration::from_secs(1),
        }
    }
}

/// One PostgreSQL server of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Where.
    pub region: RegionName,
    /// Its PostgreSQL, as seen from the region that reads this.
    pub address: SocketAddr,
    /// How this member is run; only the own region's is used.
    pub postgres: PostgresMember,
}

/// How a member that Meridian runs itself is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresMember {
    /// The folder with `postgres`, `initdb`, `pg_basebackup`, `pg_rewind`; none: found by itself.
    pub bin_dir: Option<PathBuf>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The unprivileged user to run as when we are root. Default `postgres`.
    pub run_as: String,
    /// The superuser inside PostgreSQL that Meridian works as. Default `meridian`.
    pub superuser: String,
    /// The file with that user's password.
    pub password_file: PathBuf,
    /// The user of applications. Default `app`.
    pub app_user: String,
    /// The file with that user's password.
    pub app_password_file: PathBuf,
    /// Extra settings, `name = value`.
    pub settings: Vec<(String, String)>,
}

/// What a gateway holds back while there is no writer, and its other limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayLimits {
    /// Sessions at once. Default 500.
    pub max_sessions: u32,
    /// Sessions that wait for a writer. Default 200.
    pub max_waiting: u32,
    /// Bytes that waiting sessions may hold. Default 16 MiB.
    pub max_waiting_bytes: u64,
    /// How long one waits. Default 30 s.
    pub max_wait: Duration,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            max_sessions: 500,
            max_waiting: 200,
            max_waiting_bytes: 16 << 20,
            max_wait: Duration::from_secs(30),
        }
    }
}
