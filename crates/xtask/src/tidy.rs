//! What can be checked is not argued in review. Each check is a file below, one function each, that
//! returns sentences; an empty list is a tidy tree.

use std::path::{Path, PathBuf};

use anyhow::Context;

mod arrows;
mod dependencies;
mod documents;
mod purity;
mod shape;

/// Runs every check.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let tree = Tree::read(root)?;
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .other_options(["--locked".to_owned()])
        .exec()
        .context("cargo metadata")?;
    let mut faults = arrows::check(&tree, &metadata);
    faults.extend(purity::check(&tree));
    faults.extend(shape::check(&tree));
    faults.extend(documents::check(&tree));
    faults.extend(dependencies::check(&tree, &metadata));
    Ok(faults)
}

/// The text files that git knows of or would take, read once.
pub(crate) struct Tree {
    /// Path from the root, and the text.
    pub(crate) files: Vec<(String, String)>,
}

impl Tree {
    fn read(root: &Path) -> anyhow::Result<Self> {
        let listed = std::process::Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("git ls-files")?;
        let mut files = Vec::new();
        for name in String::from_utf8_lossy(&listed.stdout).lines() {
            let path: PathBuf = root.join(name);
            if path.is_file() {
                // A picture has no text, but documents may name it.
                files.push((name.to_owned(), std::fs::read_to_string(&path).unwrap_or_default()));
            }
        }
        Ok(Self { files })
    }

    /// Rust sources of one crate, without its tests.
    pub(crate) fn sources<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.rust().filter(move |(path, _)| path.starts_with(&format!("{folder}/src/")) && !is_test(path))
    }

    /// All Rust sources, tests included.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter(|(p, _)| p.ends_with(".rs")).map(|(p, t)| (p.as_str(), t.as_str()))
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|(p, _)| p == path).map(|(_, t)| t.as_str())
    }

    /// Is there such a file or folder?
    pub(crate) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.files.iter().any(|(p, _)| p == path || p.starts_with(&format!("{path}/")))
    }
}

/// Tests live in `tests/`, or in files and folders named so.
pub(crate) fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.starts_with("fuzz/")
}

/// The part of a source before its unit tests.
pub(crate) fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}
