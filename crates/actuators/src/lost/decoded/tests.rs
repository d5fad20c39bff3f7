//! Lines as PostgreSQL 15 wrote them.

use super::*;

fn keys() -> Keys {
    [("public.t", vec!["id"]), ("public.\"a: B\"", vec!["k", "l"])]
        .map(|(table, names)| (table.to_owned(), names.into_iter().map(str::to_owned).collect()))
        .into()
}

fn pairs(values: &[LostValue]) -> Vec<(&str, Option<&str>)> {
    values.iter().map(|v| (v.column.as_str(), v.value.as_deref())).collect()
}

#[test]
fn names_types_and_values_are_told_apart() {
    let insert = change(
        "table public.t: INSERT: id[integer]:1 \"we ird]:\"[text]:'it''s\n[x]:y' x[integer[]]:'{1,2}' \
         b[boolean]:true f[double precision]:NaN n[text]:null bits[bit varying]:B'101' \
         e[\"my]:type\"]:'a b' big[text]:unchanged-toast-datum",
        &keys(),
    )
    .unwrap();
    assert_eq!((insert.table.as_str(), insert.operation), ("public.t", Operation::Insert));
    assert_eq!(pairs(&insert.key), [("id", Some("1"))]);
    assert_eq!(
        pairs(&insert.row),
        [
            ("id", Some("1")),
            ("we ird]:", Some("it's\n[x]:y")),
            ("x", Some("{1,2}")),
            ("b", Some("true")),
            ("f", Some("NaN")),
            ("n", None),
            ("bits", Some("101")),
            ("e", Some("a b")),
            ("big", None),
        ]
    );
    assert!(insert.row[8].unchanged && !insert.row[5].unchanged);
}

#[test]
fn the_key_is_that_of_the_row_before_the_change() {
    let update = change(
        "table public.t: UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:10 b[text]:'new-tuple: '",
        &keys(),
    )
    .unwrap();
    assert_eq!(pairs(&update.key), [("id", Some("1"))]);
    assert_eq!(pairs(&update.row), [("id", Some("10")), ("b", Some("new-tuple: "))]);
    let update = change("table public.t: UPDATE: id[integer]:7 b[text]:'x'", &keys()).unwrap();
    assert_eq!(pairs(&update.key), [("id", Some("7"))]);
    let delete =
        change("table public.\"a: B\": DELETE: k[integer]:1 l[text]:'x' other[text]:'y'", &keys()).unwrap();
    assert_eq!((pairs(&delete.key), delete.row.len()), (vec![("k", Some("1")), ("l", Some("x"))], 0));
    let unknown = change("table s.u: DELETE: k[integer]:1", &keys()).unwrap();
    assert_eq!(pairs(&unknown.key), [("k", Some("1"))]);
}

#[test]
fn a_table_without_a_key_has_none() {
    for (line, operation) in [
        ("table public.nopk: DELETE: (no-tuple-data)", Operation::Delete),
        ("table public.nopk, public.t: TRUNCATE: restart_seqs cascade", Operation::Truncate),
    ] {
        let change = change(line, &keys()).unwrap();
        assert_eq!((change.operation, change.key.len(), change.row.len()), (operation, 0, 0));
    }
    let update = change("table public.nopk: UPDATE: a[integer]:1 b[text]:'y'", &keys()).unwrap();
    assert_eq!((update.key.len(), update.row.len()), (0, 2));
}

#[test]
fn only_what_was_committed_after_the_place_is_lost() {
    let mut gathering = Gathering::new(Lsn(100), keys());
    for (lsn, line) in [
        (90, "BEGIN 728"),
        (90, "table public.t: INSERT: id[integer]:1"),
        (100, "COMMIT 728 (at 2026-11-25 11:21:04.114745+00)"),
        (95, "BEGIN 729"),
        (95, "table public.t: INSERT: id[integer]:2"),
        (99, "table public.t: WHATEVER"),
        (99, "message: transactional: 1 prefix: meridian, sz: 9 content:hand-over"),
        (101, "COMMIT 729 (at 2026-11-25 11:21:05+00)"),
    ] {
        gathering.line(Lsn(lsn), line);
    }
    assert_eq!(gathering.unread, 1);
    let [lost] = &gathering.lost[..] else { panic!("{gathering:?}") };
    assert_eq!((lost.xid, lost.lsn, lost.committed_at.as_str()), (729, Lsn(101), "2026-11-25T11:21:05Z"));
    assert_eq!(pairs(&lost.changes[0].key), [("id", Some("2"))]);
}

#[test]
fn nothing_that_is_cut_short_is_understood_wrongly() {
    let whole = "table public.t: UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:10 b[text]:'x y'";
    for end in 0..whole.len() {
        // Cut within a number it is a shorter number; elsewhere it is refused or has fewer columns.
        if let Some(change) = change(&whole[..end], &keys()) {
            assert!(change.row.len() < 2, "{}", &whole[..end]);
        }
    }
}

#[test]
fn fields_of_a_copy_are_unescaped() {
    assert_eq!(unescaped(r"a\\b\n\t'\r\x\"), "a\\b\n\t'\rx\\");
}
