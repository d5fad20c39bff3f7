//! What a report repeats of the journal: which run it was, and what the old writer's returns had lost.

use std::path::PathBuf;

use meridian_model::run::{RuleSaid, Run, RunKind};
use meridian_node::status::Loss;
use serde::Serialize;

use crate::runs::span::iso;

/// Which run, and on what it rests; its times are among the phases and steps.
#[derive(Debug, Clone, Serialize)]
pub(super) struct RunFact {
    id: String,
    group: String,
    kind: RunKind,
    epoch: u64,
    from: Option<String>,
    to: String,
    cause: String,
    /// Why the old writer could not write any more.
    proof: String,
    /// The verdict by which the loss was first seen; empty where none was.
    detected_by: String,
    rules: Vec<RuleSaid>,
    plan: Option<String>,
    paused: Option<String>,
    aborted: Option<String>,
    takes_over: Option<String>,
}

/// What one return of the old writer's database had lost.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ReturnFact {
    at: String,
    /// `followed`, `rewound` or `recloned`.
    method: String,
    transactions: Option<u64>,
    complete: bool,
    /// Rows that were changed, by table.
    pub(super) by_table: Vec<TableFact>,
    /// In that region.
    kept_wal: Option<PathBuf>,
    list: Option<PathBuf>,
    detail: String,
}

/// A table that lost something.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TableFact {
    pub(super) table: String,
    pub(super) rows: u64,
}

impl RunFact {
    pub(super) fn of(run: &Run) -> Self {
        let text = |name: &Option<meridian_model::Name>| name.as_ref().map(ToString::to_string);
        Self {
            id: run.id.to_string(),
            group: run.group.to_string(),
            kind: run.kind,
            epoch: run.epoch.0,
            from: text(&run.from),
            to: run.to.to_string(),
            cause: run.cause.clone(),
            proof: run.proof.clone(),
            detected_by: run.evidence.detected.clone(),
            rules: run.evidence.rules.clone(),
            plan: text(&run.plan),
            paused: run.paused.clone(),
            aborted: run.aborted.clone(),
            takes_over: text(&run.takes_over),
        }
    }
}

impl ReturnFact {
    pub(super) fn of(loss: &Loss) -> Self {
        let table = |(table, rows): (&String, &u64)| TableFact { table: table.clone(), rows: *rows };
        Self {
            at: iso(loss.at),
            method: loss.method.clone(),
            transactions: loss.transactions,
            complete: loss.complete,
            by_table: loss.by_table.iter().map(table).collect(),
            kept_wal: loss.kept_wal.clone(),
            list: loss.list.clone(),
            detail: loss.detail.clone(),
        }
    }
}
