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
        &["status"],
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
        let bad: Vec<&str> = command.iter().copied().chain(["--no-such-option"]).collect();
        printed(&meridian(&bad), 2);
    }
}

#[test]
fn the_examples_are_sound() {
    let specs = ["three-regions", "three-regions-quorum", "two-regions-witness", "production"];
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
