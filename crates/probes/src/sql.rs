//! A database that must answer a statement, over a kept session.
//!
//! Opening a session takes five round trips (TCP, start-up, three of SCRAM): more than one probe may
//! take between distant regions. So an opening goes on in the background from round to round, until
//! [`OPEN_WITHIN`]; the rounds that it outlasts fail, a statement over the kept session is one round trip.

use std::net::SocketAddr;
use std::time::Duration;

use meridian_telemetry::{clock, with_causes};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls};

use crate::probe::Outcome;

/// One PostgreSQL.
pub(crate) struct Sql {
    address: SocketAddr,
    config: Config,
    kept: Option<Kept>,
    opening: Option<Opening>,
}

/// A session on its way. It is ended when the probe is.
struct Opening(JoinHandle<Result<Kept, String>>);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Kept {
    client: Client,
    _driver: JoinSet<()>,
    /// Statements in a row without an answer within their round.
    unanswered: u8,
}

impl Sql {
    pub(crate) fn new(address: SocketAddr, user: &str, password: &str) -> Self {
        let mut config = Config::new();
        config.host(address.ip().to_string()).port(address.port()).user(user).password(password);
        config.dbname("postgres").application_name("meridian-probe");
        Self { address, config, kept: None, opening: None }
    }

    /// By the kept session first; if that is broken, by a new one: a restarted server works.
    pub(crate) async fn ask(&mut self) -> Outcome {
        if self.kept.as_ref().is_some_and(Kept::is_usable)
            && let Ok(took) = self.by_the_kept().await
        {
            return Ok(took);
        }
        self.kept = None;
        self.kept = Some(self.open().await?);
        self.by_the_kept().await
    }

    /// Waits for the opening that is under way, or begins one. Dropping the wait leaves it under way.
    async fn open(&mut self) -> Result<Kept, String> {
        let (address, config) = (self.address, self.config.clone());
        let opening = self.opening.get_or_insert_with(|| {
            Opening(tokio::spawn(async move {
                let late = || format!("{address}: no session within {OPEN_WITHIN:?}");
                timeout(OPEN_WITHIN, connect(address, config)).await.unwrap_or_else(|_| Err(late()))
            }))
        });
        let opened = (&mut opening.0).await;
        self.opening = None;
        opened.unwrap_or_else(|ended| Err(ended.to_string()))
    }

    /// One statement. When the wait for it is dropped, the session stays for another round: the answer
    /// may only have been late, as that over a session that was opened in the same round.
    async fn by_the_kept(&mut self) -> Outcome {
        let address = self.address;
        let kept = self.kept.as_mut().ok_or_else(|| format!("{address}: no session"))?;
        kept.unanswered = kept.unanswered.saturating_add(1);
        let began = clock::now();
        kept.client.simple_query("select 1").await.map_err(|e| words(address, &e))?;
        kept.unanswered = 0;
        Ok(clock::now().since(began))
    }
}

impl Kept {
    fn is_usable(&self) -> bool {
        !self.client.is_closed() && self.unanswered < UNANSWERED_MAX
    }
}

async fn connect(address: SocketAddr, config: Config) -> Result<Kept, String> {
    let (client, connection) = config.connect(NoTls).await.map_err(|e| words(address, &e))?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        let _seen_by_the_client = connection.await;
    });
    Ok(Kept { client, _driver: driver, unanswered: 0 })
}

/// The server's own words, or the whole chain of causes.
fn words(address: SocketAddr, error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{}: {} ({})", db.severity(), db.message(), db.code().code());
    }
    with_causes(format!("{address}: {error}"), error)
}

/// A session that was silent in so many rounds hangs, and a new one is opened.
const UNANSWERED_MAX: u8 = 2;
/// How long opening a session may take: 220 ms are the longest round trip between regions, and SCRAM costs
/// some processor time at both ends.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
