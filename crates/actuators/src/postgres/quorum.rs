//! How many standbys must have a commit before it is acknowledged, and whether writes are kept off, changed while the
//! server runs.
//!
//! Two processes of PostgreSQL decide, each at its own time after a reload: the checkpointer sets a flag that
//! makes commits wait at all, and each sender counts acknowledgements by its own copy of the number. Where
//! more is asked for than before, a commit that is acknowledged after the call must have waited for the new
//! number. Neither process says which number it has; but the priority that a sender gives its standby
//! can be seen, and a commit that waits can be seen. So in between nobody's acknowledgement counts for some
//! milliseconds: once every sender's priority is 0 and a commit of ours waits, the old number is
//! forgotten everywhere.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use meridian_model::RegionName;
use rustix::process::Signal;

use super::link::Link;
use super::settings::{READ_ONLY, acknowledgers_of, any_of, nobodys, synchronous_standby_names};
use super::{Member, QUICK};
use crate::deadline::Deadline;
use crate::error::ActuatorError;
use crate::guard::LEASE_NAME;

impl Member {
    pub(super) async fn set_acknowledgers(
        &self,
        acknowledgers: u32,
        candidates: &[RegionName],
    ) -> Result<(), ActuatorError> {
        let _one_at_a_time = self.commands.lock().await;
        if usize::try_from(acknowledgers).is_ok_and(|wanted| wanted > candidates.len()) {
            let problem = format!("{acknowledgers} of {} standbys cannot acknowledge", candidates.len());
            return Err(wrong(problem));
        }
        let names = || candidates.iter().map(RegionName::as_str);
        let (wanted, counted): (_, BTreeSet<_>) = match acknowledgers {
            0 => (nobodys(&self.config), self.config.leased().then_some(LEASE_NAME).into_iter().collect()),
            _ => (any_of(acknowledgers, names()), names().collect()),
        };
        if self.server.child().is_none() {
            *self.names.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted);
            return Ok(());
        }
        if self.in_recovery().await? {
            // A promotion waits for this, and as a rule it is as the spec says.
            let written = self.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if written.unwrap_or_else(|| synchronous_standby_names(&self.config)) != wanted {
                self.put_names(&wanted)?;
            }
            return IN_FORCE.run("taking the number of acknowledgers over", self.shown(&wanted)).await;
        }
        let before = self.work.value("asking who acknowledges", SHOW, QUICK).await?;
        let more = acknowledgers_of(&before).is_none_or(|before| before < acknowledgers);
        // One that was given up half way is begun anew: the text that a session shows proves nothing.
        if self.forgetting.load(Ordering::SeqCst) || (before != wanted && more) {
            self.forgetting.store(true, Ordering::SeqCst);
            let proven = IN_FORCE.run("forgetting the old number of acknowledgers", self.forget()).await;
            if let Err(error) = proven {
                self.put_names(&wanted)?;
                return Err(error);
            }
            self.forgetting.store(false, Ordering::SeqCst);
        }
        self.put_names(&wanted)?;
        IN_FORCE.run("taking the number of acknowledgers over", self.counts(&wanted, &counted)).await
    }

    pub(super) async fn set_read_only(&self, on: bool) -> Result<(), ActuatorError> {
        let _one_at_a_time = self.commands.lock().await;
        let Some(child) = self.server.child() else {
            return Err(wrong("it does not run".to_owned()));
        };
        self.read_only.store(on, Ordering::SeqCst);
        let upstream = *self.upstream.lock().unwrap_or_else(PoisonError::into_inner);
        self.configure(upstream)?;
        child.signal(Signal::HUP);
        let wanted = if on { "on" } else { "off" };
        let sql = format!("select current_setting('{READ_ONLY}')");
        let taken = async {
            while self.work.value("asking whether writes are kept off", &sql, QUICK).await? != wanted {
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        };
        IN_FORCE.run("keeping writes off, or letting them in", taken).await
    }

    /// Writes it down and has it read. It holds until the server follows somebody or starts as a standby.
    fn put_names(&self, names: &str) -> Result<(), ActuatorError> {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = Some(names.to_owned());
        let upstream = *self.upstream.lock().unwrap_or_else(PoisonError::into_inner);
        self.configure(upstream)?;
        if let Some(child) = self.server.child() {
            child.signal(Signal::HUP);
        }
        Ok(())
    }

    async fn shown(&self, wanted: &str) -> Result<(), ActuatorError> {
        while self.work.value("asking who acknowledges", SHOW, QUICK).await? != wanted {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Returns when a session shows `wanted`, each sender counts its standby only if it is in `counted`, and,
    /// if none is to be waited for, a commit waits for none.
    async fn counts(&self, wanted: &str, counted: &BTreeSet<&str>) -> Result<(), ActuatorError> {
        self.shown(wanted).await?;
        self.senders_count(counted).await?;
        if acknowledgers_of(wanted) == Some(0) {
            self.work.rows("a commit that waits for no standby", COMMIT, IN_FORCE.after).await?;
        }
        Ok(())
    }

    async fn senders_count(&self, counted: &BTreeSet<&str>) -> Result<(), ActuatorError> {
        loop {
            let senders = self.work.rows("asking whom the senders count", PRIORITIES, QUICK).await?;
            let agrees = senders.iter().all(|row| {
                let counts = row.get("counts") == Some("t");
                row.get("region").is_some_and(|region| counted.contains(region)) == counts
            });
            if agrees {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Makes every process forget the old number: see above.
    async fn forget(&self) -> Result<(), ActuatorError> {
        let nobody = any_of(1, std::iter::once(NOBODY));
        self.put_names(&nobody)?;
        self.counts(&nobody, &BTreeSet::new()).await?;
        let link = Arc::new(self.link_to(self.config.address));
        let pid = link.value("asking for a process number", "select pg_backend_pid()", QUICK).await?;
        let waits = format!(
            "select exists (select from pg_stat_activity where pid = {pid} and wait_event = 'SyncRep')"
        );
        let mut commit = tokio::spawn(try_commit(Arc::clone(&link)));
        while self.work.value("asking whether a commit waits", &waits, QUICK).await? != "t" {
            if commit.is_finished() {
                commit = tokio::spawn(try_commit(Arc::clone(&link)));
            }
            tokio::time::sleep(POLL).await;
        }
        let cancel = format!("select pg_cancel_backend({pid})");
        self.work.rows("ending the commit that waits", &cancel, QUICK).await.map(drop)
    }
}

/// Acknowledged, cancelled or failed: it only shows whether commits wait.
async fn try_commit(link: Arc<Link>) {
    if let Err(error) = link.rows("a commit that should wait", COMMIT, IN_FORCE.after).await {
        tracing::debug!(%error, "a commit was made to see whether it waits");
    }
}

fn wrong(problem: String) -> ActuatorError {
    ActuatorError::WrongState { command: "set the number of acknowledgers", problem }
}

/// No region has a space in its name.
const NOBODY: &str = "nobody yet";
const POLL: Duration = Duration::from_millis(1);
const SHOW: &str = "select current_setting('synchronous_standby_names')";
const PRIORITIES: &str =
    "select application_name as region, sync_priority > 0 as counts from pg_stat_replication";
const COMMIT: &str = "select pg_logical_emit_message(true, 'meridian', 'acknowledgers') \
                      from set_config('synchronous_commit', 'on', true)";
const IN_FORCE: Deadline = Deadline::new(
    Duration::from_secs(20),
    "the checkpointer reads its settings again when the checkpoint under way allows it",
);
