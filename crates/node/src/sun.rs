//! Follow the sun: at its hours the writer's own node orders the writer to move.
//!
//! It keeps no state: an hour is done when an order of the schedule was given since, or a reign has begun
//! since. So a restart neither misses nor repeats one, a refused one is skipped (the machine says why), and a
//! person's move after the hour stands.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meridian_coordination::asks::Asks;
use meridian_model::order::{Wish, Word};
use meridian_model::run::{Run, RunKind};
use meridian_model::snapshot::GroupState;
use meridian_model::{GroupName, RegionName, System, Timestamp};
use meridian_planner::schedule;
use meridian_telemetry::clock;
use tokio::sync::watch;

use crate::knowledge::Knowledge;

/// How often the schedule is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An hour that nobody served for so long is skipped.
const LATE_MAX_MS: i64 = 5 * 60 * 1_000;
/// How long such an order may wait to be begun.
const LASTS_MS: i64 = 30_000;

/// What the schedule needs.
pub(crate) struct Sun {
    pub(crate) system: Arc<System>,
    pub(crate) here: RegionName,
    pub(crate) asks: Asks,
    pub(crate) knowledge: Arc<Mutex<Knowledge>>,
    pub(crate) groups: Vec<watch::Receiver<GroupState>>,
}

impl Sun {
    /// Looks at the schedule until it is dropped; returns at once where there is none.
    pub(crate) async fn follow(self) {
        if self.system.topology.schedule.is_empty() {
            return;
        }
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for group in &self.groups {
                let (name, writer) = {
                    let state = group.borrow();
                    (state.group.clone(), state.writer.clone())
                };
                if writer.as_ref() == Some(&self.here) {
                    self.look(&name).await;
                }
            }
        }
    }

    async fn look(&self, group: &GroupName) {
        let now = clock::wall();
        let since = Timestamp(now.0.saturating_sub(LATE_MAX_MS));
        let Some((to, at)) = schedule::due(&self.system.topology.schedule, since, now) else { return };
        if to == self.here || self.served(group, at) {
            return;
        }
        let word = Word { by: "schedule".to_owned(), at: now, reason: String::new() };
        match self.asks.order(group, Wish::Switchover { to: to.clone() }, word, LASTS_MS).await {
            Ok(taken) => tracing::info!(%group, %to, order = %taken.order.id, "the writer follows the sun"),
            Err(error) => tracing::warn!(%group, %to, %error, "the writer cannot follow the sun"),
        }
    }

    /// The schedule has given its order, or a reign has begun, since that hour.
    fn served(&self, group: &GroupName, hour: Timestamp) -> bool {
        let knowledge = self.knowledge.lock().unwrap_or_else(PoisonError::into_inner);
        let ordered = knowledge.order(group).is_some_and(|o| o.by == "schedule" && o.at >= hour);
        let moved =
            |run: &Run| matches!(run.kind, RunKind::Failover | RunKind::Switchover) && !run.prepares();
        ordered || knowledge.runs(group).iter().any(|run| moved(run) && run.decided_at >= hour)
    }
}
