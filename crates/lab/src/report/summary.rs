//! Many runs of the same drills: minimum, median and maximum of each figure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use meridian_page::scale::number;

/// The figures of a report that are summed up, beside its phases, and what people call them.
const FIGURES: [(&str, &str); 14] = [
    ("rto_read_seconds", "RTO reads, s"),
    ("rto_write_seconds", "RTO writes, s"),
    ("longest_read_outage_seconds", "longest outage of reads, s"),
    ("longest_write_outage_seconds", "longest outage of writes, s"),
    ("longest_read_wait_seconds", "longest wait for a read, s"),
    ("longest_write_wait_seconds", "longest wait for a write, s"),
    ("rpo_seconds", "RPO, s"),
    ("lost_writes", "lost writes"),
    ("acknowledged_writes", "acknowledged writes"),
    ("failed_reads", "failed reads"),
    ("failed_writes", "failed writes"),
    ("max_concurrent_writers", "most writers at an instant"),
    ("failovers", "failovers"),
    ("switchovers", "switchovers"),
];

/// What the names of phases begin with.
const PHASE: &str = "phase: ";

/// One figure over several runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Runs that have the figure: a phase that was not seen, or a service that did not come back, has none.
    pub count: usize,
    /// The least.
    pub minimum: f64,
    /// The one in the middle; of two in the middle their mean.
    pub median: f64,
    /// The most.
    pub maximum: f64,
}

/// All runs of one drill.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct DrillSummary {
    /// How many.
    pub runs: usize,
    /// How many of them passed.
    pub passed: usize,
    /// By name; phases as `phase: first good write`.
    pub figures: BTreeMap<String, Spread>,
    /// Violations of safety in any run.
    pub violations: Vec<String>,
}

/// Sums up reports (the content of `report.json` files), by drill.
#[must_use]
pub fn summary(reports: &[Value]) -> BTreeMap<String, DrillSummary> {
    let mut drills: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for report in reports {
        let name = report.get("drill").and_then(Value::as_str).unwrap_or("unnamed");
        drills.entry(name.to_owned()).or_default().push(report);
    }
    drills.into_iter().map(|(name, reports)| (name, of_drill(&reports))).collect()
}

/// The summary for people.
#[must_use]
pub fn summary_table(drills: &BTreeMap<String, DrillSummary>) -> String {
    let mut out = String::new();
    for (name, drill) in drills {
        _ = writeln!(out, "{name}: {} of {} runs passed", drill.passed, drill.runs);
        _ = writeln!(
            out,
            "  {:<38}{:>10}{:>10}{:>10}{:>6}",
            "FIGURE", "MINIMUM", "MEDIAN", "MAXIMUM", "RUNS"
        );
        for (figure, spread) in rows(drill) {
            let [low, middle, high] = [spread.minimum, spread.median, spread.maximum].map(number);
            _ = writeln!(out, "  {figure:<38}{low:>10}{middle:>10}{high:>10}{:>6}", spread.count);
        }
        for violation in &drill.violations {
            _ = writeln!(out, "  VIOLATION {violation}");
        }
        out.push('\n');
    }
    out
}

/// Figures in their order, then phases in the order of time, in plain words.
fn rows(drill: &DrillSummary) -> Vec<(String, &Spread)> {
    let figure = |(name, words): &(&str, &str)| Some(((*words).to_owned(), drill.figures.get(*name)?));
    let phases = drill.figures.iter().filter_map(|(name, spread)| Some((name.strip_prefix(PHASE)?, spread)));
    // Every time is counted from the fault: its own is nought.
    let mut phases: Vec<(&str, &Spread)> = phases.filter(|(name, _)| *name != "fault").collect();
    phases.sort_by(|a, b| a.1.median.total_cmp(&b.1.median));
    let phases = phases.into_iter().map(|(name, spread)| (format!("{name}, s after the fault"), spread));
    FIGURES.iter().filter_map(figure).chain(phases).collect()
}

fn of_drill(reports: &[&Value]) -> DrillSummary {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut summary = DrillSummary { runs: reports.len(), ..DrillSummary::default() };
    for report in reports {
        summary.passed += usize::from(report.get("passed").and_then(Value::as_bool).unwrap_or(false));
        let violations = report.get("violations").and_then(Value::as_array).into_iter().flatten();
        summary.violations.extend(violations.filter_map(Value::as_str).map(str::to_owned));
        for (figure, _) in FIGURES {
            if let Some(value) = report.get(figure).and_then(Value::as_f64) {
                values.entry(figure.to_owned()).or_default().push(value);
            }
        }
        for (name, value) in phases(report) {
            values.entry(format!("{PHASE}{name}")).or_default().push(value);
        }
    }
    let spread = |(name, values): (String, Vec<f64>)| Some((name, spread(values)?));
    summary.figures = values.into_iter().filter_map(spread).collect();
    summary
}

fn phases(report: &Value) -> impl Iterator<Item = (&str, f64)> {
    let phases = report.get("phases").and_then(Value::as_array).into_iter().flatten();
    phases.filter_map(|p| Some((p.get("name")?.as_str()?, p.get("after_fault_seconds")?.as_f64()?)))
}

fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let count = values.len();
    let (low, high) = (values.get(count.saturating_sub(1) / 2)?, values.get(count / 2)?);
    let median = low.midpoint(*high);
    Some(Spread { count, minimum: *values.first()?, median, maximum: *values.last()? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spreads_over_odd_and_even_counts() {
        let odd = spread(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.minimum, odd.median, odd.maximum, odd.count), (1.0, 2.0, 3.0, 3));
        assert_eq!(spread(vec![4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(spread(Vec::new()), None);
    }

    #[test]
    fn sums_up_by_drill_and_leaves_out_what_was_not_seen() {
        let report = |passed, rto: Value| {
            json!({ "drill": "loss", "passed": passed, "rto_write_seconds": rto, "violations": [],
                    "phases": [{ "name": "fault", "after_fault_seconds": 0.0 },
                               { "name": "fenced", "after_fault_seconds": 5.0 },
                               { "name": "decided", "after_fault_seconds": 4.0 }] })
        };
        let all =
            summary(&[report(true, json!(6.0)), report(false, Value::Null), json!({ "drill": "blip" })]);
        let loss = &all["loss"];
        assert_eq!((loss.runs, loss.passed), (2, 1));
        assert_eq!(loss.figures["rto_write_seconds"].count, 1);
        assert_eq!(loss.figures["phase: fenced"].count, 2);
        assert_eq!(all["blip"].figures.len(), 0);
        let table = summary_table(&all);
        assert!(table.contains("loss: 1 of 2 runs passed") && table.contains("RTO writes, s"), "{table}");
        let place = |what: &str| table.find(what).unwrap();
        assert!(place("decided, s after the fault") < place("fenced, s after the fault"), "{table}");
        assert!(!table.contains("fault,") && !table.contains('_'), "{table}");
    }
}
