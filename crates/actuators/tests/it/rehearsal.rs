//! A rehearsal has no effect on production and leaves nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use meridian_actuators::{ActuatorError, DatabaseActuator as _, Stage, StopMode};
use meridian_model::database::Replication;
use meridian_model::group::DatabaseRole;
use meridian_telemetry::clock;
use rustix::process::{Signal, kill_process};

use super::support::*;

fn workspace(rig: &Rig) -> PathBuf {
    let folder = rig.folder.path().join("rehearsals");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_promoted_and_written_to_and_nothing_is_left() {
    let rig = Rig::new(Replication::Quorum { acknowledgers: 1 });
    let (primary, standby) = (rig.primary().await, rig.standby(1).await);
    let app = rig.app(0).await;
    app.batch_execute("create table t (n int); insert into t values (1)").await.unwrap();
    let folder = workspace(&rig);
    let refused = primary.rehearse(&folder, &|_| {}).await.err().unwrap().to_string();
    assert!(refused.contains("only a running standby"), "{refused}");

    let began = clock::now();
    let told = std::sync::Mutex::new(Vec::new());
    let rehearsal = standby.rehearse(&folder, &|stage| told.lock().unwrap().push(stage)).await.unwrap();
    assert_eq!(*told.lock().unwrap(), [Stage::Cloning, Stage::Starting, Stage::Promoting]);
    assert!(rehearsal.folder().starts_with(folder.canonicalize().unwrap()));
    println!("measured: rehearsal {:?}, {:?}", clock::now().since(began), rehearsal.rehearsed);
    assert!(rehearsal.rehearsed.bytes > 10 << 20 && rehearsal.rehearsed.free_bytes > 0);
    let refused = standby.rehearse(&folder, &|_| {}).await.err().unwrap();
    assert!(matches!(refused, ActuatorError::WrongState { .. }), "{refused}");
    // The application can be tried against it, and production sees none of that.
    let clone = connect(rehearsal.address, "app", APP_PASSWORD, "shop").await.unwrap();
    clone.batch_execute("insert into t values (2); create table other (n int)").await.unwrap();
    app.batch_execute("insert into t values (3)").await.unwrap();
    let rows = clone.query("select n from t order by n", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [1, 2]);
    let standbys = primary.status().await.standbys;
    assert_eq!(standbys.len(), 1, "{standbys:?}");
    let data_dir = folder.join("meridian-rehearsal-orders/data");
    assert!(!processes_in(&data_dir).is_empty());

    let removed = rehearsal.end().await.unwrap();
    println!("measured: {removed:?}");
    assert!(removed.clean(), "{removed:?}");
    assert_eq!((processes_in(&data_dir).len(), entries(&folder)), (0, 0));
    let rows = app.query("select n from t order by n", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [1, 3]);
    assert_eq!(standby.status().await.role, DatabaseRole::Standby);

    let rehearsal = standby.rehearse(&folder, &|_| {}).await.unwrap();
    let folder_of_it = rehearsal.folder().to_owned();
    drop(rehearsal);
    assert!(meridian_actuators::rehearsal::gone(&folder_of_it).await, "dropping it is enough");
    assert_eq!((processes_in(&data_dir).len(), entries(&folder)), (0, 0));
}

/// One that was dropped while its clone was being started could leave a server that nobody knew of.
#[tokio::test]
async fn a_rehearsal_that_is_dropped_leaves_nothing_at_any_stage() {
    let rig = Rig::new(Replication::Async);
    let (_primary, standby) = (rig.primary().await, rig.standby(1).await);
    let folder = workspace(&rig);
    let data_dir = folder.join("meridian-rehearsal-orders/data");
    for last in [Stage::Cloning, Stage::Starting, Stage::Promoting] {
        let reached = tokio::sync::Notify::new();
        let told = |stage| {
            if stage == last {
                reached.notify_one();
            }
        };
        tokio::select! {
            biased;
            () = reached.notified() => {}
            made = standby.rehearse(&folder, &told) => assert!(made.is_ok() && last == Stage::Promoting),
        }
        until("nothing is left", || async { processes_in(&data_dir).is_empty() && entries(&folder) == 0 })
            .await;
        until("its note is gone", || async { !rig.config(1).work_dir.join("rehearsal").exists() }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves_is_removed_by_the_next_start_and_a_standby_that_ends_ends_it() {
    let rig = Rig::new(Replication::Async);
    let (_primary, standby) = (rig.primary().await, rig.standby(1).await);
    let folder = workspace(&rig);
    let rehearsal = standby.rehearse(&folder, &|_| {}).await.unwrap();
    let data_dir = folder.join("meridian-rehearsal-orders/data");
    // As if the node had died: nobody cleans up.
    std::mem::forget(rehearsal);
    assert_eq!(entries(&folder), 1);
    drop(standby);
    let standby = rig.open(1);
    assert_eq!((processes_in(&data_dir).len(), entries(&folder)), (0, 0));
    standby.follow(rig.addresses[0], meridian_model::Epoch(1)).await.unwrap();
    status_until(&standby, "it streams", |s| s.streaming).await;

    let busy = std::sync::Arc::new(standby);
    let rehearsing = {
        let (busy, folder) = (std::sync::Arc::clone(&busy), folder.clone());
        tokio::spawn(async move { busy.rehearse(&folder, &|_| {}).await.map(drop) })
    };
    until("it has begun", || async { entries(&folder) == 1 }).await;
    let copying = processes_titled(&rig.config(1).postgres.data_dir, "walsender");
    for pid in copying {
        let _it_may_be_done = kill_process(pid, Signal::STOP);
    }
    let began = clock::now();
    busy.stop(StopMode::Immediate).await.unwrap();
    assert!(clock::now().since(began) < std::time::Duration::from_secs(2), "a rehearsal holds nothing up");
    let _failed_or_done_before = rehearsing.await.unwrap();
    until("nothing is left", || async { entries(&folder) == 0 }).await;
}
