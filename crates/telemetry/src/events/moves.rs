//! What happens to running sessions of the gateway when the writer moves: they are held, go on elsewhere,
//! or cannot.

use std::time::Duration;

use meridian_model::RegionName;

use super::traffic::GatewayMeter;
use crate::metrics::Metrics;

/// A running session is held: its client asked something that is kept back, or it is between two servers.
/// Each one is followed by a [`GatewaySessionUnheld`].
#[derive(Debug)]
pub struct GatewaySessionHeld;

impl GatewaySessionHeld {
    /// Tells it: `debug`.
    pub fn emit(self, meter: &GatewayMeter) {
        let group = &meter.group;
        meter.held.inc();
        tracing::debug!(target: "meridian::gateway", event = "gateway-session-held", %group, "session is held");
    }
}

/// A session is held no longer: it goes on, here or elsewhere, or ends.
#[derive(Debug)]
pub struct GatewaySessionUnheld {
    /// How long it was.
    pub held: Duration,
}

impl GatewaySessionUnheld {
    /// Tells it: `debug`.
    pub fn emit(self, meter: &GatewayMeter) {
        let (group, held) = (&meter.group, self.held);
        meter.held.dec();
        meter.held_seconds.observe(held.as_secs_f64());
        tracing::debug!(target: "meridian::gateway", event = "gateway-session-unheld", %group, ?held, "session is held no longer");
    }
}

/// A session goes on at another server, and its client does not notice.
#[derive(Debug)]
pub struct GatewaySessionMoved<'a> {
    /// Where that server is.
    pub backend: &'a RegionName,
    /// Why it left the server before, in words.
    pub reason: &'a str,
    /// From leaving it until all was set up again.
    pub took: Duration,
}

impl GatewaySessionMoved<'_> {
    /// Tells it: `debug`.
    pub fn emit(self, meter: &GatewayMeter, metrics: &Metrics) {
        let Self { backend, reason, took } = self;
        let group = &meter.group;
        metrics.moves().moved.at([group.into()]).inc();
        metrics.moves().move_seconds.at([group.into()]).observe(took.as_secs_f64());
        tracing::debug!(target: "meridian::gateway", event = "gateway-session-moved", %group, %backend, reason, ?took, "session moved");
    }
}

/// A session ends because it cannot be moved.
#[derive(Debug)]
pub struct GatewaySessionUnmovable {
    /// A fixed word: `busy`, `unknown-user`, `listen`, `temporary` ...
    pub reason: &'static str,
}

impl GatewaySessionUnmovable {
    /// Tells it: `debug`.
    pub fn emit(self, meter: &GatewayMeter, metrics: &Metrics) {
        let (group, reason) = (&meter.group, self.reason);
        metrics.moves().unmovable.at([group.into(), reason.into()]).inc();
        tracing::debug!(target: "meridian::gateway", event = "gateway-session-unmovable", %group, reason, "session cannot be moved");
    }
}
