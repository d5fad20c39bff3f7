//! The three forms of a report hold the facts, and the page is whole and needs nothing from outside.

use meridian_page::html::well_formed;

use super::*;

/// A region loss as it might be measured.
pub(crate) fn sample() -> Facts {
    Facts {
        drill: "region-loss".to_owned(),
        description: "The primary's region loses power for half a minute.".to_owned(),
        system: "shop".to_owned(),
        passed: true,
        started_at: "2026-11-23T06:30:05.120Z".to_owned(),
        duration_seconds: 60.4,
        objectives: Objectives { rto_seconds: 60.0, rpo_seconds: 5.0 },
        rto_read_seconds: Some(1.284),
        rto_write_seconds: Some(6.402),
        rpo_seconds: 0.212,
        longest_read_outage_seconds: 1.3,
        longest_write_outage_seconds: 6.4,
        longest_read_wait_seconds: 1.2,
        longest_write_wait_seconds: 6.3,
        acknowledged_writes: 1_042,
        lost_writes: 3,
        unknown_writes: 7,
        unknown_writes_present: 2,
        requests: 3_611,
        failed_reads: 4,
        failed_writes: 9,
        failures: vec![FailureFact {
            reason: "write: no answer from 127.10.201.101:8080 in time".to_owned(),
            requests: 9,
        }],
        writes: WritesFact { before: 300, during: 42, after: 700, rows_at_writer: 1_041 },
        max_concurrent_writers: 1,
        failovers: 1,
        rejoined: Some("rewound".to_owned()),
        writers: vec![reign("us-east-1", 1, 0.0, 15.0), reign("eu-central-1", 2, 20.7, 60.3)],
        phases: phases(),
        faults: vec![fault(15.0, "kill us-east-1", false), fault(45.0, "restore us-east-1", true)],
        expectations: vec![
            expectation("rtoRead", "<= 2 s", "1.28 s", true),
            expectation("rtoWrite", "<= 12 s", "6.4 s", true),
            expectation("maxConcurrentWriters", "1", "1", true),
            expectation("failovers", "1", "1", true),
            expectation("rejoined", "rewound", "rewound", true),
        ],
        populations: ["north-america", "europe", "asia-pacific"].iter().enumerate().map(population).collect(),
        lost: (0..3).map(lost).collect(),
        missing_on: vec![MissingFact { region: "ap-southeast-1".to_owned(), writes: 3 }],
        events: vec![EventFact {
            at_seconds: 45.2,
            region: Some("us-east-1".to_owned()),
            what: "node <started>".to_owned(),
        }],
        environment: vec![NamedFact::of("machine", "2 cores, 24 GiB"), NamedFact::of("postgres", "15.14")],
        definitions: vec![DefinitionFact::of(
            "RTO",
            "from the fault to the good answer that ends the last outage",
        )],
        ..Facts::default()
    }
}

fn phases() -> Vec<PhaseFact> {
    let phase = |name: &str, after: Option<f64>, detail: &str| PhaseFact {
        name: name.to_owned(),
        at_seconds: after.map(|a| a + 15.0),
        after_fault_seconds: after,
        at: after.map(|a| format!("2026-11-23T06:{:02}:{:06.3}Z", 30, 20.0 + a)),
        detail: detail.to_owned(),
    };
    vec![
        phase("fault", Some(0.0), "kill us-east-1: killed 14 processes, network dark"),
        phase(
            "detected",
            Some(3.912),
            "us-east-1 is down: 2 of 2 vantage points say down, its own report is silent",
        ),
        phase("decided", Some(5.204), "epoch 2 for eu-central-1, run orders-2-failover"),
        phase("fenced", Some(5.231), "lease expired 5.0 s ago by own clock; 2 of 2 standbys sealed"),
        phase("promoted", Some(5.688), "timeline 2 from 0/3A01F28"),
        phase("compute scaled", Some(6.102), "2 of 2 instances answer"),
        phase("DNS changed", Some(4.110), "dns of eu-central-1: us-east-1 -> eu-central-1"),
        phase("first good read", Some(1.284), "after an outage of 1.3 s"),
        phase("first good write", Some(6.402), "after an outage of 6.4 s"),
        phase("protected again", Some(7.91), "ap-southeast-1 streams from eu-central-1"),
        phase("redundant again", Some(38.44), "us-east-1 follows again: rewound"),
    ]
}

fn reign(region: &str, timeline: u32, first: f64, last: f64) -> ReignFact {
    ReignFact {
        region: region.to_owned(),
        timeline,
        first_seconds: first,
        last_seconds: last,
        acknowledgements: 700,
    }
}

fn fault(at: f64, what: &str, mends: bool) -> FaultFact {
    FaultFact { at_seconds: at, what: what.to_owned(), detail: "14 processes".to_owned(), mends }
}

fn expectation(name: &str, wanted: &str, measured: &str, held: bool) -> ExpectationFact {
    let [name, wanted, measured] = [name, wanted, measured].map(str::to_owned);
    ExpectationFact { name, wanted, measured, held }
}

fn lost(i: u32) -> LostFact {
    LostFact {
        id: format!("d7f2-europe-{}", 400 + i),
        population: "europe".to_owned(),
        acknowledged_after_fault_seconds: -0.21 + 0.05 * f64::from(i),
        acknowledged_at: "2026-11-23T06:30:19.9Z".to_owned(),
        server: Some("127.10.1.1:5432".to_owned()),
        timeline: Some(1),
        still_on: vec![],
    }
}

fn population((index, name): (usize, &&str)) -> PopulationFact {
    let scale = [24, 21, 15][index];
    let second = |s: u32| {
        let down = (15..21).contains(&s);
        let wobble = (s * 7 + u32::try_from(index).unwrap() * 3) % 5;
        let base = ([12.0, 14.0, 16.0][index] + f64::from(wobble)) / 1_000.0;
        let slow = if down { 3.0 - f64::from(s - 15) * 0.45 } else { base * 14.0 };
        SecondFact {
            reads: if s == 15 && index == 0 { 4 } else { scale * 7 / 10 + wobble },
            writes: if down { 0 } else { scale * 3 / 10 },
            failed: if s == 15 { 4 } else { u32::from(down && index == 0) },
            p50_seconds: Some(if down { base * 3.0 } else { base }),
            p95_seconds: Some(slow),
        }
    };
    let latency = |stretch, kind, p50: f64| LatencyFact {
        stretch,
        kind,
        count: 400,
        p50_seconds: p50,
        p95_seconds: p50 * 2.2,
        p99_seconds: p50 * 3.1,
    };
    let mut latencies = Vec::new();
    for (stretch, factor) in [("before", 1.0), ("during", 9.0), ("after", 1.3)] {
        latencies.push(latency(stretch, "reads", 0.012 * factor));
        latencies.push(latency(stretch, "writes", 0.095 * factor));
    }
    PopulationFact {
        name: (*name).to_owned(),
        home: Some(["us-east-1", "eu-central-1", "ap-southeast-1"][index].to_owned()),
        home_after: Some(["us-east-1", "eu-central-1", "ap-southeast-1"][index].to_owned()),
        share: [0.4, 0.35, 0.25][index],
        requests: 1400,
        failed: 5,
        rto_read_seconds: Some(1.2),
        rto_write_seconds: Some(6.4),
        latencies,
        series: (0..61).map(second).collect(),
    }
}

#[test]
fn the_page_is_whole() {
    well_formed(&html(&sample())).unwrap();
    well_formed(&html(&Facts::default())).unwrap();
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let page = html(&sample());
    for word in ["http://", "https://", "src=", "href=", "<script", "<link", "<iframe"] {
        assert!(!page.contains(word), "the page holds {word}");
    }
}

#[test]
fn the_page_holds_the_facts() {
    let page = html(&sample());
    for fact in [
        "region-loss",
        "passed",
        "6.4 s",
        "1.3 s",
        "1042",
        "d7f2-europe-402",
        "kill us-east-1",
        "rewound",
        "2 cores",
    ] {
        assert!(page.contains(fact), "the page does not hold {fact}");
    }
}

#[test]
fn text_from_outside_cannot_become_markup() {
    let mut facts = sample();
    facts.drill = "<script>alert('x')</script>".to_owned();
    facts.violations = vec!["a < b & \"c\"".to_owned()];
    let page = html(&facts);
    assert!(!page.contains("<script"));
    assert!(page.contains("node &lt;started&gt;"));
    well_formed(&page).unwrap();
}

#[test]
fn a_failed_drill_says_so_everywhere() {
    let facts = Facts { passed: false, rto_write_seconds: None, ..sample() };
    assert!(html(&facts).contains("class=\"verdict bad\">failed"));
    assert!(table(&facts, Paper::File).contains("FAILED"));
    assert!(table(&facts, Paper::File).contains("never good again"));
}

#[test]
fn an_outage_after_the_recovery_is_not_hidden_by_a_good_one() {
    let calm = sample();
    assert!(!table(&calm, Paper::File).contains("later,") && !html(&calm).contains("Warning."));
    let later = |longest_seconds| Facts {
        later_read_outages: LaterFact { count: 5, longest_seconds },
        longest_read_outage_seconds: longest_seconds,
        ..sample()
    };
    let (short, long) = (later(26.6), later(61.5));
    let told = table(&short, Paper::File);
    let row = |text: &str| text.lines().find(|l| l.contains("later, reads")).unwrap().to_owned();
    assert!(row(&told).contains("5, the longest 26.6 s") && !row(&told).contains("OVER"), "{told}");
    assert!(told.contains("26.6 s reads, 6.4 s writes") && !told.contains("WARNING"), "{told}");
    assert!(html(&short).contains("after the recovery: 5, the longest 26.6 s"));
    let told = table(&long, Paper::File);
    assert!(
        row(&told).contains("OVER: 60.0 s or less") && told.contains("WARNING reads stood still"),
        "{told}"
    );
    let page = html(&long);
    assert!(
        page.contains("<b>Warning.</b> reads stood still for 61.5 s") && page.contains("tile bad"),
        "{page}"
    );
    well_formed(&page).unwrap();
    assert_eq!(serde_json::to_value(&long).unwrap()["later_read_outages"]["count"], 5);
}

#[test]
fn the_table_is_plain_without_a_terminal_and_coloured_on_one() {
    let plain = table(&sample(), Paper::File);
    assert!(!plain.contains('\u{1b}'));
    assert!(table(&sample(), Paper::Terminal { columns: 120 }).contains("\u{1b}[32mpassed"));
    for line in plain.lines() {
        assert!(line.chars().count() <= 120, "too wide: {line}");
        assert_eq!(line.trim_end(), line, "ends with spaces: {line}");
    }
    let phase = plain.lines().find(|l| l.contains("first good write")).unwrap();
    assert!(phase.contains("6.402 s"), "{phase}");
}

#[test]
fn long_texts_are_cut_at_the_edge_of_a_terminal_and_nowhere_else() {
    let mut facts = sample();
    let long = format!("begin {}end", "word ".repeat(60));
    facts.phases[1].detail.clone_from(&long);
    facts.failures[0].reason = long.replace(' ', "\n");
    let line = |text: &str, what: &str| text.lines().find(|l| l.contains(what)).unwrap().to_owned();
    let file = table(&facts, Paper::File);
    assert!(line(&file, "detected").ends_with(&long), "{file}");
    assert!(line(&file, "     9  begin").ends_with(&long) && !file.contains('\u{2026}'), "{file}");
    for columns in [100, 160] {
        let shown = table(&facts, Paper::Terminal { columns });
        for what in ["detected", "     9  begin"] {
            let line = line(&shown, what);
            assert!(line.chars().count() == columns && line.ends_with('\u{2026}'), "{columns}: {line}");
        }
    }
}

#[test]
fn the_sums_of_writes_add_up_in_words() {
    let sums = sample().sums();
    assert_eq!(sums[0], "1042 acknowledged: 300 before, 42 during, 700 after the outage");
    let rows = "1041 rows at the writer: 1042 acknowledged - 3 lost + 2 whose fate no client knows";
    assert_eq!(sums[1], rows);
    let facts = sample();
    for text in [table(&facts, Paper::File), html(&facts)] {
        assert!(sums.iter().all(|sum| text.contains(sum)), "{text}");
    }
    let mut other = sample();
    other.writes.during = 40;
    other.writes.rows_at_writer = 1_045;
    other.refused_writes_present = 1;
    let sums = other.sums();
    assert!(sums[0].ends_with("2 in no stretch (samples were dropped)"), "{sums:?}");
    assert!(
        sums[1].contains("+ 1 that were refused") && sums[1].contains("+ 3 of requests that were cut off"),
        "{sums:?}"
    );
}

/// Every time is in seconds, and every list holds objects with names.
#[test]
fn json_has_one_unit_of_time_and_no_pairs() {
    fn look(value: &serde_json::Value, path: &str) {
        match value {
            serde_json::Value::Array(items) => items.iter().for_each(|item| {
                assert!(!item.is_array(), "{path} holds a list in a list: {item}");
                look(item, path);
            }),
            serde_json::Value::Object(fields) => fields.iter().for_each(|(name, field)| {
                assert!(!name.ends_with("_ms") && !name.ends_with("millis"), "{path}.{name}");
                look(field, &format!("{path}.{name}"));
            }),
            _ => {}
        }
    }
    let json = serde_json::to_value(sample()).unwrap();
    look(&json, "");
    assert_eq!(json["environment"][0], serde_json::json!({ "name": "machine", "value": "2 cores, 24 GiB" }));
    assert_eq!(json["populations"][0]["latencies"][0]["p50_seconds"], 0.012);
}

#[test]
fn json_has_the_promised_names() {
    let json = serde_json::to_value(sample()).unwrap();
    for name in [
        "rto_read_seconds",
        "rto_write_seconds",
        "acknowledged_writes",
        "lost_writes",
        "max_concurrent_writers",
        "phases",
        "passed",
    ] {
        assert!(!json[name].is_null(), "{name} is missing");
    }
    assert_eq!(json["phases"][8]["name"], "first good write");
    assert_eq!(json["lost"].as_array().unwrap().len(), 3);
}

#[test]
fn both_files_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let page = write(&sample(), &folder.path().join("new")).unwrap();
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("<!DOCTYPE html>"));
    let data = std::fs::read_to_string(page.with_file_name("report.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&data).unwrap()["drill"], "region-loss");
    // To look at the page: MERIDIAN_REPORT_SAMPLE=/tmp/sample cargo test -p meridian-lab both_files
    if let Some(folder) = option_env!("MERIDIAN_REPORT_SAMPLE") {
        write(&sample(), Path::new(folder)).unwrap();
        println!("{}", table(&sample(), Paper::File));
    }
    let error = write(&sample(), Path::new("/dev/null/x")).unwrap_err();
    assert!(error.to_string().contains("--report"), "{error}");
}
