//! Instances as real processes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use meridian_actuators::{ActuatorError, ComputeActuator as _, ComputeConfig, ProcessInstances};
use rustix::process::{Pid, Signal, kill_process};

use super::support::until;

/// Instances that write their number down and then wait; `ignore` makes them deaf to SIGTERM.
fn instances(folder: &Path, ignore: &str) -> ProcessInstances {
    let script = format!("{ignore} echo $$ >> {}/$0; while :; do sleep 0.05; done", folder.display());
    let command = ["/bin/sh".to_owned(), "-c".to_owned(), script, "{address}".to_owned()];
    ProcessInstances::open(ComputeConfig {
        endpoints: vec!["127.0.0.1:9001".parse().unwrap(), "127.0.0.1:9002".parse().unwrap()],
        command: command.to_vec(),
        log_dir: folder.join("logs"),
        name: "shop".to_owned(),
    })
    .unwrap()
}

fn pids(folder: &Path, address: &str) -> Vec<i32> {
    let text = fs::read_to_string(folder.join(address)).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn alive(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_scales_up_and_down_and_never_beyond_its_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let compute = instances(folder.path(), "");
    assert_eq!(compute.running(), 0);
    compute.scale(5).await.unwrap();
    compute.scale(5).await.unwrap();
    assert_eq!(compute.running(), 2);
    let begun = |address| !pids(folder.path(), address).is_empty();
    until("both have begun", || async { begun("127.0.0.1:9001") && begun("127.0.0.1:9002") }).await;
    let second = pids(folder.path(), "127.0.0.1:9002")[0];
    compute.scale(1).await.unwrap();
    assert_eq!(compute.running(), 1);
    assert!(!alive(second));
    compute.scale(0).await.unwrap();
    assert_eq!(compute.running(), 0);
    assert_eq!(pids(folder.path(), "127.0.0.1:9001").len(), 1, "scaling twice started it twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_crashes_is_started_again_and_dropping_all_ends_them() {
    let folder = tempfile::tempdir().unwrap();
    let compute = instances(folder.path(), "");
    compute.scale(1).await.unwrap();
    until("it has begun", || async { !pids(folder.path(), "127.0.0.1:9001").is_empty() }).await;
    let first = pids(folder.path(), "127.0.0.1:9001")[0];
    kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    until("it has begun again", || async { pids(folder.path(), "127.0.0.1:9001").len() == 2 }).await;
    let second = pids(folder.path(), "127.0.0.1:9001")[1];
    assert!(alive(second) && !alive(first));
    drop(compute);
    until("it has ended", || async { !alive(second) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_drain_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let compute = instances(folder.path(), "trap '' TERM;");
    compute.scale(1).await.unwrap();
    until("it has begun", || async { !pids(folder.path(), "127.0.0.1:9001").is_empty() }).await;
    let pid = pids(folder.path(), "127.0.0.1:9001")[0];
    let ended = tokio::time::timeout(Duration::from_secs(30), compute.scale(0)).await;
    ended.expect("it hangs").unwrap();
    assert!(!alive(pid));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = ComputeConfig {
        endpoints: Vec::new(),
        command: vec!["/nowhere/shop".to_owned()],
        log_dir: folder.path().into(),
        name: "shop".to_owned(),
    };
    let error = ProcessInstances::open(config).err().unwrap();
    assert!(matches!(error, ActuatorError::MissingProgram { .. }), "{error}");
    assert!(error.to_string().contains("/nowhere/shop"), "{error}");
}
