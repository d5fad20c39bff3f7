//! A kept-open connection to one PostgreSQL, as the superuser.
//!
//! All statements go by the simple protocol: one round trip, answers as text. A statement that fails at
//! the connection, or outlives its deadline, drops the connection; the next one opens it anew.

use std::net::SocketAddr;
use std::time::Duration;

use meridian_telemetry::with_causes;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

use crate::error::ActuatorError;

/// A connection that opens itself.
pub(crate) struct Link {
    address: SocketAddr,
    config: Config,
    open: Mutex<Option<Open>>,
}

struct Open {
    client: Client,
    pump: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Link {
    /// To `dbname` at `address`; nothing is opened yet.
    pub(crate) fn new(address: SocketAddr, user: &str, password: &str, dbname: &str) -> Self {
        let mut config = Config::new();
        config
            .host(address.ip().to_string())
            .port(address.port())
            .user(user)
            .password(password)
            .dbname(dbname);
        config.application_name("meridian-node").connect_timeout(Duration::from_secs(5));
        Self { address, config, open: Mutex::new(None) }
    }

    /// The rows of one or more statements.
    pub(crate) async fn rows(
        &self,
        what: &'static str,
        sql: &str,
        within: Duration,
    ) -> Result<Vec<SimpleQueryRow>, ActuatorError> {
        let mut open = self.open.lock().await;
        match tokio::time::timeout(within, self.attempt(&mut open, sql)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(e)) => {
                if e.as_db_error().is_none() || open.as_ref().is_some_and(|o| o.client.is_closed()) {
                    *open = None;
                }
                Err(self.failed(what, reason(&e)))
            }
            Err(_) => {
                *open = None;
                Err(self.failed(what, format!("no answer within {within:?}")))
            }
        }
    }

    /// The first column of the first row.
    pub(crate) async fn value(
        &self,
        what: &'static str,
        sql: &str,
        within: Duration,
    ) -> Result<String, ActuatorError> {
        let rows = self.rows(what, sql, within).await?;
        let value = rows.first().and_then(|row| row.get(0)).map(str::to_owned);
        value.ok_or_else(|| self.failed(what, "it answered no value".to_owned()))
    }

    /// Where it leads.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drops the connection.
    pub(crate) async fn close(&self) {
        *self.open.lock().await = None;
    }

    async fn attempt(
        &self,
        open: &mut Option<Open>,
        sql: &str,
    ) -> Result<Vec<SimpleQueryRow>, tokio_postgres::Error> {
        if open.as_ref().is_none_or(|o| o.client.is_closed()) {
            let (client, connection) = self.config.connect(NoTls).await?;
            let pump = tokio::spawn(async move {
                let _seen_by_the_client = connection.await;
            });
            *open = Some(Open { client, pump });
        }
        let Some(Open { client, .. }) = open.as_ref() else { return Ok(Vec::new()) };
        let messages = client.simple_query(sql).await?;
        let row = |m| if let SimpleQueryMessage::Row(row) = m { Some(row) } else { None };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    fn failed(&self, what: &'static str, reason: String) -> ActuatorError {
        ActuatorError::Sql { what, address: self.address.to_string(), reason }
    }
}

/// The whole chain: the outermost text alone says only "db error".
pub(crate) fn reason(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{}: {} ({})", db.severity(), db.message(), db.code().code());
    }
    with_causes(error.to_string(), error)
}
