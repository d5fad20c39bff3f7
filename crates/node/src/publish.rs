//! Makes the snapshot that the data planes answer from, swaps it whole, and keeps it on disk.
//!
//! What follows a snapshot, and which one is refused, `meridian_steering::succession` says; here it is swapped,
//! kept and reported.

use std::sync::Arc;

use meridian_model::health::RegionHealth;
use meridian_model::snapshot::GroupState;
use meridian_model::traffic::TurnedDial;
use meridian_model::{RegionName, Snapshot, System};
use meridian_steering::View;
use meridian_telemetry::events::SnapshotRefused;
use meridian_telemetry::{Metrics, clock};
use tokio::sync::watch;

use crate::memory::Memory;

/// The file in the node's folder.
const FILE: &str = "snapshot.json";

/// The one who swaps snapshots.
pub(crate) struct Publisher {
    views: watch::Sender<Arc<View>>,
    metrics: Metrics,
    refused: Option<String>,
}

impl Publisher {
    /// Starts from the snapshot on disk, or from one that knows nothing.
    ///
    /// The kept snapshot names no writer: who writes must be learnt anew, for a reign may have ended
    /// while this node was away. Where to send readers and requests it still knows.
    #[must_use]
    pub(crate) fn new(system: Arc<System>, here: RegionName, memory: &Memory, metrics: Metrics) -> Self {
        let kept: Option<Snapshot> = memory.read(FILE).unwrap_or_else(|error| {
            tracing::warn!(%error, "the kept snapshot cannot be used; starting from nothing");
            None
        });
        let mut snapshot = kept
            .filter(|kept| {
                kept.region == here && kept.regions.iter().map(|r| &r.region).eq(system.region_names())
            })
            .unwrap_or_else(|| Snapshot::unknown(here.clone(), system.region_names().cloned()));
        for group in &mut snapshot.groups {
            group.writer = None;
            "this node has just started and has not heard who writes".clone_into(&mut group.reason);
        }
        let (views, _) = watch::channel(View::new(system, here, Arc::new(snapshot)));
        Self { views, metrics, refused: None }
    }

    /// What data planes hold: always the newest view.
    #[must_use]
    pub(crate) fn views(&self) -> watch::Receiver<Arc<View>> {
        self.views.subscribe()
    }

    /// The view of now.
    #[must_use]
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    /// Publishes what is known now, if it says anything new. Returns the new generation if so. Without `dials`
    /// nobody knows what was turned, and what is in force stays.
    pub(crate) fn publish(
        &mut self,
        regions: &[RegionHealth],
        groups: Vec<GroupState>,
        dials: Option<&[TurnedDial]>,
    ) -> Option<u64> {
        let view = self.view();
        let next = view.next_snapshot(regions, groups, dials, clock::wall());
        match next.refused {
            Some(reason) => self.refuse(view.snapshot.generation.saturating_add(1), reason),
            None => self.refused = None,
        }
        let snapshot = next.snapshot?;
        let generation = snapshot.generation;
        self.views.send_replace(view.with_snapshot(Arc::new(snapshot)));
        Some(generation)
    }

    fn refuse(&mut self, generation: u64, reason: String) {
        if self.refused.as_ref() != Some(&reason) {
            SnapshotRefused { generation, reason: &reason }.emit(&self.metrics);
            self.refused = Some(reason);
        }
    }
}

/// The one who keeps the newest snapshot on disk. It comes after the data planes: they never wait for a
/// disk. A node that is killed in between starts again from the snapshot before.
pub(crate) struct Keeper {
    memory: Memory,
    views: watch::Receiver<Arc<View>>,
}

impl Keeper {
    /// Keeps what `publisher` publishes from now on.
    pub(crate) fn new(memory: Memory, publisher: &Publisher) -> Self {
        Self { memory, views: publisher.views() }
    }

    /// Writes one snapshot at a time, always the newest, until the publisher is gone and its last one is
    /// written.
    pub(crate) async fn run(mut self) {
        while self.views.changed().await.is_ok() {
            let snapshot = Arc::clone(&self.views.borrow_and_update().snapshot);
            let memory = self.memory.clone();
            let written = tokio::task::spawn_blocking(move || memory.write(FILE, &*snapshot)).await;
            let failed = match written {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::warn!(error = %failed, "the snapshot could not be kept on disk; serving from it all the same");
        }
    }
}

#[cfg(test)]
mod tests;
