//! Standbys, sealing, promotion, and the way back.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use meridian_actuators::{ActuatorError, DatabaseActuator as _, Postgres, RejoinMethod, StopMode};
use meridian_model::Epoch;
use meridian_model::database::Replication;
use meridian_model::group::DatabaseRole;
use meridian_telemetry::clock;
use rustix::process::{Pid, Signal, kill_process};

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
    // One that was rewound and one that changed timelines by streaming are on its timeline now.
    only_follows(&old, &rig, 1).await;
    only_follows(&third, &rig, 1).await;
}

/// A member of the timeline of the primary `source` has nothing to take back.
async fn only_follows(member: &Postgres, rig: &Rig, source: usize) {
    let rejoined = member.rejoin(rig.addresses[source], Epoch(3)).await.unwrap();
    assert_eq!((rejoined.method, rejoined.kept_wal), (RejoinMethod::Followed, None), "{}", rejoined.detail);
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
async fn a_seal_after_a_restart_gives_the_end_of_the_log_and_not_where_replay_is() {
    let rig = Rig::new(Replication::Quorum { acknowledgers: 1 });
    let (primary, standby) = (rig.primary().await, rig.standby(1).await);
    let admin = connect(rig.addresses[1], "meridian", SUPER_PASSWORD, "postgres").await.unwrap();
    admin.batch_execute("select pg_wal_replay_pause()").await.unwrap();
    // Acknowledged, on the standby's disk, and far from replayed.
    let app = rig.app(0).await;
    app.batch_execute("create table t (n int); insert into t select generate_series(1, 400000)")
        .await
        .unwrap();
    let acknowledged = primary.status().await.standbys[0].flushed;
    primary.stop(StopMode::Immediate).await.unwrap();
    standby.stop(StopMode::Immediate).await.unwrap();
    let began = clock::now();
    standby.seal().await.unwrap();
    println!("measured: seal after a restart with the log to replay {:?}", clock::now().since(began));
    let sealed = standby.status().await;
    assert_eq!(sealed.role, DatabaseRole::Standby);
    assert!(sealed.received.lsn >= acknowledged, "{:?} < {acknowledged:?}", sealed.received.lsn);

    // Sealing again, with replay paused by somebody.
    let admin = connect(rig.addresses[1], "meridian", SUPER_PASSWORD, "postgres").await.unwrap();
    admin.batch_execute("select pg_wal_replay_pause()").await.unwrap();
    standby.seal().await.unwrap();
    assert_eq!(standby.status().await.received, sealed.received);
    fence_late(&standby);
    standby.promote(Epoch(2)).await.unwrap();
    let app = rig.app(1).await;
    assert_eq!(app.query_one("select count(*) from t", &[]).await.unwrap().get::<_, i64>(0), 400_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_waits_for_a_server_that_does_not_answer_yet() {
    let rig = Rig::new(Replication::Async);
    let (_primary, standby) = (rig.primary().await, rig.standby(1).await);
    replicated(&rig, &standby).await;
    // Frozen: the postmaster, and the backends of the connections that are open already.
    let data_dir = rig.config(1).postgres.data_dir;
    let mut frozen = processes_titled(&data_dir, "meridian postgres");
    frozen.push(Pid::from_raw(standby.postmaster().unwrap().cast_signed()).unwrap());
    frozen.iter().for_each(|pid| kill_process(*pid, Signal::STOP).unwrap());
    let standby = std::sync::Arc::new(standby);
    let sealing = tokio::spawn({
        let standby = std::sync::Arc::clone(&standby);
        async move { standby.seal().await }
    });
    until("its receiver is gone", || async { processes_titled(&data_dir, "walreceiver").is_empty() }).await;
    // What it had to do beside the server is done; it asks the server now and gets no answer.
    assert_eq!(standby.status().await.role, DatabaseRole::Starting);
    assert!(!sealing.is_finished(), "a seal without a position");
    frozen.iter().for_each(|pid| kill_process(*pid, Signal::CONT).unwrap());
    // On a busy machine the first one may have given up by now: who seals repeats it.
    if sealing.await.unwrap().is_err() {
        until("it is sealed", || async { standby.seal().await.is_ok() }).await;
    }
    let sealed = status_until(&standby, "it answers", |s| s.role != DatabaseRole::Starting).await;
    assert!(sealed.role == DatabaseRole::Standby && sealed.received.lsn.0 > 0, "{sealed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_timelines_with_the_same_number_are_not_taken_for_one() {
    for same_place in [true, false] {
        let rig = Rig::new(Replication::Async);
        let (old, first, second) = (rig.primary().await, rig.standby(1).await, rig.standby(2).await);
        replicated(&rig, &first).await;
        replicated(&rig, &second).await;
        first.seal().await.unwrap();
        if !same_place {
            replicated(&rig, &second).await;
        }
        second.seal().await.unwrap();
        old.stop(StopMode::Immediate).await.unwrap();
        fence_late(&first);
        first.promote(Epoch(2)).await.unwrap();
        rig.app(1).await.batch_execute("insert into t values (100)").await.unwrap();
        // A third goes with the first, as a standby that was never a primary on that timeline.
        old.rejoin(rig.addresses[1], Epoch(2)).await.unwrap();
        status_until(&old, "it has it all", |s| s.streaming && s.replay_lag_ms == Some(0)).await;
        first.stop(StopMode::Immediate).await.unwrap();
        // The second has not heard of the first's timeline and gives its own the same number.
        fence_late(&second);
        second.promote(Epoch(3)).await.unwrap();
        rig.app(2).await.batch_execute("insert into t values (200)").await.unwrap();
        assert_eq!(second.status().await.received.timeline, 2);

        for (index, member) in [(1, &first), (0, &old)] {
            let rejoined = member.rejoin(rig.addresses[2], Epoch(3)).await.unwrap();
            assert_eq!(rejoined.method, RejoinMethod::Recloned, "{}", rejoined.detail);
            let kept = std::fs::read_dir(rejoined.kept_wal.unwrap().join("pg_wal")).unwrap().flatten();
            let names: Vec<_> = kept.map(|f| f.file_name().into_string().unwrap()).collect();
            assert!(names.iter().any(|n| n.len() == 24 && n.starts_with("00000002")), "{names:?}");
            status_until(member, "it streams", |s| s.streaming && s.replay_lag_ms == Some(0)).await;
            let rows = rig.app(index).await.query("select n from t where n >= 100", &[]).await.unwrap();
            assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [200]);
        }
        only_follows(&first, &rig, 2).await;
    }
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

/// The first member has written what the second, now the writer, never got.
async fn diverged(rig: &Rig) -> Postgres {
    let (old, new) = (rig.primary().await, rig.standby(1).await);
    replicated(rig, &new).await;
    new.seal().await.unwrap();
    rig.app(0).await.batch_execute("insert into t values (100)").await.unwrap();
    drop(old);
    fence_late(&new);
    new.promote(Epoch(2)).await.unwrap();
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rewound_is_cloned_anew_with_the_old_directory_kept() {
    let rig = Rig::new(Replication::Async);
    let _new = diverged(&rig).await;
    let old = Postgres::open(with_broken_rewind(&rig)).unwrap();
    let rejoined = old.rejoin(rig.addresses[1], Epoch(2)).await.unwrap();
    assert_eq!(rejoined.method, RejoinMethod::Recloned, "{}", rejoined.detail);
    assert!(rejoined.kept_wal.unwrap().join("pg_wal").exists());
    assert!(rejoined.kept_data.unwrap().join("PG_VERSION").exists());
    status_until(&old, "the clone streams", |s| s.streaming).await;
    assert_eq!(rig.app(0).await.query("select from t where n = 100", &[]).await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_breaks_without_room_for_both_and_a_removal_that_breaks_can_be_repeated() {
    let rig = Rig::new(Replication::Async);
    let home = rig.folder.path().join(REGIONS[0]);
    std::fs::create_dir_all(&home).unwrap();
    let Some(disk) = SmallDisk::mount(&home) else { return };
    disk.grow();
    let _new = diverged(&rig).await;

    let (data_dir, removing) = (home.join("data"), home.join("data.removing"));
    let config = with_broken_rewind(&rig);
    let copier = config.postgres.bin_dir.clone().unwrap().join("pg_basebackup");
    std::fs::remove_file(&copier).unwrap();
    std::fs::write(&copier, "#!/bin/sh\necho broken >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&copier, std::fs::Permissions::from_mode(0o755)).unwrap();
    let old = Postgres::open(config).unwrap();
    let error = old.rejoin(rig.addresses[1], Epoch(2)).await.unwrap_err();
    assert!(error.to_string().contains("broken"), "{error}");
    assert_eq!(old.status().await.role, DatabaseRole::Absent);
    drop(old);

    // As a crash in the middle of the removal leaves it.
    std::fs::create_dir_all(removing.join("base")).unwrap();
    let old = rig.open(0);
    assert!(!removing.exists(), "what was being removed is removed");
    assert!(!data_dir.exists());
    old.copy_from(rig.addresses[1]).await.unwrap();
    old.follow(rig.addresses[1], Epoch(2)).await.unwrap();
    status_until(&old, "the clone streams", |s| s.streaming).await;
    drop(old);
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
