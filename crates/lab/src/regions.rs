//! The running lab. (Stub; signatures hold.)

use std::time::Duration;

use meridian_model::{RegionName, System};
use tokio::sync::broadcast;

use crate::error::LabError;
use crate::faults::{Fault, FaultRecord, LabEvent};
use crate::plan::{Addresses, LabOptions};
use crate::status::LabStatus;

/// A running lab. Cheap to clone; when the last clone is dropped its processes are killed.
#[derive(Debug, Clone)]
pub struct Lab;

impl Lab {
    /// Starts the system: returns when etcd, the WAN and the nodes' processes run.
    ///
    /// # Errors
    /// [`LabError`]: a program is missing, an address is in use, the data is of another spec.
    pub async fn up(_system: &System, _options: LabOptions) -> Result<Self, LabError> {
        Err(LabError::Unsupported("not written yet".to_owned()))
    }

    /// Waits until every node answers, every verdict is up, every group has a writer and all standbys stream.
    ///
    /// # Errors
    /// [`LabError::NotHealthy`] with what is missing; [`LabError::Ended`] as soon as a process ended.
    pub async fn wait_healthy(&self, within: Duration) -> Result<LabStatus, LabError> {
        Err(LabError::NotHealthy { within, missing: Vec::new() })
    }

    /// Carries a fault out; returns when it has happened in full.
    ///
    /// # Errors
    /// [`LabError::NoRegion`] or [`LabError::Fault`].
    pub async fn fault(&self, fault: Fault) -> Result<FaultRecord, LabError> {
        Err(LabError::Fault { fault: fault.to_string(), reason: "not written yet".to_owned() })
    }

    /// The same as [`Fault::Restore`].
    ///
    /// # Errors
    /// [`LabError::NoRegion`], or a process does not start.
    pub async fn restore(&self, region: &RegionName) -> Result<FaultRecord, LabError> {
        self.fault(Fault::Restore { region: region.clone() }).await
    }

    /// Where everything is reached.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        unimplemented!("not written yet")
    }

    /// The state folder.
    #[must_use]
    pub fn dir(&self) -> &std::path::Path {
        unimplemented!("not written yet")
    }

    /// Asks every node for its status now.
    pub async fn status(&self) -> LabStatus {
        unimplemented!("not written yet")
    }

    /// Everything that happened so far.
    #[must_use]
    pub fn events(&self) -> Vec<LabEvent> {
        Vec::new()
    }

    /// What happens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<LabEvent> {
        broadcast::channel(1).1
    }

    /// Stops everything (nodes get SIGTERM and some seconds first). `purge` removes the state folder.
    ///
    /// # Errors
    /// The folder could not be removed, or a process did not end.
    pub async fn shutdown(&self, _purge: bool) -> Result<(), LabError> {
        Ok(())
    }
}
