//! A primary that has more than its standbys were told.

use meridian_actuators::{DatabaseActuator as _, Postgres, StopMode};
use meridian_model::Epoch;
use meridian_model::database::Replication;
use meridian_model::group::DatabaseRole;

use super::support::*;

/// More than the rig's and our defaults of all that a standby needs as much of.
const MORE: [(&str, &str); 5] = [
    ("max_connections", "40"),
    ("max_worker_processes", "12"),
    ("max_wal_senders", "30"),
    ("max_prepared_transactions", "7"),
    ("max_locks_per_transaction", "80"),
];

/// The first member, told to have more.
fn with_more(rig: &Rig) -> Postgres {
    let mut config = rig.config(0);
    config.postgres.settings.extend(MORE.map(|(name, value)| (name.to_owned(), value.to_owned())));
    Postgres::open(config).unwrap()
}

/// What the second member runs with.
async fn runs_with(rig: &Rig) -> Vec<String> {
    let client = connect(rig.addresses[1], "meridian", SUPER_PASSWORD, "shop").await.unwrap();
    let mut values = Vec::new();
    for (name, _) in MORE {
        values.push(client.query_one("select current_setting($1)", &[&name]).await.unwrap().get(0));
    }
    values
}

async fn reads(rig: &Rig, rows: i64) {
    let standby = rig.app(1).await;
    until("it replays", || async {
        let read = standby.query_one("select count(*) from t", &[]).await;
        read.is_ok_and(|row| row.get::<_, i64>(0) == rows)
    })
    .await;
}

/// PostgreSQL refuses to start it with less; so it did with a clone of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_started_with_what_its_primary_has() {
    let rig = Rig::new(Replication::Async);
    let primary = with_more(&rig);
    primary.initialise().await.unwrap();
    fence_late(&primary);
    primary.start_primary(Epoch(1)).await.unwrap();
    rig.app(0).await.batch_execute("create table t (n int); insert into t values (1)").await.unwrap();
    let standby = rig.standby(1).await;
    assert_eq!(runs_with(&rig).await, MORE.map(|(_, value)| value));
    reads(&rig, 1).await;
    let folder = rig.folder.path().join("rehearsals");
    std::fs::create_dir_all(&folder).unwrap();
    let rehearsal = standby.rehearse(&folder, &|_| {}).await.unwrap();
    assert!(rehearsal.end().await.unwrap().clean());
}

/// As in a rolling upgrade that reaches the primary first: replay paused for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_whose_primary_is_given_more_is_started_anew_with_as_much() {
    let rig = Rig::new(Replication::Async);
    let (primary, standby) = (rig.primary().await, rig.standby(1).await);
    rig.app(0).await.batch_execute("create table t (n int); insert into t values (1)").await.unwrap();
    reads(&rig, 1).await;
    primary.stop(StopMode::Fast).await.unwrap();
    drop(primary);
    let primary = with_more(&rig);
    fence_late(&primary);
    primary.start_primary(Epoch(2)).await.unwrap();
    // The node asks for its status all the time, and starts it again when it has ended.
    status_until(&standby, "it ends", |s| s.role == DatabaseRole::Stopped).await;
    standby.follow(rig.addresses[0], Epoch(2)).await.unwrap();
    rig.app(0).await.batch_execute("insert into t values (2)").await.unwrap();
    reads(&rig, 2).await;
    assert_eq!(runs_with(&rig).await, MORE.map(|(_, value)| value));

    // Somebody's own pause is left alone.
    let client = connect(rig.addresses[1], "meridian", SUPER_PASSWORD, "shop").await.unwrap();
    client.batch_execute("select pg_wal_replay_pause()").await.unwrap();
    for _ in 0..3 {
        assert_eq!(standby.status().await.role, DatabaseRole::Standby);
    }
    assert!(client.query_one("select pg_is_wal_replay_paused()", &[]).await.unwrap().get::<_, bool>(0));
}
