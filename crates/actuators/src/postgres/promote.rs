//! Making a standby the primary.

use std::sync::Arc;
use std::time::Duration;

use meridian_model::Epoch;

use super::config::slot_of;
use super::create::slots_sql;
use super::{Member, QUICK};
use crate::deadline::Deadline;
use crate::error::ActuatorError;

impl Member {
    pub(super) async fn promote(self: &Arc<Self>, epoch: Epoch) -> Result<(), ActuatorError> {
        let _one_at_a_time = self.commands.lock().await;
        self.require_guarded_fence().await?;
        self.layout.raise_epoch(epoch)?;
        if self.server.child().is_none() {
            let problem = "it does not run; seal it first".to_owned();
            return Err(ActuatorError::WrongState { command: "promote", problem });
        }
        let turns = self.in_recovery().await?;
        if turns {
            PROMOTE.run("the promotion", self.turn()).await?;
        } else {
            self.make_slots_for_others().await?;
        }
        self.configure(None)?;
        self.layout.signal_standby(true)?;
        self.first_commit().await?;
        self.checkpoint_in_background();
        self.renew_ledger_in_background(turns);
        Ok(())
    }

    /// On a primary, and on a standby that is about to be one.
    pub(super) async fn make_slots_for_others(&self) -> Result<(), ActuatorError> {
        let slots = slots_sql(self.config.others.iter().map(slot_of));
        self.work.rows("making slots for the standbys", &slots, SLOTS).await.map(drop)
    }

    /// `pg_promote(true)` would look only every 100 ms. Recovery that has just lost its upstream may overhear
    /// one call and sleep for `wal_retrieve_retry_interval`: another one wakes it.
    async fn turn(&self) -> Result<(), ActuatorError> {
        for look in 0_u32.. {
            if look % LOOKS_PER_CALL == 0 {
                self.call_on().await?;
            }
            if look == 0 {
                // While it turns: a standby that is re-pointed meets the slot that it needs.
                self.make_slots_for_others().await?;
            }
            if !self.in_recovery().await? {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn call_on(&self) -> Result<(), ActuatorError> {
        match self.work.rows("promoting", "select pg_promote(false)", QUICK).await {
            // Between two looks it has become one.
            Err(_) if !self.in_recovery().await? => Ok(()),
            called => called.map(drop),
        }
    }

    /// `pg_rewind` reads the source's control file, which shows the new timeline only after a checkpoint.
    fn checkpoint_in_background(self: &Arc<Self>) {
        let link = self.link_to(self.config.address);
        tokio::spawn(async move {
            if let Err(error) = link.rows("the checkpoint after promotion", "checkpoint", CHECKPOINT).await {
                tracing::warn!(%error, "the next checkpoint will come by itself");
            }
        });
    }
}

const POLL: Duration = Duration::from_millis(2);
const LOOKS_PER_CALL: u32 = 5;
const SLOTS: Duration = Duration::from_secs(5);
pub(super) const CHECKPOINT: Duration = Duration::from_secs(600);
const PROMOTE: Deadline =
    Deadline::new(Duration::from_secs(60), "it replays first what it has received but not yet applied");
