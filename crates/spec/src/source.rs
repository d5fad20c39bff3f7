//! Places in the source, and the lines they point at.

use crate::SourceFile;
use crate::diagnostic::{Diagnostic, Severity};

/// Where something is written. Lines and columns count from 1, columns and lengths in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) length: usize,
}

/// A fault, before the source line is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    pub(crate) place: Place,
    pub(crate) message: String,
    pub(crate) details: Vec<String>,
    pub(crate) suggestion: Option<String>,
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    /// The names of the files, by number.
    names: Vec<String>,
    /// Some of the spec could not be read: see [`Problems::absent`].
    partial: bool,
    /// Errors on which no judgement rests: see [`Problems::error_apart`].
    apart: usize,
}

impl Problems {
    /// For these files.
    pub(crate) fn of(files: &[SourceFile]) -> Self {
        Self { names: files.iter().map(|f| f.name.clone()).collect(), ..Self::default() }
    }

    /// The name of a file, by its number.
    pub(crate) fn file(&self, number: usize) -> &str {
        self.names.get(number).map_or("", String::as_str)
    }

    /// `line 12`, with the file if it is another than that of `from`.
    pub(crate) fn line(&self, place: Place, from: Place) -> String {
        match self.names.get(place.file).filter(|_| place.file != from.file) {
            Some(file) => format!("line {} of {file}", place.line),
            None => format!("line {}", place.line),
        }
    }

    /// Adds an error.
    pub(crate) fn error(&mut self, place: Place, message: impl Into<String>, suggestion: impl Into<String>) {
        self.add(Severity::Error, place, message.into(), suggestion.into());
    }

    /// Adds an error about something that no check of the whole looks at: these go on all the same.
    pub(crate) fn error_apart(
        &mut self,
        place: Place,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) {
        self.error(place, message, suggestion);
        self.apart += 1;
    }

    /// Nothing was found that the checks of the whole could be misled by.
    pub(crate) fn can_be_judged(&self) -> bool {
        self.errors() == self.apart
    }

    /// From here on what is not there may be in the part that could not be read.
    pub(crate) fn some_is_unread(&mut self) {
        self.partial = true;
    }

    /// Adds an error about something that is not there; not told where it may be in what could not be read.
    pub(crate) fn absent(&mut self, place: Place, message: impl Into<String>, suggestion: impl Into<String>) {
        if !self.partial {
            self.error(place, message, suggestion);
        }
    }

    /// Adds a warning.
    pub(crate) fn warning(
        &mut self,
        place: Place,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) {
        self.add(Severity::Warning, place, message.into(), suggestion.into());
    }

    fn add(&mut self, severity: Severity, place: Place, message: String, suggestion: String) {
        let suggestion = (!suggestion.is_empty()).then_some(suggestion);
        self.push(Problem { severity, place, message, details: Vec::new(), suggestion });
    }

    /// Adds a finished problem.
    pub(crate) fn push(&mut self, problem: Problem) {
        self.found.push(problem);
    }

    /// True if any of them refuses the spec.
    pub(crate) fn refused(&self) -> bool {
        self.errors() > 0
    }

    /// How many of them refuse the spec.
    pub(crate) fn errors(&self) -> usize {
        self.found.iter().filter(|p| p.severity == Severity::Error).count()
    }

    /// All of them in the order of the source, each with its line; at most [`DIAGNOSTICS_MAX`].
    pub(crate) fn into_diagnostics(mut self, files: &[SourceFile]) -> Vec<Diagnostic> {
        self.found.sort_by_key(|p| p.place);
        self.found.dedup();
        let left_out = self.found.len().saturating_sub(DIAGNOSTICS_MAX);
        self.found.truncate(DIAGNOSTICS_MAX);
        let mut told: Vec<_> = self.found.into_iter().map(|p| diagnostic(p, files)).collect();
        if let Some(last) = told.last_mut().filter(|_| left_out > 0) {
            last.details.push(format!("and {left_out} more after this one"));
        }
        told
    }
}

fn diagnostic(problem: Problem, files: &[SourceFile]) -> Diagnostic {
    let file = files.get(problem.place.file);
    let line = file.and_then(|f| f.text.lines().nth(problem.place.line.saturating_sub(1)));
    let source_line: String = line.unwrap_or_default().chars().take(LINE_MAX).collect();
    let room = source_line.chars().count().saturating_sub(problem.place.column.saturating_sub(1));
    Diagnostic {
        severity: problem.severity,
        file: file.map_or_else(String::new, |f| f.name.clone()),
        line: problem.place.line,
        column: problem.place.column,
        length: problem.place.length.clamp(1, room.max(1)),
        source_line,
        message: problem.message,
        details: problem.details,
        suggestion: problem.suggestion,
    }
}

/// What one reading tells at most; a file that is no spec at all has no end of faults.
const DIAGNOSTICS_MAX: usize = 200;
/// What is shown of a line at most, in characters.
const LINE_MAX: usize = 400;
