//! Dials that are turned, on both rigs: whose they are, and when they end.

use std::sync::Arc;

use meridian_coordination::asks::{AskError, Asks};
use meridian_coordination::{Keys, Memory, Store, decode, txns};
use meridian_model::group::GroupRecord;
use meridian_model::order::Word;
use meridian_model::run::{Run, RunKind};
use meridian_model::traffic::{Turn, TurnedDial};
use meridian_model::{Epoch, Name, Share, Timestamp};

use super::cluster::Cluster;
use super::suite::done;

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn keys() -> Keys {
    Keys::new(&name("shop"))
}

pub(super) fn run(kind: RunKind, epoch: u64) -> Run {
    Run {
        from: Some(name("us")),
        cause: "a test".to_owned(),
        ..Run::begin(
            name(&format!("orders-{epoch}")),
            name("orders"),
            kind,
            Epoch(epoch),
            name("eu"),
            Timestamp(0),
        )
    }
}

fn turned(region: &str, turn: Turn, run: Option<&Run>) -> TurnedDial {
    let word = Word { by: "ana".to_owned(), at: Timestamp(7), reason: "a test".to_owned() };
    TurnedDial { region: name(region), turn, run: run.map(|r| r.id.clone()), word }
}

pub(super) async fn claim(store: &dyn Store, seen: Option<i64>, run: &Run) -> i64 {
    let record = GroupRecord::begin(name("orders"), run.epoch, run.to.clone(), Timestamp(0));
    done(store, txns::claim(&keys(), seen, &record, Some(run))).await
}

/// What stands there, and as of which revision; nothing: no key.
async fn there(store: &dyn Store, key: &str) -> Option<(Vec<TurnedDial>, i64)> {
    let items = store.list(key).await.unwrap().items;
    let entry = items.iter().find(|entry| entry.key == key)?;
    Some((decode(entry).unwrap(), entry.revision))
}

#[tokio::test(start_paused = true)]
async fn memory_keeps_dials() {
    all(Arc::new(Memory::new())).await;
}

#[tokio::test]
async fn etcd_keeps_dials() {
    let cluster = Cluster::start(1).await;
    all(Arc::new(cluster.client())).await;
}

async fn all(store: Arc<dyn Store>) {
    let asks = Asks::new(Arc::clone(&store), keys());
    let next = what_a_run_turns_ends_with_the_next(&*store, &asks).await;
    persons_stand_beside_runs(&*store, &asks, &next).await;
}

fn half() -> Turn {
    Turn::Share(Share::from_percent(50.0).unwrap())
}

/// Gives the run whose reign is current then.
async fn what_a_run_turns_ends_with_the_next(store: &dyn Store, asks: &Asks) -> Run {
    let of_group = keys().group_dials(&name("orders"));
    let first = run(RunKind::Failover, 1);
    let claimed = claim(store, None, &first).await;
    let both = [turned("us", Turn::Drain, Some(&first)), turned("eu", half(), Some(&first))];
    asks.turn_for(&first, &both[..1]).await.unwrap();
    asks.turn_for(&first, &both[1..]).await.unwrap();
    let (stands, revision) = there(store, &of_group).await.unwrap();
    assert_eq!(stands, both);
    // A step that is carried out again.
    asks.turn_for(&first, &both).await.unwrap();
    assert_eq!(there(store, &of_group).await.unwrap().1, revision);

    // The same writer goes on: so do its dials. Another run begins: they end with its claim.
    let again = run(RunKind::Resume, 2);
    let claimed = claim(store, Some(claimed), &again).await;
    assert_eq!(there(store, &of_group).await.unwrap().0, both);
    let next = run(RunKind::Switchover, 3);
    claim(store, Some(claimed), &next).await;
    assert_eq!(there(store, &of_group).await, None);

    // A run whose reign is over turns nothing.
    let late = asks.turn_for(&again, &[turned("us", Turn::Drain, Some(&again))]).await.unwrap_err();
    assert!(matches!(late, AskError::Raced), "{late}");
    assert_eq!(there(store, &of_group).await, None);
    next
}

/// A person clears both.
async fn persons_stand_beside_runs(store: &dyn Store, asks: &Asks, run: &Run) {
    let (of_group, of_persons) = (keys().group_dials(&run.group), keys().dials());
    let of_run = [turned("us", half(), Some(run)), turned("eu", half(), Some(run))];
    asks.turn_for(run, &of_run).await.unwrap();
    asks.turn(&turned("us", half(), None)).await.unwrap();
    asks.turn(&turned("us", Turn::Drain, None)).await.unwrap();
    assert_eq!(there(store, &of_persons).await.unwrap().0, [turned("us", Turn::Drain, None)]);
    asks.clear(&name("us"), std::slice::from_ref(&run.group)).await.unwrap();
    assert_eq!(there(store, &of_persons).await.unwrap().0, []);
    assert_eq!(there(store, &of_group).await.unwrap().0, of_run[1..]);
    let nothing = asks.clear(&name("us"), std::slice::from_ref(&run.group)).await.unwrap_err();
    assert!(matches!(nothing, AskError::Refused(_)), "{nothing}");
}
