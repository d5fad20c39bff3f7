//! `Service` as it is written.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use meridian_model::{Name, Share};

use crate::form::{At, AtLeastOne, form};

form! {
    /// A global HTTP(S) name and its presence in the regions.
    pub(crate) struct ServiceForm {
        /// The host names it answers to; the first is the one that DNS steers.
        required hosts "hosts": At<Vec<At<String>>>,
        /// How its name is answered.
        optional dns "dns": DnsForm,
        /// How an endpoint is checked.
        optional health_check "healthCheck": HealthCheckForm,
        /// Its presence, at most one a region. Default: every region that is no witness.
        optional backends "backends": At<Vec<At<BackendForm>>>,
        /// How instances are run, in every backend that does not say it itself.
        optional compute "compute": ComputeForm,
        /// What may be tried again.
        optional retries "retries": RetriesForm,
        /// The certificate that the edge shows. Default: the edge serves plain HTTP only.
        optional tls "tls": TlsForm,
    }
}

form! {
    /// How a service's name is answered.
    pub(crate) struct DnsForm {
        /// The zone that our DNS is authoritative for. Default: the first host without its first label.
        optional zone "zone": At<String>,
        /// How long an answer may be kept; a part of the time to recover. Default: 30s.
        optional ttl "ttl": At<Duration>,
    }
}

form! {
    /// How an endpoint is checked. Periods and thresholds are shared by the whole system: they may be
    /// written here or under the topology's `timers`, and must agree.
    pub(crate) struct HealthCheckForm {
        /// The path that must answer 200. Default: `/health`.
        optional path "path": At<String>,
        /// How often. The topology's probeEvery.
        optional interval "interval": At<Duration>,
        /// When a check is given up. The topology's probeTimeout.
        optional timeout "timeout": At<Duration>,
        /// Failures in a row until it is called down. The topology's downAfter.
        optional unhealthy_threshold "unhealthyThreshold": At<AtLeastOne>,
        /// Successes in a row until it is called up again. The topology's upAfter.
        optional healthy_threshold "healthyThreshold": At<AtLeastOne>,
    }
}

form! {
    /// The presence of a service in one region.
    pub(crate) struct BackendForm {
        /// Where.
        required region "region": At<Name>,
        /// One address for each instance that may run. Default, with `compute`: ports of the region's address.
        optional endpoints "endpoints": At<Vec<SocketAddr>>,
        /// How the instances are run. Default: the service's; without it, somebody else runs them.
        optional compute "compute": ComputeForm,
    }
}

form! {
    /// Instances run as child processes of the node.
    pub(crate) struct ComputeForm {
        /// Program and arguments. `{address}`, `{region}`, `{gateway_write}`, `{gateway_read}` and `{app_password_file}` are filled in.
        required command "command": At<Vec<At<String>>>,
        /// How many.
        optional instances "instances": At<InstancesForm>,
        /// The port of the first instance where endpoints are not listed; the others follow. Default: 9001.
        optional port "port": At<u16>,
    }
}

form! {
    /// How many instances run. Default: 1 and 1.
    pub(crate) struct InstancesForm {
        /// While the region holds the writer.
        optional primary "primary": At<AtLeastOne>,
        /// While it is a standby.
        optional standby "standby": At<u32>,
    }
}

form! {
    /// What may be tried again, and how much of it.
    pub(crate) struct RetriesForm {
        /// Attempts in all, the first included. Default: 3.
        optional attempts "attempts": AtLeastOne,
        /// Retries may be at most this share of requests. Default: 20%.
        optional budget "budget": Share,
        /// When one attempt without an answer is given up. Default: 2s.
        optional try_timeout "tryTimeout": Duration,
    }
}

form! {
    /// Where the edge finds its certificate (PEM).
    pub(crate) struct TlsForm {
        /// The chain, the leaf first.
        required certificate_file "certificateFile": PathBuf,
        /// The private key.
        required key_file "keyFile": PathBuf,
    }
}
