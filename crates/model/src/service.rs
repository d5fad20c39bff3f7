//! A global HTTP(S) name and its presence in the regions.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::name::{RegionName, ServiceName};
use crate::units::Share;

/// A global HTTP(S) name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// The host names it answers to; the first is the DNS name steered, such as `shop.example.com`.
    pub hosts: Vec<String>,
    /// The zone that our DNS is authoritative for, such as `example.com`.
    pub zone: String,
    /// How long an answer may be kept.
    pub dns_ttl: Duration,
    /// Its presence, at most one a region.
    pub backends: Vec<Backend>,
    /// How an endpoint is checked.
    pub health_check: HealthCheck,
    /// What may be tried again.
    pub retries: Retries,
    /// The certificate that the edge shows; none: the edge serves plain HTTP only.
    pub tls: Option<TlsFiles>,
}

/// Where the edge finds its certificate chain and key (PEM).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates, the leaf first.
    pub certificate_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

/// The presence of a service in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where.
    pub region: RegionName,
    /// One address for each instance that may run; the first `instances` of them do.
    pub endpoints: Vec<SocketAddr>,
    /// How the instances are run; `None`: somebody else does it.
    pub compute: Option<ProcessCompute>,
}

/// Instances run as child processes of the node: what the lab uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessCompute {
    /// Program and arguments. `{address}` is replaced by the instance's address, `{region}` by the
    /// region, `{gateway_write}` and `{gateway_read}` by the region's own gateway.
    pub command: Vec<String>,
    /// Instances while the region is a standby.
    pub instances_standby: u32,
    /// Instances while the region holds the writer.
    pub instances_primary: u32,
}

/// How an endpoint is checked. Period, timeout and thresholds are the topology's [`crate::Timers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path that must answer 200, such as `/health`.
    pub path: String,
}

/// What may be tried again, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Attempts in all, the first included. Default 3.
    pub attempts: u32,
    /// Retries may be at most this share of requests. Default 20 %.
    pub budget: Share,
    /// When one attempt without an answer is given up. Default 2 s.
    pub try_timeout: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 3,
            budget: Share::from_percent(20.0).unwrap_or_default(),
            try_timeout: Duration::from_secs(2),
        }
    }
}
