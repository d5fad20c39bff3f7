//! Telemetry: every event, metric and span of Meridian, declared once.
//!
//! - [`with_causes`]: an error in words, with what caused it.
//! - [`clock`]: the boot-time clock that decisions are made by, and the wall clock.
//! - [`events`]: one struct a thing that can happen; `emit` writes its log line and counts it, so
//!   that names are declared in one place and a log line and its counter cannot drift apart.
//! - [`Metrics`]: all metric families behind one cheap clone; [`Metrics::render`] is what `/metrics`
//!   answers, and the OTLP export sends exactly the same families.
//! - [`spans`]: the spans of traces.
//! - [`init()`]: logs to standard error, and OTLP when an endpoint is set.
//!
//! There is no global state but tracing's own subscriber: [`Metrics`] is passed to whoever counts.
//! Open [`events`] first.

pub mod clock;
pub mod events;
pub mod metrics;
pub mod spans;

mod causes;
mod format;
mod init;
mod otlp;
mod stderr;

pub use causes::with_causes;
pub use init::{Error, FLUSH_LIMIT, Format, Guard, Options, init};
pub use metrics::{CONTENT_TYPE, Metrics};
