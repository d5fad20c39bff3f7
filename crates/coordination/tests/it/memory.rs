//! The faults of the twin in memory. Time is paused: nothing here takes long.

use std::time::Duration;

use meridian_coordination::{Change, Faults, Memory, Store as _, Timeouts};
use meridian_telemetry::clock;
use tokio::time::Instant;

use super::suite::{done, next, put, reset};

#[tokio::test(start_paused = true)]
async fn out_of_reach_calls_end_at_their_deadline_and_the_watch_is_stale_until_healed() {
    let (here, there) = (Memory::new(), Memory::new());
    drop(there);
    let there = here.another();
    let mut changes = here.watch("/");
    reset(&mut changes).await;
    here.set_faults(Faults { unreachable: true, ..Faults::default() });
    assert!(matches!(next(&mut changes).await, Change::Stale { .. }));
    let (real, started) = (clock::now(), Instant::now());
    here.list("/").await.unwrap_err();
    assert_eq!(started.elapsed(), Timeouts::default().call);
    let error = here.commit(put("/a", "1")).await.unwrap_err().to_string();
    assert!(error.contains("/a") && error.contains("unknown"), "{error}");
    assert!(clock::now().since(real) < Duration::from_secs(1), "time is paused");

    let revision = done(&there, put("/b", "2")).await;
    here.set_faults(Faults::default());
    match next(&mut changes).await {
        Change::Put(entry) => assert_eq!((entry.key.as_str(), entry.revision), ("/b", revision)),
        other => panic!("{other:?}"),
    }
    assert_eq!(here.list("/").await.unwrap().items.len(), 1, "what was cut off was not applied");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_means_that_it_was_applied() {
    let here = Memory::new();
    here.set_faults(Faults { lose_answers: true, ..Faults::default() });
    here.commit(put("/a", "1")).await.unwrap_err();
    assert_eq!(here.another().list("/").await.unwrap().items.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_call_fails_and_is_carried_out_all_the_same() {
    let here = Memory::new();
    let mut changes = here.another().watch("/");
    reset(&mut changes).await;
    here.set_faults(Faults { delay: Duration::from_secs(10), ..Faults::default() });
    here.commit(put("/a", "1")).await.unwrap_err();
    assert!(here.another().list("/").await.unwrap().items.is_empty());
    assert!(matches!(next(&mut changes).await, Change::Put(entry) if entry.key == "/a"));
}

#[tokio::test(start_paused = true)]
async fn after_compaction_a_watch_that_was_cut_off_begins_anew() {
    let here = Memory::new();
    let there = here.another();
    let mut changes = here.watch("/");
    reset(&mut changes).await;
    here.set_faults(Faults { unreachable: true, ..Faults::default() });
    assert!(matches!(next(&mut changes).await, Change::Stale { .. }));
    done(&there, put("/a", "1")).await;
    there.compact();
    here.set_faults(Faults::default());
    assert_eq!(reset(&mut changes).await.items.len(), 1);
}
