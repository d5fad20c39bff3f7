//! The arrows between crates equal the table in ARCHITECTURE.md, and point down.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata};

use super::Tree;

/// Layers from the bottom up: an arrow goes to the same layer or a lower one.
const LAYERS: [&str; 6] = ["words", "minds", "hands", "whole", "top", "proof"];

pub(super) fn check(tree: &Tree, metadata: &Metadata) -> Vec<String> {
    let Some(text) = tree.text("ARCHITECTURE.md") else {
        return vec!["ARCHITECTURE.md is missing: it holds the table of crates".to_owned()];
    };
    let table = parse(text);
    let layers: BTreeMap<&str, usize> = table.iter().map(|(name, row)| (name.as_str(), row.layer)).collect();
    let mut faults = Vec::new();
    for package in metadata.workspace_packages() {
        let name = short(&package.name);
        let Some(row) = table.get(name) else {
            faults.push(format!("crate `{name}` has no row in the table of ARCHITECTURE.md"));
            continue;
        };
        let real: BTreeSet<String> = package
            .dependencies
            .iter()
            .filter(|d| d.kind == DependencyKind::Normal && d.path.is_some())
            .map(|d| short(&d.name).to_owned())
            .collect();
        if real != row.uses {
            faults.push(format!("crate `{name}` uses {real:?}, but ARCHITECTURE.md says {:?}", row.uses));
        }
        for used in &real {
            if layers.get(used.as_str()).is_some_and(|layer| *layer > row.layer) {
                faults.push(format!("crate `{name}` uses `{used}`, which lies above it"));
            }
        }
    }
    faults
}

struct Row {
    layer: usize,
    uses: BTreeSet<String>,
}

/// Rows of the form `| layer | [`name`](path) or `name` | uses | .. |`.
fn parse(text: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|l| l.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [layer, name, uses, ..] = cells.as_slice() else { continue };
        let Some(layer) = LAYERS.iter().position(|l| l == layer) else { continue };
        let uses = uses.split(',').map(|u| u.trim().trim_matches('`').to_owned());
        let uses = uses.filter(|u| !u.is_empty() && u != "-").collect();
        rows.insert(name.trim_matches('`').to_owned(), Row { layer, uses });
    }
    rows
}

fn short(package: &str) -> &str {
    package.strip_prefix("meridian-").unwrap_or(package)
}
