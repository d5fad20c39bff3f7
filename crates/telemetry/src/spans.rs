//! The spans of traces. Each ends when it is dropped; enter it with `tracing::Instrument`.
//!
//! Spans are for what takes time and has parts: a run and its steps, a request at the edge, a session
//! at the gateway. Their target begins with `meridian`, by which the OTLP export chooses them.

use meridian_model::run::{RunKind, StepKind};
use meridian_model::{Epoch, GroupName, RunId};
use tracing::Span;

use crate::events::GatewayPort;

/// One run, from the claim to protected again (or to its owner's end).
#[must_use]
pub fn run(id: &RunId, group: &GroupName, kind: RunKind, epoch: Epoch) -> Span {
    tracing::info_span!(target: "meridian::failover", "run", run = %id, %group, ?kind, %epoch)
}

/// One attempt at one step of a run.
#[must_use]
pub fn step(id: &RunId, group: &GroupName, step: StepKind) -> Span {
    tracing::info_span!(target: "meridian::failover", "step", run = %id, %group, %step)
}

/// One request at the edge. Only made when `meridian::edge` is enabled at `debug`.
#[must_use]
pub fn edge_request(service: &str, method: &str) -> Span {
    tracing::debug_span!(target: "meridian::edge", "request", service, method, status = tracing::field::Empty)
}

/// One session at the gateway. Only made when `meridian::gateway` is enabled at `debug`.
#[must_use]
pub fn gateway_session(group: &GroupName, port: GatewayPort) -> Span {
    tracing::debug_span!(target: "meridian::gateway", "session", %group, port = port.word())
}
