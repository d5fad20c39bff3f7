//! Traces and metrics to a collector over OTLP/gRPC, from one thread of their own.
//!
//! A thread with its own small runtime holds the connection: the export works in the same way
//! whatever runtime the rest of the process uses, and a collector that hangs blocks nobody. Spans come
//! through the SDK's batch processor (bounded, drops when full); metrics are read from [`Metrics`]
//! every [`EXPORT_EVERY`], so that nothing is declared twice. The SDK's own instruments cannot show
//! histograms that are counted elsewhere, which is why the messages are built here ([`exposition`]).

mod exposition;

use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use meridian_model::{Moment, RegionName};
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter,
};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::transport::{Channel, Endpoint};

use crate::causes::with_causes;
use crate::clock;
use crate::events::own::{ExportDone, ExportFailed};
use crate::init::Error;
use crate::metrics::Metrics;

/// The way to the thread that exports.
pub(crate) struct Collector {
    spans: mpsc::Sender<SpanBatch>,
    stop: Arc<Notify>,
    stopped: blocking::Receiver<()>,
}

/// Spans, and whom to tell what became of them.
type SpanBatch = (Vec<ResourceSpans>, oneshot::Sender<bool>);

impl Collector {
    /// Checks the endpoint and starts the thread; nothing is sent yet.
    pub(crate) fn start(
        endpoint: &str,
        region: Option<&RegionName>,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        let target = parse_endpoint(endpoint)?;
        let (spans, batches) = mpsc::channel(BATCHES_MAX);
        let (ended, stopped) = blocking::channel();
        let stop = Arc::new(Notify::new());
        let stopping = Arc::clone(&stop);
        let (name, resource) = (endpoint.to_owned(), resource(region));
        let thread = |source| Error::Thread { what: "OTLP", source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(thread)?;
        let work = move || {
            runtime.block_on(async {
                let exporter = Exporter::new(&target, name, resource, metrics);
                exporter.run(batches, &stopping).await;
            });
            let _ = ended.send(());
        };
        std::thread::Builder::new().name("otlp".to_owned()).spawn(work).map_err(thread)?;
        Ok(Self { spans, stop, stopped })
    }

    /// Sends the metrics one last time and ends the thread; waits for it at most `limit`.
    pub(crate) fn stop(&self, limit: Duration) {
        self.stop.notify_one();
        let _ = self.stopped.recv_timeout(limit);
    }
}

fn parse_endpoint(endpoint: &str) -> Result<Endpoint, Error> {
    let bad = |problem: &str| Error::Endpoint { endpoint: endpoint.to_owned(), problem: problem.to_owned() };
    if endpoint.starts_with("https://") {
        return Err(bad("TLS to a collector is not supported: run one next to the node, it can forward"));
    }
    if !endpoint.starts_with("http://") {
        return Err(bad("it must begin with http://"));
    }
    let target = Endpoint::from_shared(endpoint.to_owned()).map_err(|e| bad(&e.to_string()))?;
    Ok(target.connect_timeout(EXPORT_TIMEOUT).timeout(EXPORT_TIMEOUT))
}

/// A provider whose spans go to `collector`.
pub(crate) fn tracer_provider(collector: &Collector, region: Option<&RegionName>) -> SdkTracerProvider {
    let resource = resource(region);
    let exporter = Spans { queue: collector.spans.clone(), resource: (&resource).into() };
    let config = BatchConfigBuilder::default().with_scheduled_delay(SPANS_EVERY).build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor).build()
}

fn resource(region: Option<&RegionName>) -> Resource {
    let region = region.map(|r| KeyValue::new("deployment.region", r.to_string()));
    Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", "meridian"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(region)
        .build()
}

/// The end of the SDK's pipeline: hands each batch to the thread and waits for its word.
#[derive(Debug)]
struct Spans {
    queue: mpsc::Sender<SpanBatch>,
    resource: ResourceAttributesWithSchema,
}

impl SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let failed = |what: &str| OTelSdkError::InternalFailure(what.to_owned());
        let (done, word) = oneshot::channel();
        let batch = group_spans_by_resource_and_scope(batch, &self.resource);
        self.queue.try_send((batch, done)).map_err(|_| failed("the export is behind"))?;
        match word.await {
            Ok(true) => Ok(()),
            _ => Err(failed("the collector did not take the spans")),
        }
    }
}

/// What runs in the thread.
struct Exporter {
    endpoint: String,
    traces: TraceServiceClient<Channel>,
    points: MetricsServiceClient<Channel>,
    resource: ResourceAttributesWithSchema,
    started: u64,
    metrics: Metrics,
    trouble: Trouble,
}

impl Exporter {
    fn new(target: &Endpoint, endpoint: String, resource: Resource, metrics: Metrics) -> Self {
        let channel = target.connect_lazy();
        Self {
            endpoint,
            traces: TraceServiceClient::new(channel.clone()),
            points: MetricsServiceClient::new(channel),
            resource: (&resource).into(),
            started: wall_nanos(),
            metrics,
            trouble: Trouble::default(),
        }
    }

    async fn run(mut self, mut batches: mpsc::Receiver<SpanBatch>, stop: &Notify) {
        tokio::select! {
            () = self.export_forever(&mut batches) => {}
            () = stop.notified() => {}
        }
        self.send_metrics(LAST_EXPORT_TIMEOUT).await;
    }

    async fn export_forever(&mut self, batches: &mut mpsc::Receiver<SpanBatch>) {
        let mut tick = interval(EXPORT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.send_metrics(EXPORT_TIMEOUT).await,
                batch = batches.recv() => match batch {
                    Some((spans, done)) => {
                        let _ = done.send(self.send_spans(spans).await);
                    }
                    None => return,
                },
            }
        }
    }

    async fn send_spans(&mut self, resource_spans: Vec<ResourceSpans>) -> bool {
        let request = ExportTraceServiceRequest { resource_spans };
        let answer = timeout(EXPORT_TIMEOUT, self.traces.export(request)).await;
        self.tell("traces", answer.map(|r| r.map(drop)))
    }

    async fn send_metrics(&mut self, limit: Duration) {
        let text = self.metrics.render();
        let metrics = exposition::to_otlp(&text, self.started, wall_nanos());
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![exposition::resource_metrics(&self.resource, metrics)],
        };
        let answer = timeout(limit, self.points.export(request)).await;
        self.tell("metrics", answer.map(|r| r.map(drop)));
    }

    fn tell(&mut self, signal: &'static str, answer: Answer) -> bool {
        let reason = match answer {
            Ok(Ok(())) => {
                let failures = self.trouble.over();
                ExportDone { endpoint: &self.endpoint, failures, signal }.emit(&self.metrics);
                return true;
            }
            Ok(Err(status)) => describe(&status),
            Err(_) => format!("no answer within {EXPORT_TIMEOUT:?}"),
        };
        let tell = self.trouble.again(clock::now());
        let failures = self.trouble.failures;
        ExportFailed { endpoint: &self.endpoint, reason: &reason, failures, tell, signal }
            .emit(&self.metrics);
        false
    }
}

type Answer = Result<Result<(), tonic::Status>, tokio::time::error::Elapsed>;

/// The status with its cause: `transport error` alone would not say that the connection was refused.
fn describe(status: &tonic::Status) -> String {
    with_causes(format!("{:?}: {}", status.code(), status.message()), status)
}

/// Says how often a lasting failure is told: at once, then after 1, 2, 4 ... minutes, at most hourly.
#[derive(Default)]
struct Trouble {
    failures: u64,
    next: Option<Moment>,
    pause: Duration,
}

impl Trouble {
    /// It failed; true when it is time to tell.
    fn again(&mut self, now: Moment) -> bool {
        self.failures += 1;
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.pause = (self.pause * 2).clamp(TELL_FIRST, TELL_LAST);
        self.next = Some(now + self.pause);
        true
    }

    /// It worked; says how often it failed before.
    fn over(&mut self) -> u64 {
        std::mem::take(self).failures
    }
}

fn wall_nanos() -> u64 {
    u64::try_from(clock::wall().0).unwrap_or(0).saturating_mul(1_000_000)
}

/// How often metrics are sent. A common scrape interval; a drill of a minute still gets a curve.
const EXPORT_EVERY: Duration = Duration::from_secs(10);
/// How long spans are gathered.
const SPANS_EVERY: Duration = Duration::from_secs(1);
/// When an export is given up: far more than a round trip around the world.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// The same for the last one, which somebody waits for.
const LAST_EXPORT_TIMEOUT: Duration = Duration::from_millis(400);
/// Batches of spans that wait for the thread; the SDK sends one at a time.
const BATCHES_MAX: usize = 4;
const TELL_FIRST: Duration = Duration::from_secs(60);
const TELL_LAST: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_failure_is_told_ever_more_seldom() {
        let mut trouble = Trouble::default();
        let mut told = Vec::new();
        for second in 0..100_000_u64 {
            if trouble.again(Moment::from_millis(second * 1_000)) {
                told.push(second);
            }
        }
        assert_eq!(told.get(..5), Some(&[0, 60, 180, 420, 900][..]));
        assert!(told.len() < 35, "{told:?}");
        assert_eq!(trouble.over(), 100_000);
        assert!(trouble.again(Moment::ZERO), "a new failure is told at once");
    }

    #[test]
    fn endpoints_that_cannot_work_are_refused_with_the_way_out() {
        for bad in ["", "localhost:4317", "https://collector:4317", "http://", "http://a b"] {
            let text = parse_endpoint(bad).unwrap_err().to_string();
            assert!(text.contains("http://127.0.0.1:4317"), "{bad}: {text}");
        }
        parse_endpoint("http://127.0.0.1:4317").unwrap();
    }
}
