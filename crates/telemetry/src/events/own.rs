//! What telemetry says of itself.

use crate::metrics::Metrics;

/// Traces or metrics did not reach the collector. Told when it begins and then ever more seldom.
#[derive(Debug)]
pub(crate) struct ExportFailed<'a> {
    /// The collector.
    pub(crate) endpoint: &'a str,
    /// What happened.
    pub(crate) reason: &'a str,
    /// Failures in a row.
    pub(crate) failures: u64,
    /// It is time to tell again.
    pub(crate) tell: bool,
    /// `traces` or `metrics`.
    pub(crate) signal: &'static str,
}

impl ExportFailed<'_> {
    /// Counts it; `warn` when it is time to tell.
    pub(crate) fn emit(self, metrics: &Metrics) {
        let Self { endpoint, reason, failures, tell, signal } = self;
        metrics.own().exports.at([signal.into(), "failed".into()]).inc();
        if tell {
            tracing::warn!(target: "meridian::telemetry", event = "export-failed", endpoint, reason, failures, signal, "the collector does not take telemetry; nothing else depends on it");
        }
    }
}

/// Traces or metrics reached the collector.
#[derive(Debug)]
pub(crate) struct ExportDone<'a> {
    /// The collector.
    pub(crate) endpoint: &'a str,
    /// Failures before this one.
    pub(crate) failures: u64,
    /// `traces` or `metrics`.
    pub(crate) signal: &'static str,
}

impl ExportDone<'_> {
    /// Counts it; `info` when it failed before.
    pub(crate) fn emit(self, metrics: &Metrics) {
        let Self { endpoint, failures, signal } = self;
        metrics.own().exports.at([signal.into(), "done".into()]).inc();
        if failures > 0 {
            tracing::info!(target: "meridian::telemetry", event = "export-done", endpoint, failures, signal, "the collector takes telemetry again");
        }
    }
}
