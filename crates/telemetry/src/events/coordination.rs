//! The conversation with etcd.

use std::time::Duration;

use crate::metrics::Metrics;

/// A call to etcd ended.
#[derive(Debug)]
pub struct CoordinationCalled<'a> {
    /// `list`, `commit` or `maintain`.
    pub call: &'static str,
    /// `done`, `lost` or `unknown`.
    pub outcome: &'static str,
    /// How long it took.
    pub took: Duration,
    /// What happened, when unknown.
    pub detail: &'a str,
}

impl CoordinationCalled<'_> {
    /// Tells it: `trace`; unknown ones `debug`, since whoever called says what it means.
    pub fn emit(self, metrics: &Metrics) {
        let Self { call, outcome, took, detail } = self;
        metrics.coordination().calls.at([call.into(), outcome.into()]).inc();
        if detail.is_empty() {
            metrics.coordination().call_seconds.at([call.into()]).observe(took.as_secs_f64());
            tracing::trace!(target: "meridian::coordination", event = "coordination-called", call, outcome, ?took, "etcd answered");
        } else {
            tracing::debug!(target: "meridian::coordination", event = "coordination-called", call, outcome, ?took, detail, "etcd did not answer");
        }
    }
}

/// The watch on etcd is current, after it was not.
#[derive(Debug)]
pub struct WatchAlive<'a> {
    /// The member that is watched.
    pub endpoint: &'a str,
    /// The revision of the listing that it began with.
    pub revision: i64,
}

impl WatchAlive<'_> {
    /// Tells it: `info`.
    pub fn emit(self, metrics: &Metrics) {
        let Self { endpoint, revision } = self;
        metrics.coordination().alive.at([]).set(1);
        metrics.coordination().watch_resets.at([]).inc();
        tracing::info!(target: "meridian::coordination", event = "watch-alive", endpoint, revision, "following etcd");
    }
}

/// The watch on etcd no longer follows.
#[derive(Debug)]
pub struct WatchStale<'a> {
    /// The member that was watched.
    pub endpoint: &'a str,
    /// What happened.
    pub reason: &'a str,
}

impl WatchStale<'_> {
    /// Tells it: `warn`. Call it when it becomes stale, not for each failed attempt to return.
    pub fn emit(self, metrics: &Metrics) {
        let Self { endpoint, reason } = self;
        metrics.coordination().alive.at([]).set(0);
        tracing::warn!(target: "meridian::coordination", event = "watch-stale", endpoint, reason, "etcd is not reachable; nothing changes by that alone");
    }
}

/// The leadership of etcd's raft was called to the own region.
#[derive(Debug)]
pub struct LeaderMoved<'a> {
    /// The member that leads now.
    pub endpoint: &'a str,
}

impl LeaderMoved<'_> {
    /// Tells it: `info`.
    pub fn emit(self, metrics: &Metrics) {
        let endpoint = self.endpoint;
        metrics.coordination().moved_leader.at([]).inc();
        tracing::info!(target: "meridian::coordination", event = "leader-moved", endpoint, "etcd is led from here");
    }
}
