//! The lease in the commit path: no commit is acknowledged after the deadline, whoever is awake.

use std::ffi::OsString;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meridian_actuators::{DatabaseActuator as _, Postgres, StopMode};
use meridian_model::database::Replication;
use meridian_model::{Epoch, Moment};
use meridian_telemetry::clock;
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::support::*;

/// The rig of a primary whose own guard does nothing: the test orders another one.
fn rig() -> Rig {
    let deaf = ["/bin/sh", "-c", "exec cat >/dev/null"];
    Rig::new(Replication::Async).guarded_by(deaf.map(OsString::from).to_vec())
}

fn late() -> Moment {
    clock::now() + Duration::from_secs(300)
}

fn data_dir(rig: &Rig) -> PathBuf {
    rig.config(0).postgres.data_dir.canonicalize().unwrap()
}

/// Waits until nobody confirms the first member's commits any more: then one that waits goes on waiting.
async fn nobody_confirms(rig: &Rig) {
    let superuser = connect(rig.addresses[0], "meridian", SUPER_PASSWORD, "postgres").await.unwrap();
    let confirms = "select from pg_stat_replication where sync_state = 'sync'";
    until("nobody confirms", || async { superuser.query(confirms, &[]).await.unwrap().is_empty() }).await;
}

/// Waits until so many commits of the first member wait to be acknowledged.
async fn commits_wait(rig: &Rig, count: usize) {
    let dir = data_dir(rig);
    until("commits wait", || async { processes_titled(&dir, "waiting for").len() == count }).await;
}

async fn insert(app: &Client) -> Result<(), tokio_postgres::Error> {
    app.batch_execute("insert into t values (1)").await
}

/// Another guard, which has never heard of a later deadline than this one. (One that is only told an earlier
/// one may not have read it yet when it matters.) It confirms commits when this returns.
async fn only_until(rig: &Rig, mut old: TestGuard, watched: &Path, deadline: Moment) -> TestGuard {
    old.0.kill().unwrap();
    old.0.wait().unwrap();
    let mut guard = TestGuard::watching(watched).confirming(rig);
    guard.kill_at(deadline);
    insert(&rig.app(0).await).await.unwrap();
    assert!(clock::now() < deadline, "the machine is too slow for this test");
    guard
}

/// A primary whose commits are confirmed by a guard that cannot kill it: it watches another folder.
async fn unkillable(rig: &Rig) -> (Postgres, TestGuard) {
    let mut guard = TestGuard::watching(rig.folder.path()).confirming(rig);
    guard.kill_at(late());
    let database = rig.primary().await;
    rig.app(0).await.batch_execute("create table t (n int)").await.unwrap();
    (database, guard)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_deadline_nothing_is_acknowledged_though_the_server_runs_on() {
    let rig = rig();
    let (database, guard) = unkillable(&rig).await;
    assert_eq!(database.status().await.standbys, [], "the guard is no standby");
    let acks = Arc::new(Mutex::new(Vec::new()));
    let (app, noted) = (rig.app(0).await, Arc::clone(&acks));
    let writer = tokio::spawn(async move {
        loop {
            let sent = clock::now();
            insert(&app).await.unwrap();
            noted.lock().unwrap().push((sent, clock::now()));
        }
    });
    until("some rows", || async { acks.lock().unwrap().len() > 50 }).await;
    let deadline = clock::now() + Duration::from_secs(3);
    let mut guard = only_until(&rig, guard, rig.folder.path(), deadline).await;
    nobody_confirms(&rig).await;
    commits_wait(&rig, 1).await;
    assert!(clock::now() > deadline);
    let seen = acks.lock().unwrap().clone();
    let (sent, received) = *seen.last().unwrap();
    println!("measured: the last acknowledgement came {:?} after the deadline", received.since(deadline));
    assert!(sent < deadline, "sent {:?} after the deadline and acknowledged", sent.since(deadline));

    let other = rig.app(0).await;
    let count =
        async || -> i64 { rig.app(0).await.query_one("select count(*) from t", &[]).await.unwrap().get(0) };
    let held = tokio::spawn(async move { insert(&other).await });
    commits_wait(&rig, 2).await;
    assert_eq!(count().await, i64::try_from(seen.len()).unwrap() + 1, "what waits is not seen by others");
    let began = clock::now();
    guard.kill_at(late());
    held.await.unwrap().unwrap();
    println!("measured: a commit that waited went on {:?} after the next renewal", clock::now().since(began));

    // Without a deadline, and without a node, nothing is confirmed either.
    commits_wait(&rig, 0).await;
    guard.order("disarm");
    nobody_confirms(&rig).await;
    commits_wait(&rig, 1).await;
    guard.kill_at(late());
    commits_wait(&rig, 0).await;
    guard.end();
    nobody_confirms(&rig).await;
    commits_wait(&rig, 1).await;
    writer.abort();
    database.stop(StopMode::Immediate).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_wakes_up_late_acknowledges_nothing_when_the_guard_wakes_last() {
    let rig = rig();
    let database = rig.open(0);
    database.initialise().await.unwrap();
    fence_late(&database);
    let mut guard = TestGuard::watching(&data_dir(&rig)).confirming(&rig);
    for round in 1..=2 {
        guard.kill_at(late());
        database.start_primary(Epoch(round)).await.unwrap();
        let app = rig.app(0).await;
        app.batch_execute("create table if not exists t (n int)").await.unwrap();
        let deadline = clock::now() + Duration::from_secs(3);
        guard = only_until(&rig, guard, &data_dir(&rig), deadline).await;
        // As a machine that is suspended: all of it stands still, and requests arrive meanwhile.
        let guard_pid = Pid::from_raw(guard.0.id().cast_signed()).unwrap();
        stand_still(guard_pid).await;
        let server = processes_titled(&data_dir(&rig), "");
        server.iter().for_each(|pid| kill_process(*pid, Signal::STOP).unwrap());
        let on_old_session = tokio::spawn(async move { insert(&app).await });
        let address = rig.addresses[0];
        let on_new_session = tokio::spawn(async move {
            insert(&connect(address, "app", APP_PASSWORD, "shop").await.unwrap()).await
        });
        until("the deadline has passed", || async { clock::now() > deadline }).await;
        server.iter().rev().for_each(|pid| kill_process(*pid, Signal::CONT).unwrap());
        commits_wait(&rig, 2).await;
        let began = clock::now();
        kill_process(guard_pid, Signal::CONT).unwrap();
        assert!(on_old_session.await.unwrap().is_err());
        assert!(on_new_session.await.unwrap().is_err());
        until("it is killed", || async { processes_in(&data_dir(&rig)).is_empty() }).await;
        println!("measured: killed {:?} after the guard woke up", clock::now().since(began));
    }
}

/// A guard that somebody has stopped blocked every commit, and nothing noticed.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_stands_still_is_replaced_when_commits_wait_for_it() {
    let rig = Rig::new(Replication::Async).guarded();
    let database = rig.primary().await;
    let app = rig.app(0).await;
    app.batch_execute("create table t (n int)").await.unwrap();
    let stopped = guard_of(&rig);
    stand_still(stopped).await;
    let held = tokio::spawn(async move { insert(&app).await });
    // As the node does, which looks at its database twice a second.
    until("another guard", || async {
        database.status().await;
        guard_now(&rig).is_some_and(|now| now != stopped)
    })
    .await;
    held.await.unwrap().unwrap();
    database.stop(StopMode::Immediate).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_killed_is_replaced_at_once_and_commits_go_on() {
    let rig = Rig::new(Replication::Async).guarded();
    let database = rig.primary().await;
    let app = rig.app(0).await;
    app.batch_execute("create table t (n int)").await.unwrap();
    for round in 0..2 {
        let killed = guard_of(&rig);
        kill_process(killed, Signal::KILL).unwrap();
        let began = clock::now();
        insert(&app).await.unwrap();
        println!("measured: a commit without a guard, round {round}: {:?}", clock::now().since(began));
        until("another guard", || async { guard_now(&rig).is_some_and(|now| now != killed) }).await;
    }
    for secret in [SUPER_PASSWORD, "super:secret"] {
        let log = std::fs::read_to_string(rig.config(0).work_dir.join("guard.log")).unwrap();
        let command = std::fs::read(format!("/proc/{}/cmdline", guard_of(&rig).as_raw_nonzero())).unwrap();
        assert!(!log.contains(secret) && !String::from_utf8_lossy(&command).contains(secret));
    }
    // A crash of the server: the same guard confirms the next one's commits.
    let (mut exits, guard) = (database.exits(), guard_of(&rig));
    kill_process(Pid::from_raw(database.postmaster().unwrap().cast_signed()).unwrap(), Signal::KILL).unwrap();
    exits.wait_for(Option::is_some).await.unwrap();
    let began = clock::now();
    database.start_primary(Epoch(1)).await.unwrap();
    println!("measured: guarded start after a crash {:?}", clock::now().since(began));
    insert(&rig.app(0).await).await.unwrap();
    assert_eq!(guard_of(&rig), guard);
    let began = clock::now();
    database.stop(StopMode::Fast).await.unwrap();
    println!("measured: guarded fast stop {:?}", clock::now().since(began));
    assert!(clock::now().since(began) < Duration::from_secs(2));
}

/// Stops a guard and waits until it stands. The signal is taken by one of its threads, and before that one has run, on
/// a busy machine long after, another may still confirm a commit; then none waits.
async fn stand_still(guard: Pid) {
    kill_process(guard, Signal::STOP).unwrap();
    let stands = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with('T')
    };
    let threads = format!("/proc/{}/task", guard.as_raw_nonzero());
    until("it stands still", || async { std::fs::read_dir(&threads).unwrap().flatten().all(stands) }).await;
}

/// The process whose words go to the log of the first member's guard.
fn guard_of(rig: &Rig) -> Pid {
    guard_now(rig).unwrap()
}

/// None: between two of them.
fn guard_now(rig: &Rig) -> Option<Pid> {
    let log = rig.config(0).work_dir.canonicalize().unwrap().join("guard.log");
    let all = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let pid = |p: PathBuf| Pid::from_raw(p.file_name()?.to_str()?.parse().ok()?);
    let mut found =
        all.filter(|p| std::fs::read_link(p.join("fd/1")).is_ok_and(|out| out == log)).filter_map(pid);
    found.next()
}

/// What a client can do to itself: PostgreSQL warns it and acknowledges. The gateway withholds that.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cancels_its_own_commit_is_warned_that_it_has_no_word_for_it() {
    let rig = rig();
    let (_database, mut guard) = unkillable(&rig).await;
    guard.order("disarm");
    nobody_confirms(&rig).await;
    let mut config = tokio_postgres::Config::new();
    let (address, user) = (rig.addresses[0], "app");
    config
        .host(address.ip().to_string())
        .port(address.port())
        .user(user)
        .password(APP_PASSWORD)
        .dbname("shop");
    let (client, mut connection) = config.connect(NoTls).await.unwrap();
    let warned = tokio::spawn(async move {
        loop {
            match poll_fn(|cx| connection.poll_message(cx)).await {
                Some(Ok(AsyncMessage::Notice(notice))) => return notice.message().to_owned(),
                Some(Ok(_)) => {}
                _ => return String::new(),
            }
        }
    });
    let token = client.cancel_token();
    let held = tokio::spawn(async move { insert(&client).await });
    commits_wait(&rig, 1).await;
    token.cancel_query(NoTls).await.unwrap();
    assert_eq!(warned.await.unwrap(), "canceling wait for synchronous replication due to user request");
    held.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn standbys_can_be_waited_for_instead_and_then_the_guard_again() {
    let rig = Rig::new(Replication::Async).guarded();
    let (primary, standby) = (rig.primary().await, rig.standby(1).await);
    let region = rig.config(1).region;
    let app = rig.app(0).await;
    app.batch_execute("create table t (n int)").await.unwrap();
    let before: String = app.query_one("show synchronous_standby_names", &[]).await.unwrap().get(0);
    primary.set_acknowledgers(1, std::slice::from_ref(&region)).await.unwrap();
    insert(&app).await.unwrap();
    assert!(primary.status().await.standbys[0].synchronous);
    primary.set_acknowledgers(0, &[]).await.unwrap();
    drop(standby);
    insert(&app).await.unwrap();
    let after: String = app.query_one("show synchronous_standby_names", &[]).await.unwrap().get(0);
    assert_eq!((before.as_str(), before == after), ("FIRST 1 (meridian_lease)", true));
}
