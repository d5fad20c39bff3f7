//! What the data planes do: DNS answers, requests at the edge, sessions at the gateway.
//!
//! A meter holds counters that were looked up once; make it when the view changes, not per request.

use std::net::IpAddr;
use std::time::Duration;

use meridian_model::{GroupName, RegionName, ServiceName};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::metrics::{Metrics, Word};

/// What a DNS message came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A connection.
    Tcp,
}

/// What a DNS answer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsCode {
    /// Records.
    Answer,
    /// The name exists, the type does not.
    NoData,
    /// There is no such name.
    NxDomain,
    /// Not our zone, or not a thing that we do.
    Refused,
    /// The question could not be read.
    FormErr,
    /// An operation that is not implemented.
    NotImp,
    /// We could not answer.
    ServFail,
    /// Nothing was sent: rubbish, or a limit was reached.
    Dropped,
}

const TRANSPORTS: [&str; 2] = ["udp", "tcp"];
const DNS_CODES: [&str; 8] =
    ["answer", "nodata", "nxdomain", "refused", "formerr", "notimp", "servfail", "dropped"];

/// Counts DNS answers.
#[derive(Debug, Clone)]
pub struct DnsMeter {
    answers: [[Counter; 8]; 2],
    seconds: [Histogram; 2],
}

impl Metrics {
    /// The counters of DNS.
    #[must_use]
    pub fn dns_meter(&self) -> DnsMeter {
        let traffic = self.traffic();
        let answers =
            TRANSPORTS.map(|t| DNS_CODES.map(|code| traffic.dns_answers.at([t.into(), code.into()])));
        DnsMeter { answers, seconds: TRANSPORTS.map(|t| traffic.dns_seconds.at([t.into()])) }
    }

    /// The counters of one service at the edge, as far as it is served by `backend`; `None` for
    /// requests that no region served.
    #[must_use]
    pub fn edge_meter(&self, service: &ServiceName, backend: Option<&RegionName>) -> EdgeMeter {
        let traffic = self.traffic();
        let backend = backend.map_or(Word::Fixed("none"), Word::from);
        let code = |code: &'static str| {
            traffic.edge_requests.at([service.into(), backend.clone(), Word::Fixed(code)])
        };
        EdgeMeter {
            codes: CODE_CLASSES.map(code),
            seconds: traffic.edge_seconds.at([service.into(), backend.clone()]),
            retries: RETRY_REASONS.map(|reason| traffic.edge_retries.at([service.into(), reason.into()])),
        }
    }

    /// The gauge of open client connections at the edge.
    #[must_use]
    pub fn edge_connections(&self) -> Gauge {
        self.traffic().edge_connections.at([])
    }

    /// The counters of one port of the gateway for one group.
    #[must_use]
    pub fn gateway_meter(&self, group: &GroupName, port: GatewayPort) -> GatewayMeter {
        let (traffic, word) = (self.traffic(), Word::Fixed(port.word()));
        let bytes = |d: &'static str| traffic.gateway_bytes.at([group.into(), word.clone(), d.into()]);
        GatewayMeter {
            group: group.clone(),
            port,
            open: traffic.gateway_sessions.at([group.into(), word.clone()]),
            waiting: traffic.gateway_waiting.at([group.into()]),
            held: self.moves().held.at([group.into()]),
            held_seconds: self.moves().held_seconds.at([group.into()]),
            to_server: bytes("to-server"),
            to_client: bytes("to-client"),
        }
    }
}

/// A DNS question was answered (or dropped).
#[derive(Debug)]
pub struct DnsAnswered {
    /// What it came over.
    pub transport: Transport,
    /// What was said.
    pub code: DnsCode,
    /// From reading the question to sending the answer.
    pub took: Duration,
}

impl DnsAnswered {
    /// Counts it; nothing is logged.
    pub fn emit(self, meter: &DnsMeter) {
        let (udp, tcp) = (&meter.answers[0], &meter.answers[1]);
        let (row, seconds) = match self.transport {
            Transport::Udp => (udp, &meter.seconds[0]),
            Transport::Tcp => (tcp, &meter.seconds[1]),
        };
        let [answer, nodata, nxdomain, refused, formerr, notimp, servfail, dropped] = row;
        let counter = match self.code {
            DnsCode::Answer => answer,
            DnsCode::NoData => nodata,
            DnsCode::NxDomain => nxdomain,
            DnsCode::Refused => refused,
            DnsCode::FormErr => formerr,
            DnsCode::NotImp => notimp,
            DnsCode::ServFail => servfail,
            DnsCode::Dropped => dropped,
        };
        counter.inc();
        seconds.observe(self.took.as_secs_f64());
    }
}

const CODE_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const RETRY_REASONS: [&str; 4] = ["connect", "timeout", "status", "budget-spent"];

/// Counts the requests of one service that one region served.
#[derive(Debug, Clone)]
pub struct EdgeMeter {
    codes: [Counter; 5],
    seconds: Histogram,
    retries: [Counter; 4],
}

/// A request at the edge was answered.
#[derive(Debug)]
pub struct EdgeRequest {
    /// The status that the client got.
    pub status: u16,
    /// From the request's head to the end of the answer's head.
    pub took: Duration,
    /// How many backends were tried.
    pub attempts: u32,
    /// Who asked: in the log at `trace` only.
    pub client: Option<IpAddr>,
}

impl EdgeRequest {
    /// Counts it; the log line is `trace`.
    pub fn emit(self, meter: &EdgeMeter) {
        let Self { status, took, attempts, client } = self;
        let [informed, good, moved, blamed, failed] = &meter.codes;
        let counter = match status {
            ..=199 => informed,
            200..=299 => good,
            300..=399 => moved,
            400..=499 => blamed,
            500.. => failed,
        };
        counter.inc();
        meter.seconds.observe(took.as_secs_f64());
        tracing::trace!(target: "meridian::edge", event = "edge-request", status, ?took, attempts, ?client, "request answered");
    }
}

/// Why a request was tried again, or why it was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryReason {
    /// No connection to the backend.
    Connect,
    /// No answer in time.
    Timeout,
    /// An answer that says: try elsewhere (502, 503, 504).
    Status,
    /// It would have been tried again, but the budget for retries is spent.
    BudgetSpent,
}

/// A request is tried again on another backend.
#[derive(Debug)]
pub struct EdgeRetry<'a> {
    /// Why.
    pub reason: RetryReason,
    /// The backend that failed.
    pub backend: &'a str,
}

impl EdgeRetry<'_> {
    /// Tells it: `debug`.
    pub fn emit(self, meter: &EdgeMeter) {
        let Self { reason, backend } = self;
        let [connect, timeout, status, budget_spent] = &meter.retries;
        let counter = match reason {
            RetryReason::Connect => connect,
            RetryReason::Timeout => timeout,
            RetryReason::Status => status,
            RetryReason::BudgetSpent => budget_spent,
        };
        counter.inc();
        tracing::debug!(target: "meridian::edge", event = "edge-retry", ?reason, backend, "request is tried again elsewhere");
    }
}

/// The two ports of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GatewayPort {
    /// Leads to the writer.
    Write,
    /// Leads to the nearest replica.
    Read,
}

impl GatewayPort {
    /// The word for labels and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

/// Counts the sessions of one port of the gateway.
#[derive(Debug, Clone)]
pub struct GatewayMeter {
    pub(super) group: GroupName,
    port: GatewayPort,
    open: Gauge,
    waiting: Gauge,
    pub(super) held: Gauge,
    pub(super) held_seconds: Histogram,
    to_server: Counter,
    to_client: Counter,
}

impl GatewayMeter {
    /// Bytes went to the database.
    pub fn to_server(&self, bytes: u64) {
        self.to_server.inc_by(bytes);
    }

    /// Bytes went to the client.
    pub fn to_client(&self, bytes: u64) {
        self.to_client.inc_by(bytes);
    }
}

/// A session reached a database. Each one is followed by a [`GatewaySessionClosed`].
#[derive(Debug)]
pub struct GatewaySessionOpened<'a> {
    /// Where the database is.
    pub backend: &'a RegionName,
    /// How long it waited for a writer; none: it did not.
    pub waited: Option<Duration>,
}

impl GatewaySessionOpened<'_> {
    /// Tells it: `debug`.
    pub fn emit(self, meter: &GatewayMeter, metrics: &Metrics) {
        let Self { backend, waited } = self;
        let (group, port) = (&meter.group, meter.port.word());
        meter.open.inc();
        metrics.traffic().gateway_opened.at([group.into(), port.into()]).inc();
        if let Some(waited) = waited {
            metrics.traffic().gateway_wait_seconds.at([group.into()]).observe(waited.as_secs_f64());
        }
        tracing::debug!(target: "meridian::gateway", event = "gateway-session-opened", %group, port, %backend, ?waited, "session opened");
    }
}

/// A session begins to wait for a writer. Each one is followed by a [`GatewaySessionReleased`].
#[derive(Debug)]
pub struct GatewaySessionWaiting<'a> {
    /// Why there is no writer.
    pub reason: &'a str,
}

impl GatewaySessionWaiting<'_> {
    /// Tells it: `debug`.
    pub fn emit(self, meter: &GatewayMeter) {
        let (group, reason) = (&meter.group, self.reason);
        meter.waiting.inc();
        tracing::debug!(target: "meridian::gateway", event = "gateway-session-waiting", %group, reason, "session waits for a writer");
    }
}

/// A session waits no longer: it goes on, is refused, or its client left.
#[derive(Debug)]
pub struct GatewaySessionReleased {
    /// How long it waited.
    pub waited: Duration,
}

impl GatewaySessionReleased {
    /// Tells it: `debug`.
    pub fn emit(self, meter: &GatewayMeter) {
        let (group, waited) = (&meter.group, self.waited);
        meter.waiting.dec();
        tracing::debug!(target: "meridian::gateway", event = "gateway-session-released", %group, ?waited, "session waits no longer");
    }
}

/// A session was refused with an SQLSTATE.
#[derive(Debug)]
pub struct GatewaySessionRefused {
    /// A fixed word: `too-many-sessions`, `too-many-waiting`, `waited-too-long`, `no-replica` ...
    pub reason: &'static str,
    /// What the client was told.
    pub sqlstate: &'static str,
}

impl GatewaySessionRefused {
    /// Tells it: `debug`.
    pub fn emit(self, meter: &GatewayMeter, metrics: &Metrics) {
        let Self { reason, sqlstate } = self;
        let (group, port) = (&meter.group, meter.port.word());
        metrics.traffic().gateway_refused.at([group.into(), port.into(), reason.into()]).inc();
        tracing::debug!(target: "meridian::gateway", event = "gateway-session-refused", %group, port, reason, sqlstate, "session refused");
    }
}

/// A session ended.
#[derive(Debug)]
pub struct GatewaySessionClosed {
    /// A fixed word: `client`, `server`, `fenced`, `writer-moved`, `cut`, `shutdown`, `error` ...
    pub reason: &'static str,
}

impl GatewaySessionClosed {
    /// Tells it: `debug`.
    pub fn emit(self, meter: &GatewayMeter, metrics: &Metrics) {
        let reason = self.reason;
        let (group, port) = (&meter.group, meter.port.word());
        meter.open.dec();
        metrics.traffic().gateway_closed.at([group.into(), port.into(), reason.into()]).inc();
        tracing::debug!(target: "meridian::gateway", event = "gateway-session-closed", %group, port, reason, "session closed");
    }
}
