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
