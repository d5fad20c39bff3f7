//! Specs with frozen answers: `cases/*.yaml` beside `cases/*.txt`. To add a case, write the YAML, run
//! the test, read what it printed, and copy the file that it names.

use std::fs;
use std::path::Path;

use meridian_spec::{SourceFile, inspect};

/// What a user would see.
fn answer(name: &str, text: String) -> String {
    let inspection = inspect(&[SourceFile { name: name.to_owned(), text }]);
    let told: Vec<String> = inspection.diagnostics.iter().map(ToString::to_string).collect();
    let verdict = if inspection.system.is_some() { "accepted" } else { "refused" };
    format!("{}\n{verdict}, {} told\n", told.join("\n"), told.len()).trim_start().to_owned()
}

#[test]
fn every_case_gets_its_frozen_answer() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cases");
    let mut wrong = Vec::new();
    let mut seen = 0;
    let mut files: Vec<_> = fs::read_dir(&cases).expect("cases").map(|e| e.expect("entry").path()).collect();
    files.sort();
    for path in files.into_iter().filter(|p| p.extension().is_some_and(|e| e == "yaml")) {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let got = answer(&name, fs::read_to_string(&path).expect("readable"));
        seen += 1;
        if fs::read_to_string(path.with_extension("txt")).ok().as_deref() != Some(&got) {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name.replace(".yaml", ".txt"));
            fs::write(&kept, &got).expect("the answer can be kept");
            wrong.push(format!("{got}if that is right: cp {} {}", kept.display(), cases.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(seen >= 15, "only {seen} cases");
}

#[test]
fn a_spec_with_ten_faults_names_all_ten() {
    let text = include_str!("cases/ten-faults.yaml").to_owned();
    let inspection = inspect(&[SourceFile { name: "ten-faults.yaml".to_owned(), text: text.clone() }]);
    let faults: Vec<usize> =
        text.lines().enumerate().filter(|(_, l)| l.contains("# fault")).map(|(i, _)| i + 1).collect();
    let told: Vec<usize> = inspection.diagnostics.iter().map(|d| d.line).collect();
    assert_eq!(faults.len(), 10, "the case itself");
    assert_eq!(told, faults);
    assert!(inspection.diagnostics.iter().all(|d| d.suggestion.is_some()), "each says what to do");
}

/// They were told as one spec, with duplicates that are none.
#[test]
fn files_with_a_topology_each_are_told_as_separate_specs_and_as_nothing_else() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let read = |name: &str| SourceFile {
        name: format!("examples/{name}"),
        text: fs::read_to_string(examples.join(name)).expect("an example"),
    };
    let names = ["three-regions.yaml", "follow-the-sun.yaml", "two-regions-witness.yaml"];
    let all: Vec<SourceFile> = names.iter().map(|name| read(name)).collect();
    let told = inspect(&all);
    assert!(told.system.is_none());
    let [only] = told.diagnostics.as_slice() else { panic!("{:?}", told.diagnostics) };
    assert!(only.message.starts_with("these are 3 separate specs"), "{only}");
    assert_eq!(only.details.len(), 3);
    for (name, detail) in names.iter().zip(&only.details) {
        assert!(detail.starts_with(&format!("examples/{name}:")), "{detail}");
    }
    assert!(
        only.suggestion.as_ref().is_some_and(|s| s.contains("check examples/follow-the-sun.yaml`")),
        "{only}"
    );

    // A fault that each has by itself is told all the same, and one spec in two files is one.
    let mut faulty = all;
    faulty[0].text = faulty[0].text.replace("ttl: 30s", "tttl: 30s");
    assert_eq!(inspect(&faulty).diagnostics.len(), 2);
    let whole = read("three-regions.yaml").text;
    let (topology, rest) = whole.split_once("\n---\n").expect("several documents");
    let part = |name: &str, text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
    assert!(inspect(&[part("a.yaml", topology), part("b.yaml", rest)]).system.is_some());
}

#[test]
fn a_place_in_another_file_is_told_with_the_file() {
    let database = |file: &str| SourceFile {
        name: file.to_owned(),
        text: "apiVersion: meridian.dev/v1alpha1\nkind: Database\nmetadata: { name: orders }\nspec: {}\n"
            .to_owned(),
    };
    let topology = include_str!("cases/minimal.yaml").to_owned();
    let files = [SourceFile { name: "topology.yaml".to_owned(), text: topology }, database("two.yaml")];
    let told = inspect(&files).diagnostics;
    assert!(told.iter().any(|d| d.message.ends_with("first in line 22 of topology.yaml")), "{told:?}");
}
