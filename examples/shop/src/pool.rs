//! A few connections to one port of the gateway.
//!
//! A connection goes back only after a statement that worked; every other one is dropped. None is kept
//! for long, so that reads move back to a nearer replica when there is one again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{Client, Config, NoTls};

use crate::fault::Fault;

/// Where a pool leads.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) dbname: String,
    pub(crate) connections: usize,
    pub(crate) connect_within: Duration,
}

/// The connections to one port.
pub(crate) struct Pool {
    config: Config,
    connect_within: Duration,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Kept>>,
    last: Mutex<Result<(), String>>,
}

struct Kept {
    client: Client,
    born: Instant,
}

/// A connection in use.
pub(crate) struct Lease {
    kept: Kept,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(target: Target) -> Self {
        let mut config = Config::new();
        config.host(target.address.ip().to_string()).port(target.address.port());
        config.user(target.user).password(target.password).dbname(target.dbname).application_name("shop");
        Self {
            config,
            connect_within: target.connect_within,
            permits: Arc::new(Semaphore::new(target.connections.max(1))),
            idle: Mutex::default(),
            last: Mutex::new(Err("not tried yet".to_owned())),
        }
    }

    /// A connection within the deadline; otherwise nothing was done.
    pub(crate) async fn lease(&self) -> Result<Lease, Fault> {
        let late = |what: &str| Fault::Unavailable(format!("{what} within {:?}", self.connect_within));
        let end = Instant::now() + self.connect_within;
        let lease = async {
            let permit = timeout_at(end, Arc::clone(&self.permits).acquire_owned()).await;
            let permit = permit.ok().and_then(Result::ok).ok_or_else(|| late("no connection was free"))?;
            let kept = match self.kept() {
                Some(kept) => kept,
                None => timeout_at(end, self.connect())
                    .await
                    .unwrap_or_else(|_| Err(late("no session was given")))?,
            };
            Ok(Lease { kept, _permit: permit })
        };
        let lease = lease.await;
        if let Err(Fault::Unavailable(why)) = &lease {
            self.note(Err(why.clone()));
        }
        lease
    }

    /// Gives back a connection that has just worked.
    pub(crate) fn give_back(&self, lease: Lease) {
        self.note(Ok(()));
        if lease.kept.born.elapsed() < KEEP_FOR {
            lock(&self.idle).push(lease.kept);
        }
    }

    /// Remembers how the last use ended, for the health page.
    pub(crate) fn note(&self, outcome: Result<(), String>) {
        *lock(&self.last) = outcome;
    }

    /// How the last use ended.
    pub(crate) fn last(&self) -> String {
        lock(&self.last).clone().map_or_else(|why| why, |()| "ok".to_owned())
    }

    fn kept(&self) -> Option<Kept> {
        let mut idle = lock(&self.idle);
        idle.retain(|kept| !kept.client.is_closed() && kept.born.elapsed() < KEEP_FOR);
        idle.pop()
    }

    async fn connect(&self) -> Result<Kept, Fault> {
        let (client, connection) = self.config.connect(NoTls).await.map_err(|e| Fault::no_connection(&e))?;
        tokio::spawn(async move {
            let _seen_by_the_client = connection.await;
        });
        Ok(Kept { client, born: Instant::now() })
    }
}

impl Lease {
    pub(crate) fn client(&self) -> &Client {
        &self.kept.client
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Then it is opened anew, perhaps to a nearer server.
const KEEP_FOR: Duration = Duration::from_secs(30);
