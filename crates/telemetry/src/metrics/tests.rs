//! Names, labels and limits of what `/metrics` says.

use super::*;
use crate::events::CheckChanged;

fn region() -> RegionName {
    RegionName::new("eu-central-1").unwrap()
}

#[test]
fn every_sample_has_the_prefix_and_the_region() {
    let metrics = Metrics::new(Some(&region()));
    metrics.reign().epoch.at([Word::Fixed("orders")]).set(7);
    metrics.runs().run_seconds.at([Word::Fixed("orders"), Word::Fixed("failover")]).observe(2.0);
    let text = metrics.render();
    let samples: Vec<_> = text.lines().filter(|l| !l.starts_with('#')).collect();
    assert!(samples.len() > 10);
    for sample in samples {
        assert!(sample.starts_with("meridian_"), "{sample}");
        assert!(sample.contains(r#"region="eu-central-1""#), "{sample}");
    }
    assert!(text.contains(r#"meridian_epoch{region="eu-central-1",group="orders"} 7"#), "{text}");
}

#[test]
fn a_family_stops_growing_at_its_limit() {
    let metrics = Metrics::new(None);
    for n in 0..SERIES_MAX + 50 {
        let group = RegionName::new(&format!("g{n}")).unwrap();
        metrics.reign().epoch.at([Word::from(&group)]).set(1);
    }
    let count = metrics.render().lines().filter(|l| l.starts_with("meridian_epoch{")).count();
    assert_eq!(count, SERIES_MAX);
}

#[test]
fn no_name_is_declared_twice() {
    let text = Metrics::new(None).render();
    let mut names: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(all > 0);
}

#[test]
fn the_example_of_alerts_asks_only_for_what_there_is() {
    let metrics = Metrics::new(None);
    let (subject, message) = (RegionName::new("orders").unwrap(), "no");
    CheckChanged { check: "version", subject: &subject, fails: true, findings: 2, message }.emit(&metrics);
    let text = metrics.render();
    let line = r#"meridian_check_findings{check="version",subject="orders",severity="error"} 2"#;
    assert!(text.lines().any(|l| l == line), "{text}");
    let declared = include_str!("seen.rs");
    let rules = include_str!("../../../../docs/alerts.yml");
    let asked: Vec<_> = rules.split("meridian_").skip(1).collect();
    assert!(asked.len() > 1, "{rules}");
    for rest in asked {
        let name = rest.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).next().unwrap();
        assert!(declared.contains(&format!("\"{name}\"")), "no metric is named meridian_{name}");
    }
}

#[test]
fn counters_and_times_are_named_as_prometheus_wants() {
    let metrics = Metrics::new(None);
    metrics.runs().runs.at(["orders".into(), "failover".into()]).inc();
    metrics.runs().run_seconds.at(["orders".into(), "failover".into()]).observe(2.0);
    let text = metrics.render();
    for line in [
        "# HELP meridian_runs_finished_total Runs that reached protected again.",
        "# TYPE meridian_runs_finished_total counter",
        r#"meridian_runs_finished_total{group="orders",kind="failover"} 1"#,
        "# TYPE meridian_run_seconds histogram",
        r#"meridian_run_seconds_bucket{le="+Inf",group="orders",kind="failover"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
}
