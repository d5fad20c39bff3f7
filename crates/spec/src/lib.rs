//! The file that a user writes: versioned resources → model; every error at once, each with its place.

use meridian_model::System;

mod diagnostic;

pub use diagnostic::{Diagnostic, Severity};

/// A file of a spec, already read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path as the user gave it: shown in messages; relative paths inside are relative to its folder.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Reads the files as one spec.
///
/// # Errors
/// Every fault of every file, each with its place; never empty.
pub fn read(_files: &[SourceFile]) -> Result<System, Vec<Diagnostic>> {
    Err(Vec::new())
}

/// The JSON Schema (draft 2020-12) of the spec.
#[must_use]
pub fn schema() -> serde_json::Value {
    serde_json::Value::Null
}

/// The spec that [`read`] turns into the equal system.
#[must_use]
pub fn write(_system: &System) -> String {
    String::new()
}
