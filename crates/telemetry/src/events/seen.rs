//! What a node sees: clocks, probes, verdicts, why it does not act, lag, who acknowledges, snapshots, checks.

use std::collections::BTreeSet;
use std::time::Duration;

use meridian_model::database::OnRpoBreach;
use meridian_model::health::{Health, Part, Target};
use meridian_model::{GroupName, Name, RegionName};

use crate::clock::Oddity;
use crate::metrics::{Metrics, Word};

const HEALTH: [Health; 3] = [Health::Up, Health::Down, Health::Unknown];

/// The clocks or the pace of this node are odd. Nothing is decided by the wall clock.
#[derive(Debug)]
pub struct ClockOdd(pub Oddity);

impl ClockOdd {
    /// Tells it: `warn`.
    pub fn emit(self, metrics: &Metrics) {
        match self.0 {
            Oddity::Jumped(by_ms) => {
                metrics.seen().clock_oddities.at(["jumped".into()]).inc();
                tracing::warn!(target: "meridian::clock", event = "clock-jumped", by_ms, "the wall clock was set; leases and fences go by the boot-time clock and are not touched, times in journals are");
            }
            Oddity::StoodStill(stood) => {
                metrics.seen().clock_oddities.at(["stood-still".into()]).inc();
                tracing::warn!(target: "meridian::clock", event = "stood-still", ?stood, "this node stood still: the machine slept, was frozen, or gave it no processor time; whoever holds a lease may have lost it");
            }
        }
    }
}

/// A probe ended.
#[derive(Debug)]
pub struct ProbeFinished<'a> {
    /// What was looked at.
    pub target: &'a Target,
    /// How long it took, or what went wrong.
    pub outcome: Result<Duration, &'a str>,
}

impl ProbeFinished<'_> {
    /// Tells it: `debug`.
    pub fn emit(self, metrics: &Metrics) {
        let (region, part) = (&self.target.region, self.target.part);
        let control = metrics.seen();
        let word = match self.outcome {
            Ok(took) => {
                control.probe_seconds.at([region.into(), part_word(part)]).observe(took.as_secs_f64());
                tracing::debug!(target: "meridian::probes", event = "probe-finished", %region, %part, ?took, "probe succeeded");
                "ok"
            }
            Err(detail) => {
                tracing::debug!(target: "meridian::probes", event = "probe-finished", %region, %part, detail, "probe failed");
                "failed"
            }
        };
        control.probes.at([region.into(), part_word(part), word.into()]).inc();
    }
}

/// A region is held to be in another state than before.
#[derive(Debug)]
pub struct RegionVerdictChanged<'a> {
    /// Which region.
    pub target: &'a RegionName,
    /// Before.
    pub from: Health,
    /// Now.
    pub to: Health,
    /// The sentence that says why.
    pub reason: &'a str,
}

impl RegionVerdictChanged<'_> {
    /// Tells it: `info` when up, else `warn`.
    pub fn emit(self, metrics: &Metrics) {
        let Self { target, from, to, reason } = self;
        for health in HEALTH {
            let gauge = metrics.seen().region_health.at([target.into(), health_word(health)]);
            gauge.set(i64::from(health == to));
        }
        metrics.seen().verdict_changes.at([target.into(), health_word(to)]).inc();
        if to == Health::Up {
            tracing::info!(target: "meridian::health", event = "region-verdict-changed", region = %target, %from, %to, reason, "region is up");
        } else {
            tracing::warn!(target: "meridian::health", event = "region-verdict-changed", region = %target, %from, %to, reason, "region is not up");
        }
    }
}

/// A part of a region is held to be in another state than before.
#[derive(Debug)]
pub struct PartVerdictChanged<'a> {
    /// Which part.
    pub target: &'a Target,
    /// Before.
    pub from: Health,
    /// Now.
    pub to: Health,
    /// The sentence that says why.
    pub reason: &'a str,
}

impl PartVerdictChanged<'_> {
    /// Tells it: `info`.
    pub fn emit(self, metrics: &Metrics) {
        let Self { target: Target { region, part }, from, to, reason } = self;
        let value = match to {
            Health::Up => 1,
            Health::Down => 0,
            Health::Unknown => -1,
        };
        metrics.seen().part_health.at([region.into(), part_word(*part), "verdict".into()]).set(value);
        tracing::info!(target: "meridian::health", event = "part-verdict-changed", %region, %part, %from, %to, reason, "part changed");
    }
}

/// The reason for not acting is another than before.
#[derive(Debug)]
pub struct WaitExplained<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// The rule that holds action back.
    pub rule: &'a str,
    /// Its evidence.
    pub evidence: &'a str,
}

impl WaitExplained<'_> {
    /// Tells it: `info`. Call it on changes only; nothing is counted.
    pub fn emit(self, _metrics: &Metrics) {
        let Self { group, rule, evidence } = self;
        tracing::info!(target: "meridian::failover", event = "wait-explained", %group, rule, evidence, "no action");
    }
}

/// How far a standby is behind; counted, not logged.
#[derive(Debug)]
pub struct ReplicationMeasured<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// Which standby.
    pub standby: &'a RegionName,
    /// Log that it has yet to receive.
    pub lag_bytes: u64,
    /// Age of the last transaction that it replayed, if known.
    pub lag: Option<Duration>,
}

impl ReplicationMeasured<'_> {
    /// Sets the gauges.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, standby, lag_bytes, lag } = self;
        let gauge = |value: u128| i64::try_from(value).unwrap_or(i64::MAX);
        let bytes = metrics.seen().replication_lag_bytes.at([group.into(), standby.into()]);
        bytes.set(gauge(u128::from(lag_bytes)));
        if let Some(lag) = lag {
            let millis = metrics.seen().replication_lag_milliseconds.at([group.into(), standby.into()]);
            millis.set(gauge(lag.as_millis()));
        }
    }
}

/// The record promises other acknowledgers than before.
#[derive(Debug)]
pub struct QuorumChanged<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// How many of the candidates have each acknowledged write; 0: none for sure.
    pub acknowledgers: u32,
    /// Who may acknowledge.
    pub candidates: &'a BTreeSet<RegionName>,
}

impl QuorumChanged<'_> {
    /// Sets the gauges and tells it: `info`, or `warn` where no standby has to acknowledge.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, acknowledgers, candidates } = self;
        metrics.seen().quorum.acknowledgers.at([group.into()]).set(i64::from(acknowledgers));
        let count = i64::try_from(candidates.len()).unwrap_or(i64::MAX);
        metrics.seen().quorum.candidates.at([group.into()]).set(count);
        let names: Vec<&str> = candidates.iter().map(RegionName::as_str).collect();
        let candidates = names.join(",");
        if acknowledgers == 0 {
            tracing::warn!(target: "meridian::failover", event = "quorum-changed", %group, acknowledgers, candidates, "commits wait for no standby");
        } else {
            tracing::info!(target: "meridian::failover", event = "quorum-changed", %group, acknowledgers, candidates, "other standbys acknowledge");
        }
    }
}

/// More could be lost than the objective allows, or no longer. Told by the writer's node.
#[derive(Debug)]
pub struct RpoWatched<'a> {
    /// Of which group.
    pub group: &'a GroupName,
    /// What was measured and what is done about it; none: the objective is kept again.
    pub breach: Option<(&'a str, OnRpoBreach)>,
}

impl RpoWatched<'_> {
    /// Sets the gauge and tells it: `warn`, or `info` when it is over.
    pub fn emit(self, metrics: &Metrics) {
        let Self { group, breach } = self;
        metrics.seen().quorum.rpo_breached.at([group.into()]).set(i64::from(breach.is_some()));
        let Some((reason, on)) = breach else {
            tracing::info!(target: "meridian::failover", event = "rpo-watched", %group, "the RPO is kept again");
            return;
        };
        let does = match on {
            OnRpoBreach::Block => "block",
            OnRpoBreach::Warn => "warn",
            OnRpoBreach::Degrade => "degrade",
        };
        tracing::warn!(target: "meridian::failover", event = "rpo-watched", %group, reason, does, "the RPO is not kept");
    }
}

/// The data planes answer from a new snapshot.
#[derive(Debug)]
pub struct SnapshotPublished {
    /// Its generation.
    pub generation: u64,
}

impl SnapshotPublished {
    /// Tells it: `debug`.
    pub fn emit(self, metrics: &Metrics) {
        let generation = self.generation;
        metrics.seen().snapshots.at(["published".into()]).inc();
        metrics.seen().snapshot_generation.at([]).set(i64::try_from(generation).unwrap_or(i64::MAX));
        tracing::debug!(target: "meridian::snapshot", event = "snapshot-published", generation, "snapshot published");
    }
}

/// A snapshot was refused; the data planes go on with the one before.
#[derive(Debug)]
pub struct SnapshotRefused<'a> {
    /// Its generation.
    pub generation: u64,
    /// Why, such as `it would empty the answer for shop`.
    pub reason: &'a str,
}

impl SnapshotRefused<'_> {
    /// Tells it: `warn`.
    pub fn emit(self, metrics: &Metrics) {
        let Self { generation, reason } = self;
        metrics.seen().snapshots.at(["refused".into()]).inc();
        tracing::warn!(target: "meridian::snapshot", event = "snapshot-refused", generation, reason, "snapshot refused");
    }
}

/// A check of the running system finds more, or less, than at the last look.
#[derive(Debug)]
pub struct CheckChanged<'a> {
    /// The check, by its code.
    pub check: &'static str,
    /// The data group or the service, else the region.
    pub subject: &'a Name,
    /// A recovery would fail by it; else it might.
    pub fails: bool,
    /// How often it is found now; 0: it is mended.
    pub findings: u32,
    /// The first of them in a sentence.
    pub message: &'a str,
}

impl CheckChanged<'_> {
    /// Tells it: `warn` when a recovery would fail, else `info`. Call it on changes only.
    pub fn emit(self, metrics: &Metrics) {
        let Self { check, subject, fails, findings, message } = self;
        let severity = if fails { "error" } else { "warning" };
        let gauge = metrics.seen().check_findings.at([check.into(), subject.into(), severity.into()]);
        gauge.set(i64::from(findings));
        if findings == 0 {
            tracing::info!(target: "meridian::checks", event = "check-changed", check, %subject, "mended");
        } else if fails {
            tracing::warn!(target: "meridian::checks", event = "check-changed", check, %subject, findings, message, "a recovery would fail by this");
        } else {
            tracing::info!(target: "meridian::checks", event = "check-changed", check, %subject, findings, message, "a recovery might fail by this");
        }
    }
}

fn health_word(health: Health) -> Word {
    Word::Fixed(match health {
        Health::Up => "up",
        Health::Down => "down",
        Health::Unknown => "unknown",
    })
}

fn part_word(part: Part) -> Word {
    Word::Fixed(match part {
        Part::Node => "node",
        Part::Edge => "edge",
        Part::App => "app",
        Part::Gateway => "gateway",
        Part::Database => "database",
    })
}
