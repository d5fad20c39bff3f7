//! The journal, on both rigs.

use std::sync::Arc;

use meridian_coordination::asks::{AskError, Asks, Say};
use meridian_coordination::journal::RUNS_KEPT;
use meridian_coordination::{Commit, Faults, Journal, JournalError, Keys, Memory, Store, encode, txns};
use meridian_model::group::GroupRecord;
use meridian_model::order::Word;
use meridian_model::run::{Run, RunKind, Step, StepKind, StepState};
use meridian_model::{Epoch, Name, Timestamp};

use super::cluster::Cluster;
use super::suite::{done, put};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn run(epoch: u64) -> Run {
    Run {
        from: Some(name("us-east-1")),
        cause: "2 of 3 vantage points say down".to_owned(),
        steps: vec![Step::plain(StepKind::Fence, StepState::Pending).unwrap()],
        ..Run::begin(
            name(&format!("orders-{epoch}-failover")),
            name("orders"),
            RunKind::Failover,
            Epoch(epoch),
            name("eu-central-1"),
            Timestamp(i64::try_from(epoch).unwrap() * 1_000),
        )
    }
}

fn finished(epoch: u64) -> Run {
    let state = StepState::Done { since: Timestamp(1), at: Timestamp(2), detail: String::new() };
    Run { steps: vec![Step::plain(StepKind::Fence, state).unwrap()], ..run(epoch) }
}

fn record(epoch: u64, renewal: u64) -> GroupRecord {
    let begun = GroupRecord::begin(name("orders"), Epoch(epoch), name("eu-central-1"), Timestamp(0));
    GroupRecord { renewal, ..begun }
}

fn keys() -> Keys {
    Keys::new(&name("shop"))
}

async fn claim(store: &dyn Store, seen: Option<i64>, epoch: u64) -> i64 {
    done(store, txns::claim(&keys(), seen, &record(epoch, 0), Some(&run(epoch)))).await
}

#[tokio::test(start_paused = true)]
async fn memory_keeps_a_journal() {
    journal(Arc::new(Memory::new())).await;
}

#[tokio::test]
async fn etcd_keeps_a_journal() {
    let cluster = Cluster::start(1).await;
    journal(Arc::new(cluster.client())).await;
}

async fn journal(store: Arc<dyn Store>) {
    let journal = Journal::new(Arc::clone(&store), keys());
    let claimed = claim(&*store, None, 1).await;
    // Renewals do not disturb the run.
    let renewed = done(&*store, txns::renew(&keys(), claimed, &record(1, 1))).await;
    assert_eq!(store.commit(txns::renew(&keys(), claimed, &record(1, 2))).await.unwrap(), Commit::Lost);
    let written = journal.write(&finished(1), Some(claimed)).await.unwrap();
    assert!(written > renewed);

    // The same again, as after a lost answer, is no conflict; something else is.
    assert_eq!(journal.write(&finished(1), Some(claimed)).await.unwrap(), written);
    let other = journal.write(&run(1), Some(claimed)).await.unwrap_err();
    assert!(matches!(other, JournalError::Conflict { found: Some(r), .. } if r == written), "{other}");

    // Another reign begins: the old run cannot be written any more.
    claim(&*store, Some(renewed), 2).await;
    let over = journal.write(&run(1), Some(written)).await.unwrap_err();
    assert!(matches!(over, JournalError::Superseded { current: Some(Epoch(2)), .. }), "{over}");

    done(&*store, put(&keys().run(&name("by-hand")), "{oh no")).await;
    let runs = journal.runs(10).await.unwrap();
    assert_eq!(runs.runs.iter().map(|w| w.run.epoch.0).collect::<Vec<_>>(), [2, 1]);
    assert!(runs.runs[1].run.finished());
    assert!(runs.unreadable[0].to_string().contains("runs/by-hand"), "{}", runs.unreadable[0]);
    assert_eq!(journal.runs(1).await.unwrap().runs.len(), 1);
}

/// A successor was told of the record by which the lease is handed to it; it waits for no revision.
#[tokio::test(start_paused = true)]
async fn a_reign_begins_after_the_very_record_that_was_told() {
    let store = Memory::new();
    let claimed = claim(&store, None, 1).await;
    let told = GroupRecord { released: true, ..record(1, 1) };
    let take_over = || txns::take_over(&keys(), &told, &record(2, 2), Some(&run(2)));
    assert_eq!(store.commit(take_over()).await.unwrap(), Commit::Lost, "it is not there yet");
    let other = GroupRecord { renewal: 3, ..told.clone() };
    let released = done(&store, txns::renew(&keys(), claimed, &other)).await;
    assert_eq!(store.commit(take_over()).await.unwrap(), Commit::Lost, "another one is");
    done(&store, txns::renew(&keys(), released, &told)).await;
    done(&store, take_over()).await;
    assert_eq!(store.commit(take_over()).await.unwrap(), Commit::Lost, "it was taken");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_again() {
    let store = Memory::new();
    let claimed = claim(&store, None, 1).await;
    let journal = Journal::new(Arc::new(store.clone()), keys());
    store.set_faults(Faults { lose_answers: true, ..Faults::default() });
    let lost = journal.write(&finished(1), Some(claimed)).await.unwrap_err();
    assert!(matches!(lost, JournalError::Unknown(_)), "{lost}");
    store.set_faults(Faults::default());
    let revision = journal.write(&finished(1), Some(claimed)).await.unwrap();
    assert!(revision > claimed);
}

#[tokio::test(start_paused = true)]
async fn only_the_oldest_runs_of_one_group_are_pruned() {
    let store = Memory::new();
    let journal = Journal::new(Arc::new(store.clone()), keys());
    let total = RUNS_KEPT as u64 + 5;
    let write = async |run: Run| {
        let value = String::from_utf8(encode(&run)).unwrap();
        done(&store, put(&keys().run(&run.id), &value)).await;
    };
    for epoch in 1..=total {
        // The oldest was never finished, and cannot be any more: another reign has begun.
        write(if epoch == 1 { run(epoch) } else { finished(epoch) }).await;
        // The journal of another group is no shorter for it.
        let (id, group) = (name(&format!("orders-eu-{epoch}-failover")), name("orders-eu"));
        write(Run { id, group, ..finished(epoch) }).await;
    }
    assert_eq!(journal.prune(&name("orders")).await.unwrap(), 5);
    assert_eq!(journal.prune(&name("orders")).await.unwrap(), 0);
    let left = journal.runs(usize::MAX).await.unwrap().runs;
    let mut epochs: Vec<u64> =
        left.iter().filter(|w| w.run.group == name("orders")).map(|w| w.run.epoch.0).collect();
    epochs.sort_unstable();
    assert_eq!(epochs, (6..=total).collect::<Vec<_>>());
    assert_eq!(left.len(), epochs.len() + total as usize);
}

/// A run that its owner left open is carried on by the run of the next reign: nobody hears what is said to the old one.
#[tokio::test(start_paused = true)]
async fn nothing_is_said_to_a_run_of_an_earlier_reign() {
    let store = Memory::new();
    let asks = Asks::new(Arc::new(store.clone()), keys());
    let word = || Word { by: "ada".to_owned(), at: Timestamp(1), reason: String::new() };
    let first = claim(&store, None, 1).await;
    asks.say(&run(1).id, Say::Pause, word()).await.unwrap();
    // The record is read, and then the reign ends.
    let value = |epoch: u64| String::from_utf8(encode(&Epoch(epoch))).unwrap();
    done(&store, put(&keys().epoch(&name("orders")), &value(2))).await;
    let raced = asks.say(&run(1).id, Say::Pause, word()).await;
    assert!(matches!(raced, Err(AskError::Raced)), "{raced:?}");
    done(&store, put(&keys().epoch(&name("orders")), &value(1))).await;
    claim(&store, Some(first), 2).await;
    let refused = asks.say(&run(1).id, Say::Pause, word()).await.unwrap_err().to_string();
    assert!(refused.contains("ended with epoch 1, and now it is epoch 2"), "{refused}");
    asks.say(&run(2).id, Say::Pause, word()).await.unwrap();
}
