//! The way of a spec through all its steps: text, tree, what was written, what is meant, judgement.

use std::path::{Path, PathBuf};

use meridian_model::System;
use meridian_planner::Finding;

use crate::source::{Problem, Problems};
use crate::{Diagnostic, Severity, SourceFile, kinds, meaning, tree};

/// What came of a spec: the system if it has no errors, and all that is to be said about it.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The system; none if there is any error.
    pub system: Option<System>,
    /// Errors and warnings, in the order of the source.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads the files as one spec, and tells warnings too.
#[must_use]
pub fn inspect(files: &[SourceFile]) -> Inspection {
    inspected(files, true)
}

/// What is wrong with these files of a spec of which others could not be read at all: there is no system, and what
/// may be in the others is not missed.
#[must_use]
pub fn inspect_some(files: &[SourceFile]) -> Inspection {
    inspected(files, false)
}

fn inspected(files: &[SourceFile], all: bool) -> Inspection {
    let mut problems = Problems::of(files);
    let system = system(files, all, &mut problems);
    let system = system.filter(|_| !problems.refused());
    Inspection { system, diagnostics: problems.into_diagnostics(files) }
}

fn system(files: &[SourceFile], all: bool, problems: &mut Problems) -> Option<System> {
    let mut resources = Vec::new();
    let mut whole = all;
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
        problems.some_is_unread();
    }
    if meaning::are_separate(&resources, problems) {
        return None;
    }
    let folders: Vec<PathBuf> = files.iter().map(|f| folder(&f.name)).collect();
    let meant = meaning::meant(&resources, &folders, problems).filter(|_| whole)?;
    if problems.can_be_judged() {
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
        message: meant.in_users_words(&finding.message),
        details: finding.details.iter().map(|line| meant.in_users_words(line)).collect(),
        suggestion: Some(meant.in_users_words(&finding.suggestion)).filter(|text| !text.is_empty()),
    }
}
