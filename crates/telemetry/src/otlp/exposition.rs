//! Prometheus text, as [`crate::Metrics::render`] writes it, into OTLP messages.
//!
//! The text is the one form in which the registry gives its values away. Only our own text is read
//! here: label values are names or fixed words, so nothing in them is escaped.

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Puts `metrics` under the resource that they belong to.
pub(super) fn resource_metrics(of: &ResourceAttributesWithSchema, metrics: Vec<Metric>) -> ResourceMetrics {
    let scope = InstrumentationScope { name: "meridian".to_owned(), ..InstrumentationScope::default() };
    ResourceMetrics {
        resource: Some(Resource { attributes: of.attributes.0.clone(), ..Resource::default() }),
        scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() }],
        schema_url: String::new(),
    }
}

/// Reads `text`; values count from `started`, and are of `now` (both nanoseconds since 1970).
pub(super) fn to_otlp(text: &str, started: u64, now: u64) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    let mut help = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            metrics.extend(rest.split_once(' ').and_then(|(name, kind)| family(name, kind, help)));
        } else if let Some(sample) = Sample::parse(line)
            && let Some(metric) = metrics.last_mut()
        {
            sample.add_to(metric, started, now);
        }
    }
    metrics
}

fn family(name: &str, kind: &str, help: &str) -> Option<Metric> {
    let data = match kind {
        "counter" => {
            Data::Sum(Sum { aggregation_temporality: CUMULATIVE, is_monotonic: true, ..Sum::default() })
        }
        "gauge" => Data::Gauge(Gauge::default()),
        "histogram" => {
            Data::Histogram(Histogram { aggregation_temporality: CUMULATIVE, ..Histogram::default() })
        }
        _ => return None,
    };
    Some(Metric {
        // OTLP says by type what the suffix says in Prometheus.
        name: name.strip_suffix("_total").unwrap_or(name).to_owned(),
        description: help.to_owned(),
        unit: if kind == "histogram" { "s" } else { "1" }.to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

/// One line: `name_suffix{label="value",...} number`.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    value: &'a str,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        if series.starts_with('#') {
            return None;
        }
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split(',');
        let label = |text: &'a str| {
            let (name, value) = text.split_once('=')?;
            Some((name, value.trim_matches('"')))
        };
        Some(Self { name, labels: labels.filter_map(label).collect(), value })
    }

    fn add_to(&self, metric: &mut Metric, started: u64, now: u64) {
        match &mut metric.data {
            Some(Data::Sum(sum)) => sum.data_points.extend(self.number(started, now)),
            Some(Data::Gauge(gauge)) => gauge.data_points.extend(self.number(0, now)),
            Some(Data::Histogram(histogram)) => self.observe(histogram, started, now),
            _ => {}
        }
    }

    fn number(&self, started: u64, now: u64) -> Option<NumberDataPoint> {
        Some(NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: started,
            time_unix_nano: now,
            value: Some(Value::AsInt(self.value.parse().ok()?)),
            ..NumberDataPoint::default()
        })
    }

    /// A histogram's lines come as sum, count, then its buckets, which count from below; OTLP wants
    /// each bucket alone.
    fn observe(&self, histogram: &mut Histogram, started: u64, now: u64) {
        if self.name.ends_with("_sum") {
            histogram.data_points.push(HistogramDataPoint {
                attributes: self.attributes(),
                start_time_unix_nano: started,
                time_unix_nano: now,
                sum: self.value.parse().ok(),
                ..HistogramDataPoint::default()
            });
            return;
        }
        let (Some(point), Ok(count)) = (histogram.data_points.last_mut(), self.value.parse::<u64>()) else {
            return;
        };
        if self.name.ends_with("_count") {
            point.count = count;
        } else if let Some(bound) = self.labels.iter().find_map(|(name, v)| (*name == "le").then_some(*v)) {
            let below: u64 = point.bucket_counts.iter().sum();
            point.bucket_counts.push(count.saturating_sub(below));
            point.explicit_bounds.extend(bound.parse::<f64>().ok().filter(|b| b.is_finite()));
        }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let labels = self.labels.iter().filter(|(name, _)| *name != "le");
        labels.map(|(name, value)| attribute(name, value)).collect()
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metrics, Word};

    fn find<'a>(metrics: &'a [Metric], name: &str) -> &'a Metric {
        metrics.iter().find(|m| m.name == name).unwrap()
    }

    #[test]
    fn every_family_of_the_registry_arrives_with_its_values() {
        let metrics = Metrics::new(None);
        metrics.reign().epoch.at([Word::Fixed("orders")]).set(7);
        metrics.runs().runs.at(["orders".into(), "failover".into()]).inc_by(3);
        let steps = metrics.runs().step_seconds.at(["orders".into(), "promote".into()]);
        for seconds in [0.000_01, 0.3, 0.4, 100.0] {
            steps.observe(seconds);
        }
        let text = metrics.render();
        let otlp = to_otlp(&text, 1, 2);
        assert_eq!(otlp.len(), text.lines().filter(|l| l.starts_with("# TYPE ")).count());

        let Some(Data::Gauge(gauge)) = &find(&otlp, "meridian_epoch").data else { panic!("gauge") };
        assert_eq!(gauge.data_points[0].value, Some(Value::AsInt(7)));
        assert_eq!(gauge.data_points[0].attributes, vec![attribute("group", "orders")]);
        let Some(Data::Sum(sum)) = &find(&otlp, "meridian_runs_finished").data else { panic!("sum") };
        assert!(sum.is_monotonic);
        assert_eq!(sum.data_points[0].value, Some(Value::AsInt(3)));
        assert_eq!((sum.data_points[0].start_time_unix_nano, sum.data_points[0].time_unix_nano), (1, 2));

        let Some(Data::Histogram(h)) = &find(&otlp, "meridian_run_step_seconds").data else {
            panic!("histogram")
        };
        let point = &h.data_points[0];
        assert_eq!(point.count, 4);
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), 4);
        assert_eq!((point.bucket_counts[0], *point.bucket_counts.last().unwrap()), (1, 1));
        assert!((point.sum.unwrap() - 100.700_01).abs() < 1e-6);
        assert_eq!(point.attributes.len(), 2);
    }
}
