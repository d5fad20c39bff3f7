//! Witnesses: one client for each database, connected straight to it, past gateway and WAN.
//!
//! Each tries to write every 20 ms, as the application's user. A standby refuses, which is normal; a
//! database that acknowledges is a writer at that instant, by this one machine's clock. Nothing that a
//! node says of itself is believed here.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meridian_model::RegionName;
use meridian_telemetry::clock;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls};

use super::DrillError;
use crate::measure::{Reigns, WitnessAck};
use crate::plan::DatabaseAddresses;

/// How often each database is tried.
const EVERY: Duration = Duration::from_millis(20);
/// How long one write may take before the session is thrown away. Under quorum replication a write
/// waits for a standby, so this is longer than any distance.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// How long opening a session may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The pause before a session is opened again.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);

/// What the witnesses saw.
#[derive(Debug, Clone, Default)]
pub(super) struct Witnessed {
    pub(super) reigns: Reigns,
}

/// The witnesses at work.
pub(super) struct Witness {
    seen: Arc<Mutex<Witnessed>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// A login at one database.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) address: SocketAddr,
    dbname: String,
    user: String,
    password: String,
}

/// The name of the witnesses' table of one drill.
pub(super) fn table_of(token: &str) -> String {
    format!("meridian_witness_{token}")
}

impl Witness {
    /// Makes the table at the writer and sets a witness on every member.
    pub(super) async fn start(database: &DatabaseAddresses, table: String) -> Result<Self, DrillError> {
        make_table(database, &table).await?;
        let (stop, stopped) = watch::channel(false);
        let seen = Arc::new(Mutex::new(Witnessed::default()));
        let mut tasks = JoinSet::new();
        for (region, address) in &database.members {
            let login = Login::app(database, *address)?;
            let loop_of =
                Loop { region: region.clone(), login, table: table.clone(), seen: Arc::clone(&seen) };
            tasks.spawn(loop_of.go_on(stopped.clone()));
        }
        Ok(Self { seen, stop, tasks })
    }

    /// Ends them; what they saw.
    pub(super) async fn stop(mut self) -> Witnessed {
        self.stop.send_replace(true);
        self.tasks.shutdown().await;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Login {
    /// As the application's user.
    pub(super) fn app(database: &DatabaseAddresses, address: SocketAddr) -> Result<Self, DrillError> {
        Self::new(database, address, (&database.app_user, &database.app_password_file))
    }

    /// As the superuser that Meridian works as.
    fn superuser(database: &DatabaseAddresses, address: SocketAddr) -> Result<Self, DrillError> {
        Self::new(database, address, (&database.superuser, &database.password_file))
    }

    fn new(
        database: &DatabaseAddresses,
        address: SocketAddr,
        who: (&str, &std::path::Path),
    ) -> Result<Self, DrillError> {
        let password = std::fs::read_to_string(who.1)
            .map_err(|source| DrillError::Password { path: who.1.to_owned(), source })?;
        let (dbname, user) = (database.dbname.clone(), who.0.to_owned());
        Ok(Self { address, dbname, user, password: password.trim().to_owned() })
    }

    /// Opens a session. It ends with the client.
    pub(super) async fn open(&self) -> Result<Client, String> {
        let mut config = Config::new();
        config
            .host(self.address.ip().to_string())
            .port(self.address.port())
            .dbname(&self.dbname)
            .user(&self.user)
            .password(&self.password)
            .application_name("meridian-witness")
            .connect_timeout(CONNECT_WITHIN);
        let opened = tokio::time::timeout(CONNECT_WITHIN, config.connect(NoTls)).await;
        let (client, connection) =
            opened.map_err(|_| format!("no session within {CONNECT_WITHIN:?}"))?.map_err(|e| chain(&e))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "a session past the gateway ended");
            }
        });
        Ok(client)
    }
}

/// An error with what the database said: tokio-postgres keeps that in the source.
pub(super) fn chain(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |db| format!("{}: {}", db.code().code(), db.message()))
}

/// Makes the table where a superuser can, so that nothing hangs on the application's own rights.
async fn make_table(database: &DatabaseAddresses, table: &str) -> Result<(), DrillError> {
    let mut last = None;
    for (region, address) in &database.members {
        let made = async {
            let client = Login::superuser(database, *address).map_err(|e| e.to_string())?.open().await?;
            let app = &database.app_user;
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS {table} (at timestamptz NOT NULL DEFAULT clock_timestamp()); \
                 GRANT INSERT ON {table} TO \"{app}\""
            );
            client.batch_execute(&sql).await.map_err(|e| chain(&e))
        };
        match made.await {
            Ok(()) => return Ok(()),
            Err(reason) if last.is_none() || !reason.starts_with(READ_ONLY) => {
                last = Some(DrillError::Witness { region: region.clone(), reason });
            }
            Err(_) => {}
        }
    }
    last.map_or(Err(DrillError::Nothing("member")), Err)
}

/// SQLSTATE of a write on a standby.
const READ_ONLY: &str = "25006";

/// One witness.
struct Loop {
    region: RegionName,
    login: Login,
    table: String,
    seen: Arc<Mutex<Witnessed>>,
}

impl Loop {
    async fn go_on(self, stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            if let Ok(client) = self.login.open().await {
                self.write_on(&client, &stopped).await;
            }
            tokio::time::sleep(RECONNECT_AFTER).await;
        }
    }

    /// Writes until the session breaks. A session is not kept after a write without an answer: whether
    /// that write happened is unknown, and an acknowledgement is all that counts.
    async fn write_on(&self, client: &Client, stopped: &watch::Receiver<bool>) {
        let sql = format!(
            "INSERT INTO {} DEFAULT VALUES RETURNING substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)",
            self.table
        );
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !*stopped.borrow() {
            every.tick().await;
            let sent = clock::now();
            let written = tokio::time::timeout(WRITE_WITHIN, client.query_one(&sql, &[])).await;
            let received = clock::now();
            match written {
                Ok(Ok(row)) => {
                    let timeline =
                        row.try_get::<_, &str>(0).ok().and_then(|hex| u32::from_str_radix(hex, 16).ok());
                    let ack = WitnessAck {
                        region: self.region.clone(),
                        timeline: timeline.unwrap_or_default(),
                        sent,
                        received,
                    };
                    self.seen.lock().unwrap_or_else(PoisonError::into_inner).reigns.note(ack);
                }
                Ok(Err(_)) if client.is_closed() => return,
                Ok(Err(_)) => {}
                Err(_) => return,
            }
        }
    }
}
