//! What can go wrong before the first answer, and what to do about it.

use std::io;
use std::net::SocketAddr;

use meridian_model::ServiceName;

/// Why the name server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket could not be opened.
    #[error("DNS cannot listen on {protocol} {address}: {advice}")]
    Bind {
        /// `UDP` or `TCP`.
        protocol: &'static str,
        /// Where.
        address: SocketAddr,
        /// What to do.
        advice: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A service has a name that cannot be a name in DNS.
    #[error("service `{service}`: `{name}` is no DNS name; mend `zone` or `hosts` in the spec")]
    Name {
        /// Which service.
        service: ServiceName,
        /// The text.
        name: String,
    },
    /// A record could not be written in wire form.
    #[error("the answer for `{name}` cannot be encoded: {detail}; report this with the spec")]
    Encode {
        /// Whose.
        name: String,
        /// What the encoder said.
        detail: String,
    },
    /// A thread could not be started.
    #[error("DNS cannot start worker {worker}: raise the limit of processes (ulimit -u)")]
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
    pub(crate) fn bind(protocol: &'static str, address: SocketAddr, source: io::Error) -> Self {
        let advice = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "the address is in use; stop the other program (`ss -lnup`) or set `node.dns`"
            }
            io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE; use another port",
            io::ErrorKind::AddrNotAvailable => {
                "this machine does not have that address; mend `node.dns` of this region"
            }
            _ => "see the cause",
        };
        Self::Bind { protocol, address, advice, source }
    }
}
