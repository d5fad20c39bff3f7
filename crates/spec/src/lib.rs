//! The file that a user writes: versioned resources → model; every error at once, each with its place.
//!
//! A spec is read in steps, each of which goes on after a fault so that all are told together:
//! text → tree (`tree`), tree → what was written (`kinds`, declared with the forms of `form`), what was
//! written → what is meant (`meaning`: defaults, references, contradictions), and at last the judgement
//! of `planner` on the whole, put at the place it is about. [`write()`] is the inverse of [`read`].
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
mod parse;
pub mod reading;
mod source;
mod tree;
mod write;

use meridian_model::System;

pub use diagnostic::{Diagnostic, Severity};
pub use parse::{Inspection, inspect, inspect_some};
pub use write::write;

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
pub fn read(files: &[SourceFile]) -> Result<System, Vec<Diagnostic>> {
    let inspection = inspect(files);
    inspection.system.ok_or(inspection.diagnostics)
}

/// The JSON Schema (draft 2020-12) of one document of a spec.
#[must_use]
pub fn schema() -> serde_json::Value {
    kinds::schema()
}
