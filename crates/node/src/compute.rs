//! The instances of services in this region: as many as the region's present role asks for, or a step of
//! the run that made it the writer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use meridian_actuators::ComputeActuator;
use meridian_model::run::Run;
use meridian_model::{Epoch, GroupName, RegionName, ServiceName, Snapshot};
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
    /// What steps have asked for.
    asked: Mutex<BTreeMap<ServiceName, Asked>>,
}

/// A number that a step has asked for. It holds for the reign that the step's run has made, and from the
/// step on: views that do not know of the reign yet change nothing.
struct Asked {
    group: GroupName,
    epoch: Epoch,
    instances: u32,
}

impl Asked {
    /// The reign is over, or it is somebody else's.
    fn is_over(&self, snapshot: &Snapshot, here: &RegionName) -> bool {
        snapshot.group(&self.group).is_some_and(|group| {
            let elsewhere = group.writer.as_ref().is_some_and(|writer| writer != here);
            group.epoch > self.epoch || (group.epoch == self.epoch && elsewhere)
        })
    }
}

impl Compute {
    /// Nothing runs yet.
    pub(crate) fn new(here: RegionName, services: Vec<Instances>) -> Self {
        Self { here, services, primary: watch::Sender::new(false), asked: Mutex::default() }
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
            self.asked().retain(|_, asked| !asked.is_over(&view.snapshot, &self.here));
            if let Err(reason) = self.apply(None).await {
                tracing::warn!(%reason, "instances could not be started");
            }
            if views.changed().await.is_err() {
                return;
            }
        }
    }

    /// The step of a run: that service, or all, have so many instances from now on, or as many as the spec
    /// wants where the writer is.
    pub(crate) async fn scale(
        &self,
        run: &Run,
        service: Option<&ServiceName>,
        instances: Option<u32>,
    ) -> Result<String, String> {
        for meant in self.meant(service) {
            let instances = instances.unwrap_or(meant.primary);
            let asked = Asked { group: run.group.clone(), epoch: run.epoch, instances };
            self.asked().insert(meant.service.clone(), asked);
        }
        self.apply(service).await?;
        let told = self
            .meant(service)
            .map(|s| format!("{}: {} of {} running", s.service, s.actuator.running(), self.wanted(s)));
        let told: Vec<String> = told.collect();
        Ok(match (service, told.is_empty()) {
            (_, false) => told.join(", "),
            (None, true) => "this region runs no instances of its own".to_owned(),
            (Some(service), true) => format!("this region runs no instances of {service} of its own"),
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

    async fn apply(&self, service: Option<&ServiceName>) -> Result<(), String> {
        for service in self.meant(service) {
            service
                .actuator
                .scale(self.wanted(service))
                .await
                .map_err(|e| format!("{}: {e}", service.service))?;
        }
        Ok(())
    }

    fn meant(&self, service: Option<&ServiceName>) -> impl Iterator<Item = &Instances> {
        self.services.iter().filter(move |s| service.is_none_or(|name| name == &s.service))
    }

    fn wanted(&self, service: &Instances) -> u32 {
        let by_role = || if *self.primary.borrow() { service.primary } else { service.standby };
        self.asked().get(&service.service).map_or_else(by_role, |asked| asked.instances)
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceName, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
