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
    let names = |list: [&str; 2]| list.map(|r| RegionName::new(r).unwrap()).to_vec();
    let regions = names(["us-east-1", "eu-central-1"]);
    let scheduled = names(["eu-central-1", "eu-central-1"]);
    let told = read(file(text), Some(&Names { regions, scheduled })).unwrap_err();
    told.iter().map(|d| format!("{}:{} {}", d.line, d.column, d.message)).collect()
}

fn one_fault(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the good file does not hold {from}");
    let told = faults(&GOOD.replacen(from, to, 1));
    assert_eq!(told.len(), 1, "{told:?}");
    told.into_iter().next().unwrap()
}

/// The timeline, a line each.
fn played(drill: &Drill) -> Vec<String> {
    let line = |entry: &Timed| {
        let when = match entry.when {
            When::At(at) => format!("at {at:?}"),
            When::After(after) => format!("after {after:?}"),
            When::AfterRedundant => "after redundant".to_owned(),
        };
        match &entry.what {
            What::Fault(fault) => format!("{when} {fault}"),
            other => format!("{when} {other:?}"),
        }
    };
    drill.timeline.iter().map(line).collect()
}

/// The good file with another timeline and other expectations.
fn with(timeline: &str, expect: &str) -> String {
    let (head, _) = GOOD.split_once("  timeline:\n").unwrap();
    format!("{head}  timeline:\n{timeline}  until: redundant\n  expect:\n{expect}")
}

const MOVES: &str = "    - at: 75s
      turn: eu-central-1
    - at: 10s
      kill: us-east-1
    - after: 20s
      restore: us-east-1
    - after: redundant
      failback: home
    - after: 0s
      killActing: between-steps
    - at: 15s
      turn: eu-central-1
";

#[test]
fn an_entry_that_follows_another_stays_behind_it() {
    let expect = "    switchovers: 2\n    heldBack: flap-window\n    writer: us-east-1\n";
    let drill = read(file(&with(MOVES, expect)), None).unwrap();
    assert_eq!(
        played(&drill),
        [
            "at 10s kill us-east-1",
            "after 20s restore us-east-1",
            "after redundant failback",
            "after 0ns KillActing",
            r#"at 15s Turn("eu-central-1")"#,
            r#"at 75s Turn("eu-central-1")"#,
        ]
    );
    assert_eq!((drill.expect.switchovers, drill.expect.held_back), (Some(2), true));
    assert_eq!(drill.expect.writer.unwrap().as_str(), "us-east-1");
}

#[test]
fn faults_of_a_timeline_have_their_places() {
    let one = |from: &str, to: &str| {
        assert!(MOVES.contains(from), "{from}");
        let told = faults(&with(&MOVES.replacen(from, to, 1), "    failovers: 1\n"));
        assert_eq!(told.len(), 1, "{told:?}");
        told.into_iter().next().unwrap()
    };
    assert_eq!(
        one("at: 75s\n", "at: 70s\n"),
        "23:7 turns are whole minutes apart, as the hours of a schedule are"
    );
    let first = with("    - after: 3s\n      heal: all\n", "    failovers: 1\n");
    assert_eq!(faults(&first), ["13:7 nothing is before this entry"]);
    assert_eq!(one("at: 15s\n", "after: 15s\n"), "23:7 a turn has a time of its own");
    assert_eq!(one("turn: eu-central-1", "turn: us-east-1"), "14:13 the schedule has no hour of `us-east-1`");
    assert_eq!(one("after: 20s", "after: then"), "17:14 expected a duration, found `then`");
    assert_eq!(one("after: 20s", "after: 20s\n      at: 3s"), "18:11 an entry has `at` or `after`, not both");
    assert_eq!(
        one("failback: home", "failback: us-east-1"),
        "20:17 expected where the writer goes back to, found `us-east-1`"
    );
    assert_eq!(
        one("between-steps", "sometimes"),
        "22:19 expected when the acting node is killed, found `sometimes`"
    );
    let expect = "    writer: mars\n    heldBack: fate\n    switchovers: some\n";
    let told = faults(&with(MOVES, expect));
    assert_eq!(told.len(), 3, "{told:?}");
}

#[test]
fn a_spec_is_told_from_a_drill_with_the_command_that_fits() {
    let spec = include_str!("../../../../../examples/three-regions.yaml").to_owned();
    let told = read(SourceFile { name: "my/shop.yaml".to_owned(), text: spec }, None).unwrap_err();
    let [one] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(one.message, "this file is a spec, not a drill");
    assert!(one.suggestion.as_ref().unwrap().contains("`meridian lab up my/shop.yaml`"), "{one:?}");
    let none = GOOD.replacen("kind: Drill", "kind: Dril", 1);
    assert!(!faults(&none).concat().contains("spec, not a drill"));
}

#[test]
fn paths_are_shown_without_detours_unless_a_link_makes_them_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    std::fs::create_dir_all(at("drills")).unwrap();
    std::fs::create_dir_all(at("far/away")).unwrap();
    std::fs::write(at("spec.yaml"), "").unwrap();
    std::fs::write(at("far/spec.yaml"), "").unwrap();
    std::os::unix::fs::symlink(at("far/away"), at("link")).unwrap();
    assert_eq!(normalised(at("drills/../spec.yaml")), at("spec.yaml"));
    assert_eq!(normalised(at("link/../spec.yaml")), at("link/../spec.yaml"));
    assert_eq!(normalised("../a/./b/../c".into()), Path::new("../a/c"));
}

#[test]
fn a_whole_file_is_read() {
    let drill = read(file(GOOD), None).unwrap();
    assert_eq!(drill.name, "region-loss");
    assert_eq!(drill.system, Path::new("examples/three-regions.yaml"));
    assert_eq!(drill.load, LoadSpec { rate: 90.0, writes: 0.25, users: 4 });
    assert_eq!(
        played(&drill),
        [
            "at 10s kill us-east-1",
            "at 12s freeze postgres of eu-central-1",
            "at 13s partition us-east-1 -> eu-central-1",
            "at 14s slow us-east-1 <-> eu-central-1, rtt 300 ms, loss 1 %, 2 MiB/s",
            "at 15s heal",
            "at 40s restore us-east-1",
        ]
    );
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
