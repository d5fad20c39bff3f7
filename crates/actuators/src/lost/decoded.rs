//! What `test_decoding` writes, turned into transactions. Pure.
//!
//! The text is unambiguous: names are quoted as in SQL, and values are in single quotes (doubled within)
//! unless they are numbers, truth values, bits, null or unchanged.

use std::collections::BTreeMap;

use meridian_model::Lsn;

use super::{LostChange, LostTransaction, LostValue, Operation};

/// The columns of each table's key, as SQL writes both.
pub(crate) type Keys = BTreeMap<String, Vec<String>>;

/// Gathers lines of (place, text) into the transactions whose commit ends after a place.
#[derive(Debug)]
pub(crate) struct Gathering {
    after: Lsn,
    keys: Keys,
    open: Vec<LostChange>,
    pub(crate) lost: Vec<LostTransaction>,
    /// Lines that were not understood.
    pub(crate) unread: u64,
}

impl Gathering {
    pub(crate) fn new(after: Lsn, keys: Keys) -> Self {
        Self { after, keys, open: Vec::new(), lost: Vec::new(), unread: 0 }
    }

    /// One line of `pg_logical_slot_peek_changes`.
    pub(crate) fn line(&mut self, lsn: Lsn, text: &str) {
        if text.starts_with("BEGIN ") {
            self.open.clear();
        } else if let Some(commit) = text.strip_prefix("COMMIT ") {
            self.commit(lsn, commit);
        } else if text.starts_with("table ") {
            match change(text, &self.keys) {
                Some(change) => self.open.push(change),
                None => self.unread += 1,
            }
        }
    }

    /// `735 (at 2026-11-25 11:21:04.148361+00)`; the place is the end of its record.
    fn commit(&mut self, lsn: Lsn, text: &str) {
        let changes = std::mem::take(&mut self.open);
        if lsn <= self.after {
            return;
        }
        let (xid, at) = text.split_once(" (at ").unwrap_or((text, ""));
        let Ok(xid) = xid.trim().parse() else {
            self.unread += 1;
            return;
        };
        let committed_at = at.trim_end_matches(')').replacen(' ', "T", 1).replace("+00", "Z");
        self.lost.push(LostTransaction { xid, lsn, committed_at, changes });
    }
}

/// `table public.t: UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:10 name[text]:'x'`.
fn change(text: &str, keys: &Keys) -> Option<LostChange> {
    let (table, rest) = table(text.strip_prefix("table ")?)?;
    let (operation, rest) = rest.split_once(": ")?;
    let operation = match operation {
        "INSERT" => Operation::Insert,
        "UPDATE" => Operation::Update,
        "DELETE" => Operation::Delete,
        "TRUNCATE" => Operation::Truncate,
        _ => return None,
    };
    let table = table.to_owned();
    if operation == Operation::Truncate || rest == "(no-tuple-data)" {
        return Some(LostChange { table, operation, key: Vec::new(), row: Vec::new() });
    }
    let (old, rest) = match rest.strip_prefix("old-key: ") {
        Some(rest) => columns(rest)?,
        None => (Vec::new(), rest),
    };
    let (mut row, rest) = columns(rest.strip_prefix("new-tuple: ").unwrap_or(rest))?;
    if !rest.is_empty() {
        return None;
    }
    let named = keys.get(&table);
    let is_key = |value: &&LostValue| named.is_some_and(|names| names.contains(&value.column));
    let key: Vec<_> = match (operation, old.is_empty()) {
        // Without a known key the decoder's own is the best there is.
        (Operation::Delete, _) if named.is_none() => row.clone(),
        (_, false) if named.is_none() => old,
        (_, false) => old.iter().filter(is_key).cloned().collect(),
        _ => row.iter().filter(is_key).cloned().collect(),
    };
    if operation == Operation::Delete {
        row.clear();
    }
    Some(LostChange { table, operation, key, row })
}

/// The table's name (or names, when several are emptied at once) and what follows the colon.
fn table(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let end = text.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (c == ':' && !quoted).then_some(at)
    })?;
    Some((text.get(..end)?, text.get(end..)?.strip_prefix(": ")?))
}

/// Columns up to `new-tuple:` or the end, and what is left.
fn columns(mut text: &str) -> Option<(Vec<LostValue>, &str)> {
    let mut columns = Vec::new();
    while !text.is_empty() && !text.starts_with("new-tuple: ") {
        let (column, rest) = name(text)?;
        let (value, rest) = value(after_type(rest)?)?;
        let unchanged = value == Value::Unchanged;
        let value = if let Value::Text(text) = value { Some(text) } else { None };
        columns.push(LostValue { column, value, unchanged });
        text = rest.strip_prefix(' ').unwrap_or(rest);
    }
    Some((columns, text))
}

fn name(text: &str) -> Option<(String, &str)> {
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    let end = text.find('[')?;
    Some((text.get(..end)?.to_owned(), text.get(end..)?))
}

/// What follows `[type]:`; a type may hold brackets and quoted names.
fn after_type(text: &str) -> Option<&str> {
    let (mut depth, mut in_name) = (0_u32, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' => in_name = !in_name,
            '[' if !in_name => depth += 1,
            ']' if !in_name => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return text.get(at + 1..)?.strip_prefix(':');
                }
            }
            _ => {}
        }
    }
    None
}

#[derive(Debug, PartialEq, Eq)]
enum Value {
    Null,
    Unchanged,
    Text(String),
}

fn value(text: &str) -> Option<(Value, &str)> {
    if let Some(bits) = text.strip_prefix('B').filter(|rest| rest.starts_with('\'')) {
        return quoted(bits, '\'').map(|(bits, rest)| (Value::Text(bits), rest));
    }
    if text.starts_with('\'') {
        return quoted(text, '\'').map(|(text, rest)| (Value::Text(text), rest));
    }
    let (word, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
    let value = match word {
        "" => return None,
        "null" => Value::Null,
        "unchanged-toast-datum" => Value::Unchanged,
        plain => Value::Text(plain.to_owned()),
    };
    Some((value, rest))
}

/// What stands between two `mark`s, where a doubled one means itself, and what follows.
fn quoted(text: &str, mark: char) -> Option<(String, &str)> {
    let mut inside = String::new();
    let mut rest = text.strip_prefix(mark)?;
    loop {
        let (part, after) = rest.split_once(mark)?;
        inside.push_str(part);
        match after.strip_prefix(mark) {
            Some(after) => {
                inside.push(mark);
                rest = after;
            }
            None => return Some((inside, after)),
        }
    }
}

/// A field of a file that `COPY ... TO` wrote in its text format.
pub(crate) fn unescaped(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('v') => '\u{b}',
                Some(other) => other,
                None => '\\',
            },
            plain => plain,
        });
    }
    text
}

#[cfg(test)]
mod tests;
