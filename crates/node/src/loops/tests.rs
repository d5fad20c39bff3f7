//! An observer over a store in memory, with groups that are served or are not.

use meridian_coordination::journal::RUNS_KEPT;
use meridian_coordination::{Memory, Txn};
use meridian_model::run::{Run, RunKind, Step, StepKind, StepState};
use meridian_model::{Epoch, Timestamp};

use super::*;
use crate::testing::{here, name};

/// Longer than anything that works takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    store: Memory,
    keys: Keys,
    stop: watch::Sender<bool>,
    served: mpsc::Receiver<Event>,
    unserved: mpsc::Receiver<Event>,
    observer: Observer,
}

/// Two groups; the inbox of the second one holds little.
fn rig(unserved: usize) -> Rig {
    let (store, keys) = (Memory::new(), Keys::new(&name("shop")));
    let names = [name("orders"), name("users")];
    let (orders, served) = mpsc::channel(100_000);
    let (users, unserved) = mpsc::channel(unserved);
    let observer = Observer {
        here: here(),
        regions: vec![here()],
        timers: Timers::default(),
        store: Arc::new(store.clone()),
        keys: keys.clone(),
        knowledge: Arc::new(Mutex::new(Knowledge::new(&name("shop"), names.to_vec()))),
        groups: names.into_iter().zip([orders, users]).map(|(name, way)| Inbox::new(name, way)).collect(),
        own: watch::channel(None).1,
        verdicts: watch::channel(Arc::default()).0,
        coordination: watch::channel(CoordinationStatus::default()).0,
        nudge: Arc::default(),
        metrics: Metrics::new(None),
    };
    Rig { store, keys, stop: watch::channel(false).0, served, unserved, observer }
}

fn run(group: &str, epoch: u64) -> Run {
    let state = StepState::Done { since: Timestamp(1), at: Timestamp(2), detail: String::new() };
    Run {
        cause: "a test".to_owned(),
        steps: vec![Step::plain(StepKind::Fence, state).unwrap()],
        ..Run::begin(
            name(&format!("{group}-{epoch}-failover")),
            name(group),
            RunKind::Failover,
            Epoch(epoch),
            here(),
            Timestamp(0),
        )
    }
}

async fn write(store: &Memory, keys: &Keys, run: &Run) {
    let txn = Txn { compare: Vec::new(), put: vec![(keys.run(&run.id), encode(run))], delete: Vec::new() };
    store.commit(txn).await.unwrap();
}

/// Takes events until one of them is that run.
async fn hears(events: &mut mpsc::Receiver<Event>, wanted: &Run) {
    let wanted = Event::Run(Arc::new(wanted.clone()));
    let heard = async { while events.recv().await.as_ref() != Some(&wanted) {} };
    tokio::time::timeout(PATIENCE, heard).await.unwrap();
}

#[tokio::test]
async fn a_group_that_is_not_served_holds_nobody_up_and_is_told_everything_later() {
    let Rig { store, keys, stop, mut served, mut unserved, observer } = rig(8);
    let observing = tokio::spawn(observer.run(stop.subscribe()));
    for epoch in 1..=20 {
        write(&store, &keys, &run("users", epoch)).await;
    }
    let marker = run("orders", 1);
    write(&store, &keys, &marker).await;
    hears(&mut served, &marker).await;
    // The first few arrived; then room is made, but not enough for everything.
    assert_eq!(unserved.len(), 8);
    let first = unserved.recv().await;
    assert_eq!(first, Some(Event::Coordination { reachable: false }));
    let marker = run("orders", 2);
    write(&store, &keys, &marker).await;
    hears(&mut served, &marker).await;
    assert_eq!(unserved.len(), 7, "the rest of a story makes no sense without its middle");
    stop.send_replace(true);
    observing.await.unwrap();
}

#[tokio::test]
async fn what_was_missed_is_told_whole() {
    let Rig { store, keys, stop, mut served, mut unserved, observer } = rig(30);
    let observing = tokio::spawn(observer.run(stop.subscribe()));
    // Twenty runs, told twice: the second time there is no room.
    for _ in 0..2 {
        for epoch in 1..=20 {
            write(&store, &keys, &run("users", epoch)).await;
        }
    }
    let marker = run("orders", 1);
    write(&store, &keys, &marker).await;
    hears(&mut served, &marker).await;
    assert_eq!(unserved.len(), 30);
    while unserved.try_recv().is_ok() {}
    let everything = async {
        let begin = unserved.recv().await;
        assert!(matches!(begin, Some(Event::Coordination { .. })), "{begin:?}");
        let record = unserved.recv().await;
        assert!(matches!(record, Some(Event::Record { record: None, .. })), "{record:?}");
        let mut epochs = Vec::new();
        loop {
            match unserved.recv().await {
                Some(Event::Run(run)) => epochs.push(run.epoch.0),
                Some(Event::Ordered(None) | Event::Maintenance(None)) => {}
                end => {
                    assert!(matches!(end, Some(Event::Regions(_))), "{end:?}");
                    break epochs;
                }
            }
        }
    };
    let mut epochs = tokio::time::timeout(PATIENCE, everything).await.unwrap();
    epochs.sort_unstable();
    assert_eq!(epochs, (1..=20).collect::<Vec<_>>());
    let news = run("users", 21);
    write(&store, &keys, &news).await;
    hears(&mut unserved, &news).await;
    stop.send_replace(true);
    observing.await.unwrap();
}

#[tokio::test]
async fn old_runs_leave_the_journal_when_a_run_of_this_node_has_finished() {
    let Rig { store, keys, stop, served: _served, unserved: _unserved, observer } = rig(10_000);
    let newest = RUNS_KEPT as u64 + 6;
    for epoch in 1..newest {
        write(&store, &keys, &run("orders", epoch)).await;
    }
    // Another node's run is for that node to follow.
    write(&store, &keys, &Run { to: name("eu-central-1"), ..run("orders", newest) }).await;
    let observing = tokio::spawn(observer.run(stop.subscribe()));
    write(&store, &keys, &run("orders", newest + 1)).await;
    let pruned = async {
        let mut changes = store.watch(&keys.runs());
        while store.list(&keys.runs()).await.unwrap().items.len() > RUNS_KEPT {
            changes.recv().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, pruned).await.unwrap();
    let left = store.list(&keys.runs()).await.unwrap().items;
    assert!(left.iter().any(|entry| entry.key == keys.run(&run("orders", newest + 1).id)));
    assert!(!left.iter().any(|entry| entry.key == keys.run(&run("orders", 1).id)));
    stop.send_replace(true);
    observing.await.unwrap();
}
