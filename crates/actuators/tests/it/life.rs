//! The life of one server: made, started, stopped, crashed, found again.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use meridian_actuators::{ActuatorError, DatabaseActuator as _, StopMode};
use meridian_model::Epoch;
use meridian_model::database::Replication;
use meridian_model::group::DatabaseRole;
use meridian_telemetry::clock;

use super::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn it_is_made_started_stopped_and_started_again_and_keeps_what_was_committed() {
    let rig = Rig::new(Replication::Async);
    let database = rig.open(0);
    assert_eq!(database.status().await.role, DatabaseRole::Absent);
    database.initialise().await.unwrap();
    database.initialise().await.unwrap();
    assert_eq!(database.status().await.role, DatabaseRole::Stopped);

    let refused = database.start_primary(Epoch(1)).await.unwrap_err();
    assert!(matches!(refused, ActuatorError::NotFenced), "{refused}");
    database.fence_at(Some(clock::now()));
    assert!(database.start_primary(Epoch(1)).await.is_err(), "a fence in the past is none");

    fence_late(&database);
    database.start_primary(Epoch(1)).await.unwrap();
    database.start_primary(Epoch(1)).await.unwrap();
    let app = rig.app(0).await;
    app.batch_execute("create table t (n int); insert into t values (1)").await.unwrap();
    let status = database.status().await;
    assert_eq!((status.role, status.received.timeline), (DatabaseRole::Primary, 1));
    assert!(status.received.lsn.0 > 0 && status.replayed == status.received.lsn);
    assert!(rig.config(0).postgres.data_dir.join("standby.signal").exists(), "no start by accident");

    let began = clock::now();
    database.stop(StopMode::Immediate).await.unwrap();
    let took = clock::now().since(began);
    println!("measured: immediate stop {took:?}");
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(processes_in(&rig.config(0).postgres.data_dir).len(), 0);
    assert_eq!(database.status().await.role, DatabaseRole::Stopped);
    assert!(database.exits().borrow().is_none(), "a stop that was commanded is no news");

    database.start_primary(Epoch(1)).await.unwrap();
    let rows = rig.app(0).await.query("select n from t", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    database.stop(StopMode::Fast).await.unwrap();
    database.stop(StopMode::Fast).await.unwrap();
    assert_eq!(database.status().await.role, DatabaseRole::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_asked_for_and_stand_in_no_log_and_on_no_command_line() {
    let rig = Rig::new(Replication::Async);
    let database = rig.primary().await;
    assert!(connect(rig.addresses[0], "app", "wrong", "shop").await.is_err());
    let superuser = connect(rig.addresses[0], "meridian", SUPER_PASSWORD, "postgres").await.unwrap();
    let row =
        superuser.query_one("select rolpassword from pg_authid where rolname = 'app'", &[]).await.unwrap();
    assert!(row.get::<_, String>(0).starts_with("SCRAM-SHA-256$"));
    drop(superuser);
    let config = rig.config(0);
    let log = std::fs::read_to_string(config.work_dir.join("postgres.log")).unwrap();
    let pid = database.postmaster().unwrap();
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    for secret in [APP_PASSWORD, SUPER_PASSWORD, "SCRAM-SHA-256$"] {
        assert!(!log.contains(secret) && !command.contains(secret));
    }
    assert!(!config.work_dir.join("initdb.password").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_told_at_once_with_no_backend_left_and_can_be_started_again() {
    let rig = Rig::new(Replication::Async);
    let database = rig.primary().await;
    let app = rig.app(0).await;
    app.batch_execute("create table t (n int)").await.unwrap();
    let busy = tokio::spawn(async move { app.batch_execute("select pg_sleep(60)").await });
    let mut exits = database.exits();
    let pid = rustix::process::Pid::from_raw(database.postmaster().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let exit = exits.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert_eq!((exit.count, exit.fenced), (1, false));
    assert_eq!(processes_in(&rig.config(0).postgres.data_dir).len(), 0, "{}", exit.detail);
    assert!(busy.await.unwrap().is_err());
    let began = clock::now();
    database.start_primary(Epoch(1)).await.unwrap();
    println!("measured: start after a crash {:?}", clock::now().since(began));
    rig.app(0).await.batch_execute("insert into t values (1)").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_crashes_ends_the_whole_server_so_that_we_decide() {
    let rig = Rig::new(Replication::Async);
    let database = rig.primary().await;
    let app = rig.app(0).await;
    let row = app.query_one("select pg_backend_pid()", &[]).await.unwrap();
    let pid = rustix::process::Pid::from_raw(row.get(0)).unwrap();
    let mut exits = database.exits();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    exits.wait_for(Option::is_some).await.unwrap();
    assert_eq!(database.status().await.role, DatabaseRole::Stopped);
    database.start_primary(Epoch(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_left_by_an_earlier_life_is_killed_first() {
    let rig = Rig::new(Replication::Async);
    let earlier = rig.primary().await;
    let pid = earlier.postmaster().unwrap();
    let later = rig.open(0);
    assert_eq!(processes_in(&rig.config(0).postgres.data_dir).len(), 0);
    // It was a child of the earlier life, which takes notice in its own time.
    until("it is gone", || async { !std::path::Path::new(&format!("/proc/{pid}")).exists() }).await;
    fence_late(&later);
    later.start_primary(Epoch(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_it_ends_the_server() {
    let rig = Rig::new(Replication::Async);
    drop(rig.primary().await);
    assert_eq!(processes_in(&rig.config(0).postgres.data_dir).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immediate_stop_does_not_wait_for_a_status_that_hangs() {
    let rig = Rig::new(Replication::Async);
    let database = rig.primary().await;
    let pid = rustix::process::Pid::from_raw(database.postmaster().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let asking = database.status();
    tokio::pin!(asking);
    // Begun: it holds the connection that a frozen server does not open.
    assert!(under_way(&mut asking).await);
    let stopping = async {
        let began = clock::now();
        database.stop(StopMode::Immediate).await.unwrap();
        clock::now().since(began)
    };
    let (_, took) = tokio::join!(asking, stopping);
    println!("measured: immediate stop beside a status that hangs {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// Polls once; whether it is still under way.
async fn under_way<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())).await
}
