//! The lost transactions of this region's own databases, told to whoever has the control secret.
//!
//! They are users' data, so the answer is made here, in the region that lost them, out of this node's own
//! files, and no other node is asked or told. Values are left out unless they are asked for.

use http::StatusCode;
use hyper::body::Incoming;
use meridian_actuators::lost::{LostChange, LostTransaction, LostValue, each_lost};
use meridian_model::{GroupName, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Answer, Control, asked, json, text};
use crate::losses::Loss;

/// Where they are asked for.
pub const LOST: &str = "/v1/lost";

/// Transactions in one answer.
const TRANSACTIONS_MAX: usize = 500;
/// An answer that is this long, in bytes of text, takes in no further transaction.
const ANSWER_BYTES: usize = 1 << 20;
/// What one transaction may add to an answer; its other changes are only counted.
const TRANSACTION_BYTES: usize = 512 << 10;
/// The longest value that is told whole, in characters.
const VALUE_MAX: usize = 1_024;

/// The next part of a loss, please.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostAsked {
    /// Of which group.
    pub group: GroupName,
    /// Which loss: [`Loss::at`].
    pub at: Timestamp,
    /// Rows with their values too, and not only keys.
    #[serde(default)]
    pub values: bool,
    /// Where to go on: [`LostAnswer::next`] of the part before.
    #[serde(default)]
    pub from: u64,
}

/// A part of a loss.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostAnswer {
    /// In the order of their commits.
    pub transactions: Vec<LostShown>,
    /// Transactions of this part that are too long to be told; only the list in that region has them.
    pub too_long: u64,
    /// Where the next part begins; none: this was the last.
    pub next: Option<u64>,
}

/// A transaction as far as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostShown {
    /// The transaction.
    #[serde(flatten)]
    pub transaction: LostTransaction,
    /// Changes that are not told here, because there are so many; the list in that region has them.
    pub changes_left_out: u64,
}

pub(super) async fn lost(body: Incoming, control: &Control) -> Answer {
    let asked_for: LostAsked = match asked(body, "question for lost transactions").await {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let losses = control.board.losses.of(&asked_for.group);
    let Some(loss) = losses.into_iter().find(|loss| loss.at == asked_for.at) else {
        return text(StatusCode::NOT_FOUND, "this node knows no such loss: see `losses` in /v1/status\n");
    };
    match tokio::task::spawn_blocking(move || part(&loss, asked_for.from, asked_for.values)).await {
        Ok(Ok(part)) => json(&part),
        Ok(Err(why)) => text(StatusCode::CONFLICT, &format!("{why}\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

/// # Errors
/// The list is gone or cannot be read, in a sentence that says where it was.
fn part(loss: &Loss, from: u64, values: bool) -> Result<LostAnswer, String> {
    let mut answer = LostAnswer { transactions: Vec::new(), too_long: 0, next: None };
    let Some(list) = &loss.list else { return Ok(answer) };
    let mut bytes = 0;
    let read = each_lost(list, from, |transaction, next| {
        match transaction {
            Some(transaction) => {
                let (shown, size) = shown(transaction, values);
                bytes += size;
                answer.transactions.push(shown);
            }
            None => answer.too_long += 1,
        }
        let more = answer.transactions.len() < TRANSACTIONS_MAX && bytes < ANSWER_BYTES;
        answer.next = (!more).then_some(next);
        more
    });
    read.map_err(|error| error.to_string())?;
    Ok(answer)
}

/// As much of it as may be told, and about how long that is.
fn shown(mut transaction: LostTransaction, values: bool) -> (LostShown, usize) {
    let all = transaction.changes.len();
    let mut bytes = 0;
    let mut kept = Vec::new();
    for mut change in std::mem::take(&mut transaction.changes) {
        if !values {
            change.row.clear();
        }
        change.key.iter_mut().chain(&mut change.row).for_each(shorten);
        bytes += size(&change);
        if bytes > TRANSACTION_BYTES {
            break;
        }
        kept.push(change);
    }
    let changes_left_out = (all - kept.len()) as u64;
    transaction.changes = kept;
    (LostShown { transaction, changes_left_out }, bytes.min(TRANSACTION_BYTES) + 200)
}

fn shorten(value: &mut LostValue) {
    if let Some(text) = &mut value.value
        && let Some((end, _)) = text.char_indices().nth(VALUE_MAX)
    {
        text.truncate(end);
        text.push('\u{2026}');
    }
}

/// About as long as its JSON.
fn size(change: &LostChange) -> usize {
    let values = change.key.iter().chain(&change.row);
    let value = |v: &LostValue| v.column.len() + v.value.as_ref().map_or(4, |text| text.len() * 2) + 32;
    change.table.len() + 64 + values.map(value).sum::<usize>()
}

#[cfg(test)]
mod tests;
