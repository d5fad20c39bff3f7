//! YAML as far as writing a spec needs it: block style, text quoted whenever it must be.

use std::fmt::{self, Write};

/// A value to write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Yaml {
    /// Not written at all; a mapping leaves the key out.
    Nothing,
    Text(String),
    /// A number, as it stands.
    Number(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

/// A text.
pub(super) fn text(text: impl AsRef<str>) -> Yaml {
    Yaml::Text(text.as_ref().to_owned())
}

/// A number.
pub(super) fn number(number: impl ToString) -> Yaml {
    Yaml::Number(number.to_string())
}

/// A list.
pub(super) fn list(items: impl IntoIterator<Item = Yaml>) -> Yaml {
    Yaml::List(items.into_iter().collect())
}

/// A mapping, in this order.
pub(super) fn map<const N: usize>(entries: [(&str, Yaml); N]) -> Yaml {
    Yaml::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

impl fmt::Display for Yaml {
    /// At the top a mapping; it ends with a line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0, false)
    }
}

impl Yaml {
    /// Writes the value at that depth. `inline`: the first line of a mapping continues the current one.
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize, inline: bool) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Text(text) => writeln!(f, "{}", Quoted(text)),
            Self::Number(number) => writeln!(f, "{number}"),
            Self::List(items) => items.iter().try_for_each(|item| {
                write!(f, "{:indent$}- ", "", indent = depth * 2)?;
                match item {
                    Self::List(_) => f.write_str("[]\n"),
                    item => item.write(f, depth + 1, true),
                }
            }),
            Self::Map(entries) => {
                let written = entries.iter().filter(|(_, value)| !matches!(value, Self::Nothing));
                written.enumerate().try_for_each(|(number, (key, value))| {
                    let indent = if inline && number == 0 { 0 } else { depth * 2 };
                    write!(f, "{:indent$}{}:", "", Quoted(key))?;
                    value.write_after_key(f, depth)
                })
            }
        }
    }

    fn write_after_key(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        match self {
            Self::Text(text) => writeln!(f, " {}", Quoted(text)),
            Self::Number(number) => writeln!(f, " {number}"),
            Self::List(items) if items.is_empty() => f.write_str(" []\n"),
            Self::Map(entries) if entries.iter().all(|(_, value)| matches!(value, Self::Nothing)) => {
                f.write_str(" {}\n")
            }
            nested => {
                f.write_char('\n')?;
                nested.write(f, depth + 1, false)
            }
        }
    }
}

/// A text as a scalar: plain where that is safe, else in double quotes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain(self.0) {
            return f.write_str(self.0);
        }
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                ' '..='~' => f.write_char(character)?,
                c if c.is_alphanumeric() => f.write_char(c)?,
                c => write!(f, "\\U{:08X}", u32::from(c))?,
            }
        }
        f.write_char('"')
    }
}

/// Safe without quotes: letters, digits and a few marks that mean nothing to YAML where they stand, and
/// nothing that YAML takes for a number, a truth value or nothing.
fn is_plain(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-._/%".contains(&b);
    let first = |b: u8| b.is_ascii_alphanumeric() || b == b'/';
    let special = ["null", "true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word));
    let number = text.parse::<f64>().is_ok() || text.starts_with("0x") || text.starts_with("0o");
    text.bytes().next().is_some_and(first) && text.bytes().all(inner) && !special && !number
}
