//! `meridian run lost`: the transactions that a run cost, told by the region that lost them.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use meridian_model::{RegionName, RunId};
use meridian_node::status::Loss;
use meridian_node::{LOST, LostAnswer, LostAsked, LostChange, LostShown, LostValue, Operation};
use serde::Serialize;

use super::seen::{Seen, look};
use crate::output::{Output, json, print};
use crate::system::{Nodes, Which};
use crate::table::{self, Column};

/// The transactions.
pub(crate) const TRANSACTIONS: [Column; 4] = [
    Column("XID", "PostgreSQL's number of the transaction"),
    Column("LSN", "where its commit stands in the log of the old writer"),
    Column("COMMITTED", "when, by the clock of the old writer"),
    Column("CHANGES", "a line each: what was done, the table, the key; with --values the row"),
];

fn lost_help() -> String {
    let columns = table::help("Columns", &TRANSACTIONS);
    format!(
        "{columns}\n\nThe node of the region that lost them is asked directly, with the control secret, and no other: they \
         are users' data.\n\nExit code: 0 it is known what was lost, if anything; 1 it is not, or no node answers; 2 bad use."
    )
}

#[derive(Args)]
#[command(after_help = lost_help())]
pub(crate) struct LostArgs {
    /// Which run. None: the newest.
    run: Option<RunId>,
    /// Show the values of the rows too. They are users' data: mind where you show them.
    #[arg(long)]
    values: bool,
    /// Show no more transactions than this.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
    #[command(flatten)]
    which: Which,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Told {
    run: RunId,
    /// Who lost them, and told of them.
    region: Option<RegionName>,
    /// How many; none: not known.
    transactions: Option<u64>,
    /// Each has its keys and values.
    complete: bool,
    /// In a sentence for each time that the region's database came back.
    detail: Vec<String>,
    losses: Vec<Loss>,
    lost: Vec<LostShown>,
    /// Transactions that are too long to be told; the list in that region has them.
    too_long: u64,
    /// There are more than were asked for.
    more: bool,
}

pub(crate) fn lost(args: &LostArgs) -> anyhow::Result<ExitCode> {
    let nodes = match args.which.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    let seen = look(&nodes, &args.which.place, args.run.as_ref())?;
    let told = ask(&nodes, &seen, args)?;
    match args.which.output {
        Output::Json => print(&json(&told)?),
        Output::Table => print(&table(&told)),
    }
    Ok(if told.transactions.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask(nodes: &Nodes, seen: &Seen, args: &LostArgs) -> anyhow::Result<Told> {
    let mut told = summary(seen);
    let Some(region) = &told.region else { return Ok(told) };
    for loss in told.losses.iter().filter(|loss| loss.list.is_some()) {
        let mut from = Some(0);
        while let Some(at) = from {
            let group = seen.run.group.clone();
            let question = LostAsked { group, at: loss.at, values: args.values, from: at };
            let part: LostAnswer = nodes.post_to(region, LOST, &question)?;
            told.too_long += part.too_long;
            let room = args.limit - told.lost.len();
            told.more |=
                part.transactions.len() > room || (part.next.is_some() && part.transactions.len() == room);
            told.lost.extend(part.transactions.into_iter().take(room));
            from = part.next.filter(|_| told.lost.len() < args.limit);
        }
    }
    Ok(told)
}

/// Counts and sentences; the transactions are still to be asked for.
fn summary(seen: &Seen) -> Told {
    let losses = seen.losses.clone().unwrap_or_default();
    let counts: Option<Vec<u64>> = losses.iter().map(|loss| loss.transactions).collect();
    let detail = match seen.cost() {
        sentences if sentences.is_empty() => vec!["it took the writer from nobody".to_owned()],
        sentences => sentences,
    };
    let replaced = seen.run.from.as_ref().is_some_and(|from| *from != seen.run.to);
    Told {
        run: seen.run.id.clone(),
        region: seen.run.from.clone().filter(|_| replaced),
        transactions: match counts {
            _ if !replaced => Some(0),
            Some(counts) if !counts.is_empty() => Some(counts.iter().sum()),
            _ => None,
        },
        complete: losses.iter().all(|loss| loss.complete),
        detail,
        losses,
        lost: Vec::new(),
        too_long: 0,
        more: false,
    }
}

fn table(told: &Told) -> String {
    let count = told.transactions.map_or_else(|| "not known".to_owned(), |n| n.to_string());
    let region = told.region.as_ref().map(|region| format!(" by {region}")).unwrap_or_default();
    let mut out = format!("RUN {}: transactions lost{region}: {count}\n", told.run);
    for sentence in &told.detail {
        _ = writeln!(out, "  {sentence}");
    }
    for (table, rows) in told.losses.iter().flat_map(|loss| &loss.by_table) {
        _ = writeln!(out, "  rows of {table}: {rows}");
    }
    if !told.lost.is_empty() {
        let rows: Vec<_> = told.lost.iter().flat_map(rows).collect();
        out.push_str(&table::text(&TRANSACTIONS, &rows, 2));
    }
    if told.too_long > 0 {
        _ = writeln!(
            out,
            "  {} transactions are too long to be shown: see the list in that region",
            told.too_long
        );
    }
    if told.more {
        _ = writeln!(out, "  and more: --limit");
    }
    out
}

/// A line for each change; the first has the transaction before it.
fn rows(shown: &LostShown) -> Vec<[String; 4]> {
    let LostShown { transaction, changes_left_out } = shown;
    let mut changes: Vec<String> = transaction.changes.iter().map(change).collect();
    if *changes_left_out > 0 {
        changes.push(format!("and {changes_left_out} changes more: see the list in that region"));
    }
    if changes.is_empty() {
        changes.push("nothing that is a row".to_owned());
    }
    let place = transaction.lsn.to_string();
    let head = [transaction.xid.to_string(), place, transaction.committed_at.clone()];
    let heads = std::iter::once(head).chain(std::iter::repeat_with(Default::default));
    changes.into_iter().zip(heads).map(|(change, [xid, lsn, at])| [xid, lsn, at, change]).collect()
}

/// `insert public.orders (id=7): id=7 total=12`; values only where they were asked for.
fn change(change: &LostChange) -> String {
    let word = match change.operation {
        Operation::Insert => "insert",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Truncate => "truncate",
    };
    let values = |values: &[LostValue]| values.iter().map(value).collect::<Vec<_>>().join(" ");
    let key = if change.key.is_empty() { String::new() } else { format!(" ({})", values(&change.key)) };
    let row = if change.row.is_empty() { String::new() } else { format!(": {}", values(&change.row)) };
    format!("{word} {}{key}{row}", printable(&change.table))
}

fn value(value: &LostValue) -> String {
    let text = match (&value.value, value.unchanged) {
        (Some(text), _) => printable(text),
        (None, true) => "(unchanged)".to_owned(),
        (None, false) => "NULL".to_owned(),
    };
    format!("{}={text}", printable(&value.column))
}

/// Users wrote it: nothing of it may steer the terminal or look like a line of ours.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests;
