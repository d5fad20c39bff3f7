//! The fence: by the watchdog's thread, by the guard's process, by the kernel when the node dies.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use meridian_actuators::{ActuatorError, DatabaseActuator as _, Postgres, guard};
use meridian_model::database::Replication;
use meridian_model::{Epoch, Moment};
use meridian_telemetry::clock;
use rustix::process::{Pid, Signal, kill_process};

use super::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_fence_kills_a_busy_and_a_frozen_server_in_time_and_tells() {
    for frozen in [false, true] {
        let rig = Rig::new(Replication::Async);
        let database = rig.primary().await;
        let app = rig.app(0).await;
        let busy = tokio::spawn(async move { app.batch_execute("select pg_sleep(60)").await });
        if frozen {
            kill_process(Pid::from_raw(database.postmaster().unwrap().cast_signed()).unwrap(), Signal::STOP)
                .unwrap();
        }
        let mut exits = database.exits();
        let at = clock::now() + Duration::from_millis(100);
        database.fence_at(Some(at));
        let exit = exits.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        println!(
            "measured: fence of a {} server took {:?}",
            if frozen { "frozen" } else { "busy" },
            exit.at.since(at)
        );
        assert!(exit.fenced && exit.at >= at, "{exit:?}");
        assert!(exit.at.since(at) < Duration::from_millis(500), "{:?}", exit.at.since(at));
        assert_eq!(processes_in(&rig.config(0).postgres.data_dir).len(), 0);
        assert!(busy.await.unwrap().is_err());
        assert!(matches!(database.start_primary(Epoch(1)).await, Err(ActuatorError::NotFenced)));
        fence_late(&database);
        database.start_primary(Epoch(1)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_kills_at_the_deadline_that_a_frozen_node_cannot_keep() {
    let rig = Rig::new(Replication::Async);
    let database = rig.primary().await;
    let mut guard = start_guard(&rig);
    let at = clock::now() + Duration::from_millis(300);
    guard.kill_at(clock::now() + Duration::from_millis(100));
    guard.kill_at(at);
    let mut exits = database.exits();
    let exit = exits.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(!exit.fenced, "it was not our own watchdog");
    assert!(exit.at >= at, "the later order replaces the earlier");
    assert_eq!(processes_in(&rig.config(0).postgres.data_dir).len(), 0);
    guard.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_kills_what_is_left_when_its_node_is_gone() {
    let rig = Rig::new(Replication::Async);
    let database = rig.primary().await;
    let guard = start_guard(&rig);
    let mut exits = database.exits();
    guard.end();
    exits.wait_for(Option::is_some).await.unwrap();
    assert_eq!(processes_in(&rig.config(0).postgres.data_dir).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_leaves_no_server_and_no_guard() {
    let rig = Rig::new(Replication::Async);
    drop(rig.primary().await);
    let (node, pids) = start_node(&rig, "serving with ");
    let app = rig.app(0).await;
    let busy = tokio::spawn(async move { app.batch_execute("select pg_sleep(60)").await });
    let began = clock::now();
    drop(node);
    let data_dir = rig.config(0).postgres.data_dir;
    until("no server is left", || async { processes_in(&data_dir).is_empty() }).await;
    println!("measured: no server left after a killed node {:?}", clock::now().since(began));
    // A zombie that waits for the machine's first process to reap it has no program any more.
    let gone = |pid: &str| std::fs::read_link(format!("/proc/{pid}/exe")).is_err();
    until("no guard is left", || async { pids.split(' ').all(gone) }).await;
    assert!(busy.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_loses_its_server_at_the_fence_and_finds_it_gone_when_it_wakes() {
    let rig = Rig::new(Replication::Async);
    drop(rig.primary().await);
    let (mut node, at) = start_node(&rig, "fenced at ");
    let at = Moment::from_nanos(at.parse().unwrap());
    let pid = Pid::from_raw(node.0.id().cast_signed()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let app = rig.app(0).await;
    let busy = tokio::spawn(async move {
        let mut written = None;
        while app.batch_execute("select pg_logical_emit_message(true, 'x', 'x')").await.is_ok() {
            written = Some(clock::now());
        }
        written
    });
    let data_dir = rig.config(0).postgres.data_dir;
    until("no server is left", || async { processes_in(&data_dir).is_empty() }).await;
    let ended = clock::now();
    println!("measured: no server left {:?} after the fence of a frozen node", ended.since(at));
    assert!(ended >= at, "not before");
    assert!(ended.since(at) < Duration::from_secs(1), "{:?}", ended.since(at));
    let written = busy.await.unwrap().unwrap();
    assert!(written.since(at) < Duration::from_millis(500), "{:?}", written.since(at));
    kill_process(pid, Signal::CONT).unwrap();
    let mut lines = BufReader::new(node.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let woken = lines.find(|line| line.contains("ended: ")).unwrap();
    assert!(woken.contains("true"), "{woken}");
    drop(node);
    assert_eq!(processes_in(&data_dir).len(), 0);
}

/// A node as a process of its own; killed when it is dropped, also a frozen one.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).unwrap();
    }
}

/// Starts the node below as a process; what it says after `word`.
fn start_node(rig: &Rig, word: &str) -> (Node, String) {
    let words = errand("it::fence::errand_node");
    let mut node = Command::new(&words[0])
        .args(&words[1..])
        .env("MERIDIAN_RIG", rig.folder.path())
        .env("MERIDIAN_ADDRESS", rig.addresses[0].to_string())
        .env("MERIDIAN_SAYS", word)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(node.stdout.take().unwrap());
    let said = loop {
        let mut line = String::new();
        assert!(out.read_line(&mut line).unwrap() > 0, "the node ended");
        if let Some((_, said)) = line.split_once(word) {
            break said.trim().to_owned();
        }
    };
    node.stdout = Some(out.into_inner());
    (Node(node), said)
}

/// The node of the tests above: opens the first member with a guard, starts it and waits for its end.
#[tokio::test(flavor = "multi_thread")]
async fn errand_node() {
    let Some(folder) = std::env::var_os("MERIDIAN_RIG").filter(|_| on_errand()) else { return };
    let address = std::env::var_os("MERIDIAN_ADDRESS").unwrap().into_string().unwrap().parse().unwrap();
    let mut other = Rig::below(std::path::Path::new(&folder), Replication::Async);
    other.addresses[0] = address;
    let mut config = other.config(0);
    let home = std::path::Path::new(&folder).join(REGIONS[0]);
    config.postgres.data_dir = home.join("data");
    config.work_dir = home.join("postgres-orders");
    let database = Postgres::open(config.guarded_by(errand("it::fence::errand_guard"))).unwrap();
    fence_late(&database);
    database.start_primary(Epoch(1)).await.unwrap();
    let me = std::process::id();
    let children = std::fs::read_dir(format!("/proc/{me}/task"))
        .unwrap()
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    println!("serving with {}", children.collect::<String>().trim());
    if std::env::var_os("MERIDIAN_SAYS").is_some_and(|says| says == "fenced at ") {
        let mut exits = database.exits();
        let at = clock::now() + Duration::from_secs(2);
        database.fence_at(Some(at));
        // It is one already; but this returns only when the guard has the new deadline too.
        database.start_primary(Epoch(1)).await.unwrap();
        println!("fenced at {}", at.as_nanos());
        exits.wait_for(Option::is_some).await.unwrap();
        println!(
            "ended: {}",
            matches!(database.start_primary(Epoch(1)).await, Err(ActuatorError::NotFenced))
        );
    }
    std::future::pending::<()>().await;
}

/// A guard process.
#[test]
fn errand_guard() {
    if on_errand() {
        guard::run(std::io::stdin().lock()).unwrap();
    }
}

#[test]
fn a_guard_refuses_to_guess_what_to_watch() {
    let error = guard::run(&b"hello\n"[..]).unwrap_err();
    assert!(error.to_string().contains("its first line is `hello`"), "{error}");
}

fn start_guard(rig: &Rig) -> TestGuard {
    TestGuard::watching(&rig.config(0).postgres.data_dir.canonicalize().unwrap())
}
