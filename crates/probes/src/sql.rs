//! A database that must answer a statement, over a kept session.

use std::net::SocketAddr;

use meridian_telemetry::clock;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

use crate::probe::Outcome;

/// One PostgreSQL.
pub(crate) struct Sql {
    address: SocketAddr,
    config: Config,
    kept: Option<Kept>,
}

struct Kept {
    client: Client,
    pump: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Sql {
    pub(crate) fn new(address: SocketAddr, user: &str, password: &str) -> Self {
        let mut config = Config::new();
        config.host(address.ip().to_string()).port(address.port()).user(user).password(password);
        config.dbname("postgres").application_name("meridian-probe");
        Self { address, config, kept: None }
    }

    /// By the kept session first; if that is broken, by a new one: a restarted server works.
    pub(crate) async fn ask(&mut self) -> Outcome {
        if let Some(kept) = self.kept.take().filter(|kept| !kept.client.is_closed())
            && let Ok(took) = self.by(kept).await
        {
            return Ok(took);
        }
        let fresh = self.connect().await?;
        self.by(fresh).await
    }

    async fn by(&mut self, kept: Kept) -> Outcome {
        let began = clock::now();
        kept.client.simple_query("select 1").await.map_err(|e| self.words(&e))?;
        let took = clock::now().since(began);
        self.kept = Some(kept);
        Ok(took)
    }

    async fn connect(&self) -> Result<Kept, String> {
        let (client, connection) = self.config.connect(NoTls).await.map_err(|e| self.words(&e))?;
        let pump = tokio::spawn(async move {
            let _seen_by_the_client = connection.await;
        });
        Ok(Kept { client, pump })
    }

    /// The server's own words, or the whole chain of causes.
    fn words(&self, error: &tokio_postgres::Error) -> String {
        if let Some(db) = error.as_db_error() {
            return format!("{}: {} ({})", db.severity(), db.message(), db.code().code());
        }
        let mut text = format!("{}: {error}", self.address);
        let mut inner = std::error::Error::source(error);
        while let Some(cause) = inner {
            text = format!("{text}: {cause}");
            inner = cause.source();
        }
        text
    }
}
