//! The steps of a run that are neither the database's nor the machine's: scale, shift, verify, notify, exec,
//! and the conditions of each.
//!
//! Each is idempotent and bounded; when one fails, the machine asks again, as often as the plan allows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use meridian_actuators::{Access, Outside};
use meridian_coordination::asks::Asks;
use meridian_failover::Event;
use meridian_gateway::Listen;
use meridian_model::plan::{Check, Task, Work};
use meridian_model::run::Run;
use meridian_model::{Database, GroupName, Name, RegionName, RunId, System};
use meridian_steering::View;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

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
    /// Whom to tell, what to run and to ask.
    pub(crate) outside: Outside,
}

/// The steps that are being carried out, by run and name. One that is taken out, or begun anew, ends at once, and
/// with it the program that it runs.
#[derive(Default)]
pub(crate) struct Doing(HashMap<(RunId, Name), JoinSet<()>>);

impl Doing {
    pub(crate) fn begin(
        &mut self,
        step: Name,
        run: Arc<Run>,
        steps: &Arc<Steps>,
        events: mpsc::Sender<Event>,
    ) {
        self.0.retain(|_, doing| doing.try_join_next().is_none());
        let (key, steps) = ((run.id.clone(), step.clone()), Arc::clone(steps));
        let mut doing = JoinSet::new();
        doing.spawn(async move {
            let event = match steps.carry_out(&step, &run).await {
                Ok(detail) => Event::StepDone { run: run.id.clone(), step, detail },
                Err(reason) => Event::StepFailed { run: run.id.clone(), step, reason },
            };
            let _ = events.send(event).await;
        });
        self.0.insert(key, doing);
    }

    pub(crate) fn end(&mut self, run: RunId, step: Name) {
        self.0.remove(&(run, step));
    }
}

impl Steps {
    /// Carries a step out; says what was seen, or what went wrong.
    pub(crate) async fn carry_out(&self, step: &Name, run: &Run) -> Result<String, String> {
        let work = &run.step(step).ok_or_else(|| format!("run {} has no step {step}", run.id))?.work;
        let within = Duration::from_millis(work.timeout_ms);
        let done = tokio::time::timeout(within, self.with_conditions(work, run)).await;
        done.unwrap_or_else(|_| {
            let mut late = format!("{step} did not end within {within:?}");
            if let Task::Exec(_) = &work.task {
                let file = self.outside.output_file(run, step);
                late += &format!("; its program was killed, and what it said is in {}", file.display());
            }
            Err(late)
        })
    }

    async fn with_conditions(&self, work: &Work, run: &Run) -> Result<String, String> {
        let named = |when: &'static str| move |e: String| format!("{when}: {e}");
        let mut seen = Vec::new();
        if !work.before.is_empty() {
            seen.push(self.all_hold(&work.before, work).await.map_err(named("before it"))?);
        }
        seen.push(self.task(work, run).await?);
        if !work.afterwards.is_empty() {
            seen.push(self.all_hold(&work.afterwards, work).await.map_err(named("afterwards"))?);
        }
        Ok(seen.join("; "))
    }

    async fn task(&self, work: &Work, run: &Run) -> Result<String, String> {
        match &work.task {
            Task::Scale { service, instances } => self.compute.scale(run, service.as_ref(), *instances).await,
            Task::Shift { dial, drain } => {
                let (moved, turned) = (self.shift(run).await?, self.turn(run, *dial, *drain).await?);
                Ok(if turned.is_empty() { moved } else { format!("{moved}; {turned}") })
            }
            Task::Dns => self.shift(run).await,
            Task::Verify { checks } if checks.is_empty() => self.verify(run).await,
            Task::Verify { checks } => self.all_hold(checks, work).await,
            Task::Notify { to, text } => {
                self.outside.tell(run, &work.name, to, text).await.map_err(|e| e.to_string())
            }
            Task::Exec(exec) => self.outside.execute(run, &work.name, exec).await.map_err(|e| e.to_string()),
            other => Err(format!("{} is not for the node to carry out", other.kind())),
        }
    }

    /// One after the other, as they are written; the first that does not hold is told.
    async fn all_hold(&self, checks: &[Check], work: &Work) -> Result<String, String> {
        let access = self.access()?;
        // A little less than the step has, so that the step can still say which check was too slow.
        let within = Duration::from_millis(work.timeout_ms) * 9 / 10;
        let mut seen = Vec::new();
        for check in checks {
            let asked = tokio::time::timeout(within, self.outside.ask(check, &access)).await;
            let late = || format!("{} was not answered within {within:?}", kind(check));
            seen.push(asked.map_err(|_| late())?.map_err(|e| e.to_string())?);
        }
        Ok(seen.join(", "))
    }

    /// The gateway of this region, as an application uses it.
    fn access(&self) -> Result<Access, String> {
        let view = Arc::clone(&self.views.borrow());
        let gateway = gateway_of(&view.system, &self.here, &self.database.name)?;
        let member = self.database.member(&self.here).ok_or("this region has no member")?;
        Ok(Access {
            write: gateway.write,
            read: gateway.read,
            user: member.postgres.app_user.clone(),
            dbname: self.database.dbname.clone(),
            password_file: member.postgres.app_password_file.clone(),
        })
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
        let access = self.access()?;
        let epoch = i64::try_from(run.epoch.0).unwrap_or(i64::MAX);
        let write = async |client: &tokio_postgres::Client| {
            client.batch_execute(TABLE).await?;
            client.execute(WRITE, &[&self.here.as_str(), &epoch]).await
        };
        let read = async |client: &tokio_postgres::Client| client.query_one("select 1", &[]).await;
        access.through(true, write).await.map_err(|e| e.to_string())?;
        access.through(false, read).await.map_err(|e| e.to_string())?;
        Ok("a write and a read through the gateway succeeded".to_owned())
    }
}

const fn kind(check: &Check) -> &'static str {
    match check {
        Check::Sql { .. } => "an SQL check",
        Check::Http { .. } => "an HTTP check",
        Check::Promql { .. } => "a PromQL check",
    }
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

#[cfg(test)]
mod tests;
