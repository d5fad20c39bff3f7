//! Logs to standard error, traces and metrics to a collector: set up once, by the binary.

use std::time::Duration;

use meridian_model::RegionName;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, FilterFn, Targets, filter_fn};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::format::{Json, Text};
use crate::metrics::Metrics;
use crate::otlp::{self, Collector};
use crate::stderr::Lines;

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// What to set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The form of log lines.
    pub format: Format,
    /// Which lines: a level, or targets with levels such as `info,meridian::gateway=debug`. A bare
    /// level is for Meridian's own lines; those of libraries are shown from `warn` unless named.
    pub filter: String,
    /// Where traces and metrics go over OTLP/gRPC, such as `http://127.0.0.1:4317`; none: nowhere.
    pub otlp_endpoint: Option<String>,
    /// The region that everything is marked with as `deployment.region`.
    pub region: Option<RegionName>,
    /// Text may be coloured.
    pub colour: bool,
    /// The metrics that are exported; also what [`Metrics::render`] shows.
    pub metrics: Metrics,
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter cannot be read.
    #[error(
        "the log filter `{filter}` cannot be read: {source}. Write a level (error, warn, info, debug, \
         trace) or targets with levels, such as info,meridian::gateway=debug"
    )]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The endpoint is no address of an OTLP/gRPC receiver.
    #[error(
        "the OTLP endpoint `{endpoint}` cannot be used: {problem}. Give the address of a collector's \
         gRPC receiver, such as http://127.0.0.1:4317"
    )]
    Endpoint {
        /// As given.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A thread could not be started.
    #[error(
        "the thread for {what} could not be started: {source}. Look at the limit of processes (ulimit -u)"
    )]
    Thread {
        /// What it is for.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was set up before.
    #[error("telemetry is already set up in this process: call init once, in main")]
    Twice,
}

/// Keeps telemetry running; dropping it flushes, for at most [`FLUSH_LIMIT`] in all.
#[must_use = "dropping the guard at once ends the export of traces and metrics"]
pub struct Guard {
    lines: Lines,
    export: Option<(SdkTracerProvider, Collector)>,
}

/// The longest that dropping a [`Guard`] takes: a node that stops must not wait for a collector.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Sets telemetry up for this process.
///
/// A collector that cannot be reached is no error: it is told once and tried again.
///
/// # Errors
/// [`Error`] when the filter or the endpoint is wrong, a thread cannot be started, or it was set up
/// before.
pub fn init(options: &Options) -> Result<Guard, Error> {
    let filter = parse_filter(&options.filter)?;
    let thread = |what| move |source| Error::Thread { what, source };
    let lines = Lines::start(std::io::stderr(), options.metrics.clone()).map_err(thread("log lines"))?;
    let logs = log_layer(options, lines.clone()).with_filter(filter.clone());
    let subscriber = tracing_subscriber::registry().with(logs);
    let Some(endpoint) = &options.otlp_endpoint else {
        tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::Twice)?;
        return Ok(Guard { lines, export: None });
    };
    let collector = Collector::start(endpoint, options.region.as_ref(), options.metrics.clone())?;
    let provider = otlp::tracer_provider(&collector, options.region.as_ref());
    let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer("meridian"));
    let subscriber = subscriber.with(traces.with_filter(filter.and(ours())));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::Twice)?;
    Ok(Guard { lines, export: Some((provider, collector)) })
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some((provider, collector)) = &self.export {
            // Its worker hands the last spans to the collector's thread; whatever it says is told there.
            let _ = provider.shutdown_with_timeout(FLUSH_LIMIT / 2);
            collector.stop(FLUSH_LIMIT / 4);
        }
        self.lines.flush(FLUSH_LIMIT / 4);
    }
}

/// A bare level is meant for our own lines: those of the libraries below stay at `warn` unless a
/// target names them, since `debug` of HTTP/2 is a line a frame.
fn parse_filter(filter: &str) -> Result<Targets, Error> {
    let parsed = filter.parse::<Targets>();
    let targets = parsed.map_err(|source| Error::Filter { filter: filter.to_owned(), source })?;
    let Some(level) = targets.default_level() else { return Ok(targets) };
    let others = targets.clone().with_default(level.min(LevelFilter::WARN));
    let ours_named = targets.iter().any(|(target, _)| target == "meridian");
    Ok(if ours_named { others } else { others.with_target("meridian", level) })
}

/// Only our own spans: those of the HTTP/2 client would trace their own export.
fn ours() -> FilterFn {
    fn is_ours(meta: &Metadata<'_>) -> bool {
        meta.target().starts_with("meridian")
    }
    filter_fn(is_ours as fn(&Metadata<'_>) -> bool).with_max_level_hint(LevelFilter::TRACE)
}

fn log_layer<S>(options: &Options, lines: Lines) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(lines).with_ansi(options.colour);
    match options.format {
        Format::Text => layer.event_format(Text::new(options.region.as_ref())).boxed(),
        Format::Json => {
            layer.fmt_fields(JsonFields::new()).event_format(Json::new(options.region.as_ref())).boxed()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use meridian_model::{Epoch, Name};

    use super::*;
    use crate::events::{FenceReason, WritesClosed};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn options(format: Format) -> Options {
        Options {
            format,
            filter: "info".to_owned(),
            otlp_endpoint: None,
            region: Some(Name::new("eu-central-1").unwrap()),
            colour: false,
            metrics: Metrics::new(None),
        }
    }

    /// What is logged while writes are closed inside of a run.
    fn logged(format: Format) -> String {
        let (options, memory) = (options(format), Memory::default());
        let lines = Lines::start(memory.clone(), options.metrics.clone()).unwrap();
        let layer = log_layer(&options, lines.clone()).with_filter(parse_filter("info").unwrap());
        let name = Name::new("orders").unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let run = crate::spans::run(&name, &name, meridian_model::run::RunKind::Failover, Epoch(4));
            let _inside = run.enter();
            let reason = FenceReason::RightExpired;
            WritesClosed { group: &name, epoch: Epoch(3), reason }.emit(&options.metrics);
            tracing::debug!(target: "meridian::x", "this is filtered away");
        });
        lines.flush(Duration::from_secs(10));
        String::from_utf8(memory.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_lines_carry_event_region_fields_and_span() {
        let text = logged(Format::Json);
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 1, "{text}");
        let line = &lines[0];
        assert_eq!(line["deployment.region"], "eu-central-1");
        assert_eq!(line["event"], "writes-closed");
        assert_eq!(line["target"], "meridian::fence");
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["epoch"], "3");
        assert_eq!(line["reason"], "right-expired");
        assert_eq!(line["spans"][0]["name"], "run");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn text_lines_begin_with_the_region_and_have_no_escapes() {
        let text = logged(Format::Text);
        assert!(text.starts_with("eu-central-1 "), "{text}");
        assert!(text.contains("writes are closed"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_bare_level_is_for_our_own_lines() {
        let enabled = |filter: &str, target: &str| {
            parse_filter(filter).unwrap().would_enable(target, &tracing::Level::DEBUG)
        };
        assert!(enabled("debug", "meridian::gateway"));
        assert!(!enabled("debug", "h2::codec"));
        assert!(enabled("info,h2=debug", "h2::codec"));
        assert!(enabled("info,meridian::gateway=debug", "meridian::gateway"));
        assert!(!enabled("debug,meridian=info", "meridian::gateway"));
    }

    #[test]
    fn a_wrong_filter_is_refused_with_an_example() {
        let error = init(&Options { filter: "meridian=loud".to_owned(), ..options(Format::Text) });
        let text = error.err().unwrap().to_string();
        assert!(text.contains("meridian=loud") && text.contains("info,meridian::gateway=debug"), "{text}");
    }
}
