//! What is wrong with a spec, where, and what to do about it.

use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a thought; the spec is accepted.
    Warning,
    /// The spec is refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One fault, with its place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; 0 when the fault is not in any line (a missing file's worth of spec).
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters are meant, at least 1.
    pub length: usize,
    /// The whole line of the source.
    pub source_line: String,
    /// What is wrong: one sentence.
    pub message: String,
    /// Further lines that show it: a sum, a table.
    pub details: Vec<String>,
    /// What to do.
    pub suggestion: Option<String>,
}

impl Diagnostic {
    /// The fault for people: message, place, the line with a caret under it, details and suggestion.
    /// With `color`, severity and carets stand out (ANSI escapes).
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let (paint, bold, plain) = match (color, self.severity) {
            (false, _) => ("", "", ""),
            (true, Severity::Error) => ("\x1b[1;31m", "\x1b[1m", "\x1b[0m"),
            (true, Severity::Warning) => ("\x1b[1;33m", "\x1b[1m", "\x1b[0m"),
        };
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let mut text = format!("{paint}{}{plain}{bold}: {}{plain}\n", self.severity, shown(&self.message));
        text += &format!("{margin}--> {}:{}:{}\n", self.file, self.line, self.column);
        if !self.source_line.trim().is_empty() {
            let before: String =
                self.source_line.chars().take(self.column.saturating_sub(1)).map(blank).collect();
            text += &format!("{number} | {}\n", shown(&self.source_line));
            text += &format!("{margin} | {before}{paint}{}{plain}\n", "^".repeat(self.length.max(1)));
        }
        for line in &self.details {
            text += &format!("{margin} | {}\n", shown(line));
        }
        if let Some(suggestion) = &self.suggestion {
            text += &format!("{margin} = {bold}help{plain}: {}\n", shown(suggestion));
        }
        text
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// The same width without ink: a tab stays one, so that the caret stands under its character.
fn blank(character: char) -> char {
    if character == '\t' { '\t' } else { ' ' }
}

/// What a terminal must not interpret (escape sequences in a spec from elsewhere) is replaced.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}
