//! The steps of a plan that are carried out on the clone: scale and verify.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use meridian_actuators::rehearsal;
use meridian_model::database::Member;
use meridian_model::plan::{Check, Task, Work};
use meridian_model::service::Service;
use meridian_model::{GroupName, ServiceName};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::copies::{Copies, Target};
use super::progress::{PLAN, Progress};
use super::{Job, RehearsalAsked, Rehearser};

impl Rehearser {
    /// One after the other, as they stand.
    pub(super) async fn try_steps(
        &self,
        progress: &mut Progress,
        job: &Job,
        clone: &rehearsal::Rehearsal,
        copies: &mut Copies,
    ) -> Result<(), String> {
        let (address, folder) = (clone.address, clone.folder());
        for (at, work) in job.works.iter().enumerate().map(|(at, work)| (at + PLAN, work)) {
            if !progress.pending(at) {
                continue;
            }
            progress.begin(at).await?;
            let within = Duration::from_millis(work.timeout_ms);
            let tried = self.try_step(work, &job.asked.group, (address, folder), copies);
            let tried = tokio::time::timeout(within, tried).await;
            let late = |_| Err(format!("it did not end within {within:?}: {}", copies.problem));
            let detail = tried.unwrap_or_else(late)?;
            progress.done(at, detail).await?;
        }
        Ok(())
    }

    async fn try_step(
        &self,
        work: &Work,
        group: &GroupName,
        (address, folder): (SocketAddr, &Path),
        copies: &mut Copies,
    ) -> Result<String, String> {
        let mut detail = match &work.task {
            Task::Scale { service, instances } => {
                let target = Target { system: &self.system, here: &self.here, database: address, folder };
                let mut told = Vec::new();
                for (service, usual) in self.scaled(service.as_ref()) {
                    let wanted = instances.unwrap_or(usual);
                    copies.start(service, wanted, &target).await?;
                    told.push(format!("{wanted} copies of {} talk to the clone and are well", service.name));
                }
                told.join(", ")
            }
            Task::Verify { checks } => self.verify(group, address, checks).await?,
            other => return Err(format!("{} is not for a rehearsal to carry out", other.kind())),
        };
        if !work.before.is_empty() || !work.afterwards.is_empty() {
            detail.push_str("; its conditions are of production and were not checked");
        }
        Ok(detail)
    }

    /// Why no instances are copied; none: they are.
    pub(super) fn no_copies(&self, service: Option<&ServiceName>, asked: &RehearsalAsked) -> Option<String> {
        if !asked.instances {
            return Some("not carried out in this rehearsal: no copies of instances were wanted".to_owned());
        }
        // The placeholders of a command lead to the first database.
        let first = self.system.databases.first().map(|d| &d.name);
        if first != Some(&asked.group) {
            let told = "the instances use another database, which is not cloned";
            return Some(format!("not carried out in a rehearsal: {told}"));
        }
        self.scaled(service).is_empty().then(|| {
            format!("not carried out in a rehearsal: somebody else runs the instances in {}", self.here)
        })
    }

    /// The services that are run as processes here, and how many of each where the writer is.
    fn scaled(&self, only: Option<&ServiceName>) -> Vec<(&Service, u32)> {
        let wanted = self.system.services.iter().filter(|s| only.is_none_or(|name| *name == s.name));
        let here = wanted.filter_map(|service| {
            let backend = service.backends.iter().find(|b| b.region == self.here)?;
            Some((service, backend.compute.as_ref()?.instances_primary))
        });
        here.collect()
    }

    /// As the application's user, on the clone. Pages and queries are of production, and are not asked.
    async fn verify(
        &self,
        group: &GroupName,
        address: SocketAddr,
        checks: &[Check],
    ) -> Result<String, String> {
        let database = self.system.databases.iter().find(|d| &d.name == group);
        let database = database.ok_or_else(|| format!("the spec has no database {group}"))?;
        let member = database.member(&self.here).ok_or("this region has no member")?;
        let client = Session::open(address, member, &database.dbname).await?;
        let mut asked = 0;
        for check in checks {
            let Check::Sql { statement, expect, .. } = check else { continue };
            let first = client.first(statement).await?;
            if expect.is_some() && *expect != first {
                return Err(format!("`{statement}` answered {first:?}, not {expect:?}"));
            }
            asked += 1;
        }
        let others = checks.len() - asked;
        let not_asked = match others {
            0 => String::new(),
            1 => "; 1 check by HTTP or PromQL asks production and was not carried out".to_owned(),
            n => format!("; {n} checks by HTTP or PromQL ask production and were not carried out"),
        };
        match asked {
            0 => {}
            1 => return Ok(format!("1 check by SQL holds on the clone{not_asked}")),
            n => return Ok(format!("{n} checks by SQL hold on the clone{not_asked}")),
        }
        let read = client.first(WRITE_AND_READ).await?;
        if read.as_deref() != Some("1") {
            return Err(format!("the application's user wrote 1 and read {read:?}"));
        }
        Ok(format!("a write and a read by the application's user{not_asked}"))
    }
}

/// A session that ends when it is dropped.
struct Session {
    client: Client,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    async fn open(address: SocketAddr, member: &Member, dbname: &str) -> Result<Self, String> {
        let file = &member.postgres.app_password_file;
        let password = tokio::fs::read_to_string(file).await;
        let password = password.map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        let mut config = Config::new();
        config.host(address.ip().to_string()).port(address.port()).connect_timeout(CONNECT_WITHIN);
        config.user(&member.postgres.app_user).dbname(dbname).password(password.trim());
        config.application_name("meridian-rehearsal");
        let connected = config.connect(NoTls).await;
        let (client, connection) =
            connected.map_err(|e| format!("the application's user cannot connect to the clone: {e}"))?;
        let driver = tokio::spawn(async move {
            let _seen_by_the_client = connection.await;
        });
        Ok(Self { client, driver })
    }

    /// The first column of the first row.
    async fn first(&self, statement: &str) -> Result<Option<String>, String> {
        let messages = self.client.simple_query(statement).await;
        let messages = messages.map_err(|e| match e.as_db_error() {
            Some(db) => format!("`{statement}` failed: {}", db.message()),
            None => format!("`{statement}` failed: {e}"),
        })?;
        let row =
            messages.iter().find_map(|m| if let SimpleQueryMessage::Row(row) = m { Some(row) } else { None });
        Ok(row.and_then(|row| row.get(0)).map(str::to_owned))
    }
}

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const WRITE_AND_READ: &str = "create table meridian_rehearsed (n int); \
     insert into meridian_rehearsed values (1); select n from meridian_rehearsed; drop table meridian_rehearsed";
