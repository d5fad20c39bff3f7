//! A planned hand-over: nothing is lost, and what goes wrong leaves the old writer where it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use meridian_actuators::{ActuatorError, DatabaseActuator as _, Postgres, RejoinMethod, StopMode};
use meridian_model::database::Replication;
use meridian_model::group::DatabaseRole;
use meridian_model::{Epoch, RegionName};
use meridian_telemetry::clock;
use rustix::process::{Signal, kill_process};

use super::support::*;

fn region(index: usize) -> RegionName {
    RegionName::new(REGIONS[index]).unwrap()
}

/// Writers that go on until they are told to stop; how many rows were acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU32>,
    writers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    async fn start(rig: &Rig, index: usize) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let mut writers = Vec::new();
        for _ in 0..4 {
            let (app, stop, acknowledged) =
                (rig.app(index).await, Arc::clone(&stop), Arc::clone(&acknowledged));
            writers.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    app.batch_execute("insert into t values (1)").await.unwrap();
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        Self { stop, acknowledged, writers }
    }

    async fn end(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.unwrap();
        }
        self.acknowledged.load(Ordering::Relaxed)
    }
}

async fn table(rig: &Rig) {
    rig.app(0).await.batch_execute("create table t (n int)").await.unwrap();
}

async fn rows(rig: &Rig, index: usize) -> i64 {
    rig.app(index).await.query_one("select count(*) from t", &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_under_load_loses_nothing_and_the_old_writer_only_follows() {
    // Commits wait for the guards' word, to the last one of the old writer and from the first of the new.
    let rig = Rig::new(Replication::Async).durable().guarded();
    let (old, new, third) = (rig.primary().await, rig.standby(1).await, rig.standby(2).await);
    table(&rig).await;
    let load = Load::start(&rig, 0).await;
    until("some rows", || async { load.acknowledged.load(Ordering::Relaxed) > 200 }).await;
    let began = clock::now();
    old.prepare_handover(&region(1)).await.unwrap();
    println!("measured: prepare under load {:?}", clock::now().since(began));
    old.catch_up(&region(1), Duration::from_secs(5)).await.unwrap();
    // A standby that hears nothing any more must not hold the shutdown up.
    let deaf = processes_titled(&rig.config(2).postgres.data_dir, "walreceiver");
    deaf.iter().for_each(|pid| kill_process(*pid, Signal::STOP).unwrap());
    let acknowledged = load.end().await;

    let began = clock::now();
    old.catch_up(&region(1), Duration::from_secs(5)).await.unwrap();
    let caught_up = clock::now().since(began);
    let end = old.stop_in_order(Duration::from_secs(5)).await.unwrap();
    let stopped = clock::now().since(began);
    assert_eq!(old.stop_in_order(Duration::from_secs(5)).await.unwrap(), end, "again");
    let status = old.status().await;
    assert_eq!((status.role, status.received), (DatabaseRole::Stopped, end));
    let replayed = new.replay_beyond(end, Duration::from_secs(5)).await.unwrap();
    assert!(replayed > end, "{replayed:?} {end:?}");
    let replaying = clock::now().since(began);
    new.seal().await.unwrap();
    let sealed = clock::now().since(began);
    fence_late(&new);
    new.promote(Epoch(2)).await.unwrap();
    let promoted = clock::now().since(began);
    rig.app(1).await.batch_execute("insert into t values (2)").await.unwrap();
    println!(
        "measured: {acknowledged} rows; caught up {caught_up:?}, stopped {stopped:?}, replayed {replaying:?}, \
         sealed {sealed:?}, promoted {promoted:?}"
    );
    assert!(stopped < Duration::from_secs(2), "{stopped:?}");
    assert_eq!(rows(&rig, 1).await, i64::from(acknowledged) + 1);

    let began = clock::now();
    let rejoined = old.rejoin(rig.addresses[1], Epoch(2)).await.unwrap();
    println!("measured: rejoin {:?} ({})", clock::now().since(began), rejoined.detail);
    assert_eq!((rejoined.method, rejoined.kept_wal), (RejoinMethod::Followed, None), "{}", rejoined.detail);
    assert!(rejoined.detail.contains("whole log"), "{}", rejoined.detail);
    status_until(&old, "it streams", |s| s.streaming && s.received.timeline == 2).await;
    let client = connect(rig.addresses[0], "meridian", SUPER_PASSWORD, "shop").await.unwrap();
    let slots = client.query("select slot_name::text from pg_replication_slots", &[]).await.unwrap();
    assert_eq!(slots.len(), 0, "a standby's own slots would hold its log for ever");
    println!("measured: old writer streams {:?} after it began to rejoin", clock::now().since(began));
    until("it has the new row", || async { rows(&rig, 0).await == i64::from(acknowledged) + 1 }).await;

    deaf.iter().for_each(|pid| kill_process(*pid, Signal::CONT).unwrap());
    third.follow(rig.addresses[1], Epoch(2)).await.unwrap();
    until("the third has it all", || async { rows(&rig, 2).await == i64::from(acknowledged) + 1 }).await;
    and_back(&rig, &old, &new).await;
}

/// The way home is the same, on the next timeline.
async fn and_back(rig: &Rig, first: &Postgres, second: &Postgres) {
    second.prepare_handover(&region(0)).await.unwrap();
    second.catch_up(&region(0), Duration::from_secs(5)).await.unwrap();
    let end = second.stop_in_order(Duration::from_secs(5)).await.unwrap();
    first.replay_beyond(end, Duration::from_secs(5)).await.unwrap();
    fence_late(first);
    let began = clock::now();
    first.promote(Epoch(3)).await.unwrap();
    println!("measured: promoted without a seal {:?}", clock::now().since(began));
    second.follow(rig.addresses[0], Epoch(3)).await.unwrap();
    let status = status_until(second, "it streams", |s| s.streaming && s.received.timeline == 3).await;
    assert_eq!(status.role, DatabaseRole::Standby, "followed without a rejoin");
    println!("measured: followed {:?}", clock::now().since(began));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_does_not_stream_or_is_late_is_named_with_what_it_lacks() {
    let rig = Rig::new(Replication::Async);
    let (primary, standby) = (rig.primary().await, rig.standby(1).await);
    table(&rig).await;
    for refused in [
        primary.prepare_handover(&region(2)).await,
        primary.catch_up(&region(2), Duration::from_secs(1)).await,
    ] {
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("ap-southeast-1 does not stream from here"), "{said}");
    }
    let refused = standby.prepare_handover(&region(0)).await.unwrap_err().to_string();
    assert!(refused.contains("it runs as a standby"), "{refused}");
    assert!(standby.stop_in_order(Duration::from_secs(1)).await.is_err());

    let superuser = connect(rig.addresses[1], "meridian", SUPER_PASSWORD, "postgres").await.unwrap();
    superuser.batch_execute("select pg_wal_replay_pause()").await.unwrap();
    rig.app(0).await.batch_execute("insert into t select generate_series(1, 5000)").await.unwrap();
    let error = primary.catch_up(&region(1), Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, ActuatorError::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("not replayed"), "{error}");
    // What was received but not replayed is told apart.
    let paused = status_until(&standby, "it has received more than it has replayed", |s| {
        s.replayed < s.received.lsn && s.received.lsn.bytes_since(s.replayed) > 100_000
    })
    .await;
    let error = standby.replay_beyond(paused.received, Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().contains("it has replayed to"), "{error}");
    superuser.batch_execute("select pg_wal_replay_resume()").await.unwrap();
    primary.catch_up(&region(1), Duration::from_secs(20)).await.unwrap();
    rig.app(0).await.batch_execute("insert into t values (1)").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_that_hangs_is_killed_and_the_writer_starts_as_it_was() {
    let rig = Rig::new(Replication::Async);
    let (primary, _standby) = (rig.primary().await, rig.standby(1).await);
    table(&rig).await;
    let data_dir = rig.config(0).postgres.data_dir;
    let stuck = processes_titled(&data_dir, "checkpointer");
    assert_eq!(stuck.len(), 1);
    kill_process(stuck[0], Signal::STOP).unwrap();
    let error = primary.stop_in_order(Duration::from_millis(300)).await.unwrap_err();
    assert!(error.to_string().contains("start it again as it was"), "{error}");
    assert_eq!(processes_in(&data_dir).len(), 0);
    let error = primary.stop_in_order(Duration::from_millis(300)).await.unwrap_err();
    assert!(error.to_string().contains("in production"), "{error}");
    primary.start_primary(Epoch(1)).await.unwrap();
    rig.app(0).await.batch_execute("insert into t values (1)").await.unwrap();
    primary.stop(StopMode::Fast).await.unwrap();
}
