//! What a drill file may say, and how its faults are told.

use proptest::prelude::*;

use super::*;

const GOOD: &str = "\
apiVersion: meridian.dev/v1alpha1
kind: Drill
metadata:
  name: region-loss
spec:
  description: The lights go out.
  system: ../examples/three-regions.yaml
  load:
    rate: 90/s
    writes: 25%
    users: 4
  timeline:
    - at: 40s
      restore: us-east-1
    - at: 10s
      kill: us-east-1
    - at: 12s
      freeze: eu-central-1
      part: postgres
    - at: 13s
      partition: [us-east-1, eu-central-1]
      oneWay: true
    - at: 14s
      slow: [us-east-1, eu-central-1]
      rtt: 300ms
      loss: 1%
      bandwidth: 2MiB/s
    - at: 15s
      heal: all
  until: redundant
  timeout: 2m
  expect:
    rtoRead: <= 2s
    rtoWrite: 12s
    lostWrites: 0
    failovers: 1
    rejoined: rewound
";

fn file(text: &str) -> SourceFile {
    SourceFile { name: "drills/x.yaml".to_owned(), text: text.to_owned() }
}

/// Reads with known regions; the faults as `line:column message`.
fn faults(text: &str) -> Vec<String> {
    let regions = ["us-east-1", "eu-central-1"].map(|r| RegionName::new(r).unwrap());
    let told = read(file(text), Some(&regions)).unwrap_err();
    told.iter().map(|d| format!("{}:{} {}", d.line, d.column, d.message)).collect()
}

fn one_fault(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the good file does not hold {from}");
    let told = faults(&GOOD.replacen(from, to, 1));
    assert_eq!(told.len(), 1, "{told:?}");
    told.into_iter().next().unwrap()
}

#[test]
fn a_whole_file_is_read() {
    let drill = read(file(GOOD), None).unwrap();
    assert_eq!(drill.name, "region-loss");
    assert_eq!(drill.system, Path::new("drills/../examples/three-regions.yaml"));
    assert_eq!(drill.load, LoadSpec { rate: 90.0, writes: 0.25, users: 4 });
    let times: Vec<_> = drill.timeline.iter().map(|t| (t.at.as_secs(), t.fault.to_string())).collect();
    assert_eq!(times[0], (10, "kill us-east-1".to_owned()));
    assert_eq!(times[1], (12, "freeze postgres of eu-central-1".to_owned()));
    assert_eq!(times[2], (13, "partition us-east-1 -> eu-central-1".to_owned()));
    assert_eq!(
        times[3],
        (14, "slow us-east-1 <-> eu-central-1, rtt 300 ms, loss 1 %, 2097152 bytes/s".to_owned())
    );
    assert_eq!(times[5], (40, "restore us-east-1".to_owned()));
    assert_eq!((drill.until, drill.timeout), (Until::Redundant, Duration::from_secs(120)));
    assert_eq!(drill.expect.rto_read, Some(Duration::from_secs(2)));
    assert_eq!(drill.expect.rto_write, Some(Duration::from_secs(12)));
    assert_eq!(drill.expect.rejoined, Some(Rejoined::Rewound));
}

#[test]
fn each_fault_has_its_place() {
    assert_eq!(one_fault("rate: 90/s", "rate: 90"), "9:11 expected a rate, found `90`");
    assert_eq!(one_fault("writes: 25%", "writes: 125%"), "10:13 expected a share, found `125%`");
    assert_eq!(one_fault("kill: us-east-1", "kill: us-west-1"), "16:13 the system has no region `us-west-1`");
    assert_eq!(one_fault("kill: us-east-1", "kil: us-east-1"), "16:7 unknown field `kil`");
    assert_eq!(one_fault("      kill: us-east-1\n", ""), "15:7 0 things happen in this entry");
    assert_eq!(one_fault("part: postgres", "part: postgre"), "19:13 expected a part, found `postgre`");
    assert_eq!(one_fault("heal: all", "heal: all\n      rtt: 3s"), "30:7 `rtt` means nothing beside `heal`");
    assert_eq!(one_fault("until: redundant", "until: later"), "30:10 expected a duration, found `later`");
    assert_eq!(one_fault("kind: Drill", "kind: Dril"), "2:7 kind is `Dril`");
    assert_eq!(one_fault("lostWrites: 0", "lostWrite: 0"), "35:5 unknown field `lostWrite`");
    assert_eq!(
        one_fault("[us-east-1, eu-central-1]\n      oneWay", "us-east-1\n      oneWay"),
        "21:18 expected two regions, found `us-east-1`"
    );
}

#[test]
fn all_faults_are_told_at_once() {
    let broken =
        GOOD.replace("90/s", "fast").replace("12s", "soon").replace("name: region-loss", "name: Region");
    assert_eq!(faults(&broken).len(), 4, "{:?}", faults(&broken));
}

#[test]
fn what_is_no_drill_is_told() {
    assert_eq!(faults(""), ["1:1 there is no drill in this file"]);
    let told = without_system(file(GOOD), "the spec x.yaml cannot be read");
    assert_eq!((told.len(), told[0].message.as_str()), (1, "the spec x.yaml cannot be read"));
    assert!(told[0].source_line.contains("system:"), "{told:?}");
    assert!(!faults("- a\n- b\n").is_empty());
    assert_eq!(faults(&format!("{GOOD}---\n{GOOD}")).len(), 1);
    assert!(faults("a: [").iter().any(|f| f.contains("not YAML")));
}

#[test]
fn suggests_what_was_meant() {
    let told = read(file(&GOOD.replace("rtoRead", "rtoReads")), None).unwrap_err();
    assert_eq!(told[0].suggestion.as_deref(), Some("did you mean `rtoRead`?"));
}

#[test]
fn durations_need_a_unit() {
    let parse = units::parse_duration;
    assert_eq!(parse("1.5s"), Some(Duration::from_millis(1500)));
    assert_eq!(parse("2m"), Some(Duration::from_secs(120)));
    for wrong in ["", "5", "s", "-1s", "1e3s", "1.2.3s", "5 parsecs", "9999999999999999999999h"] {
        assert_eq!(parse(wrong), None, "{wrong}");
    }
}

proptest! {
    /// Any text gives a drill or faults, never a panic, and each fault lies in the text.
    #[test]
    fn no_text_can_panic_us(text in "[ -~\n\u{e9}]{0,200}") {
        if let Err(told) = read(file(&text), None) {
            prop_assert!(!told.is_empty());
        }
    }

    /// The same for a good file in which a stretch was replaced.
    #[test]
    fn no_damage_can_panic_us(from in 0..GOOD.len(), length in 0_usize..40, noise in "[ -~\n]{0,20}") {
        let to = (from + length).min(GOOD.len());
        let text = format!("{}{noise}{}", &GOOD[..from], &GOOD[to..]);
        if let Err(told) = read(file(&text), None) {
            prop_assert!(!told.is_empty());
            prop_assert!(told.iter().all(|d| d.line <= text.lines().count().max(1) + 1));
        }
    }
}
