//! What a replaced primary had committed and its successor never got: told with keys and values.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use meridian_actuators::lost::{LostChange, LostValue, Operation};
use meridian_actuators::{DatabaseActuator as _, Postgres, Rejoined, StopMode, read_lost};
use meridian_model::database::Replication;
use meridian_model::{Epoch, Lsn};
use meridian_telemetry::clock;
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::Client;

use super::support::*;

const SCHEMA: &str = "create table account (id int primary key, owner text, big text); \
                      create table note (text text); \
                      insert into account values (1, 'ann', repeat('x', 10)), (2, 'bob', null), (3, 'eve', null); \
                      insert into note values ('a')";
const LOST: [&str; 5] = [
    "begin; insert into account values (4, E'it''s\\n\\\\new', null); insert into note values ('b'); commit",
    "update account set owner = 'ann2' where id = 1",
    "update account set id = 20 where id = 2",
    "delete from account where id = 3",
    "begin; savepoint s; insert into account values (9, 'nobody', null); rollback to s; insert into note values ('c'); commit",
];

async fn superuser(rig: &Rig, index: usize) -> Client {
    connect(rig.addresses[index], "meridian", SUPER_PASSWORD, "shop").await.unwrap()
}

/// Where the slot of the ledger stands.
async fn slot(client: &Client) -> Option<Lsn> {
    let sql = "select confirmed_flush_lsn::text from pg_replication_slots where confirmed_flush_lsn is not null and slot_name = 'meridian_ledger'";
    client.query_opt(sql, &[]).await.unwrap().map(|row| row.get::<_, String>(0).parse().unwrap())
}

/// A primary and a standby with the same rows, then rows that only the primary has; the standby is promoted.
async fn lose(rig: &Rig, before: impl AsyncFnOnce(&Client)) -> (Postgres, Postgres) {
    let (old, new) = (rig.primary().await, rig.standby(1).await);
    let client = superuser(rig, 0).await;
    until("there is a slot", || async { slot(&client).await.is_some() }).await;
    let app = rig.app(0).await;
    app.batch_execute(SCHEMA).await.unwrap();
    let written = old.status().await.received;
    status_until(&new, "replayed", |s| s.replayed >= written.lsn).await;
    before(&client).await;
    new.seal().await.unwrap();
    for statement in LOST {
        app.batch_execute(statement).await.unwrap();
    }
    app.batch_execute("create table after_all (n int)").await.unwrap();
    (old, new)
}

async fn replace(rig: &Rig, old: &Postgres, new: &Postgres) -> Rejoined {
    fence_late(new);
    new.promote(Epoch(2)).await.unwrap();
    let began = clock::now();
    let rejoined = old.rejoin(rig.addresses[1], Epoch(2)).await.unwrap();
    println!("measured: rejoin {:?} ({})", clock::now().since(began), rejoined.detail);
    status_until(old, "it streams", |s| s.streaming).await;
    rejoined
}

fn text(values: &[LostValue]) -> String {
    let one = |v: &LostValue| format!("{}={}", v.column, v.value.as_deref().unwrap_or("null"));
    values.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn told(change: &LostChange) -> (&str, Operation, String, String) {
    (&change.table, change.operation, text(&change.key), text(&change.row))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_and_a_frozen_writer_tell_each_lost_row_with_its_key_and_values() {
    for signal in [Signal::KILL, Signal::STOP] {
        let rig = Rig::new(Replication::Async);
        let (old, new) = lose(&rig, async |_| {}).await;
        kill_process(Pid::from_raw(old.postmaster().unwrap().cast_signed()).unwrap(), signal).unwrap();
        let rejoined = replace(&rig, &old, &new).await;
        let report = rejoined.lost.told().unwrap();
        assert!(report.complete, "{}", report.detail);
        assert_eq!(report.transactions, 5);
        let by_table: Vec<_> = report.by_table.iter().map(|(t, n)| (t.as_str(), *n)).collect();
        assert_eq!(by_table, [("public.account", 4), ("public.note", 2)]);
        let mode = std::fs::metadata(&report.file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let lost = read_lost(&rejoined.kept_wal.unwrap()).unwrap();
        assert!(lost.is_sorted_by_key(|t| t.lsn) && lost.iter().all(|t| t.committed_at.ends_with('Z')));
        let changes: Vec<_> = lost.iter().map(|t| t.changes.iter().map(told).collect::<Vec<_>>()).collect();
        let s = str::to_owned;
        use Operation::{Delete, Insert, Update};
        let expected = [
            vec![
                ("public.account", Insert, s("id=4"), s("id=4 owner=it's\n\\new big=null")),
                ("public.note", Insert, s(""), s("text=b")),
            ],
            vec![("public.account", Update, s("id=1"), s("id=1 owner=ann2 big=xxxxxxxxxx"))],
            vec![("public.account", Update, s("id=2"), s("id=20 owner=bob big=null"))],
            vec![("public.account", Delete, s("id=3"), s(""))],
            vec![("public.note", Insert, s(""), s("text=c"))],
        ];
        assert_eq!(changes, expected);
        // The slot is the primary's alone: on a standby it would hold log for ever.
        assert_eq!(slot(&superuser(&rig, 0).await).await, None);
        let client = superuser(&rig, 1).await;
        until("the new primary has one", || async { slot(&client).await.is_some() }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_slot_transactions_are_listed_with_their_tables() {
    let rig = Rig::new(Replication::Async);
    let (old, new) = lose(&rig, async |client| {
        client.batch_execute("select pg_drop_replication_slot('meridian_ledger')").await.unwrap();
    })
    .await;
    old.stop(StopMode::Immediate).await.unwrap();
    let rejoined = replace(&rig, &old, &new).await;
    let report = rejoined.lost.told().unwrap();
    assert!(!report.complete && report.detail.contains("without keys and values"), "{}", report.detail);
    let lost = read_lost(&rejoined.kept_wal.unwrap()).unwrap();
    let tables: Vec<_> =
        lost.iter().map(|t| t.changes.iter().map(|c| c.table.as_str()).collect::<Vec<_>>()).collect();
    assert_eq!(tables[0], ["public.account", "public.note"]);
    // What was rolled back to a savepoint has a number of its own, and that one was not committed.
    assert_eq!(tables[4], ["public.note"]);
    assert_eq!(report.transactions, 5, "{tables:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slot_moves_up_to_what_every_standby_has_and_no_further() {
    let rig = Rig::new(Replication::Async);
    let (primary, first, second) = (rig.primary().await, rig.standby(1).await, rig.standby(2).await);
    let client = superuser(&rig, 0).await;
    primary.advance_ledger_slot().await.unwrap();
    until("there is a slot", || async { slot(&client).await.is_some() }).await;
    let began = slot(&client).await.unwrap();
    primary.advance_ledger_slot().await.unwrap();
    assert_eq!(slot(&client).await.unwrap(), began, "it is not time yet");
    second.stop(StopMode::Immediate).await.unwrap();
    let left = first.status().await.received.lsn;
    let write = "select pg_logical_emit_message(true, 'x', 'x'); select pg_switch_wal()";
    for _ in 0..10 {
        client.batch_execute(write).await.unwrap();
    }
    let written = primary.status().await.received.lsn;
    status_until(&first, "the first has it all", |s| s.received.lsn >= written).await;
    primary.advance_ledger_slot().await.unwrap();
    assert!(slot(&client).await.unwrap() <= left, "the second lacks the rest");
    second.follow(rig.addresses[0], Epoch(1)).await.unwrap();
    until("it has moved up", || async {
        let began = clock::now();
        primary.advance_ledger_slot().await.unwrap();
        let moved = slot(&client).await.unwrap() >= written;
        if moved {
            println!("measured: moved up over 160 MiB in {:?}", clock::now().since(began));
        }
        moved
    })
    .await;
    first.advance_ledger_slot().await.unwrap();
    assert_eq!(slot(&superuser(&rig, 1).await).await, None, "nothing on a standby");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_keeps_no_logical_log_runs_without_a_slot() {
    let rig = Rig::new(Replication::Async);
    let primary = rig.primary().await;
    let client = superuser(&rig, 0).await;
    until("there is a slot", || async { slot(&client).await.is_some() }).await;
    drop(primary);
    let mut config = rig.config(0);
    config.postgres.settings.push(("wal_level".to_owned(), "replica".to_owned()));
    let primary = Postgres::open(config).unwrap();
    fence_late(&primary);
    primary.start_primary(Epoch(1)).await.unwrap();
    primary.advance_ledger_slot().await.unwrap();
    assert_eq!(slot(&superuser(&rig, 0).await).await, None);
    assert!(read_lost(Path::new("/nowhere")).unwrap_err().to_string().contains("/nowhere"));
}
