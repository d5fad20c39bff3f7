//! Sizes, module docs, and marks that must not stay. Sizes have a ratchet: what is over the wish is
//! listed in `crates/xtask/ratchet.txt` and may shrink there, not grow.

use std::collections::BTreeMap;

use super::{Tree, is_test, without_tests};

/// Lines of a file without its tests: wished, and never more.
const WISHED: usize = 400;
const NEVER_OVER: usize = 800;

/// Marks of unfinished or fragile work, put together here so that this file does not hold them.
fn marks() -> [String; 5] {
    ["#[ig", "todo", "unimpl", "dbg", "FIX"].map(|start| match start {
        "#[ig" => "#[ignore".to_owned(),
        "todo" => "todo!(".to_owned(),
        "unimpl" => "unimplemented!(".to_owned(),
        "dbg" => "dbg!(".to_owned(),
        _ => ["FIX", "ME"].concat(),
    })
}

pub(super) fn check(tree: &Tree) -> Vec<String> {
    let ratchet = ratchet(tree.text("crates/xtask/ratchet.txt").unwrap_or_default());
    let mut faults = Vec::new();
    for (path, text) in tree.rust() {
        if !text.starts_with("//!") && !text.starts_with("#!") {
            faults.push(format!("{path}: opens without a module doc (`//! what and why`)"));
        }
        let own = path.ends_with("tidy/shape.rs");
        for mark in marks().iter().filter(|m| !own && text.contains(m.as_str())) {
            faults.push(format!("{path}: holds `{mark}`"));
        }
        if is_test(path) {
            continue;
        }
        let lines = without_tests(text).lines().count();
        let allowed = ratchet.get(path).copied().unwrap_or(WISHED).min(NEVER_OVER);
        if lines > allowed {
            faults.push(format!("{path}: {lines} lines without tests, {allowed} allowed: split it"));
        }
    }
    faults
}

fn ratchet(text: &str) -> BTreeMap<&str, usize> {
    let entry = |line: &'_ str| -> Option<(usize, usize)> { line.find(' ').map(|at| (at, at + 1)) };
    text.lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|line| {
            let (end, start) = entry(line)?;
            Some((line.get(..end)?, line.get(start..)?.trim().parse().ok()?))
        })
        .collect()
}
