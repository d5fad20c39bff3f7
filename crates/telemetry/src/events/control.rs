//! What the control plane decides: leases, epochs, fences.

use std::time::Duration;

use meridian_model::run::RunKind;
use meridian_model::{Epoch, GroupName, RegionName, RunId};

use crate::metrics::Metrics;

/// The holder renewed its lease.
#[derive(Debug)]
pub struct LeaseRenewed<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// Its reign.
    pub epoch: Epoch,
    /// From sending to the answer.
    pub took: Duration,
    /// Acknowledged by every other member directly, because etcd is not reachable.
    pub by_promises: bool,
}

impl LeaseRenewed<'_> {
    /// Tells it: `trace`; by promises `debug`.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, epoch, took, by_promises } = self;
        let outcome = if by_promises { "promised" } else { "acknowledged" };
        metrics.reign().lease_renewals.at([group.into(), outcome.into()]).inc();
        metrics.reign().lease_renewal_seconds.at([group.into()]).observe(took.as_secs_f64());
        if by_promises {
            tracing::debug!(target: "meridian::lease", event = "lease-renewed", %group, %epoch, ?took, by_promises, "lease renewed");
        } else {
            tracing::trace!(target: "meridian::lease", event = "lease-renewed", %group, %epoch, ?took, by_promises, "lease renewed");
        }
    }
}

/// A renewal did not succeed.
#[derive(Debug)]
pub struct LeaseRenewalFailed<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// Its reign.
    pub epoch: Epoch,
    /// The compare failed: somebody else holds the record. Otherwise the outcome is unknown.
    pub lost: bool,
    /// What happened.
    pub reason: &'a str,
    /// How long the write right still runs.
    pub remaining: Duration,
}

impl LeaseRenewalFailed<'_> {
    /// Tells it: `error` when lost, else `warn`.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, epoch, lost, reason, remaining } = self;
        let outcome = if lost { "lost" } else { "unknown" };
        metrics.reign().lease_renewals.at([group.into(), outcome.into()]).inc();
        if lost {
            tracing::error!(target: "meridian::lease", event = "lease-renewal-failed", %group, %epoch, lost, reason, ?remaining, "the lease is lost");
        } else {
            tracing::warn!(target: "meridian::lease", event = "lease-renewal-failed", %group, %epoch, lost, reason, ?remaining, "the lease could not be renewed");
        }
    }
}

/// This node was asked for a promise.
#[derive(Debug)]
pub struct PromiseAnswered<'a> {
    /// For which group.
    pub group: &'a GroupName,
    /// By whom.
    pub holder: &'a RegionName,
    /// For which reign.
    pub epoch: Epoch,
    /// Why not, if refused.
    pub refused: Option<&'a str>,
}

impl PromiseAnswered<'_> {
    /// Tells it: `debug` when given, `warn` when refused.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, holder, epoch, refused } = self;
        let answer = if refused.is_some() { "refused" } else { "given" };
        metrics.reign().promises.at([group.into(), answer.into()]).inc();
        match refused {
            None => {
                tracing::debug!(target: "meridian::lease", event = "promise-answered", %group, %holder, %epoch, answer, "promise given");
            }
            Some(reason) => {
                tracing::warn!(target: "meridian::lease", event = "promise-answered", %group, %holder, %epoch, answer, reason, "promise refused");
            }
        }
    }
}

/// Why writes were closed or the database was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceReason {
    /// The write right ran out: no renewal was acknowledged in time.
    RightExpired,
    /// Another region holds a newer epoch.
    NewerEpoch,
    /// The lease was released on purpose: a switchover or a stop.
    Released,
    /// The database does not work.
    DatabaseFailed,
    /// The node stops.
    Shutdown,
}

impl FenceReason {
    /// The word for labels and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::RightExpired => "right-expired",
            Self::NewerEpoch => "newer-epoch",
            Self::Released => "released",
            Self::DatabaseFailed => "database-failed",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The gateway lets no more writes through.
#[derive(Debug)]
pub struct WritesClosed<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// The reign that ends or pauses.
    pub epoch: Epoch,
    /// Why.
    pub reason: FenceReason,
}

impl WritesClosed<'_> {
    /// Tells it: `warn`.
    pub fn emit(self, metrics: &Metrics) {
        let (group, epoch, reason) = (self.group, self.epoch, self.reason.word());
        metrics.reign().writes_closed.at([group.into(), reason.into()]).inc();
        metrics.reign().writes_open.at([group.into()]).set(0);
        tracing::warn!(target: "meridian::fence", event = "writes-closed", %group, %epoch, reason, "writes are closed");
    }
}

/// The gateway lets writes through to the database of this region.
#[derive(Debug)]
pub struct WritesOpened<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// Under which reign.
    pub epoch: Epoch,
}

impl WritesOpened<'_> {
    /// Tells it: `info`.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, epoch } = self;
        metrics.reign().writes_open.at([group.into()]).set(1);
        tracing::info!(target: "meridian::fence", event = "writes-opened", %group, %epoch, "writes are open");
    }
}

/// PostgreSQL was stopped so that it cannot write.
#[derive(Debug)]
pub struct DatabaseFenced<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// Which reign it wrote under.
    pub epoch: Epoch,
    /// Why.
    pub reason: FenceReason,
    /// How long stopping took.
    pub took: Duration,
}

impl DatabaseFenced<'_> {
    /// Tells it: `warn`.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, epoch, reason, took } = self;
        let reason = reason.word();
        metrics.reign().database_fenced.at([group.into(), reason.into()]).inc();
        tracing::warn!(target: "meridian::fence", event = "database-fenced", %group, %epoch, reason, ?took, "the database was stopped");
    }
}

/// A crashed PostgreSQL was started again in place.
#[derive(Debug)]
pub struct DatabaseRestarted<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// Which attempt within the budget, from 1.
    pub attempt: u32,
    /// What was seen.
    pub reason: &'a str,
}

impl DatabaseRestarted<'_> {
    /// Tells it: `warn`.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, attempt, reason } = self;
        metrics.reign().database_restarts.at([group.into()]).inc();
        tracing::warn!(target: "meridian::database", event = "database-restarted", %group, attempt, reason, "the database was started again");
    }
}

/// An old writer came back as a standby.
#[derive(Debug)]
pub struct DatabaseRejoined<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// Which reign it follows now.
    pub epoch: Epoch,
    /// `rewound` or `recloned`.
    pub method: &'static str,
    /// Where its diverged log was kept.
    pub kept_wal: &'a std::path::Path,
    /// How long it took.
    pub took: Duration,
}

impl DatabaseRejoined<'_> {
    /// Tells it: `info`.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, epoch, method, kept_wal, took } = self;
        metrics.reign().rejoins.at([group.into(), method.into()]).inc();
        let kept_wal = kept_wal.display();
        tracing::info!(target: "meridian::database", event = "database-rejoined", %group, %epoch, method, %kept_wal, ?took, "the database rejoined as a standby");
    }
}

/// This node won an epoch.
#[derive(Debug)]
pub struct EpochClaimed<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// The new reign.
    pub epoch: Epoch,
    /// What for.
    pub kind: RunKind,
    /// The run that was journalled with it.
    pub run: &'a RunId,
    /// Why, with the evidence.
    pub cause: &'a str,
}

impl EpochClaimed<'_> {
    /// Tells it: `info`.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, epoch, kind, run, cause } = self;
        metrics.reign().epochs_claimed.at([group.into(), kind.word().into()]).inc();
        tracing::info!(target: "meridian::failover", event = "epoch-claimed", %group, %epoch, %kind, %run, cause, "the epoch is ours");
    }
}

/// This node saw a group's reign: its own or another's.
#[derive(Debug)]
pub struct EpochObserved<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// The reign.
    pub epoch: Epoch,
    /// Who writes now, if anybody may.
    pub writer: Option<&'a RegionName>,
    /// All regions, so that those that do not write are set to 0.
    pub regions: &'a [RegionName],
}

impl EpochObserved<'_> {
    /// Tells it: `info`. Call it on changes only.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, epoch, writer, regions } = self;
        metrics.reign().epoch.at([group.into()]).set(i64::try_from(epoch.0).unwrap_or(i64::MAX));
        for region in regions {
            let gauge = metrics.reign().writer.at([group.into(), region.into()]);
            gauge.set(i64::from(writer == Some(region)));
        }
        let writer = writer.map_or("nobody", RegionName::as_str);
        tracing::info!(target: "meridian::failover", event = "epoch-observed", %group, %epoch, writer, "who writes");
    }
}
