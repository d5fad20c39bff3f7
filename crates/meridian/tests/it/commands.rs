//! Commands that need no running system: exit codes, help, and answers for programs.

use serde_json::Value;

use super::tool::{meridian, printed};

#[test]
fn every_command_teaches() {
    let commands: &[&[&str]] = &[
        &[],
        &["check"],
        &["schema"],
        &["run"],
        &["run", "list"],
        &["run", "show"],
        &["run", "watch"],
        &["run", "report"],
        &["run", "lost"],
        &["status"],
        &["explain"],
        &["switchover"],
        &["failover"],
        &["failback"],
        &["maintenance", "begin"],
        &["dial"],
        &["doctor"],
        &["plan", "show"],
        &["plan", "check"],
        &["plan", "rehearse"],
        &["lab"],
        &["lab", "up"],
        &["lab", "down"],
        &["lab", "status"],
        &["lab", "logs"],
        &["lab", "kill"],
        &["lab", "freeze"],
        &["lab", "restore"],
        &["lab", "partition"],
        &["lab", "isolate"],
        &["lab", "slow"],
        &["lab", "heal"],
        &["drill"],
        &["drill", "run"],
        &["drill", "summary"],
    ];
    for command in commands {
        let arguments: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let help = printed(&meridian(&arguments), 0);
        assert!(help.contains("Usage: meridian"), "{command:?}: {help}");
        assert!(help.contains("Exit code"), "{command:?}: {help}");
        let bad: Vec<&str> = command.iter().copied().chain(["--no-such-option"]).collect();
        printed(&meridian(&bad), 2);
    }
}

/// A line at the subcommand hid what stands at its arguments.
#[test]
fn the_help_of_a_command_says_what_its_exit_codes_mean() {
    for (command, told) in [
        (&["check"][..], "1 errors were found"),
        (&["status"], "0 every node answers and sees every region up"),
        (&["explain"], "0 the rules were told, whatever they say"),
        (&["doctor"], "0 nothing fails"),
        (&["switchover"], "0 the group is protected again"),
        (&["failover"], "as that of `meridian switchover`"),
        (&["plan", "check"], "0 the steps are sound"),
        (&["run", "list"], "0 fine; 1 the answer is no"),
    ] {
        let help = printed(&meridian(&[command, &["--help"]].concat()), 0);
        // Lines are broken by the width of a terminal.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains(told), "{command:?}: {help}");
    }
}

#[test]
fn the_examples_are_sound() {
    let specs = [
        "three-regions",
        "three-regions-quorum",
        "two-regions-witness",
        "production",
        "follow-the-sun",
        "recovery-plan",
    ];
    for spec in specs {
        printed(&meridian(&["check", &format!("examples/{spec}.yaml")]), 0);
    }
    printed(&meridian(&["check", "examples/no-such-file.yaml"]), 2);
}

#[test]
fn all_faults_of_a_spec_are_told_at_once_with_their_places() {
    let good = std::fs::read_to_string(super::tool::root().join("examples/three-regions.yaml")).unwrap();
    let bad =
        good.replace("pattern: active-passive", "patern: active-passive").replace("share: 25%", "share: 26%");
    assert_ne!(good, bad);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    std::fs::write(&file, bad).unwrap();
    let path = file.to_str().unwrap();

    let output = meridian(&["check", path]);
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("did you mean `pattern`"), "{told}");
    assert!(told.contains("101"), "the shares are added up: {told}");

    let told = printed(&meridian(&["check", "--output", "json", path]), 1);
    let told: Value = serde_json::from_str(&told).unwrap();
    let faults = told["diagnostics"].as_array().unwrap_or_else(|| panic!("{told}"));
    assert!(faults.len() >= 2, "{told}");
    assert!(faults.iter().all(|f| f["line"].as_u64().is_some_and(|line| line > 0)), "{told}");
}

#[test]
fn the_schema_knows_every_kind() {
    let schema: Value = serde_json::from_str(&printed(&meridian(&["schema"]), 0)).unwrap();
    let text = schema.to_string();
    for kind in ["Topology", "Service", "Database", "DataResidencyPolicy"] {
        assert!(text.contains(&format!("\"{kind}\"")), "{kind}");
    }
}

#[test]
fn a_file_that_is_no_text_is_a_fault_and_told_as_json_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("garbage.yaml");
    std::fs::write(&file, b"a: \xff\xfe\x00").unwrap();
    let told = printed(&meridian(&["check", "--output", "json", file.to_str().unwrap()]), 1);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["sound"], &told["diagnostics"][0]["line"]), (&Value::from(false), &Value::from(1)));
    printed(&meridian(&["lab", "up", file.to_str().unwrap()]), 1);
}

#[test]
fn the_help_of_drills_names_every_drill() {
    let help = printed(&meridian(&["drill", "run", "--help"]), 0);
    let words: Vec<&str> = help.split([' ', ',', '\n']).collect();
    let files = std::fs::read_dir(super::tool::root().join("drills")).unwrap();
    let names = files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    let missing: Vec<String> = names.filter(|name| !words.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn drills_are_checked_with_their_systems() {
    let told = printed(&meridian(&["check", "drills/region-loss.yaml"]), 0);
    assert!(told.contains("region-loss is a sound drill of examples/three-regions.yaml"), "{told}");
    printed(&meridian(&["check", "drills"]), 0);

    let good = std::fs::read_to_string(super::tool::root().join("drills/region-loss.yaml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lost.yaml");
    std::fs::write(&file, good).unwrap();
    let path = file.to_str().unwrap();
    let told = printed(&meridian(&["check", path]), 1);
    let line = format!("{path}:12:11");
    assert!(told.contains("cannot be read: No such file") && told.contains(&line), "{told}");
    let output = meridian(&["drill", "run", path]);
    printed(&output, 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains(&line));

    let output = meridian(&["lab", "up", "drills/region-loss.yaml"]);
    printed(&output, 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("meridian drill run"));
    let output = meridian(&["drill", "run", "examples/three-regions.yaml"]);
    printed(&output, 1);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("a spec, not a drill"), "{told}");
    assert!(told.contains("meridian lab up examples/three-regions.yaml"), "{told}");
}

#[test]
fn a_lab_that_cannot_be_is_bad_use() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
    let spec = "examples/three-regions.yaml";
    let dir = folder.path().to_str().unwrap();
    for (arguments, told) in [
        (vec!["lab", "up", spec, "--lab", "9"], "there is no lab 9: numbers go from 10 to 250"),
        (vec!["lab", "up", spec, "--dir", dir], "was not made by a lab"),
        (vec!["status", "--lab", "9"], "lab"),
    ] {
        let output = meridian(&arguments);
        printed(&output, 2);
        assert!(String::from_utf8_lossy(&output.stderr).contains(told), "{arguments:?}: {output:?}");
    }
    assert!(folder.path().join("thesis.txt").exists());
}

#[test]
fn help_has_help_and_a_reader_may_leave() {
    assert!(printed(&meridian(&["help", "--help"]), 0).contains("Usage: meridian"));
    assert!(printed(&meridian(&["lab", "help", "-h"]), 0).contains("Usage: meridian lab"));
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_meridian"))
        .arg("schema")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
