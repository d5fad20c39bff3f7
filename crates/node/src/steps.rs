//! The steps of a run that are neither the database's nor the machine's: scale, shift, verify.
//!
//! Each is idempotent and bounded; when one fails, the machine asks again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meridian_coordination::asks::Asks;
use meridian_gateway::Listen;
use meridian_model::plan::{Task, Work};
use meridian_model::run::Run;
use meridian_model::{Database, GroupName, Name, RegionName, System};
use meridian_steering::View;
use tokio::sync::watch;
use tokio_postgres::NoTls;

use crate::compute::Compute;

mod dials;

/// What the steps of one group need.
pub(crate) struct Steps {
    /// Whose node this is.
    pub(crate) here: RegionName,
    /// The database of the group.
    pub(crate) database: Database,
    /// What the data planes hold.
    pub(crate) views: watch::Receiver<Arc<View>>,
    /// The instances here.
    pub(crate) compute: Arc<Compute>,
    /// Where dials are turned.
    pub(crate) asks: Asks,
}

impl Steps {
    /// Carries a step out; says what was seen, or what went wrong.
    pub(crate) async fn carry_out(&self, step: &Name, run: &Run) -> Result<String, String> {
        let step = run.step(step).ok_or_else(|| format!("run {} has no step {step}", run.id))?;
        built(&step.work)?;
        let within = Duration::from_millis(step.work.timeout_ms);
        let work = async {
            match &step.work.task {
                Task::Scale { .. } => self.compute.scale_as_primary().await,
                Task::Shift { dial, drain } => {
                    let (moved, turned) = (self.shift(run).await?, self.turn(run, *dial, *drain).await?);
                    Ok(if turned.is_empty() { moved } else { format!("{moved}; {turned}") })
                }
                Task::Dns => self.shift(run).await,
                Task::Verify { .. } => self.verify(run).await,
                other => Err(format!("{} is not for the node to carry out", other.kind())),
            }
        };
        let late = || format!("{} did not end within {within:?}", step.work.name);
        tokio::time::timeout(within, work).await.unwrap_or_else(|_| Err(late()))
    }

    /// Traffic follows the published view: done when it names the new writer.
    async fn shift(&self, run: &Run) -> Result<String, String> {
        let mut views = self.views.clone();
        let moved = |view: &Arc<View>| {
            view.snapshot
                .group(&run.group)
                .is_some_and(|g| g.epoch == run.epoch && g.writer.as_ref() == Some(&run.to))
        };
        let view = views.wait_for(moved).await.map_err(|_| "the node is shutting down".to_owned())?;
        Ok(format!(
            "snapshot {} names {} as the writer of epoch {}",
            view.snapshot.generation, run.to, run.epoch
        ))
    }

    /// A write and a read through the gateway of this region, as an application would.
    async fn verify(&self, run: &Run) -> Result<String, String> {
        let view = Arc::clone(&self.views.borrow());
        let gateway = gateway_of(&view.system, &self.here, &self.database.name)?;
        let member = self.database.member(&self.here).ok_or("this region has no member")?;
        let password = read(member.postgres.app_password_file.clone()).await?;
        let session = |address: std::net::SocketAddr| {
            let mut config = tokio_postgres::Config::new();
            config.host(address.ip().to_string()).port(address.port());
            config.user(&member.postgres.app_user).dbname(&self.database.dbname).password(&password);
            config.application_name("meridian-verify").connect_timeout(Duration::from_secs(2));
            config
        };
        let epoch = i64::try_from(run.epoch.0).unwrap_or(i64::MAX);
        let write = async |client: &tokio_postgres::Client| {
            client.batch_execute(TABLE).await?;
            client.execute(WRITE, &[&self.here.as_str(), &epoch]).await
        };
        let read = async |client: &tokio_postgres::Client| client.query_one("select 1", &[]).await;
        within(session(gateway.write), write).await.map_err(|e| format!("the write failed: {e}"))?;
        within(session(gateway.read), read).await.map_err(|e| format!("the read failed: {e}"))?;
        Ok("a write and a read through the gateway succeeded".to_owned())
    }
}

/// What this version does not carry out yet fails with words, and the run waits for a person: nothing is
/// passed over in silence.
fn built(work: &Work) -> Result<(), String> {
    let missing = match &work.task {
        Task::Notify { .. } => "notify",
        Task::Exec(_) => "exec",
        Task::Verify { checks } if !checks.is_empty() => "verify with checks of its own",
        Task::Scale { service: Some(_), .. } | Task::Scale { instances: Some(_), .. } => {
            "scaleCompute of one service or number"
        }
        _ if !work.before.is_empty() || !work.afterwards.is_empty() => "conditions before or after a step",
        _ => return Ok(()),
    };
    Err(format!("{missing} is read and checked, but not carried out by this version"))
}

/// The ports of one database: each has its own.
fn gateway_of(system: &System, here: &RegionName, group: &GroupName) -> Result<Listen, String> {
    let mut gateways = Listen::of(system, here).into_iter();
    gateways
        .find(|listen| &listen.group == group)
        .ok_or_else(|| format!("the spec has no gateway in {here} for database {group}"))
}

const TABLE: &str = "create table if not exists meridian_verify \
                     (region text primary key, epoch bigint not null, at timestamptz not null)";
const WRITE: &str = "insert into meridian_verify values ($1, $2, now()) \
                     on conflict (region) do update set epoch = excluded.epoch, at = excluded.at";

async fn within<T>(
    config: tokio_postgres::Config,
    work: impl AsyncFnOnce(&tokio_postgres::Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    let driver = tokio::spawn(connection);
    let done = work(&client).await;
    driver.abort();
    done
}

async fn read(path: PathBuf) -> Result<String, String> {
    let text =
        tokio::fs::read_to_string(&path).await.map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{here, name, system};

    #[test]
    fn each_database_is_verified_through_its_own_ports() {
        let system = system();
        let first = gateway_of(&system, &here(), &name("orders")).unwrap();
        let second = gateway_of(&system, &here(), &name("users")).unwrap();
        let node = &system.region(&here()).unwrap().node;
        assert_eq!((first.write, first.read), (node.gateway_write, node.gateway_read));
        assert_eq!(second.write.port(), node.gateway_write.port() + 2);
        assert_eq!(second.read.port(), node.gateway_read.port() + 2);
        assert!(gateway_of(&system, &here(), &name("nobody")).unwrap_err().contains("nobody"));
    }
}
