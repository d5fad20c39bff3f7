//! The journal of rehearsals: at most one of a group, and a lost owner does not keep it for ever.

use std::sync::Arc;

use meridian_coordination::{Faults, Keys, Memory, OwnRehearsal, RehearsalError};
use meridian_model::rehearsal::Rehearsal;
use meridian_model::{Name, Timestamp};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn record(group: &str, at: i64) -> Rehearsal {
    Rehearsal {
        id: name(&format!("{group}-rehearsal-{at}")),
        group: name(group),
        region: name("eu-central-1"),
        by: "somebody".to_owned(),
        begun_at: Timestamp(at),
        ends_by: Timestamp(at + 100),
        steps: Vec::new(),
        left: None,
        ended_at: None,
    }
}

async fn begin(store: &Memory, group: &str, at: i64) -> Result<OwnRehearsal, RehearsalError> {
    let (store, keys) = (Arc::new(store.clone()), Keys::new(&name("shop")));
    OwnRehearsal::begin(store, &keys, record(group, at), Timestamp(at)).await
}

#[tokio::test(start_paused = true)]
async fn only_one_of_a_group_is_under_way_and_a_lost_owner_ends_by_its_limit() {
    let store = Memory::new();
    let mut first = begin(&store, "orders", 1_000).await.ok().unwrap();
    begin(&store, "users", 1_000).await.ok().unwrap();
    let refused = begin(&store.another(), "orders", 1_100).await.err().unwrap();
    assert!(matches!(refused, RehearsalError::UnderWay(_)), "{refused}");
    assert!(refused.to_string().contains("orders-rehearsal-1000 of somebody in eu-central-1"), "{refused}");
    // When it has ended another may begin, and the first cannot be written over it.
    first.record.ended_at = Some(Timestamp(1_050));
    first.save().await.unwrap();
    let second = begin(&store, "orders", 1_100).await.ok().unwrap();
    assert!(matches!(first.save().await, Err(RehearsalError::Raced(_))));
    // The owner of the second is lost: its limit counts.
    drop(second);
    assert!(begin(&store, "orders", 1_200).await.is_err());
    begin(&store, "orders", 1_201).await.ok().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_found_again() {
    let store = Memory::new();
    let mut own = begin(&store, "orders", 1).await.ok().unwrap();
    store.set_faults(Faults { lose_answers: true, ..Faults::default() });
    own.record.by = "somebody else".to_owned();
    let lost = own.save().await.unwrap_err();
    assert!(matches!(lost, RehearsalError::Unknown(_)), "{lost}");
    store.set_faults(Faults::default());
    own.record.ended_at = Some(Timestamp(2));
    own.save().await.unwrap();
    assert!(begin(&store, "orders", 3).await.is_ok(), "it has ended");
}
