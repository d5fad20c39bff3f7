//! Cancel requests: which server a key belongs to.
//!
//! Clients get the key of their first server, so that it passes through any number of gateways unchanged;
//! when a session moves, the client's key stays and leads to the new server, with that server's key. A
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
pub(crate) struct Cancels(Mutex<HashMap<CancelKey, Session>>);

/// Where a session runs, and under which key there.
type Session = (SocketAddr, CancelKey);

/// The entry of one session; removed when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    cancels: Arc<Cancels>,
    key: CancelKey,
}

impl Cancels {
    /// Remembers where the session with that key runs.
    pub(crate) fn register(self: &Arc<Self>, key: CancelKey, server: SocketAddr) -> Registered {
        self.lead(key.clone(), (server, key.clone()));
        Registered { cancels: Arc::clone(self), key }
    }

    fn lead(&self, key: CancelKey, session: Session) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, session);
    }

    fn session(&self, key: &CancelKey) -> Option<Session> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Passes a request on and waits until the server has acted. The client is told nothing; that is
    /// the protocol. False: the key is not known here.
    pub(crate) async fn pass_on(&self, key: &CancelKey) -> std::io::Result<bool> {
        let Some((server, key)) = self.session(key) else { return Ok(false) };
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

impl Registered {
    /// The session goes on at another server, under that key there.
    pub(crate) fn lead_to(&self, server: SocketAddr, key: CancelKey) {
        self.cancels.lead(self.key.clone(), (server, key));
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
    fn a_key_is_known_while_its_session_runs_wherever_it_runs() {
        let cancels = Arc::new(Cancels::default());
        let key = |process| CancelKey { process, secret: [1, 2, 3, 4].into() };
        let [first, second] = ["127.0.0.1:5432", "127.0.0.1:5433"].map(|a| a.parse::<SocketAddr>().unwrap());
        let registered = cancels.register(key(1), first);
        assert_eq!(cancels.session(&key(1)), Some((first, key(1))));
        registered.lead_to(second, key(2));
        assert_eq!(cancels.session(&key(1)), Some((second, key(2))));
        assert_eq!(cancels.session(&key(2)), None, "nobody was told that one");
        drop(registered);
        assert_eq!(cancels.session(&key(1)), None);
    }
}
