//! Every metric family, declared once: name, help and labels stand together in `declare` functions.
//!
//! All names begin with `meridian_` and every sample carries the label `region` (the node's own).
//! Label values come from the spec (regions, groups, services) or from fixed words in this crate,
//! never from clients; and each family stops growing at [`SERIES_MAX`] series. Paths that run for
//! every request or packet use the meters of [`crate::events`], whose counters are looked up once.

mod family;
mod moves;
mod seen;

use std::borrow::Cow;
use std::sync::Arc;

use meridian_model::RegionName;
use prometheus_client::registry::Registry;

pub(crate) use family::{Counters, Gauges, Seconds};
pub use family::{SERIES_MAX, Word};
pub(crate) use moves::Moves;
pub(crate) use seen::Seen;

/// The content type of [`Metrics::render`]: Prometheus text, which every scraper reads.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of one node. Cloning copies a pointer.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    seen: Seen,
    reign: Reign,
    runs: Runs,
    coordination: Coordination,
    traffic: Traffic,
    moves: Moves,
    own: Own,
}

/// Leases, epochs and fences.
pub(crate) struct Reign {
    pub(crate) lease_renewals: Counters<2>,
    pub(crate) lease_renewal_seconds: Seconds<1>,
    pub(crate) promises: Counters<2>,
    pub(crate) writes_closed: Counters<2>,
    pub(crate) writes_open: Gauges<1>,
    pub(crate) database_fenced: Counters<2>,
    pub(crate) database_restarts: Counters<1>,
    pub(crate) rejoins: Counters<2>,
    pub(crate) epoch: Gauges<1>,
    pub(crate) writer: Gauges<2>,
    pub(crate) epochs_claimed: Counters<2>,
}

/// Runs and their steps.
pub(crate) struct Runs {
    pub(crate) steps: Counters<3>,
    pub(crate) step_seconds: Seconds<2>,
    pub(crate) runs: Counters<2>,
    pub(crate) run_seconds: Seconds<2>,
}

/// What the conversation with etcd counts.
pub(crate) struct Coordination {
    pub(crate) calls: Counters<2>,
    pub(crate) call_seconds: Seconds<1>,
    pub(crate) alive: Gauges<0>,
    pub(crate) watch_resets: Counters<0>,
    pub(crate) moved_leader: Counters<0>,
}

/// What the data planes count.
pub(crate) struct Traffic {
    pub(crate) dns_answers: Counters<2>,
    pub(crate) dns_seconds: Seconds<1>,
    pub(crate) edge_requests: Counters<3>,
    pub(crate) edge_seconds: Seconds<2>,
    pub(crate) edge_retries: Counters<2>,
    pub(crate) edge_connections: Gauges<0>,
    pub(crate) gateway_sessions: Gauges<2>,
    pub(crate) gateway_opened: Counters<2>,
    pub(crate) gateway_waiting: Gauges<1>,
    pub(crate) gateway_wait_seconds: Seconds<1>,
    pub(crate) gateway_refused: Counters<3>,
    pub(crate) gateway_closed: Counters<3>,
    pub(crate) gateway_bytes: Counters<3>,
}

/// What telemetry counts of itself.
pub(crate) struct Own {
    pub(crate) exports: Counters<2>,
    pub(crate) log_lines_lost: Counters<0>,
}

impl Metrics {
    /// An empty set; `region` becomes the label `region` of every sample.
    #[must_use]
    pub fn new(region: Option<&RegionName>) -> Self {
        let labels = region.map(|r| (Cow::Borrowed("region"), Cow::Owned(r.to_string())));
        let mut registry = Registry::with_prefix_and_labels("meridian", labels.into_iter());
        let info: Gauges<1> =
            Gauges::declare(&mut registry, "build_info", "The running version; always 1", ["version"]);
        info.at([Word::Fixed(env!("CARGO_PKG_VERSION"))]).set(1);
        Self(Arc::new(Inner {
            seen: Seen::declare(&mut registry),
            reign: Reign::declare(&mut registry),
            runs: Runs::declare(&mut registry),
            coordination: Coordination::declare(&mut registry),
            traffic: Traffic::declare(&mut registry),
            moves: Moves::declare(&mut registry),
            own: Own::declare(&mut registry),
            registry,
        }))
    }

    /// All families as Prometheus text, for a response of type [`CONTENT_TYPE`].
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 << 10);
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.0.registry);
        to_prometheus(&text)
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.0.seen
    }

    pub(crate) fn reign(&self) -> &Reign {
        &self.0.reign
    }

    pub(crate) fn runs(&self) -> &Runs {
        &self.0.runs
    }

    pub(crate) fn coordination(&self) -> &Coordination {
        &self.0.coordination
    }

    pub(crate) fn traffic(&self) -> &Traffic {
        &self.0.traffic
    }

    pub(crate) fn moves(&self) -> &Moves {
        &self.0.moves
    }

    pub(crate) fn own(&self) -> &Own {
        &self.0.own
    }
}

/// OpenMetrics, which the library writes, names a counter's family without `_total`, and has units and
/// an end; Prometheus text does not, and `promtool check metrics` wants it so.
fn to_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 512);
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let help = help.take().filter(|(of, _)| *of == name).map_or("", |(_, help)| help);
            text.push_str(&format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Reign {
    fn declare(r: &mut Registry) -> Self {
        Self {
            lease_renewals: Counters::declare(
                r,
                "lease_renewals",
                "Attempts to renew the lease by how they ended",
                ["group", "outcome"],
            ),
            lease_renewal_seconds: Seconds::declare(
                r,
                "lease_renewal",
                "How long acknowledged renewals took",
                ["group"],
            ),
            promises: Counters::declare(
                r,
                "promises",
                "Promises asked of this node by the answer",
                ["group", "answer"],
            ),
            writes_closed: Counters::declare(
                r,
                "writes_closed",
                "Times that the gateway closed writes",
                ["group", "reason"],
            ),
            writes_open: Gauges::declare(
                r,
                "writes_open",
                "1 while this node lets writes through",
                ["group"],
            ),
            database_fenced: Counters::declare(
                r,
                "database_fenced",
                "Times that PostgreSQL was stopped to protect an epoch",
                ["group", "reason"],
            ),
            database_restarts: Counters::declare(
                r,
                "database_restarts",
                "Times that a crashed PostgreSQL was started again in place",
                ["group"],
            ),
            rejoins: Counters::declare(
                r,
                "rejoins",
                "Returns of an old writer as a standby",
                ["group", "method"],
            ),
            epoch: Gauges::declare(r, "epoch", "The newest epoch that this node has seen", ["group"]),
            writer: Gauges::declare(
                r,
                "writer",
                "1 for the region that may take writes",
                ["group", "target"],
            ),
            epochs_claimed: Counters::declare(
                r,
                "epochs_claimed",
                "Epochs that this node won",
                ["group", "kind"],
            ),
        }
    }
}

impl Runs {
    fn declare(r: &mut Registry) -> Self {
        Self {
            steps: Counters::declare(
                r,
                "run_steps",
                "Steps of runs by how they ended",
                ["group", "step", "outcome"],
            ),
            step_seconds: Seconds::declare(r, "run_step", "How long steps took", ["group", "step"]),
            runs: Counters::declare(
                r,
                "runs_finished",
                "Runs that reached protected again",
                ["group", "kind"],
            ),
            run_seconds: Seconds::declare(r, "run", "How long runs took, from the claim", ["group", "kind"]),
        }
    }
}

impl Coordination {
    fn declare(r: &mut Registry) -> Self {
        Self {
            calls: Counters::declare(
                r,
                "coordination_calls",
                "Calls to etcd by how they ended",
                ["call", "outcome"],
            ),
            call_seconds: Seconds::declare(
                r,
                "coordination_call",
                "How long answered calls to etcd took",
                ["call"],
            ),
            alive: Gauges::declare(r, "coordination_alive", "1 while the watch on etcd is current", []),
            watch_resets: Counters::declare(
                r,
                "coordination_watch_resets",
                "Times that a watch began anew with a listing",
                [],
            ),
            moved_leader: Counters::declare(
                r,
                "coordination_leader_moves",
                "Times that the raft leadership was called to this region",
                [],
            ),
        }
    }
}

impl Traffic {
    fn declare(r: &mut Registry) -> Self {
        Self {
            dns_answers: Counters::declare(r, "dns_answers", "DNS answers", ["transport", "code"]),
            dns_seconds: Seconds::declare(r, "dns_answer", "How long DNS answers took", ["transport"]),
            edge_requests: Counters::declare(
                r,
                "edge_requests",
                "Requests by the region that served them and class of status",
                ["service", "backend", "code"],
            ),
            edge_seconds: Seconds::declare(
                r,
                "edge_request",
                "How long requests took, retries included",
                ["service", "backend"],
            ),
            edge_retries: Counters::declare(
                r,
                "edge_retries",
                "Requests tried again elsewhere, or refused that by the budget",
                ["service", "reason"],
            ),
            edge_connections: Gauges::declare(r, "edge_connections", "Open client connections", []),
            gateway_sessions: Gauges::declare(r, "gateway_sessions", "Open sessions", ["group", "port"]),
            gateway_opened: Counters::declare(
                r,
                "gateway_sessions_opened",
                "Sessions that reached a database",
                ["group", "port"],
            ),
            gateway_waiting: Gauges::declare(
                r,
                "gateway_waiting",
                "Sessions that wait for a writer",
                ["group"],
            ),
            gateway_wait_seconds: Seconds::declare(
                r,
                "gateway_wait",
                "How long sessions waited for a writer",
                ["group"],
            ),
            gateway_refused: Counters::declare(
                r,
                "gateway_sessions_refused",
                "Sessions that were refused",
                ["group", "port", "reason"],
            ),
            gateway_closed: Counters::declare(
                r,
                "gateway_sessions_closed",
                "Sessions that ended",
                ["group", "port", "reason"],
            ),
            gateway_bytes: Counters::declare(
                r,
                "gateway_bytes",
                "Bytes passed on",
                ["group", "port", "direction"],
            ),
        }
    }
}

impl Own {
    fn declare(r: &mut Registry) -> Self {
        Self {
            exports: Counters::declare(
                r,
                "telemetry_exports",
                "OTLP exports by how they ended",
                ["signal", "outcome"],
            ),
            log_lines_lost: Counters::declare(
                r,
                "log_lines_lost",
                "Log lines dropped because standard error was not read",
                [],
            ),
        }
    }
}

#[cfg(test)]
mod tests;
