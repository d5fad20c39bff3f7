//! What is told of a list of lost transactions, and what is not.

use std::fmt::Write as _;

use meridian_actuators::lost::Operation;
use meridian_model::{Epoch, Lsn};

use super::*;
use crate::losses::tests::{rejoined, told};

fn transaction(xid: u32, rows: usize, value: &str) -> LostTransaction {
    let column = |column: &str, value: &str| LostValue {
        column: column.to_owned(),
        value: Some(value.to_owned()),
        unchanged: false,
    };
    let change = LostChange {
        table: "public.customer".to_owned(),
        operation: Operation::Insert,
        key: vec![column("id", "7")],
        row: vec![column("id", "7"), column("email", value)],
    };
    let committed_at = "2026-11-25T11:21:04Z".to_owned();
    LostTransaction { xid, lsn: Lsn(u64::from(xid)), committed_at, changes: vec![change; rows] }
}

/// A list as a rejoin writes it, and its loss.
fn listed(transactions: &[LostTransaction]) -> (tempfile::TempDir, Loss) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lost-transactions.jsonl");
    let lines = transactions.iter().fold(String::new(), |mut lines, transaction| {
        writeln!(lines, "{}", serde_json::to_string(transaction).unwrap()).unwrap();
        lines
    });
    std::fs::write(&file, lines).unwrap();
    let lost = told(transactions.len() as u64, true, file.to_str().unwrap());
    (folder, Loss::of(Epoch(2), "rewound", &rejoined(lost), Timestamp(7)))
}

#[test]
fn values_are_told_only_to_who_asks_for_them() {
    let (_folder, loss) = listed(&[transaction(1, 1, "ann@example.com")]);
    let told = |values| serde_json::to_string(&part(&loss, 0, values).unwrap()).unwrap();
    assert!(!told(false).contains("ann@example.com") && told(false).contains("public.customer"));
    let shown = part(&loss, 0, false).unwrap().transactions.remove(0).transaction;
    assert_eq!(shown.changes[0].key[0].value.as_deref(), Some("7"), "keys are told");
    assert!(told(true).contains("ann@example.com"));
}

#[test]
fn a_long_list_comes_in_parts_and_none_is_left_out() {
    let all: Vec<_> = (0..1_200).map(|xid| transaction(xid, 1, "v")).collect();
    let (_folder, loss) = listed(&all);
    let (mut seen, mut from, mut parts) = (Vec::new(), Some(0), 0);
    while let Some(at) = from {
        let part = part(&loss, at, true).unwrap();
        assert!(serde_json::to_vec(&part).unwrap().len() < 4 << 20);
        seen.extend(part.transactions.into_iter().map(|t| t.transaction.xid));
        (from, parts) = (part.next, parts + 1);
    }
    assert_eq!(seen, (0..1_200).collect::<Vec<_>>());
    assert!(parts >= 3, "{parts}");
}

#[test]
fn one_huge_transaction_does_not_make_a_huge_answer() {
    let (_folder, loss) = listed(&[transaction(1, 5_000, &"\u{e9}".repeat(1_100)), transaction(2, 1, "v")]);
    let first = part(&loss, 0, true).unwrap();
    assert!(serde_json::to_vec(&first).unwrap().len() < 4 << 20);
    let shown = &first.transactions[0];
    let kept = shown.transaction.changes.len() as u64;
    assert!(kept > 10 && shown.changes_left_out == 5_000 - kept, "{kept}");
    let value = shown.transaction.changes[0].row[1].value.as_ref().unwrap();
    assert_eq!(value.chars().count(), VALUE_MAX + 1, "cut, and one sees that it was");
    assert_eq!(first.transactions[1].transaction.xid, 2);
}

#[test]
fn a_list_that_is_gone_is_an_answer_that_says_where_it_was() {
    let (folder, loss) = listed(&[]);
    assert_eq!(part(&loss, 0, true).unwrap().transactions.len(), 0);
    folder.close().unwrap();
    assert!(part(&loss, 0, true).unwrap_err().contains("lost-transactions.jsonl"));
}
