//! Commands about a system that a spec names, of which nothing runs.
#![expect(clippy::unwrap_used, reason = "the helper stops the test that uses it")]

use serde_json::Value;

use super::tool::{meridian, printed, root};

const LABS: &str = "examples/three-regions.yaml";

/// The spec of a system that runs elsewhere, with a secret that can be read: in that folder.
fn elsewhere(folder: &std::path::Path) -> String {
    let secret = folder.join("control-secret");
    std::fs::write(&secret, "a secret of the tests").unwrap();
    let text = std::fs::read_to_string(root().join("examples/production.yaml")).unwrap();
    let file = folder.join("production.yaml");
    std::fs::write(&file, text.replace("/etc/meridian/control-secret", secret.to_str().unwrap())).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_plan_is_shown_and_checked_without_a_lab_and_without_a_secret() {
    for spec in [LABS, "examples/production.yaml"] {
        for form in ["graceful", "ungraceful"] {
            let told = printed(&meridian(&["plan", "show", "--spec", spec, "--form", form]), 0);
            assert!(
                told.contains("promote") && told.contains("from the spec and from constants only"),
                "{told}"
            );
            assert!(told.contains("\noffline: the running system"), "{told}");
        }
        let told = printed(&meridian(&["plan", "check", "--spec", spec]), 0);
        assert!(told.contains("are sound\noffline: the running system"), "{told}");
    }
    let told = printed(&meridian(&["plan", "show", "--spec", LABS, "--output", "json"]), 0);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert!(told["past_runs"].is_null() && told["offline"].as_str().unwrap().contains("lab up"), "{told}");
    assert!(told["total_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(told["timeline"][0]["what"], "detect", "the time before the first step is told");
}

#[test]
fn a_folder_of_separate_specs_is_told_as_that() {
    let told = printed(&meridian(&["check", "examples/"]), 1);
    assert!(
        told.contains("separate specs, each with a Topology of its own") && told.ends_with("\n1 error\n"),
        "{told}"
    );
    assert!(
        told.contains("examples/production.yaml:") && told.contains("`meridian check examples/"),
        "{told}"
    );
}

#[test]
fn nodes_that_a_spec_gives_no_address_are_not_asked() {
    for command in [&["status"][..], &["explain"], &["doctor"], &["run", "list"]] {
        let output = meridian(&[command, &["--spec", LABS]].concat());
        printed(&output, 2);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("no `address`") && told.contains("without --spec"), "{command:?}: {told}");
    }
}

/// `maintenance show` said that there is none.
#[test]
fn nobody_who_answers_is_not_told_as_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(elsewhere(folder.path())).unwrap();
    // A port on which nobody listens.
    let file = folder.path().join("here.yaml");
    let here = ["1", "2", "3"]
        .iter()
        .fold(text, |text, region| text.replace(&format!("10.{region}.0."), &format!("127.{region}.0.")));
    std::fs::write(&file, here).unwrap();
    for command in
        [&["maintenance", "show"][..], &["explain"], &["run", "list"], &["run", "watch"], &["dial"]]
    {
        let output = meridian(&[command, &["--spec", file.to_str().unwrap()]].concat());
        printed(&output, 1);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("no node answers"), "{command:?}: {told}");
    }
}

#[test]
fn an_unknown_region_is_bad_use_and_the_known_ones_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let spec = elsewhere(folder.path());
    for command in [
        &["switchover", "--to", "mars"][..],
        &["switchover", "--to", "mars", "--dry-run"],
        &["dial", "mars"],
        &["dial", "mars", "drain"],
        &["doctor", "--region", "mars"],
        &["plan", "rehearse", "--to", "mars"],
    ] {
        let output = meridian(&[command, &["--spec", &spec]].concat());
        printed(&output, 2);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            told.contains("there is no region `mars`; there are: us-east-1, eu-central-1, ap-southeast-1"),
            "{command:?}: {told}"
        );
    }
    let output = meridian(&["run", "--region", "mars", &spec]);
    printed(&output, 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("there are: us-east-1"));
    let output = meridian(&["status", "--group", "mars", "--spec", &spec]);
    printed(&output, 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("there are: orders"), "{output:?}");
}
