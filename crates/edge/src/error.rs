//! What can go wrong before the first request, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use meridian_model::ServiceName;

/// Why the edge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener could not be opened.
    #[error("the edge cannot listen on {address}: {advice}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What to do.
        advice: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A certificate or key could not be read.
    #[error("service `{service}`: cannot read `{}`: {detail}; mend `tls` in the spec or the file", path.display())]
    TlsFile {
        /// Which service.
        service: ServiceName,
        /// Which file.
        path: PathBuf,
        /// What was wrong with it.
        detail: String,
    },
    /// Certificate and key do not go together, or are of no use.
    #[error(
        "service `{service}`: its certificate and key cannot be used: {detail}; is the key the one of the first certificate?"
    )]
    TlsPair {
        /// Which service.
        service: ServiceName,
        /// What TLS said.
        detail: String,
    },
    /// A thread could not be started.
    #[error("the edge cannot start worker {worker}: raise the limit of processes (ulimit -u)")]
    Worker {
        /// Its number.
        worker: usize,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// A failed bind with what to do about it.
    pub(crate) fn bind(address: SocketAddr, source: io::Error) -> Self {
        let advice = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "the address is in use; stop the other program (`ss -lntp`) or set another port"
            }
            io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE; use another port",
            io::ErrorKind::AddrNotAvailable => {
                "this machine does not have that address; mend `node.edge_http` of this region"
            }
            _ => "see the cause",
        };
        Self::Bind { address, advice, source }
    }
}
