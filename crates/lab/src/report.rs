//! The report of a drill: one set of facts, told as a table, as JSON and as one HTML file.
//!
//! [`Facts`] is complete and plain: whatever the table or the page shows is in it, so that the three can
//! never disagree. Times are seconds since the load began, unless a name says otherwise; lengths are seconds too.

mod charts;
mod html;
mod later;
mod run;
mod summary;
mod table;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use html::html;
pub use run::{RunFact, RunStepFact};
pub use summary::{DrillSummary, Spread, summary, summary_table};
pub use table::{Paper, table};

/// Everything that a drill found out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Facts {
    /// The name of the drill.
    pub drill: String,
    /// What it is about.
    pub description: String,
    /// The name of the system.
    pub system: String,
    /// Every expectation held, no invariant was broken, there was never more than one writer.
    pub passed: bool,
    /// When the load began, ISO 8601, UTC.
    pub started_at: String,
    /// From the beginning of the load to its end.
    pub duration_seconds: f64,
    /// What the spec demands.
    pub objectives: Objectives,
    /// From the fault to the good read that ended the last outage; none: never good again.
    pub rto_read_seconds: Option<f64>,
    /// The same for writes.
    pub rto_write_seconds: Option<f64>,
    /// The loss as time.
    pub rpo_seconds: f64,
    /// The longest stretch in which no read was answered although somebody asked.
    pub longest_read_outage_seconds: f64,
    /// The same for writes.
    pub longest_write_outage_seconds: f64,
    /// Outages of reads that began when the reads of that population were good again already.
    pub later_read_outages: LaterFact,
    /// The same for writes.
    pub later_write_outages: LaterFact,
    /// The longest that a read which succeeded took, from the instant at which it was due.
    pub longest_read_wait_seconds: f64,
    /// The same for writes: the pause of a switchover as users feel it.
    pub longest_write_wait_seconds: f64,
    /// Writes that clients were told are committed.
    pub acknowledged_writes: u64,
    /// Those of them that the writer does not have.
    pub lost_writes: u64,
    /// When they were acknowledged, and what the writer has of them.
    pub writes: WritesFact,
    /// Writes whose fate the client does not know.
    pub unknown_writes: u64,
    /// Those of them that are there.
    pub unknown_writes_present: u64,
    /// Writes that were refused to the client and are there all the same.
    pub refused_writes_present: u64,
    /// Requests in all.
    pub requests: u64,
    /// Reads that clients saw fail.
    pub failed_reads: u64,
    /// Writes that clients saw fail.
    pub failed_writes: u64,
    /// Why requests failed, the most frequent reason first.
    pub failures: Vec<FailureFact>,
    /// Samples that were beyond the bound and are in no figure of latency.
    pub samples_dropped: u64,
    /// The most servers that took writes at one instant, as direct clients of each saw it.
    pub max_concurrent_writers: u32,
    /// Failovers that were begun.
    pub failovers: u64,
    /// Switchovers that came to their end.
    pub switchovers: u64,
    /// A failover was wanted, and the flap window alone held it back.
    pub held_back: bool,
    /// Who wrote at the end; none when nobody did, or more than one.
    pub writer_at_end: Option<String>,
    /// How old writers came back: `followed`, `rewound`, `recloned`.
    pub rejoined: Option<String>,
    /// Who wrote when.
    pub writers: Vec<ReignFact>,
    /// Broken invariants and other faults of safety, one sentence each.
    pub violations: Vec<String>,
    /// The recovery, step by step, in the order of time; what was not seen comes last.
    pub phases: Vec<PhaseFact>,
    /// What was done to the system.
    pub faults: Vec<FaultFact>,
    /// What had to hold.
    pub expectations: Vec<ExpectationFact>,
    /// Each population.
    pub populations: Vec<PopulationFact>,
    /// Acknowledged writes that are gone, each of them.
    pub lost: Vec<LostFact>,
    /// Rows that each member lacks of the acknowledged ones, at the end.
    pub missing_on: Vec<MissingFact>,
    /// The runs of the recovery machine.
    pub runs: Vec<RunFact>,
    /// What else happened, in order.
    pub events: Vec<EventFact>,
    /// Machine, versions, seed.
    pub environment: Vec<NamedFact>,
    /// What the figures mean.
    pub definitions: Vec<DefinitionFact>,
}

/// How the acknowledged writes of the users add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WritesFact {
    /// Acknowledged before the fault.
    pub before: u64,
    /// Acknowledged, and neither before nor after.
    pub during: u64,
    /// Due after everybody was served again, and acknowledged.
    pub after: u64,
    /// Rows of the users' writes in the writer's database at the end.
    pub rows_at_writer: u64,
}

/// Outages after the recovery, of all populations together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct LaterFact {
    /// How many.
    pub count: u32,
    /// How long the longest took.
    pub longest_seconds: f64,
}

/// A reason of failures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FailureFact {
    /// What users were told last.
    pub reason: String,
    /// How many requests failed by it.
    pub requests: u64,
}

/// What a member other than the writer lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MissingFact {
    /// Whose database.
    pub region: String,
    /// Acknowledged writes that it does not have.
    pub writes: u64,
}

/// A name with a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NamedFact {
    /// `kernel`
    pub name: String,
    /// What it is.
    pub value: String,
}

impl NamedFact {
    /// The two together.
    #[must_use]
    pub fn of(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into() }
    }
}

/// What a word of the report means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DefinitionFact {
    /// The word.
    pub word: String,
    /// What it means.
    pub meaning: String,
}

impl DefinitionFact {
    /// The two together.
    #[must_use]
    pub fn of(word: &str, meaning: impl Into<String>) -> Self {
        Self { word: word.to_owned(), meaning: meaning.into() }
    }
}

/// What the spec demands, in seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Objectives {
    /// Time to recover.
    pub rto_seconds: f64,
    /// Data that may be lost, as time.
    pub rpo_seconds: f64,
}

/// One phase of the recovery.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PhaseFact {
    /// `detected`, `first good write`, …
    pub name: String,
    /// Since the load began; none when it was not seen.
    pub at_seconds: Option<f64>,
    /// Since the fault.
    pub after_fault_seconds: Option<f64>,
    /// By the wall clock, ISO 8601, UTC.
    pub at: Option<String>,
    /// What was seen.
    pub detail: String,
}

/// One thing that was done to the system.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FaultFact {
    /// Since the load began.
    pub at_seconds: f64,
    /// `kill us-east-1`.
    pub what: String,
    /// What it came to.
    pub detail: String,
    /// It mends instead of breaking.
    pub mends: bool,
}

/// One expectation.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ExpectationFact {
    /// Its name in the drill file.
    pub name: String,
    /// What had to hold.
    pub wanted: String,
    /// What was measured.
    pub measured: String,
    /// It held.
    pub held: bool,
}

/// A reign: one server taking writes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReignFact {
    /// Whose database.
    pub region: String,
    /// Its timeline.
    pub timeline: u32,
    /// Its first acknowledged write was sent.
    pub first_seconds: f64,
    /// Its last acknowledgement arrived.
    pub last_seconds: f64,
    /// How many there were: of the drill's own test writes, which are no users' writes.
    pub acknowledgements: u64,
}

/// One population.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PopulationFact {
    /// Its name.
    pub name: String,
    /// The region that served it before the fault.
    pub home: Option<String>,
    /// The region that served it at the end.
    pub home_after: Option<String>,
    /// Its share of users, 0 to 1.
    pub share: f64,
    /// Requests in all.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Recovery of reads.
    pub rto_read_seconds: Option<f64>,
    /// Recovery of writes.
    pub rto_write_seconds: Option<f64>,
    /// Latencies in the stretches of the drill.
    pub latencies: Vec<LatencyFact>,
    /// Second by second.
    pub series: Vec<SecondFact>,
}

/// Latencies of one kind of request in one stretch.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LatencyFact {
    /// `before`, `during` or `after`.
    pub stretch: &'static str,
    /// `reads` or `writes`.
    pub kind: &'static str,
    /// Good answers.
    pub count: usize,
    /// The median.
    pub p50_seconds: f64,
    /// 95 % were no slower.
    pub p95_seconds: f64,
    /// 99 % were no slower.
    pub p99_seconds: f64,
}

/// One second of a population: what ended in it.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct SecondFact {
    /// Reads answered.
    pub reads: u32,
    /// Writes acknowledged.
    pub writes: u32,
    /// Requests failed.
    pub failed: u32,
    /// Median latency; none without a good answer.
    pub p50_seconds: Option<f64>,
    /// 95th percentile.
    pub p95_seconds: Option<f64>,
}

/// A lost write.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LostFact {
    /// Its id.
    pub id: String,
    /// Whose.
    pub population: String,
    /// When the client was told that it is committed, since the fault (negative: before).
    pub acknowledged_after_fault_seconds: f64,
    /// By the wall clock.
    pub acknowledged_at: String,
    /// The server that had committed it.
    pub server: Option<String>,
    /// Its timeline.
    pub timeline: Option<u32>,
    /// Members that still have the row.
    pub still_on: Vec<String>,
}

/// Something that happened.
#[derive(Debug, Clone, Default, Serialize)]
pub struct EventFact {
    /// Since the load began.
    pub at_seconds: f64,
    /// Where.
    pub region: Option<String>,
    /// A sentence.
    pub what: String,
}

impl Facts {
    /// How the numbers of acknowledged writes add up, each in a line: over the stretches of the drill, and against
    /// the rows of the writer's database.
    fn sums(&self) -> [String; 2] {
        let WritesFact { before, during, after, rows_at_writer } = self.writes;
        let all = self.acknowledged_writes;
        let mut stretches =
            format!("{all} acknowledged: {before} before, {during} during, {after} after the outage");
        let placed = before + during + after;
        if placed != all {
            stretches
                .push_str(&format!(", {} in no stretch (samples were dropped)", all.saturating_sub(placed)));
        }
        let there = all.saturating_sub(self.lost_writes);
        let mut rows =
            format!("{rows_at_writer} rows at the writer: {all} acknowledged - {} lost", self.lost_writes);
        let (unknown, refused) = (self.unknown_writes_present, self.refused_writes_present);
        let told = there + unknown + refused;
        let others = [
            (unknown, "whose fate no client knows"),
            (refused, "that were refused all the same"),
            (rows_at_writer.saturating_sub(told), "of requests that were cut off at the end"),
        ];
        for (count, which) in others.into_iter().filter(|(count, _)| *count > 0) {
            rows.push_str(&format!(" + {count} {which}"));
        }
        [stretches, rows]
    }
}

/// Why the report could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the report {path}: {reason}; choose another folder with --report DIR")]
pub struct ReportError {
    /// Which file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub reason: String,
}

/// Writes `report.html` and `report.json` into the folder, which is made if need be; returns the page's path.
///
/// # Errors
/// [`ReportError`] when the folder cannot be written to.
pub fn write(facts: &Facts, folder: &Path) -> Result<PathBuf, ReportError> {
    let failed = |path: &Path, reason: String| ReportError { path: path.to_owned(), reason };
    std::fs::create_dir_all(folder).map_err(|e| failed(folder, e.to_string()))?;
    let (page, data) = (folder.join("report.html"), folder.join("report.json"));
    let json = serde_json::to_string_pretty(facts).map_err(|e| failed(&data, e.to_string()))?;
    std::fs::write(&data, json + "\n").map_err(|e| failed(&data, e.to_string()))?;
    std::fs::write(&page, html(facts)).map_err(|e| failed(&page, e.to_string()))?;
    Ok(page)
}

#[cfg(test)]
mod tests;
