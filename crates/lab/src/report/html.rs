//! The page: one file that needs nothing else, in plain string building.
//!
//! No template engine and no script: the page is a fixed sequence of sections, each a short function,
//! and every text from outside goes through [`escape`].

use std::fmt::Write as _;

use meridian_page::escape;
use meridian_page::html::{Page, mark};
use meridian_page::scale::{self, seconds};

use super::{Facts, LatencyFact, PopulationFact, charts};

/// Lost writes that are listed openly; the others are folded away.
const LOST_OPEN: usize = 20;

/// The whole page.
#[must_use]
pub fn html(facts: &Facts) -> String {
    let mut page = Page::default();
    head(&mut page, facts);
    tiles(&mut page, facts);
    violations(&mut page, facts);
    phases(&mut page, facts);
    load(&mut page, facts);
    latency(&mut page, facts);
    expectations(&mut page, facts);
    lost(&mut page, facts);
    runs(&mut page, facts);
    events(&mut page, facts);
    let environment = facts.environment.iter().map(|f| (f.name.as_str(), f.value.as_str()));
    page.pairs("Where this was measured", environment);
    let definitions = facts.definitions.iter().map(|d| (d.word.as_str(), d.meaning.as_str()));
    page.definitions("What the figures mean", definitions);
    page.finish(&format!("Drill {}: {}", facts.drill, verdict(facts)))
}

fn verdict(facts: &Facts) -> &'static str {
    if facts.passed { "passed" } else { "failed" }
}

fn head(page: &mut Page, facts: &Facts) {
    page.head(&facts.drill, verdict(facts), facts.passed);
    if !facts.description.is_empty() {
        page.sentence(&facts.description);
    }
    let length = seconds(facts.duration_seconds);
    page.soft(&format!("System {}, begun {}, {length} of load.", facts.system, facts.started_at));
}

fn tiles(page: &mut Page, facts: &Facts) {
    let objective = facts.objectives;
    let time = |v: Option<f64>| v.map_or_else(|| "never".to_owned(), seconds);
    let within = |v: Option<f64>| Some(v.is_some_and(|v| v <= objective.rto_seconds));
    let rto = || format!("objective {}", seconds(objective.rto_seconds));
    let (reads, writes) = (facts.rto_read_seconds, facts.rto_write_seconds);
    let lost = format!("of {} acknowledged", facts.acknowledged_writes);
    let rpo_held = facts.rpo_seconds <= objective.rpo_seconds;
    let rpo = format!("{lost}; {} against {}", seconds(facts.rpo_seconds), seconds(objective.rpo_seconds));
    let writers = facts.max_concurrent_writers;
    let failed = facts.failed_reads + facts.failed_writes;
    let kinds =
        format!("of {}: {} reads, {} writes", facts.requests, facts.failed_reads, facts.failed_writes);
    let [read_outage, write_outage] =
        [facts.longest_read_outage_seconds, facts.longest_write_outage_seconds].map(seconds);
    let [later_reads, later_writes] = facts.later().map(|(_, later)| {
        // Nothing to judge where there was none: the recovery itself has a tile of its own.
        let held = (later.count > 0).then(|| facts.bearable(later));
        (format!("after the recovery: {}", super::later::text(later)), held)
    });
    page.tiles(&[
        ("Reads good after", time(reads), rto(), within(reads)),
        ("Writes good after", time(writes), rto(), within(writes)),
        ("Longest outage of reads", read_outage, later_reads.0, later_reads.1),
        ("Longest outage of writes", write_outage, later_writes.0, later_writes.1),
        ("Writes lost", facts.lost_writes.to_string(), rpo, Some(rpo_held)),
        ("Writers at any instant", writers.to_string(), "must be 1".to_owned(), Some(writers == 1)),
        ("Requests failed", failed.to_string(), kinds, None),
    ]);
}

fn violations(page: &mut Page, facts: &Facts) {
    for violation in &facts.violations {
        page.warning("Violation.", violation);
    }
    facts.later_warnings().iter().for_each(|warning| page.warning("Warning.", warning));
}

fn phases(page: &mut Page, facts: &Facts) {
    page.heading("The recovery, phase by phase");
    page.soft(
        "Blue: each bar runs from what came before to the phase itself. Violet: how long users waited.",
    );
    page.raw(&charts::phases(facts));
    let row = |p: &super::PhaseFact| {
        let after = p.after_fault_seconds.map_or_else(|| "not seen".to_owned(), |s| format!("{s:.3} s"));
        let at = p.at.as_deref().and_then(|t| t.split('T').nth(1)).unwrap_or("").trim_end_matches('Z');
        vec![
            format!("<b class=\"name\">{}</b>", escape(&p.name)),
            escape(&after),
            escape(at),
            escape(&p.detail),
        ]
    };
    let rows: Vec<_> = facts.phases.iter().map(row).collect();
    page.table(&["Phase", "#After the fault", "#At (UTC)", "What was seen"], &rows);
}

fn load(page: &mut Page, facts: &Facts) {
    page.heading("Who wrote");
    page.soft(
        "As clients connected straight to each database saw it, past the gateways, every 20 ms. These are the drill's \
         own test writes, in a table of their own: no figure of the users' writes counts them.",
    );
    page.raw(&charts::writers(facts));
    page.heading("Throughput");
    page.soft("Requests answered per second, by the second in which the answer came.");
    legend(page, facts);
    page.raw(&charts::throughput(facts));
    page.heading("Errors");
    let failed = facts.failed_reads + facts.failed_writes;
    if failed == 0 {
        page.soft("No request failed.");
    } else {
        page.soft("Requests per second that users saw fail after all retries.");
        page.raw(&charts::errors(facts));
        let row = |f: &super::FailureFact| vec![f.requests.to_string(), escape(&f.reason)];
        let rows: Vec<_> = facts.failures.iter().map(row).collect();
        page.table(&["#Requests", "What their users were told last"], &rows);
    }
}

fn legend(page: &mut Page, facts: &Facts) {
    let mut out = String::from("<div class=\"legend\">");
    for (index, population) in facts.populations.iter().enumerate() {
        _ = write!(out, "<span><i class=\"c{}\"></i>{}</span>", index % 6, escape(&population.name));
    }
    out.push_str("</div>");
    page.raw(&out);
}

fn latency(page: &mut Page, facts: &Facts) {
    page.heading("Latency");
    page.soft(
        "Of good answers, from the instant at which the request was due; retries and waiting included.",
    );
    page.raw(
        "<div class=\"legend\"><span><i class=\"stroke\"></i>median</span>\
         <span><i class=\"stroke thin\"></i>95th percentile</span></div>",
    );
    for (index, population) in facts.populations.iter().enumerate() {
        page.raw(&format!("<h3>{}</h3>", escape(&population_title(population))));
        page.raw(&charts::latency(facts, index, population));
    }
    let mut rows = Vec::new();
    for population in &facts.populations {
        rows.extend(["reads", "writes"].map(|kind| latency_row(population, kind)));
    }
    let heads = [
        "Population",
        "Kind",
        "#Before p50",
        "#p95",
        "#p99",
        "#During p50",
        "#p95",
        "#p99",
        "#After p50",
        "#p95",
        "#p99",
    ];
    page.table(&heads, &rows);
}

fn population_title(population: &PopulationFact) -> String {
    let share = format!("{} ({:.0} % of users)", population.name, population.share * 100.0);
    match (&population.home, &population.home_after) {
        (Some(before), Some(after)) if before != after => {
            format!("{share}: served by {before}, then {after}")
        }
        (Some(home), _) => format!("{share}: served by {home}"),
        _ => share,
    }
}

fn latency_row(population: &PopulationFact, kind: &str) -> Vec<String> {
    let name = if kind == "reads" { population.name.as_str() } else { "" };
    let mut row = vec![format!("<b>{}</b>", escape(name)), kind.to_owned()];
    for stretch in ["before", "during", "after"] {
        let matches = |l: &&LatencyFact| l.kind == kind && l.stretch == stretch && l.count > 0;
        match population.latencies.iter().find(matches) {
            Some(l) => row.extend([l.p50_seconds, l.p95_seconds, l.p99_seconds].map(scale::latency)),
            None => row.extend(["-"; 3].map(str::to_owned)),
        }
    }
    row
}

fn expectations(page: &mut Page, facts: &Facts) {
    if facts.expectations.is_empty() {
        return;
    }
    page.heading("What had to hold");
    let row = |e: &super::ExpectationFact| {
        let verdict = mark(e.held, "held", "failed");
        vec![verdict, escape(&e.name), escape(&e.wanted), escape(&e.measured)]
    };
    let rows: Vec<_> = facts.expectations.iter().map(row).collect();
    page.table(&["", "Expectation", "Wanted", "Measured"], &rows);
}

fn lost(page: &mut Page, facts: &Facts) {
    page.heading("Lost writes");
    let counts = format!(
        "{} of {} acknowledged writes are not in the writer's table. Of {} writes whose fate the client does not \
         know, {} are there. Compared row by row with every database.",
        facts.lost_writes, facts.acknowledged_writes, facts.unknown_writes, facts.unknown_writes_present
    );
    page.soft(&counts);
    facts.sums().iter().for_each(|sum| page.soft(&format!("{sum}.")));
    let row = |l: &super::LostFact| {
        let by = l.server.as_deref().unwrap_or("unknown");
        let timeline = l.timeline.map(|t| format!(", timeline {t}")).unwrap_or_default();
        let still = if l.still_on.is_empty() { "nowhere".to_owned() } else { l.still_on.join(", ") };
        let when = format!("{:+.3} s", l.acknowledged_after_fault_seconds);
        vec![
            format!("<code>{}</code>", escape(&l.id)),
            escape(&l.population),
            when,
            escape(&format!("{by}{timeline}")),
            escape(&still),
        ]
    };
    let rows: Vec<_> = facts.lost.iter().map(row).collect();
    let heads = ["Id", "Population", "#Told committed, after the fault", "Committed by", "Still on"];
    let (open, folded) = rows.split_at(rows.len().min(LOST_OPEN));
    if !open.is_empty() {
        page.table(&heads, open);
    }
    if !folded.is_empty() {
        page.raw(&format!("<details><summary>{} more</summary>", folded.len()));
        page.table(&heads, folded);
        page.raw("</details>");
    }
}

fn runs(page: &mut Page, facts: &Facts) {
    if facts.runs.is_empty() {
        return;
    }
    page.heading("Runs");
    let row = |r: &super::RunFact| {
        let from = r.from.as_ref().map(|f| format!("{f} \u{2192} ")).unwrap_or_default();
        let state = if r.finished { "finished" } else { "not finished" };
        vec![
            format!("<code>{}</code>", escape(&r.id)),
            r.kind.clone(),
            r.epoch.to_string(),
            escape(&format!("{from}{}", r.to)),
            state.to_owned(),
            escape(&r.cause),
        ]
    };
    let rows: Vec<_> = facts.runs.iter().map(row).collect();
    page.table(&["Run", "Kind", "#Epoch", "Writer", "State", "Cause"], &rows);
}

fn events(page: &mut Page, facts: &Facts) {
    if facts.faults.is_empty() && facts.events.is_empty() {
        return;
    }
    page.heading("What happened");
    let fault = |f: &super::FaultFact| {
        let what = format!("<b>{}</b> {}", escape(&f.what), escape(&f.detail));
        (f.at_seconds, vec![format!("{:.3} s", f.at_seconds), String::new(), what])
    };
    let event = |e: &super::EventFact| {
        let region = escape(e.region.as_deref().unwrap_or(""));
        (e.at_seconds, vec![format!("{:.3} s", e.at_seconds), region, escape(&e.what)])
    };
    let mut rows: Vec<_> = facts.faults.iter().map(fault).chain(facts.events.iter().map(event)).collect();
    rows.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    page.table(&["#Second", "Region", "What"], &rows);
}
