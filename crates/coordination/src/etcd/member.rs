//! One member of etcd and the connection to it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};

use super::ConnectError;

/// A member and, once it was used, a connection.
pub(super) struct Member {
    endpoint: String,
    client: Mutex<Option<Client>>,
}

impl Member {
    pub(super) fn new(endpoint: &str) -> Result<Self, ConnectError> {
        let bad = |problem: &str| {
            let problem = problem.to_owned();
            Err(ConnectError::Endpoint { endpoint: endpoint.to_owned(), problem })
        };
        if let Some(rest) = endpoint.strip_prefix("http://") {
            if rest.is_empty() || !rest.contains(':') {
                return bad("it has no host or no port");
            }
            if let Err(error) = endpoint.parse::<tonic::transport::Uri>() {
                return bad(&error.to_string());
            }
            return Ok(Self { endpoint: endpoint.to_owned(), client: Mutex::new(None) });
        }
        bad(if endpoint.starts_with("https://") {
            "TLS is not supported yet"
        } else {
            "it must begin with http://"
        })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The shared connection; opened by the first call that uses it.
    pub(super) async fn client(&self) -> Result<Client, etcd_client::Error> {
        let current = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(client) = current {
            return Ok(client);
        }
        let fresh = self.fresh().await?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh.clone());
        Ok(fresh)
    }

    /// A connection of one's own: a watch must not share a broken one, nor queue behind listings.
    pub(super) async fn fresh(&self) -> Result<Client, etcd_client::Error> {
        // No credentials: this sends nothing and returns at once. `hasleader` makes a member without
        // a leader end its watches instead of keeping them silent.
        let options = ConnectOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_require_leader(true);
        Client::connect([&self.endpoint], Some(options)).await
    }

    /// Forgets the connection: an answer did not come on it. Calls under way keep theirs.
    pub(super) fn forget(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A handshake takes one round trip; with the longest one of 300 ms and one lost packet (sent again
/// after a second) it would not fit, but then the next member has been asked long since.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
