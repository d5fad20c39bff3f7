//! Documents tell the truth: every path that they name exists, they name no line numbers, and what is
//! generated is current.

use super::Tree;
use crate::diagrams;

/// Folders in which a word with a slash is a path of ours.
const ROOTS: [&str; 8] =
    ["crates/", "docs/", "examples/", "drills/", "script/", "fuzz/", ".ci/", "changelog.d/"];

pub(super) fn check(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in tree.files.iter().filter(|(p, _)| p.ends_with(".md")) {
        for word in words(text) {
            if word.contains(".rs:") {
                faults.push(format!("{path}: `{word}` names a line; lines move"));
            }
            let named = word.trim_start_matches("./").trim_end_matches(['.', ',', ':', ';']);
            let ours = ROOTS.iter().any(|r| named.starts_with(r)) && !named.contains(['*', '<', '{', '$']);
            if ours && !tree.has(named) {
                faults.push(format!("{path}: names `{named}`, which does not exist"));
            }
        }
    }
    for (path, text) in diagrams::generate() {
        if tree.text(&path) != Some(&text) {
            faults.push(format!("{path}: out of date; run `cargo xtask diagrams`"));
        }
    }
    faults
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || "`()[]|\"'".contains(c)).filter(|w| !w.is_empty())
}
