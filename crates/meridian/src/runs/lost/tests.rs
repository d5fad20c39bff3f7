//! What is printed of lost transactions.

use meridian_model::Lsn;
use meridian_node::LostTransaction;

use super::*;
use crate::runs::fixture::{failover, loss, system, told as seen_with};

fn value(column: &str, value: Option<&str>) -> LostValue {
    LostValue { column: column.to_owned(), value: value.map(str::to_owned), unchanged: false }
}

fn shown(row: Vec<LostValue>) -> LostShown {
    let key = vec![value("id", Some("7"))];
    let change = LostChange { table: "public.customer".to_owned(), operation: Operation::Update, key, row };
    let truncated = LostChange {
        table: "public.note".to_owned(),
        operation: Operation::Truncate,
        key: Vec::new(),
        row: Vec::new(),
    };
    let transaction = LostTransaction {
        xid: 735,
        lsn: Lsn(0x16_0000_0010),
        committed_at: "2026-11-25T11:21:04.1Z".to_owned(),
        changes: vec![change, truncated],
    };
    LostShown { transaction, changes_left_out: 2 }
}

#[test]
fn a_transaction_is_told_with_its_place_tables_and_keys() {
    let system = system();
    let run = [failover(&system)];
    let mut told = summary(&seen_with(&system, &run, Some(vec![loss(Some(1))]), 0));
    told.lost = vec![shown(Vec::new())];
    let text = table(&told);
    assert!(text.starts_with("RUN orders-2-failover: transactions lost by us-east-1: 1\n"), "{text}");
    assert!(text.contains("735  16/10  2026-11-25T11:21:04.1Z  update public.customer (id=7)\n"), "{text}");
    assert!(text.contains(" truncate public.note\n") && text.contains("and 2 changes more"), "{text}");
    assert!(text.contains("kept in /data/kept-wal/orders-1"), "{text}");
}

#[test]
fn values_of_users_cannot_steer_the_terminal() {
    let system = system();
    let run = [failover(&system)];
    let mut told = summary(&seen_with(&system, &run, Some(vec![loss(Some(1))]), 0));
    told.lost = vec![shown(vec![value("name", Some("\u{1b}[2Jann\nRUN orders-9: 0")), value("mail", None)])];
    let text = table(&told);
    assert!(text.contains("name=\\u{1b}[2Jann\\nRUN orders-9: 0 mail=NULL"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn what_is_not_known_is_not_told_as_nothing() {
    let system = system();
    let run = [failover(&system)];
    let of = |losses| summary(&seen_with(&system, &run, losses, 0));
    for (losses, known) in [
        (None, None),
        (Some(vec![]), None),
        (Some(vec![loss(None)]), None),
        (Some(vec![loss(Some(0))]), Some(0)),
        (Some(vec![loss(Some(2)), loss(Some(3))]), Some(5)),
        (Some(vec![loss(Some(2)), loss(None)]), None),
    ] {
        let told = of(losses);
        assert_eq!(told.transactions, known, "{told:?}");
        assert_eq!(table(&told).contains("not known"), known.is_none(), "{told:?}");
    }
    let listed = Loss { complete: false, ..loss(Some(2)) };
    assert!(!of(Some(vec![listed])).complete);
}
