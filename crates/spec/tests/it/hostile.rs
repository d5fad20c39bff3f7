//! Whatever comes in, the answer is diagnostics, never a panic, and never a spent machine.

use std::fmt::Write;

use meridian_spec::{Diagnostic, SourceFile, inspect};
use proptest::prelude::*;
use proptest::sample::Index;

fn told(text: &str) -> Vec<Diagnostic> {
    inspect(&[SourceFile { name: "x.yaml".to_owned(), text: text.to_owned() }]).diagnostics
}

/// Together they have every kind.
const GOOD: [&str; 2] = [
    include_str!("../../../../examples/three-regions.yaml"),
    include_str!("../../../../examples/recovery-plan.yaml"),
];

/// Every diagnostic stands where the text is.
fn well_placed(text: &str) -> Result<(), TestCaseError> {
    for told in told(text) {
        let line = text.lines().nth(told.line - 1).unwrap_or("");
        prop_assert!(told.line >= 1 && told.column >= 1 && told.length >= 1, "{told}");
        prop_assert!(line.starts_with(told.source_line.as_str()), "{told}");
        prop_assert!(!told.to_string().contains('\u{1b}'), "no escape sequences");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,400}") {
        well_placed(&text)?;
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        well_placed(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn text_made_of_yaml_marks(text in "(  |- |: |\n|---\n|&a |\\*a|<<|\\[|\\]|\\{|\\}|\"|'|#|\\||>|!t |\t|kind|spec|1|%|\u{1b}|é){0,120}") {
        well_placed(&text)?;
    }

    #[test]
    fn a_good_spec_with_a_piece_replaced(good in 0..2_usize, at in any::<Index>(), cut in 0..40_usize, put in "[a-z0-9:\\-\\[\\]{}\"'%*&\n\t ]{0,12}") {
        let bytes = GOOD[good].as_bytes();
        let at = at.index(bytes.len());
        let end = (at + cut).min(bytes.len());
        let changed = [&bytes[..at], put.as_bytes(), &bytes[end..]].concat();
        well_placed(&String::from_utf8_lossy(&changed))?;
    }

    #[test]
    fn a_good_spec_with_a_line_removed(good in 0..2_usize, line in 0..180_usize) {
        let left: Vec<&str> = GOOD[good].lines().enumerate().filter(|(i, _)| *i != line).map(|(_, l)| l).collect();
        well_placed(&left.join("\n"))?;
    }
}

#[test]
fn an_alias_bomb_is_refused_before_it_unfolds() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = level - 1;
        let _ = writeln!(
            text,
            "a{level}: &a{level} [*a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}]"
        );
    }
    assert!(told(&text).iter().any(|d| d.message.contains("aliases unfold")), "{:?}", told(&text));
}

#[test]
fn an_alias_to_what_contains_it_is_refused() {
    assert!(!told("spec: &a [*a]\n").is_empty());
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let text = format!("spec: {}{}", open.repeat(10_000), close.repeat(10_000));
        assert!(!told(&text).is_empty());
    }
    let mut stairs = String::new();
    for level in 0..200 {
        let _ = writeln!(stairs, "{}a:", " ".repeat(level));
    }
    assert!(told(&stairs).iter().any(|d| d.message.contains("nested deeper")), "{:?}", told(&stairs));
}

#[test]
fn a_file_too_large_and_too_many_values_are_refused() {
    assert!(told(&"#".repeat(2 << 20)).iter().any(|d| d.message.contains("larger")));
    assert!(told(&"- x\n".repeat(50_000)).iter().any(|d| d.message.contains("more than 20000 values")));
}

#[test]
fn no_end_of_faults_is_cut_short() {
    let fields: String = (0..1000).map(|i| format!("unknown{i}: 1\n")).collect();
    let told = told(&fields);
    assert_eq!(told.len(), 200);
    assert!(told.last().expect("some").details.iter().any(|d| d.contains("more after this one")));
}

#[test]
fn nothing_at_all_is_no_spec() {
    for text in ["", "\n\n", "# only a comment\n", "---\n---\n", "\u{feff}"] {
        assert!(told(text).iter().any(|d| d.message.contains("no Topology")), "{text:?}");
    }
    assert!(!inspect(&[]).diagnostics.is_empty());
}

#[test]
fn a_plan_of_too_many_steps_is_refused_before_they_are_looked_at() {
    let steps: String =
        (0..1000).map(|n| format!("    - {{ name: s{n}, wait: 1s, after: [x{n}] }}\n")).collect();
    let plan = format!("kind: RecoveryPlan\nmetadata: {{ name: p }}\nspec:\n  steps:\n{steps}");
    let told = told(&format!("{}---\napiVersion: meridian.dev/v1alpha1\n{plan}", GOOD[0]));
    assert!(told.iter().any(|d| d.message.contains("more than 100 steps")), "{told:?}");
    assert!(told.len() < 5, "{told:?}");
}
