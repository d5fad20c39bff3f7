//! The two forms in which every command can answer, and what a terminal is told while it waits.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use meridian_model::Lsn;
use serde::Serialize;
use serde_json::Value;

/// How a command prints its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON value.
    Json,
}

/// Writes to standard output; a reader that went away (`| head`) is no error.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// An answer for programs, on several lines.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(&outside(value)?)? + "\n")
}

/// The same on one line.
pub(crate) fn json_line(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&outside(value)?)? + "\n")
}

/// In the forms of the outside: a share is a fraction from 0 to 1, a place in the log is PostgreSQL's text. Nodes tell
/// both to each other as whole numbers, so that they compare exactly.
fn outside(value: &impl Serialize) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(value)?;
    put_outside(&mut value);
    Ok(value)
}

/// The fields of the model that are places in the log, and those that are shares.
const PLACES: [&str; 3] = ["lsn", "replayed", "flushed"];
const SHARES: [&str; 2] = ["share", "dial"];

fn put_outside(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(put_outside),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_u64() {
                    Some(place) if PLACES.contains(&name.as_str()) => *field = Lsn(place).to_string().into(),
                    // A fraction is no whole number: it stays.
                    Some(millionths) if SHARES.contains(&name.as_str()) => {
                        *field = (millionths as f64 / 1_000_000.0).into();
                    }
                    _ => put_outside(field),
                }
            }
        }
        _ => {}
    }
}

/// A line on the terminal of what is waited for: the next one stands in its place, and the last one goes. Nothing where
/// standard error is no terminal.
#[derive(Default)]
pub(crate) struct Waiting {
    shown: bool,
}

impl Waiting {
    pub(crate) fn show(&mut self, text: &str) {
        let mut out = std::io::stderr().lock();
        if out.is_terminal() {
            self.shown = true;
            let _ = write!(out, "\r\u{1b}[K{text}").and_then(|()| out.flush());
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}

/// The question was right, and the answer is no: exit code 1.
#[derive(Debug)]
pub(crate) struct No(pub(crate) String);

impl std::fmt::Display for No {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for No {}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::Share;
    use meridian_model::group::{DatabaseRole, DatabaseStatus, StandbyStatus, WalPosition};
    use meridian_model::plan::Task;
    use meridian_model::traffic::Turn;
    use serde_json::json;

    #[test]
    fn programs_are_told_fractions_and_places_in_the_log_as_postgres_writes_them() {
        let place = Lsn(0x300_0148);
        let database = DatabaseStatus {
            received: WalPosition { timeline: 2, lsn: place },
            replayed: place,
            standbys: vec![StandbyStatus {
                region: meridian_model::Name::new("eu").unwrap(),
                flushed: place,
                synchronous: true,
            }],
            ..DatabaseStatus::stopped(DatabaseRole::Primary)
        };
        let told = outside(&database).unwrap();
        let text = Value::from("0/3000148");
        assert_eq!(
            (&told["received"]["lsn"], &told["replayed"], &told["standbys"][0]["flushed"]),
            (&text, &text, &text)
        );
        let share = |percent| Share::from_percent(percent).unwrap();
        let turns =
            outside(&json!([Turn::Share(share(40.0)), Turn::Share(Share::ONE), Turn::Drain])).unwrap();
        assert_eq!(turns, json!([{ "share": 0.4 }, { "share": 1.0 }, "drain"]));
        let step = outside(&Task::Shift { dial: Some(share(25.0)), drain: false }).unwrap();
        assert_eq!(step["dial"], 0.25);
        assert_eq!(outside(&json!({ "share": 1.0 })).unwrap(), json!({ "share": 1.0 }), "it is one already");
    }

    /// A new place or share that is told under another name would be told as a whole number.
    #[test]
    fn every_place_and_share_of_the_model_has_a_name_that_is_known_here() {
        // The spec's own, which no command prints, and facts, of which it prints what was found.
        let inside = ["budget", "restart"];
        let known = |name: &str| PLACES.contains(&name) || SHARES.contains(&name) || inside.contains(&name);
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mut folders =
            ["model/src", "node/src", "actuators/src"].map(|dir| format!("{root}/{dir}")).to_vec();
        let mut seen = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    folders.push(entry.to_str().unwrap().to_owned());
                    continue;
                }
                let text = std::fs::read_to_string(&entry).unwrap();
                let fields =
                    text.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": "));
                let ours = fields.filter(|(_, of)| {
                    let of = of.trim_start_matches("Option<").trim_start_matches("Vec<");
                    ["Lsn", "Share"]
                        .iter()
                        .any(|word| of.strip_prefix(word).is_some_and(|rest| rest.trim_matches('>') == ","))
                });
                seen.extend(ours.map(|(name, _)| name.to_owned()));
            }
        }
        assert!(
            seen.iter().any(|name| name == "flushed") && seen.iter().any(|name| name == "share"),
            "{seen:?}"
        );
        let unknown: Vec<&String> = seen.iter().filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
