//! Traces and metrics as a collector receives them: a sink in this process, reached over the network.
//!
//! Telemetry is set up once a process, so this is one test.
#![expect(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::time::Duration;

use meridian_model::run::{RunKind, StepKind};
use meridian_model::{Epoch, Name};
use meridian_telemetry::events::{EpochClaimed, StepFinished};
use meridian_telemetry::{FLUSH_LIMIT, Format, Metrics, Options, clock, init, spans};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// What arrives is passed on to the test.
#[derive(Clone)]
struct Sink {
    metrics: mpsc::UnboundedSender<ExportMetricsServiceRequest>,
    traces: mpsc::UnboundedSender<ExportTraceServiceRequest>,
}

#[tonic::async_trait]
impl MetricsService for Sink {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let _ = self.metrics.send(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let _ = self.traces.send(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

fn text_of(attribute: &KeyValue) -> (&str, &str) {
    let Some(any_value::Value::StringValue(text)) = attribute.value.as_ref().and_then(|v| v.value.as_ref())
    else {
        return (&attribute.key, "");
    };
    (&attribute.key, text)
}

fn assert_ours(resource: Option<&Resource>) {
    let attributes: Vec<_> = resource.unwrap().attributes.iter().map(text_of).collect();
    for expected in [("service.name", "meridian"), ("deployment.region", "eu-central-1")] {
        assert!(attributes.contains(&expected), "{attributes:?}");
    }
    assert!(attributes.iter().any(|(key, _)| *key == "service.version"), "{attributes:?}");
}

/// A run with one step: two spans, some counters.
fn something_happens(metrics: &Metrics) {
    let (group, run) = (Name::new("orders").unwrap(), Name::new("orders-4-failover").unwrap());
    let span = spans::run(&run, &group, RunKind::Failover, Epoch(4));
    let _run = span.enter();
    let cause = "the holder's region is down";
    EpochClaimed { group: &group, epoch: Epoch(4), kind: RunKind::Failover, run: &run, cause }.emit(metrics);
    let step = spans::step(&run, &group, StepKind::Promote);
    let _step = step.enter();
    let (took, outcome) = (Duration::from_millis(1_200), Ok("promoted at 0/5000060"));
    StepFinished { group: &group, run: &run, epoch: Epoch(4), step: StepKind::Promote, took, outcome }
        .emit(metrics);
    // A span that is not ours must not be exported.
    drop(tracing::info_span!(target: "h2::client", "foreign").entered());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_comes_late_gets_traces_and_metrics_and_holds_nobody_up() {
    let region = Name::new("eu-central-1").unwrap();
    let metrics = Metrics::new(Some(&region));
    // The port is taken but nobody answers on it yet: connections hang in the backlog.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options {
        format: Format::Json,
        filter: "info".to_owned(),
        otlp_endpoint: Some(format!("http://{address}")),
        region: Some(region),
        colour: false,
        metrics: metrics.clone(),
    };
    let before = clock::now();
    let guard = init(&options).unwrap();
    something_happens(&metrics);
    assert!(clock::now().since(before) < Duration::from_secs(1), "nothing waits for the collector");

    let (metrics_in, mut metrics_out) = mpsc::unbounded_channel();
    let (traces_in, mut traces_out) = mpsc::unbounded_channel();
    let sink = Sink { metrics: metrics_in, traces: traces_in };
    let server = tonic::transport::Server::builder()
        .add_service(MetricsServiceServer::new(sink.clone()))
        .add_service(TraceServiceServer::new(sink))
        .serve_with_incoming(TcpIncoming::from(listener));
    let server = tokio::spawn(server);

    let limit = Duration::from_secs(30);
    let traces = tokio::time::timeout(limit, traces_out.recv()).await.unwrap().unwrap();
    assert_ours(traces.resource_spans[0].resource.as_ref());
    let spans: Vec<_> =
        traces.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans).collect();
    let find = |name: &str| *spans.iter().find(|s| s.name == name).unwrap();
    assert_eq!(find("step").parent_span_id, find("run").span_id);
    assert_eq!(find("step").trace_id, find("run").trace_id);
    assert!(!spans.iter().any(|s| s.name == "foreign"));

    // Dropping the guard sends the metrics a last time.
    tokio::task::spawn_blocking(move || {
        let before = clock::now();
        drop(guard);
        assert!(clock::now().since(before) < FLUSH_LIMIT + Duration::from_secs(1));
    })
    .await
    .unwrap();
    let mut last = None;
    while let Ok(request) = metrics_out.try_recv() {
        last = Some(request);
    }
    let last = last.expect("metrics arrived");
    assert_ours(last.resource_metrics[0].resource.as_ref());
    let all = &last.resource_metrics[0].scope_metrics[0].metrics;
    let steps = all.iter().find(|m| m.name == "meridian_run_step_seconds").unwrap();
    let Some(Data::Histogram(histogram)) = &steps.data else { panic!("a histogram") };
    assert_eq!(histogram.data_points[0].count, 1);
    assert!(matches!(init(&options), Err(meridian_telemetry::Error::Twice)));
    server.abort();
}
