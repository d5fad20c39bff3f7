//! A step that turns dials, over a store in memory: every node takes from there what it publishes.

use std::sync::Mutex;
use std::time::Duration;

use meridian_coordination::asks::Asks;
use meridian_coordination::{Keys, Memory as Twin, Store, Txn, encode};
use meridian_model::health::{Health, RegionHealth};
use meridian_model::plan::{Task, Work};
use meridian_model::run::{RunKind, Step, StepState};
use meridian_model::snapshot::GroupState;
use meridian_model::{Epoch, Timestamp};
use meridian_telemetry::Metrics;
use tokio::sync::watch;

use super::*;
use crate::compute::Compute;
use crate::knowledge::Knowledge;
use crate::loops::{Sources, publish};
use crate::memory::Memory;
use crate::publish::Publisher;
use crate::testing::{here, name, system};

/// Longer than anything that works takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn run(dial: Option<f64>, drain: bool) -> Run {
    let dial = dial.map(|percent| Share::from_percent(percent).unwrap());
    let work = Work::new(name("shift"), Task::Shift { dial, drain }, PATIENCE);
    Run {
        from: Some(name("eu-central-1")),
        cause: "ana ordered the writer to move".to_owned(),
        steps: vec![Step { state: StepState::Running { since: Timestamp(0) }, ..Step::pending(work) }],
        plan: Some(name("orders")),
        ..Run::begin(
            name("orders-2-switchover"),
            name("orders"),
            RunKind::Switchover,
            Epoch(2),
            here(),
            Timestamp(0),
        )
    }
}

/// A node without its loops but those that bring what is in etcd into the snapshot.
struct Rig {
    asks: Asks,
    steps: Steps,
    _folder: tempfile::TempDir,
}

fn state(writer: RegionName) -> GroupState {
    let (group, reason) = (name("orders"), String::new());
    GroupState { group, epoch: Epoch(2), writer: Some(writer), reason, readers: Vec::new() }
}

async fn rig() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let (store, keys) = (Twin::new(), Keys::new(&name("shop")));
    let reign = vec![(keys.epoch(&name("orders")), encode(&Epoch(2)))];
    store.commit(Txn { put: reign, ..Txn::default() }).await.unwrap();
    let system = Arc::new(system());
    let memory = Memory::open(folder.path()).unwrap();
    let metrics = Metrics::new(None);
    let publisher = Publisher::new(Arc::clone(&system), here(), &memory, metrics.clone());
    let views = publisher.views();
    let region = |r: &RegionName| RegionHealth {
        region: r.clone(),
        health: Health::Up,
        reason: String::new(),
        parts: Vec::new(),
    };
    let knowledge = Arc::new(Mutex::new(Knowledge::new(&name("shop"), vec![name("orders")])));
    let nudge: Arc<tokio::sync::Notify> = Arc::default();
    let sources = Sources {
        verdicts: watch::channel(Arc::new(system.region_names().map(region).collect())).1,
        groups: vec![watch::channel(state(here())).1],
        knowledge: Arc::clone(&knowledge),
    };
    tokio::spawn(publish(publisher, Arc::clone(&nudge), sources, metrics));
    let mut changes = store.watch(keys.prefix());
    tokio::spawn(async move {
        while let Some(change) = changes.recv().await {
            knowledge.lock().unwrap().apply(change, clock::now());
            nudge.notify_one();
        }
    });
    let asks = Asks::new(Arc::new(store), keys);
    let steps = Steps {
        here: here(),
        database: system.databases[0].clone(),
        views,
        compute: Arc::new(Compute::new(here(), Vec::new())),
        asks: asks.clone(),
        outside: meridian_actuators::Outside::new(folder.path().to_owned()).unwrap(),
    };
    Rig { asks, steps, _folder: folder }
}

async fn carried_out(rig: &Rig, run: &Run) -> Result<String, String> {
    tokio::time::timeout(PATIENCE, rig.steps.carry_out(&name("shift"), run)).await.unwrap()
}

fn dials(rig: &Rig) -> Vec<(String, Turn)> {
    let view = Arc::clone(&rig.steps.views.borrow());
    view.snapshot.dials.iter().map(|d| (d.region.to_string(), d.turn)).collect()
}

#[tokio::test]
async fn a_step_is_done_when_the_snapshot_here_shows_what_it_turned() {
    let rig = rig().await;
    let told = carried_out(&rig, &run(Some(40.0), true)).await.unwrap();
    assert!(told.contains("names us-east-1 as the writer of epoch 2"), "{told}");
    assert!(told.contains("us-east-1 takes 40% of what arrives; eu-central-1 is drained"), "{told}");
    let share = Turn::Share(Share::from_percent(40.0).unwrap());
    let both = [("eu-central-1".to_owned(), Turn::Drain), ("us-east-1".to_owned(), share)];
    assert_eq!(dials(&rig), both);
    let view = Arc::clone(&rig.steps.views.borrow());
    let drained = view.snapshot.turned(&name("eu-central-1")).unwrap();
    assert_eq!(
        (drained.who().as_str(), drained.word.by.as_str()),
        ("run orders-2-switchover", "plan orders")
    );
    // A later step turns what it names, and no more.
    carried_out(&rig, &run(Some(100.0), false)).await.unwrap();
    let whole = ("us-east-1".to_owned(), Turn::Share(Share::ONE));
    assert_eq!(dials(&rig), [both[0].clone(), whole]);
}

#[tokio::test]
async fn what_a_person_has_turned_is_left_and_told() {
    let rig = rig().await;
    let word = Word { by: "ana".to_owned(), at: Timestamp(0), reason: "a test".to_owned() };
    rig.asks.turn(&TurnedDial { region: here(), turn: Turn::Drain, run: None, word }).await.unwrap();
    let told = carried_out(&rig, &run(Some(40.0), false)).await.unwrap();
    assert!(told.ends_with("us-east-1 is left at drain by ana"), "{told}");
    rig.asks.clear(&here(), &[]).await.unwrap();
    let mut views = rig.steps.views.clone();
    let turned = |view: &Arc<View>| view.snapshot.turned(&here()).is_some_and(|d| d.run.is_some());
    tokio::time::timeout(PATIENCE, views.wait_for(turned)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_run_of_a_reign_that_is_over_turns_nothing_and_nobody_drains_the_writer_s_own_region() {
    let rig = rig().await;
    let own = Run { from: Some(here()), ..run(None, true) };
    let told = carried_out(&rig, &own).await.unwrap();
    assert!(told.contains("no region is drained") && dials(&rig).is_empty(), "{told}");
    let old = Run { epoch: Epoch(1), ..run(Some(1.0), true) };
    assert!(rig.steps.turn(&old, Some(Share::ONE), true).await.is_err());
    assert_eq!(dials(&rig), []);
}

#[tokio::test]
async fn a_dial_that_every_node_would_hold_back_is_told_and_not_written() {
    let rig = rig().await;
    let word = Word { by: "ana".to_owned(), at: Timestamp(0), reason: "a test".to_owned() };
    let others =
        system().region_names().filter(|r| r.as_str() != "eu-central-1").cloned().collect::<Vec<_>>();
    for region in others.iter().cloned() {
        let word = word.clone();
        rig.asks.turn(&TurnedDial { region, turn: Turn::Drain, run: None, word }).await.unwrap();
    }
    let mut views = rig.steps.views.clone();
    let drained = |view: &Arc<View>| view.snapshot.dials.len() == others.len();
    tokio::time::timeout(PATIENCE, views.wait_for(drained)).await.unwrap().unwrap();
    let told = rig.steps.turn(&run(None, true), None, true).await.unwrap_err();
    assert!(told.contains("eu-central-1 to drain by run orders-2-switchover turned"), "{told}");
    let turned = rig.asks.turned(&[name("orders")]).await.unwrap();
    assert!(turned.iter().all(|dial| dial.run.is_none()), "{turned:?}");
    others.iter().for_each(|region| assert!(told.contains(region.as_str()), "{told}"));
    rig.asks.clear(&here(), &[]).await.unwrap();
    carried_out(&rig, &run(None, true)).await.unwrap();
}
