//! The generated parts of the documents: what is between `<!-- generated: NAME -->` and
//! `<!-- end: NAME -->` is printed from the code; the prose around it is written by people.

use std::fmt::Write as _;
use std::path::Path;

use meridian_failover::{State, TABLE};

const FAILOVER: &str = "docs/failover.md";

/// Every document with generated parts, as it should be: path below the root, text.
///
/// A document that cannot be read comes out with the generated parts alone.
pub(crate) fn generate() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join(FAILOVER)).unwrap_or_default();
    let text = replace(&text, "diagram", &diagram());
    let text = replace(&text, "states", &states());
    vec![(FAILOVER.to_owned(), replace(&text, "moves", &moves()))]
}

/// Puts `body` between the markers of `name`; adds them at the end when they are not there.
fn replace(text: &str, name: &str, body: &str) -> String {
    let (begin, end) = (format!("<!-- generated: {name} -->"), format!("<!-- end: {name} -->"));
    let whole = format!("{begin}\n{body}{end}");
    let parts = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    match parts {
        Some((before, after)) => format!("{before}{whole}{after}"),
        None => format!("{text}\n{whole}\n"),
    }
}

/// The picture: an arrow for each pair of states, labelled with what leads from one to the other.
fn diagram() -> String {
    let mut out = String::from("```mermaid\nstateDiagram-v2\n    [*] --> Starting\n");
    for from in State::ALL {
        for to in State::ALL {
            let triggers: Vec<String> = TABLE
                .iter()
                .filter(|row| row.from == from && row.to == to)
                .map(|row| row.trigger.to_string())
                .collect();
            if !triggers.is_empty() {
                let _ = writeln!(out, "    {from} --> {to}: {}", triggers.join(", "));
            }
        }
    }
    out.push_str("```\n");
    out
}

/// Every state with what it means.
fn states() -> String {
    let mut out = String::from("| State | Means |\n|---|---|\n");
    for state in State::ALL {
        let _ = writeln!(out, "| {state} | {} |", state.meaning());
    }
    out
}

/// Every move in words.
fn moves() -> String {
    let mut out = String::from("| From | When | Only if | To | Then it |\n|---|---|---|---|---|\n");
    for row in TABLE {
        let guard = if row.guard.is_empty() { String::new() } else { format!("`{}`", row.guard) };
        let _ = writeln!(out, "| {} | {} | {guard} | {} | {} |", row.from, row.trigger, row.to, row.action);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let text = "a\n<!-- generated: x -->\nold\n<!-- end: x -->\nb\n";
        assert_eq!(replace(text, "x", "new\n"), "a\n<!-- generated: x -->\nnew\n<!-- end: x -->\nb\n");
        assert_eq!(replace("a\n", "y", "new\n"), "a\n\n<!-- generated: y -->\nnew\n<!-- end: y -->\n");
    }

    #[test]
    fn generating_twice_changes_nothing() {
        let once = replace("", "diagram", &diagram());
        assert_eq!(replace(&once, "diagram", &diagram()), once);
    }
}
