//! `meridian guard`: started by a node beside its PostgreSQL, with a pipe for its orders.

use std::process::ExitCode;

use anyhow::Context as _;
use meridian_telemetry::{Format, Metrics, Options};

/// Its words go to standard error, which the node has led to `guard.log`.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let _telemetry = meridian_telemetry::init(&Options {
        format: Format::Text,
        filter: "info".to_owned(),
        otlp_endpoint: None,
        region: None,
        colour: false,
        metrics: Metrics::new(None),
    })
    .context("cannot start telemetry")?;
    meridian_node::guard(std::io::stdin().lock())?;
    Ok(ExitCode::SUCCESS)
}
