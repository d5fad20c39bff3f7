//! Standbys, sealing, promotion, and the way back.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use meridian_actuators::{ActuatorError, DatabaseActuator as _, Postgres, RejoinMethod, StopMode};
use meridian_model::Epoch;
use meridian_model::database::Replication;
use meridian_model::group::DatabaseRole;
use meridian_telemetry::clock;

use super::support::*;

/// A committed row, seen by the standby.
async fn replicated(rig: &Rig, standby: &Postgres) {
    let app = rig.app(0).await;
    app.batch_execute("create table if not exists t (n int); insert into t values (1)").await.unwrap();
    status_until(standby, "replayed, heard and without lag", |s| {
        s.replay_lag_ms == Some(0) && s.replayed == s.received.lsn
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_primary_is_replaced_comes_back_rewound_and_its_diverged_log_is_kept() {
    let rig = Rig::new(Replication::Async);
    let (old, new, third) = (rig.primary().await, rig.standby(1).await, rig.standby(2).await);
    replicated(&rig, &new).await;
    let began = clock::now();
    new.seal().await.unwrap();
    println!("measured: seal {:?}", clock::now().since(began));
    third.seal().await.unwrap();
    let sealed = new.status().await;
    assert_eq!((sealed.role, sealed.streaming, sealed.received.timeline), (DatabaseRole::Standby, false, 1));

    // What is written now reaches nobody: it diverges.
    rig.app(0).await.batch_execute("insert into t select generate_series(100, 199)").await.unwrap();
    assert_eq!(new.status().await.received, sealed.received, "sealed is sealed");
    old.stop(StopMode::Immediate).await.unwrap();

    fence_late(&new);
    let app = rig.app(1).await;
    let began = clock::now();
    new.promote(Epoch(2)).await.unwrap();
    let promoted = clock::now().since(began);
    app.batch_execute("insert into t values (2)").await.unwrap();
    println!("measured: promote {promoted:?}, first write {:?}", clock::now().since(began));
    let status = new.status().await;
    assert_eq!((status.role, status.received.timeline), (DatabaseRole::Primary, 2));
    assert!(rig.config(1).postgres.data_dir.join("standby.signal").exists());

    let began = clock::now();
    third.follow(rig.addresses[1], Epoch(2)).await.unwrap();
    let followed =
        status_until(&third, "the third follows", |s| s.streaming && s.received.lsn > sealed.received.lsn)
            .await;
    println!("measured: repointed and streaming {:?}", clock::now().since(began));
    assert!(followed.received.timeline == 2 && followed.received.lsn > sealed.received.lsn, "{followed:?}");
    assert!(matches!(third.promote(Epoch(1)).await, Err(ActuatorError::NotFenced)));
    fence_late(&third);
    assert!(matches!(third.promote(Epoch(1)).await, Err(ActuatorError::StaleEpoch { .. })));

    let began = clock::now();
    let rejoined = old.rejoin(rig.addresses[1], Epoch(2)).await.unwrap();
    println!("measured: rejoin {:?} ({})", clock::now().since(began), rejoined.detail);
    assert_eq!(rejoined.method, RejoinMethod::Rewound, "{}", rejoined.detail);
    let kept = rejoined.kept_wal.unwrap();
    assert!(kept.join("pg_control").exists() && kept.join("README.txt").exists());
    assert!(std::fs::read_dir(kept.join("pg_wal")).unwrap().flatten().any(|f| f.file_name().len() == 24));
    let records = std::fs::read_to_string(kept.join("wal-records.txt")).unwrap();
    assert!(
        records.lines().filter(|l| l.contains("rmgr: Heap") && l.contains("INSERT")).count() >= 100,
        "{records}"
    );
    let status =
        status_until(&old, "the old one streams", |s| s.streaming && s.replay_lag_ms == Some(0)).await;
    assert_eq!(status.role, DatabaseRole::Standby);
    let count = |rows: Vec<tokio_postgres::Row>| rows.len();
    until("the old one has the new row", || async {
        count(rig.app(0).await.query("select from t where n = 2", &[]).await.unwrap()) == 1
    })
    .await;
    assert_eq!(count(rig.app(0).await.query("select from t where n >= 100", &[]).await.unwrap()), 0);
    let standbys = new.status().await.standbys;
    assert_eq!(standbys.len(), 2, "{standbys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_commit_waits_for_a_standby_and_never_returns_when_all_are_sealed() {
    let rig = Rig::new(Replication::Quorum { acknowledgers: 1 });
    let (primary, standby) = (rig.primary().await, rig.standby(1).await);
    let app = rig.app(0).await;
    app.batch_execute("create table t (n int); insert into t values (1)").await.unwrap();
    assert!(primary.status().await.standbys.iter().all(|s| s.synchronous));
    standby.seal().await.unwrap();
    let waiting =
        tokio::time::timeout(Duration::from_millis(700), app.batch_execute("insert into t values (2)"));
    assert!(waiting.await.is_err(), "an acknowledgement with every standby sealed");
    primary.stop(StopMode::Immediate).await.unwrap();
    // The promoted one waits in its turn for a standby: none has joined it.
    fence_late(&standby);
    standby.promote(Epoch(2)).await.unwrap();
    let app = rig.app(1).await;
    let waiting =
        tokio::time::timeout(Duration::from_millis(700), app.batch_execute("insert into t values (3)"));
    assert!(waiting.await.is_err());
    primary.rejoin(rig.addresses[1], Epoch(2)).await.unwrap();
    until("a write is acknowledged", || async {
        let app = rig.app(1).await;
        let write =
            tokio::time::timeout(Duration::from_secs(2), app.batch_execute("insert into t values (4)"));
        write.await.is_ok_and(|done| done.is_ok())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_holds_against_a_restart_and_a_stopped_member_can_be_sealed() {
    let rig = Rig::new(Replication::Async);
    let (_primary, standby) = (rig.primary().await, rig.standby(1).await);
    replicated(&rig, &standby).await;
    standby.stop(StopMode::Fast).await.unwrap();
    rig.app(0).await.batch_execute("insert into t values (2)").await.unwrap();
    standby.seal().await.unwrap();
    let status = standby.status().await;
    assert_eq!((status.role, status.streaming), (DatabaseRole::Standby, false));
    let rows = rig.app(1).await.query("select from t", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    standby.follow(rig.addresses[0], Epoch(1)).await.unwrap();
    status_until(&standby, "it streams again", |s| s.streaming).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_primary_neither_follows_nor_seals() {
    let rig = Rig::new(Replication::Async);
    let primary = rig.primary().await;
    for refused in [primary.seal().await, primary.follow(rig.addresses[1], Epoch(1)).await] {
        assert!(matches!(refused, Err(ActuatorError::WrongState { .. })), "{refused:?}");
    }
    let status = status_until(&primary, "it answers", |s| s.role != DatabaseRole::Starting).await;
    assert_eq!((status.role, status.received.timeline), (DatabaseRole::Primary, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_did_not_diverge_only_follows() {
    let rig = Rig::new(Replication::Async);
    let (_primary, standby) = (rig.primary().await, rig.standby(1).await);
    replicated(&rig, &standby).await;
    standby.stop(StopMode::Immediate).await.unwrap();
    let rejoined = standby.rejoin(rig.addresses[0], Epoch(1)).await.unwrap();
    assert_eq!((rejoined.method, rejoined.kept_wal), (RejoinMethod::Followed, None));
    status_until(&standby, "it streams again", |s| s.streaming).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rewound_is_cloned_anew_with_the_old_directory_kept() {
    let rig = Rig::new(Replication::Async);
    let (old, new) = (rig.primary().await, rig.standby(1).await);
    replicated(&rig, &new).await;
    new.seal().await.unwrap();
    rig.app(0).await.batch_execute("insert into t values (100)").await.unwrap();
    drop(old);
    fence_late(&new);
    new.promote(Epoch(2)).await.unwrap();
    let old = Postgres::open(with_broken_rewind(&rig)).unwrap();
    let rejoined = old.rejoin(rig.addresses[1], Epoch(2)).await.unwrap();
    assert_eq!(rejoined.method, RejoinMethod::Recloned, "{}", rejoined.detail);
    assert!(rejoined.kept_wal.unwrap().join("pg_wal").exists());
    assert!(rejoined.kept_data.unwrap().join("PG_VERSION").exists());
    status_until(&old, "the clone streams", |s| s.streaming).await;
    assert_eq!(rig.app(0).await.query("select from t where n = 100", &[]).await.unwrap().len(), 0);
}

/// The same programs, with a `pg_rewind` that always fails.
fn with_broken_rewind(rig: &Rig) -> meridian_actuators::PostgresConfig {
    let mut config = rig.config(0);
    let real = meridian_actuators::postgres::Binaries::find(config.postgres.bin_dir.as_deref()).unwrap().dir;
    let bin = rig.folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for program in std::fs::read_dir(&real).unwrap().flatten().filter(|p| p.file_name() != "pg_rewind") {
        std::os::unix::fs::symlink(program.path(), bin.join(program.file_name())).unwrap();
    }
    std::fs::write(bin.join("pg_rewind"), "#!/bin/sh\necho 'no way back' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(bin.join("pg_rewind"), std::fs::Permissions::from_mode(0o755)).unwrap();
    config.postgres.bin_dir = Some(bin);
    config
}
