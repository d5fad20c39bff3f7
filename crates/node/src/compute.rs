//! The instances of services in this region: as many as the region's present role asks for.

use std::sync::Arc;

use meridian_actuators::ComputeActuator;
use meridian_model::{GroupName, RegionName, ServiceName};
use meridian_steering::View;
use tokio::sync::watch;

use crate::status::ComputeStatus;

/// The instances of one service.
pub(crate) struct Instances {
    /// Which service.
    pub(crate) service: ServiceName,
    /// What runs them.
    pub(crate) actuator: Arc<dyn ComputeActuator>,
    /// How many while this region is a standby.
    pub(crate) standby: u32,
    /// How many while it writes.
    pub(crate) primary: u32,
}

/// All instances of this region.
pub(crate) struct Compute {
    here: RegionName,
    services: Vec<Instances>,
    primary: watch::Sender<bool>,
}

impl Compute {
    /// Nothing runs yet.
    pub(crate) fn new(here: RegionName, services: Vec<Instances>) -> Self {
        Self { here, services, primary: watch::Sender::new(false) }
    }

    /// Keeps the number of instances right, by the writers that the views name, until the views end.
    /// A region that loses its writer for a while keeps the compute of a primary until another one has
    /// become the writer.
    pub(crate) async fn follow(
        self: Arc<Self>,
        mut views: watch::Receiver<Arc<View>>,
        groups: Vec<GroupName>,
    ) {
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            let writers: Vec<&RegionName> = groups
                .iter()
                .filter_map(|g| view.snapshot.group(g))
                .filter_map(|g| g.writer.as_ref())
                .collect();
            if !writers.is_empty() {
                self.primary.send_replace(writers.contains(&&self.here));
            }
            if let Err(reason) = self.apply().await {
                tracing::warn!(%reason, "instances could not be started");
            }
            if views.changed().await.is_err() {
                return;
            }
        }
    }

    /// The step of a run: the compute of a primary, now.
    pub(crate) async fn scale_as_primary(&self) -> Result<String, String> {
        self.primary.send_replace(true);
        self.apply().await?;
        let told = self
            .status()
            .into_iter()
            .map(|s| format!("{}: {} of {} running", s.service, s.running, s.wanted));
        let told: Vec<String> = told.collect();
        Ok(if told.is_empty() {
            "this region runs no instances of its own".to_owned()
        } else {
            told.join(", ")
        })
    }

    /// How many run and how many are wanted.
    pub(crate) fn status(&self) -> Vec<ComputeStatus> {
        let one = |s: &Instances| ComputeStatus {
            service: s.service.clone(),
            running: s.actuator.running(),
            wanted: self.wanted(s),
        };
        self.services.iter().map(one).collect()
    }

    async fn apply(&self) -> Result<(), String> {
        for service in &self.services {
            service
                .actuator
                .scale(self.wanted(service))
                .await
                .map_err(|e| format!("{}: {e}", service.service))?;
        }
        Ok(())
    }

    fn wanted(&self, service: &Instances) -> u32 {
        if *self.primary.borrow() { service.primary } else { service.standby }
    }
}
