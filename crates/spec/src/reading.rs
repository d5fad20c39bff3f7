//! The YAML tree with its places, for kinds of files that other crates own (a drill is one).
//!
//! The same reader and the same diagnostics as for a spec, so that every file of the project is told
//! its faults in the same way. What the fields mean is decided by whoever owns the kind.

use crate::SourceFile;
use crate::diagnostic::Diagnostic;
pub use crate::kinds::KINDS;
use crate::source::{Place, Problems};
use crate::tree::{self, Data, Node};

/// Is the first document of the file of that kind? One that cannot be read is judged by its lines.
#[must_use]
pub fn is_of_kind(file: &SourceFile, kind: &str) -> bool {
    let (documents, _) = tree::documents(0, file, &mut Problems::default());
    let written = documents.first().and_then(|first| first.get("kind")).map(|entry| &entry.value.data);
    match (documents.is_empty(), written) {
        (true, _) => {
            file.text.lines().any(|l| l.strip_prefix("kind:").is_some_and(|rest| rest.trim() == kind))
        }
        (_, Some(Data::Scalar(text))) => text == kind,
        _ => false,
    }
}

/// A file that was read: its documents, and the faults found so far.
#[derive(Debug)]
pub struct Reading {
    files: [SourceFile; 1],
    documents: Vec<Node>,
    faults: Faults,
}

/// Faults, each with its place, found so far.
#[derive(Debug, Default)]
pub struct Faults(Problems);

/// Something in a file: a key or a value.
#[derive(Debug, Clone, Copy)]
pub struct Spot<'n> {
    place: Place,
    node: Option<&'n Node>,
}

/// A key with its value.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'n> {
    /// The text of the key.
    pub key: &'n str,
    /// Where the key is.
    pub key_spot: Spot<'n>,
    /// The value.
    pub value: Spot<'n>,
}

impl Reading {
    /// Reads the YAML; syntax errors and duplicate keys are among the faults.
    #[must_use]
    pub fn new(file: SourceFile) -> Self {
        let mut faults = Faults::default();
        let (documents, _) = tree::documents(0, &file, &mut faults.0);
        Self { files: [file], documents, faults }
    }

    /// Hands every document and the faults to `understand`; what it makes counts only without faults.
    ///
    /// # Errors
    /// Every fault in the order of the source; never empty.
    pub fn finish<T>(
        mut self,
        understand: impl FnOnce(&[Spot<'_>], &mut Faults) -> Option<T>,
    ) -> Result<T, Vec<Diagnostic>> {
        let spots: Vec<Spot<'_>> = self.documents.iter().map(Spot::of).collect();
        let understood = understand(&spots, &mut self.faults);
        match understood.filter(|_| !self.faults.0.refused()) {
            Some(value) => Ok(value),
            None => {
                if !self.faults.0.refused() {
                    let start = Spot::START.place;
                    self.faults.0.error(start, "nothing in this file can be used", "");
                }
                Err(self.faults.0.into_diagnostics(&self.files))
            }
        }
    }
}

impl Faults {
    /// There is none so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.0.refused()
    }

    /// Adds an error; an empty suggestion is none.
    pub fn error(&mut self, spot: Spot<'_>, message: impl Into<String>, suggestion: impl Into<String>) {
        self.0.error(spot.place, message, suggestion);
    }
}

impl<'n> Spot<'n> {
    /// The beginning of the file.
    pub const START: Self = Spot { place: Place { file: 0, line: 1, column: 1, length: 1 }, node: None };

    fn of(node: &'n Node) -> Self {
        Self { place: node.place, node: Some(node) }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn text(self) -> Option<&'n str> {
        match &self.node?.data {
            Data::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if it is a list.
    #[must_use]
    pub fn items(self) -> Option<Vec<Self>> {
        match &self.node?.data {
            Data::List(items) => Some(items.iter().map(Self::of).collect()),
            _ => None,
        }
    }

    /// The fields, if it is a mapping.
    #[must_use]
    pub fn fields(self) -> Option<Vec<Pair<'n>>> {
        let Data::Map(entries) = &self.node?.data else { return None };
        let pair = |e: &'n tree::Entry| Pair {
            key: &e.key,
            key_spot: Spot { place: e.key_place, node: None },
            value: Self::of(&e.value),
        };
        Some(entries.iter().map(pair).collect())
    }

    /// What stands here, for a message: `nothing`, `` `12` ``, `a list`.
    #[must_use]
    pub fn found(self) -> String {
        match self.node.map(|n| &n.data) {
            None | Some(Data::Nothing) => "nothing".to_owned(),
            Some(Data::Scalar(text)) => format!("`{}`", text.chars().take(60).collect::<String>()),
            Some(Data::List(_)) => "a list".to_owned(),
            Some(Data::Map(_)) => "a mapping".to_owned(),
        }
    }
}
