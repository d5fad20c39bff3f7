//! How many standbys acknowledge, changed under way.

use std::time::Duration;

use meridian_actuators::{DatabaseActuator as _, Postgres, StopMode};
use meridian_model::database::Replication;
use meridian_model::{Epoch, RegionName};
use meridian_telemetry::clock;
use rustix::process::{Signal, kill_process};
use tokio_postgres::Client;

use super::support::*;

fn others() -> Vec<RegionName> {
    REGIONS[1..].iter().map(|r| RegionName::new(r).unwrap()).collect()
}

/// Whether a write is acknowledged soon; one that is not goes on waiting.
async fn acknowledged(client: &Client) -> bool {
    let write = client.batch_execute("insert into t values (1)");
    tokio::time::timeout(Duration::from_millis(400), write).await.is_ok_and(|done| done.is_ok())
}

async fn set(primary: &Postgres, acknowledgers: u32, candidates: &[RegionName]) {
    let began = clock::now();
    primary.set_acknowledgers(acknowledgers, candidates).await.unwrap();
    println!("measured: {acknowledgers} acknowledgers in force after {:?}", clock::now().since(began));
    assert_eq!(primary.status().await.acknowledgers, Some(acknowledgers));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_waits_for_the_number_that_was_set_and_for_the_named_ones_only() {
    let rig = Rig::new(Replication::Async);
    let (primary, first, second) = (rig.primary().await, rig.standby(1).await, rig.standby(2).await);
    let app = rig.app(0).await;
    app.batch_execute("create table t (n int)").await.unwrap();
    assert_eq!(primary.status().await.acknowledgers, Some(0));
    assert_eq!(first.status().await.acknowledgers, None);
    for acknowledgers in [1, 2, 2, 0, 2, 1] {
        set(&primary, acknowledgers, &others()).await;
        assert!(acknowledged(&app).await, "{acknowledgers}");
    }
    // One of two is deaf.
    let deaf = processes_titled(&rig.config(2).postgres.data_dir, "walreceiver");
    deaf.iter().for_each(|pid| kill_process(*pid, Signal::STOP).unwrap());
    assert!(acknowledged(&app).await, "one of two is enough");
    set(&primary, 1, &others()[1..]).await;
    assert!(!acknowledged(&rig.app(0).await).await, "the one that counts is deaf");
    set(&primary, 1, &others()[..1]).await;
    assert!(acknowledged(&rig.app(0).await).await, "the other one counts");
    set(&primary, 2, &others()).await;
    assert!(!acknowledged(&rig.app(0).await).await);
    let waiting = rig.app(0).await;
    let waiting = tokio::spawn(async move { waiting.batch_execute("insert into t values (2)").await });
    set(&primary, 0, &[]).await;
    waiting.await.unwrap().unwrap();
    assert!(acknowledged(&rig.app(0).await).await);
    let error = primary.set_acknowledgers(3, &others()).await.unwrap_err().to_string();
    assert!(error.contains("3 of 2 standbys"), "{error}");
    deaf.iter().for_each(|pid| kill_process(*pid, Signal::CONT).unwrap());
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_holds_over_a_promotion_and_a_start_until_it_is_a_standby_again() {
    let rig = Rig::new(Replication::Quorum { acknowledgers: 1 });
    let (primary, standby) = (rig.primary().await, rig.standby(1).await);
    let app = rig.app(0).await;
    app.batch_execute("create table t (n int)").await.unwrap();
    standby.seal().await.unwrap();
    primary.stop(StopMode::Immediate).await.unwrap();
    fence_late(&standby);
    standby.set_acknowledgers(0, &[]).await.unwrap();
    standby.promote(Epoch(2)).await.unwrap();
    assert!(acknowledged(&rig.app(1).await).await, "there is nobody else");
    assert_eq!(standby.status().await.acknowledgers, Some(0));
    standby.promote(Epoch(2)).await.unwrap();
    assert!(acknowledged(&rig.app(1).await).await, "promoting again changes nothing");
    standby.stop(StopMode::Immediate).await.unwrap();
    fence_late(&standby);
    standby.start_primary(Epoch(2)).await.unwrap();
    assert_eq!(standby.status().await.acknowledgers, Some(0), "as it was");
    assert!(acknowledged(&rig.app(1).await).await);
    standby.stop(StopMode::Immediate).await.unwrap();
    fence_late(&standby);
    standby.set_acknowledgers(1, &others()).await.unwrap();
    standby.start_primary(Epoch(2)).await.unwrap();
    assert_eq!(standby.status().await.acknowledgers, Some(1), "set while it did not run");
    assert!(!acknowledged(&rig.app(1).await).await, "from the first commit on");
}

/// As long as too much could be lost: reads go on, and who writes is told why not.
#[tokio::test(flavor = "multi_thread")]
async fn writes_are_kept_off_and_let_in_again() {
    let rig = Rig::new(Replication::Async);
    let primary = rig.primary().await;
    let app = rig.app(0).await;
    app.batch_execute("create table t (n int)").await.unwrap();
    primary.set_read_only(true).await.unwrap();
    let refused = || async { app.batch_execute("insert into t values (1)").await.is_err() };
    until("a session that was there hears of it", refused).await;
    let error = rig.app(0).await.batch_execute("insert into t values (1)").await.unwrap_err();
    assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("25006"), "{error}");
    rig.app(0).await.batch_execute("select * from t").await.unwrap();
    primary.set_read_only(false).await.unwrap();
    until("it may write again", || async { acknowledged(&app).await }).await;
    primary.set_read_only(true).await.unwrap();
    primary.stop(StopMode::Immediate).await.unwrap();
    fence_late(&primary);
    primary.start_primary(Epoch(1)).await.unwrap();
    assert!(acknowledged(&rig.app(0).await).await, "not over a start");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_commit_slips_through_while_more_are_asked_for() {
    let rig = Rig::new(Replication::Async);
    let (primary, _first, second) = (rig.primary().await, rig.standby(1).await, rig.standby(2).await);
    let app = rig.app(0).await;
    app.batch_execute("create table t (n int)").await.unwrap();
    let deaf = processes_titled(&rig.config(2).postgres.data_dir, "walreceiver");
    for round in 0..3 {
        set(&primary, u32::from(round % 2 == 0), &others()[..1]).await;
        deaf.iter().for_each(|pid| kill_process(*pid, Signal::STOP).unwrap());
        set(&primary, 2, &others()).await;
        let fresh = rig.app(0).await;
        let write = fresh.batch_execute("insert into t values (1)");
        let soon = tokio::time::timeout(Duration::from_millis(50), write).await;
        deaf.iter().for_each(|pid| kill_process(*pid, Signal::CONT).unwrap());
        assert!(soon.is_err(), "acknowledged by one of two");
        until("it goes on", || async { acknowledged(&rig.app(0).await).await }).await;
    }
    drop(second);
}
