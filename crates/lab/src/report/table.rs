//! The facts as a table for a terminal: what `script/try` ends with.

use std::fmt::Write as _;

use super::{Facts, LatencyFact, PopulationFact};
use meridian_page::scale::{latency, number, seconds};

/// Lost writes that the table lists; the JSON has all.
const LOST_SHOWN: usize = 10;
/// Reasons of failures that the table lists.
const FAILURES_SHOWN: usize = 5;
/// A terminal narrower than this has its lines broken.
const COLUMNS_MIN: usize = 80;

/// What the table is written on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paper {
    /// A terminal: with colours, and long texts are cut at its edge.
    Terminal {
        /// How wide it is.
        columns: usize,
    },
    /// A file or a program: everything, without colours.
    File,
}

impl Paper {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Terminal { .. } => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Self::File => text.to_owned(),
        }
    }

    /// A text that begins at that column, on one line.
    fn fitted(self, text: &str, from: usize) -> String {
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let Self::Terminal { columns } = self else { return line };
        let room = columns.max(COLUMNS_MIN).saturating_sub(from);
        if line.chars().count() <= room {
            return line;
        }
        let cut: String = line.chars().take(room.saturating_sub(1)).collect();
        format!("{cut}\u{2026}")
    }

    fn verdict(self, held: bool, yes: &str, no: &str) -> String {
        if held { self.paint("32", yes) } else { self.paint("31;1", no) }
    }
}

/// The whole table; it ends with a line break.
#[must_use]
pub fn table(facts: &Facts, paper: Paper) -> String {
    let mut out = String::new();
    head(&mut out, facts, paper);
    phases(&mut out, facts, paper);
    figures(&mut out, facts, paper);
    failures(&mut out, facts, paper);
    latencies(&mut out, facts, paper);
    expectations(&mut out, facts, paper);
    lost(&mut out, facts, paper);
    for violation in &facts.violations {
        _ = writeln!(out, "{} {violation}", paper.paint("31;1", "VIOLATION"));
    }
    for warning in facts.later_warnings() {
        _ = writeln!(out, "{} {warning}", paper.paint("33;1", "WARNING"));
    }
    out.lines().fold(String::with_capacity(out.len()), |trimmed, line| trimmed + line.trim_end() + "\n")
}

fn head(out: &mut String, facts: &Facts, paper: Paper) {
    let verdict = paper.verdict(facts.passed, "passed", "FAILED");
    _ = writeln!(out, "\n{} {verdict}  ({}, {})", facts.drill, facts.system, facts.started_at);
    if !facts.description.is_empty() {
        _ = writeln!(out, "{}", facts.description);
    }
}

fn phases(out: &mut String, facts: &Facts, paper: Paper) {
    section(out, paper, "PHASE", "            AFTER FAULT  WHAT WAS SEEN");
    for phase in &facts.phases {
        let after = phase.after_fault_seconds.map_or_else(|| "-".to_owned(), |s| format!("{s:.3} s"));
        _ = writeln!(out, "  {:<16}{after:>11}  {}", phase.name, paper.fitted(&phase.detail, 31));
    }
    if facts.phases.iter().any(|p| p.name == "DNS changed" && p.at_seconds.is_some()) {
        out.push_str("  Reads leave a lost region at once; writes wait for the decision, the fence and the promotion.\n");
    }
}

fn figures(out: &mut String, facts: &Facts, paper: Paper) {
    section(out, paper, "MEASURED", " (worst population)             OBJECTIVE");
    let rto = format!("{} or less", seconds(facts.objectives.rto_seconds));
    let time =
        |value: Option<f64>| value.map_or_else(|| "never good again".to_owned(), |s| format!("{s:.3} s"));
    let mut row = |name: &str, value: String, wanted: &str| {
        _ = writeln!(out, "  {name:<16}{value:<24}{wanted}");
    };
    row("RTO reads", time(facts.rto_read_seconds), &rto);
    row("RTO writes", time(facts.rto_write_seconds), &rto);
    let [reads, writes] = [facts.longest_read_outage_seconds, facts.longest_write_outage_seconds];
    row(
        "longest outage",
        format!("{} reads, {} writes", seconds(reads), seconds(writes)),
        "of the whole drill",
    );
    for (kind, later) in facts.later().into_iter().filter(|(_, later)| later.count > 0) {
        let verdict =
            if facts.bearable(later) { rto.clone() } else { paper.paint("31;1", &format!("OVER: {rto}")) };
        row(
            &format!("later, {kind}"),
            super::later::text(later),
            &format!("{verdict}, outages after the recovery"),
        );
    }
    let rpo = format!("{} or less", seconds(facts.objectives.rpo_seconds));
    row("RPO", format!("{}, {} lost", seconds(facts.rpo_seconds), facts.lost_writes), &rpo);
    let [stretches, rows] = facts.sums();
    row("writes", stretches, "");
    row("", rows, "");
    row("most writers", facts.max_concurrent_writers.to_string(), "1, at any instant");
    let failed = format!("{} of {}", facts.failed_reads + facts.failed_writes, facts.requests);
    let kinds = format!("{} reads, {} writes", facts.failed_reads, facts.failed_writes);
    row("requests failed", failed, &kinds);
}

fn failures(out: &mut String, facts: &Facts, paper: Paper) {
    if facts.failures.is_empty() {
        return;
    }
    section(out, paper, "FAILED", "  WHAT USERS WERE TOLD LAST");
    for failure in facts.failures.iter().take(FAILURES_SHOWN) {
        _ = writeln!(out, "  {:>6}  {}", failure.requests, paper.fitted(&failure.reason, 10));
    }
}

fn latencies(out: &mut String, facts: &Facts, paper: Paper) {
    let heads = "      KIND    BEFORE p50 / p95 / p99        DURING                        AFTER";
    section(out, paper, "USERS     ", heads);
    for population in &facts.populations {
        for kind in ["reads", "writes"] {
            let name = if kind == "reads" { population.name.as_str() } else { "" };
            _ = write!(out, "  {name:<16}{kind:<8}");
            for stretch in ["before", "during", "after"] {
                _ = write!(out, "{:<30}", figure(population, kind, stretch));
            }
            out.push('\n');
        }
    }
}

fn figure(population: &PopulationFact, kind: &str, stretch: &str) -> String {
    let matches = |l: &&LatencyFact| l.kind == kind && l.stretch == stretch && l.count > 0;
    population.latencies.iter().find(matches).map_or_else(
        || "-".to_owned(),
        |l| format!("{} / {} / {}", latency(l.p50_seconds), latency(l.p95_seconds), latency(l.p99_seconds)),
    )
}

fn expectations(out: &mut String, facts: &Facts, paper: Paper) {
    if facts.expectations.is_empty() {
        return;
    }
    section(out, paper, "EXPECTED", "                      WANTED                MEASURED");
    for expectation in &facts.expectations {
        let verdict = paper.verdict(expectation.held, "ok    ", "FAILED");
        let (name, wanted) = (&expectation.name, &expectation.wanted);
        _ = writeln!(out, "  {verdict}  {name:<22}{wanted:<22}{}", expectation.measured);
    }
}

fn lost(out: &mut String, facts: &Facts, paper: Paper) {
    if facts.lost.is_empty() {
        return;
    }
    section(out, paper, "LOST WRITE", "                     TOLD COMMITTED  BY, AND WHERE IT STILL IS");
    for lost in facts.lost.iter().take(LOST_SHOWN) {
        let server = lost.server.as_deref().unwrap_or("unknown");
        let still = if lost.still_on.is_empty() { "nowhere".to_owned() } else { lost.still_on.join(", ") };
        let when = format!("{:+} s", NumberOf(lost.acknowledged_after_fault_seconds));
        _ = writeln!(out, "  {:<30}{when:<16}{server}; {still}", lost.id);
    }
    if facts.lost.len() > LOST_SHOWN {
        _ = writeln!(out, "  and {} more, all in report.json", facts.lost.len() - LOST_SHOWN);
    }
}

/// A number with its sign, without needless digits.
struct NumberOf(f64);

impl std::fmt::Display for NumberOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 >= 0.0 && f.sign_plus() { "+" } else { "" };
        write!(f, "{sign}{}", number(self.0))
    }
}

fn section(out: &mut String, paper: Paper, name: &str, rest: &str) {
    _ = writeln!(out, "\n{}", paper.paint("1", &format!("  {name}{rest}")));
}
