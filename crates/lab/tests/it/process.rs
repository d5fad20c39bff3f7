//! Child processes: found wherever they went, and gone with the lab.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests stop the test that uses them, as tests do"
)]

use std::path::Path;
use std::time::Duration;

use meridian_lab::process::{Child, Command, Identity, MARK, Process, Spawner, Territory, find_program};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(10);

/// A shell with a child, and a grandchild in a session of its own.
async fn tree(spawner: &Spawner, folder: &Path) -> Child {
    let script = "sleep 1000 & setsid sleep 1000 & wait";
    let command = Command {
        program: find_program("sh", "").unwrap(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        environment: vec![(MARK.to_owned(), folder.display().to_string())],
        folder: folder.to_owned(),
        log: folder.join("tree.log"),
    };
    spawner.spawn(command).await.unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn names(processes: &[Process]) -> Vec<&str> {
    let mut names: Vec<&str> = processes.iter().map(|p| p.name.as_str()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn orphans_in_other_sessions_are_found_and_killed() {
    let folder = tempfile::tempdir().unwrap();
    let spawner = Spawner::new().unwrap();
    let child = tree(&spawner, folder.path()).await;
    let territory = Territory { folder: folder.path().to_owned(), roots: vec![child.identity] };
    until("three processes", || names(&territory.processes()) == ["sh", "sleep", "sleep"]).await;
    assert_eq!(territory.processes()[0].identity, child.identity, "the parent comes first");
    child.identity.signal(Signal::KILL);
    assert_eq!(child.wait().await, "signal 9");
    // Their parent is init now: only the mark tells whose they are.
    let orphans = territory.processes();
    assert_eq!(names(&orphans), ["sleep", "sleep"]);
    orphans.iter().for_each(|p| assert!(p.identity.signal(Signal::KILL)));
    until("nobody left", || territory.processes().is_empty()).await;
}

#[tokio::test]
async fn children_die_with_the_spawner() {
    let folder = tempfile::tempdir().unwrap();
    let spawner = Spawner::new().unwrap();
    let child = tree(&spawner, folder.path()).await;
    let territory = Territory { folder: folder.path().to_owned(), roots: Vec::new() };
    until("three processes", || territory.processes().len() == 3).await;
    drop(spawner);
    until("the child is dead", || !child.identity.is_alive()).await;
    territory.processes().iter().for_each(|p| assert!(p.identity.signal(Signal::KILL)));
}

#[tokio::test]
async fn another_region_s_processes_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("a"), folder.path().join("ab"));
    for region in [&here, &there] {
        std::fs::create_dir(region).unwrap();
    }
    let spawner = Spawner::new().unwrap();
    let child = tree(&spawner, &there).await;
    let of = |folder: &Path| Territory { folder: folder.to_owned(), roots: Vec::new() }.processes();
    until("three processes", || of(&there).len() == 3).await;
    assert_eq!(of(&here), [], "`ab` is not beneath `a`");
    assert_eq!(of(folder.path()).len(), 3);
    of(&there).iter().for_each(|p| assert!(p.identity.signal(Signal::KILL)));
    child.wait().await;
}

#[test]
fn a_missing_program_says_what_to_install() {
    let error = find_program("no-such-program", "install the package of that name").unwrap_err().to_string();
    assert!(error.contains("no-such-program") && error.contains("install the package"), "{error}");
    assert!(Identity::of(std::process::id()).is_alive());
}
