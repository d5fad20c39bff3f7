//! The file that a user writes: versioned resources → model; every error at once, each with its place.
//!
//! A spec is read in steps, each of which goes on after a fault so that all are told together:
//! text → tree (`tree`), tree → what was written (`kinds`, declared with the forms of `form`), what was
//! written → what is meant (`meaning`: defaults, references, contradictions), and at last the judgement
//! of `planner` on the whole, put at the place it is about. [`write`] is the inverse of [`read`].
//!
//! **Addresses.** A region may have no `address`: the spec is then for the lab, which gives each region
//! its own; until then the model's addresses are unspecified (`0.0.0.0`) with the right ports, and
//! [`NodeAddresses::placed`](meridian_model::topology::NodeAddresses::placed) is false.
//! **Paths** that are relative begin at the folder of the file in which they are written.
//!
//! No file is opened here: callers bring the text.

mod diagnostic;
mod form;
mod kinds;
mod meaning;
pub mod reading;
mod source;
mod tree;
mod write;

use std::path::{Path, PathBuf};

use meridian_model::System;
use meridian_planner::Finding;

pub use diagnostic::{Diagnostic, Severity};
use source::{Problem, Problems};
pub use write::write;

/// A file of a spec, already read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path as the user gave it: shown in messages; relative paths inside are relative to its folder.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// What came of a spec: the system if it has no errors, and all that is to be said about it.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The system; none if there is any error.
    pub system: Option<System>,
    /// Errors and warnings, in the order of the source.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads the files as one spec.
///
/// # Errors
/// Every fault of every file, each with its place; never empty.
pub fn read(files: &[SourceFile]) -> Result<System, Vec<Diagnostic>> {
    let inspection = inspect(files);
    inspection.system.ok_or(inspection.diagnostics)
}

/// Reads the files as one spec, and tells warnings too.
#[must_use]
pub fn inspect(files: &[SourceFile]) -> Inspection {
    let mut problems = Problems::default();
    let system = system(files, &mut problems);
    let system = system.filter(|_| !problems.refused());
    Inspection { system, diagnostics: problems.into_diagnostics(files) }
}

fn system(files: &[SourceFile], problems: &mut Problems) -> Option<System> {
    let mut resources = Vec::new();
    let mut whole = true;
    for (number, file) in files.iter().enumerate() {
        let (documents, understood) = tree::documents(number, file, problems);
        whole &= understood;
        for document in &documents {
            match kinds::resource(document, problems) {
                Some(resource) => resources.push(resource),
                None => whole = false,
            }
        }
    }
    // What could not be read at all may be just what the rest refers to.
    if !whole {
        return None;
    }
    let folders: Vec<PathBuf> = files.iter().map(|f| folder(&f.name)).collect();
    let meant = meaning::meant(&resources, &folders, problems)?;
    if !problems.refused() {
        for finding in meridian_planner::check(&meant.system) {
            problems.push(placed(finding, &meant));
        }
    }
    Some(meant.system)
}

fn folder(file: &str) -> PathBuf {
    Path::new(file).parent().map(Path::to_owned).unwrap_or_default()
}

fn placed(finding: Finding, meant: &meaning::Meant) -> Problem {
    Problem {
        severity: match finding.severity {
            meridian_planner::Severity::Warning => Severity::Warning,
            meridian_planner::Severity::Error => Severity::Error,
        },
        place: meant.place(&finding.subject),
        message: finding.message,
        details: finding.details,
        suggestion: (!finding.suggestion.is_empty()).then_some(finding.suggestion),
    }
}

/// The JSON Schema (draft 2020-12) of one document of a spec.
#[must_use]
pub fn schema() -> serde_json::Value {
    kinds::schema()
}
