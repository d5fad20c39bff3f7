//! Every dependency has a reason, a licence that we may ship, and one version.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::Metadata;

use super::Tree;

/// Licences that may be shipped with Apache-2.0; `deny.toml` lists the same.
const LICENCES: [&str; 10] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
];

/// Crates that come in two versions for now, with who brings the older one.
const TWICE: [(&str, &str); 12] = [
    ("base64", "OpenTelemetry and tonic are one behind postgres-protocol"),
    ("getrandom", "ring is at 0.2, proptest at 0.3, postgres-protocol at 0.4"),
    ("rand", "proptest and OpenTelemetry differ"),
    ("rand_core", "comes with rand"),
    ("syn", "derive macros move to 3 one by one"),
    ("cpufeatures", "postgres-protocol's digests are ahead"),
    ("windows-sys", "not built on Linux"),
    ("hashbrown", "prost's build side and indexmap differ"),
    ("itertools", "prost's two halves differ"),
    ("r-efi", "not built on Linux; comes with getrandom"),
    ("synstructure", "derive macros move to syn 3 one by one"),
    ("wasi", "not built on Linux; comes with getrandom"),
];

pub(super) fn check(tree: &Tree, metadata: &Metadata) -> Vec<String> {
    let mut faults = reasons(tree.text("Cargo.toml").unwrap_or_default());
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in metadata.packages.iter().filter(|p| p.source.is_some()) {
        versions.entry(&package.name).or_default().insert(package.version.to_string());
        let licence = package.license.as_deref().unwrap_or("none");
        if !allowed(licence) {
            faults.push(format!(
                "{} {}: licence `{licence}` is not in the list",
                package.name, package.version
            ));
        }
    }
    for (name, versions) in versions {
        if versions.len() > 1 && !TWICE.iter().any(|(n, _)| *n == name) && !name.starts_with("windows") {
            faults.push(format!("{name} comes in several versions: {versions:?}"));
        }
    }
    faults
}

/// Each entry below `# --- from outside ---` follows a comment, or an entry that has one.
fn reasons(manifest: &str) -> Vec<String> {
    let outside = manifest.split("# --- from outside ---").nth(1).unwrap_or_default();
    let section = outside.split("\n[").next().unwrap_or_default();
    let mut explained = false;
    let mut faults = Vec::new();
    for line in section.lines() {
        match line.trim() {
            "" => explained = false,
            comment if comment.starts_with('#') => explained = true,
            entry if !explained => faults.push(format!("Cargo.toml: no reason above `{entry}`")),
            _ => {}
        }
    }
    faults
}

/// An expression is allowed when one choice of each `OR` is; `AND` needs both.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], "");
    let known = |name: &str| LICENCES.contains(&name.trim());
    expression.split(" AND ").all(|part| part.split(" OR ").any(known)) || known(&expression)
}
