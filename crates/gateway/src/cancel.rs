//! Cancel requests: which server a key belongs to.
//!
//! Clients get the server's own keys, so that they pass through any number of gateways unchanged. A
//! gateway knows the keys of its own sessions only: a client must send its cancel request to the
//! gateway that carries its session (libpq and tokio-postgres use the same address for both). One that
//! arrives elsewhere is dropped, as PostgreSQL does with a key that it does not know.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::protocol::CancelKey;
use crate::upstream::CONNECT_MAX;

/// How long the server may take to close the connection of a cancel request, which means: done.
const CANCEL_MAX: Duration = Duration::from_secs(5);

/// The keys of all running sessions; bounded by the number of sessions, since each holds one at most.
#[derive(Debug, Default)]
pub(crate) struct Cancels(Mutex<HashMap<CancelKey, SocketAddr>>);

/// The entry of one session; removed when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    cancels: Arc<Cancels>,
    key: CancelKey,
}

impl Cancels {
    /// Remembers where the session with that key runs.
    pub(crate) fn register(self: &Arc<Self>, key: CancelKey, server: SocketAddr) -> Registered {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), server);
        Registered { cancels: Arc::clone(self), key }
    }

    fn server(&self, key: &CancelKey) -> Option<SocketAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    /// Passes a request on and waits until the server has acted. The client is told nothing; that is
    /// the protocol. False: the key is not known here.
    pub(crate) async fn pass_on(&self, key: &CancelKey) -> std::io::Result<bool> {
        let Some(server) = self.server(key) else { return Ok(false) };
        let mut tcp = timeout(CONNECT_MAX, TcpStream::connect(server)).await??;
        let acted = async {
            tcp.write_all(&key.request()).await?;
            let mut nothing = [0; 1];
            tcp.read(&mut nothing).await
        };
        timeout(CANCEL_MAX, acted).await??;
        Ok(true)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.cancels.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_while_its_session_runs() {
        let cancels = Arc::new(Cancels::default());
        let key = CancelKey { process: 1, secret: [1, 2, 3, 4].into() };
        let server: SocketAddr = "127.0.0.1:5432".parse().unwrap();
        let registered = cancels.register(key.clone(), server);
        assert_eq!(cancels.server(&key), Some(server));
        drop(registered);
        assert_eq!(cancels.server(&key), None);
    }
}
