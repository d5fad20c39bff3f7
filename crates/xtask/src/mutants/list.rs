//! The files of the deliberate faults: what each breaks, and the text that it replaces.

use std::path::Path;

use anyhow::{Context, bail, ensure};

/// Where they are.
pub(super) const FOLDER: &str = "crates/simulation/mutants";

/// A deliberate fault.
#[derive(Debug)]
pub(super) struct Mutant {
    /// The name of its file.
    pub(super) name: String,
    /// What it breaks, in a sentence.
    pub(super) breaks: String,
    /// The law that should catch it.
    pub(super) law: String,
    /// What is replaced, in order.
    pub(super) hunks: Vec<Hunk>,
}

/// One replacement.
#[derive(Debug)]
pub(super) struct Hunk {
    /// In which file below the root.
    pub(super) file: String,
    /// What is there exactly once.
    pub(super) find: String,
    /// What is put there instead.
    pub(super) replace: String,
}

impl Hunk {
    /// The text of the file with the fault in it.
    ///
    /// # Errors
    /// What is to be replaced is not there exactly once.
    pub(super) fn apply(&self, text: &str) -> anyhow::Result<String> {
        let count = text.matches(&self.find).count();
        ensure!(count == 1, "{}: the text to find is there {count} times:\n{}", self.file, self.find);
        Ok(text.replacen(&self.find, &self.replace, 1))
    }
}

/// All of them, by name.
pub(super) fn read(root: &Path) -> anyhow::Result<Vec<Mutant>> {
    let folder = root.join(FOLDER);
    let mut mutants = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        mutants.push(parse(&name, &text).with_context(|| path.display().to_string())?);
    }
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(mutants)
}

/// Lines `breaks:`, `law:` and `file:`, then the text to find between `--- find` and `--- replace`, and the
/// other up to `--- end`; from `file:` on again for each further replacement.
fn parse(name: &str, text: &str) -> anyhow::Result<Mutant> {
    let mut mutant =
        Mutant { name: name.to_owned(), breaks: String::new(), law: String::new(), hunks: Vec::new() };
    let mut file = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        match line.split_once(": ") {
            Some(("breaks", breaks)) => mutant.breaks = breaks.to_owned(),
            Some(("law", law)) => mutant.law = law.to_owned(),
            Some(("file", named)) => file = named.to_owned(),
            _ if line == "--- find" => {
                let find = until(&mut lines, "--- replace")?;
                let replace = until(&mut lines, "--- end")?;
                mutant.hunks.push(Hunk { file: file.clone(), find, replace });
            }
            _ if line.is_empty() => {}
            _ => bail!("not understood: `{line}`"),
        }
    }
    ensure!(!mutant.breaks.is_empty() && !mutant.law.is_empty(), "`breaks:` and `law:` are needed");
    ensure!(!mutant.hunks.is_empty(), "nothing is replaced");
    Ok(mutant)
}

fn until<'t>(lines: &mut impl Iterator<Item = &'t str>, mark: &str) -> anyhow::Result<String> {
    let mut body = Vec::new();
    for line in lines {
        if line == mark {
            return Ok(body.join("\n"));
        }
        body.push(line);
    }
    bail!("`{mark}` is missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of the code must not leave a fault behind that breaks nothing.
    #[test]
    fn every_fault_finds_its_text_exactly_once() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mutants = read(&root).unwrap();
        assert!(mutants.len() >= 14, "only {}", mutants.len());
        for mutant in mutants {
            for hunk in mutant.hunks {
                let text = std::fs::read_to_string(root.join(&hunk.file)).unwrap();
                assert_ne!(hunk.apply(&text).unwrap(), text, "{}", mutant.name);
            }
        }
    }
}
