//! What all sessions of one port share.

use std::sync::Arc;

use meridian_model::GroupName;
use meridian_model::database::GatewayLimits;
use meridian_telemetry::Metrics;
use meridian_telemetry::events::GatewayMeter;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::cancel::Cancels;
use crate::credentials::Credentials;
use crate::fence::Gate;
use crate::route::{Port, Routes};
use crate::waiting::Room;

/// The phases of a server's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It takes sessions.
    Serving,
    /// Sessions end between two transactions.
    Draining,
    /// Sessions end now.
    Ending,
}

/// One port of one database.
pub(crate) struct Door {
    pub(crate) port: Port,
    pub(crate) group: GroupName,
    pub(crate) limits: GatewayLimits,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) routes: watch::Receiver<Arc<Routes>>,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Seats for sessions; both ports of a database share them.
    pub(crate) seats: Arc<Semaphore>,
    /// Connections that have not said yet what they want.
    pub(crate) porch: Arc<Semaphore>,
    /// Clients without a seat that have not read yet why they were refused.
    pub(crate) farewells: Semaphore,
    pub(crate) room: Arc<Room>,
    pub(crate) cancels: Arc<Cancels>,
    pub(crate) credentials: Credentials,
    /// Sessions that move while their client is silent.
    pub(crate) silent: Semaphore,
    /// Logins of moving sessions that compute something.
    pub(crate) proofs: Semaphore,
    pub(crate) meter: GatewayMeter,
    pub(crate) metrics: Metrics,
}

impl Door {
    /// Returns when the drain has begun.
    pub(crate) async fn draining(&self) {
        // A closed channel: the server is being dropped, which is a drain without patience.
        let _ = self.phase.clone().wait_for(|phase| *phase != Phase::Serving).await;
    }
}
