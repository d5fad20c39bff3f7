//! What is tried again, and what never is.

use std::time::Duration;

use meridian_model::Share;
use meridian_steering::fixture::EU;

use crate::rig::{Manner, NOBODY, app, edge, edge_with, service, system_with, until};

#[tokio::test]
async fn what_was_never_sent_goes_elsewhere_whatever_the_method() {
    let app = app("one", Manner::Answer).await;
    let edge = edge(EU, &system_with(EU, &[NOBODY, app.address])).await;
    for _ in 0..4 {
        assert_eq!(edge.post("/").await.status, 200);
        assert_eq!(edge.get("/").await.status, 200);
    }
    assert_eq!(app.seen().len(), 8);
    let counted = edge.metrics.render();
    // The dead instance is set aside: not every other request tries it.
    let line = counted.lines().find(|l| l.contains("edge_retries") && l.contains("connect")).unwrap();
    let tried: u32 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((1..=2).contains(&tried), "{line}");
    edge.stop().await;
}

#[tokio::test]
async fn a_post_that_was_sent_is_not_sent_again_and_a_get_is() {
    let (sick, well) = (app("sick", Manner::Close).await, app("well", Manner::Answer).await);
    let edge = edge(EU, &system_with(EU, &[sick.address, well.address])).await;
    let mut refused = 0;
    for _ in 0..4 {
        let answer = edge.post("/").await;
        if answer.status == 502 {
            refused += 1;
            assert!(answer.body.contains("may or may not have been carried out"), "{answer:?}");
        }
        assert_eq!(edge.get("/").await.status, 200);
    }
    let posts = |app: &crate::rig::App| app.seen().iter().filter(|r| r.starts_with("POST")).count();
    assert_eq!(posts(&sick), refused);
    assert_eq!(posts(&sick) + posts(&well), 4, "each was sent once");
    assert!(refused > 0);
    edge.stop().await;
}

#[tokio::test]
async fn a_hanging_instance_costs_a_get_one_try_timeout() {
    let (sick, well) = (app("sick", Manner::Hang).await, app("well", Manner::Answer).await);
    let mut system = system_with(EU, &[sick.address, well.address]);
    service(&mut system).retries.try_timeout = Duration::from_millis(100);
    let edge = edge(EU, &system).await;
    for _ in 0..4 {
        assert_eq!(edge.get("/").await.body, "well");
    }
    assert!(!sick.seen().is_empty());
    edge.stop().await;
}

#[tokio::test]
async fn a_post_may_take_longer_than_a_try_but_not_for_ever() {
    let slow = app("slow", Manner::Wait).await;
    let mut system = system_with(EU, &[slow.address]);
    service(&mut system).retries.try_timeout = Duration::from_millis(50);
    let limits = meridian_edge::Limits { answer: Duration::from_millis(500), ..Default::default() };
    let edge = edge_with(EU, &system, limits).await;
    let answer = edge.post("/").await;
    assert_eq!(answer.status, 504, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("2"));
    slow.go.send_replace(true);
    assert_eq!(edge.post("/").await.status, 200);
    assert_eq!(slow.seen().len(), 2);
    edge.stop().await;
}

#[tokio::test]
async fn attempts_end_where_the_service_says() {
    let sick = app("sick", Manner::Close).await;
    let mut system = system_with(EU, &[sick.address]);
    service(&mut system).backends.retain(|b| b.region.as_str() == EU);
    let edge = edge(EU, &system).await;
    let answer = edge.get("/").await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(!answer.body.contains("may or may not"), "a GET does no harm: {answer:?}");
    assert_eq!(sick.seen().len(), 3);
    edge.stop().await;
}

/// Found by the test above: the last attempt decided what was told, though an earlier one had been
/// sent.
#[tokio::test]
async fn what_was_sent_once_is_never_called_not_carried_out() {
    let sick = app("sick", Manner::Close).await;
    // The edges of the other regions cannot be reached: the last two attempts send nothing.
    let edge = edge(EU, &system_with(EU, &[sick.address])).await;
    let answer = edge.get("/").await;
    assert_eq!((answer.status, sick.seen().len()), (502, 1), "{answer:?}");
    edge.stop().await;
    let nowhere = system_with(EU, &[NOBODY]);
    let edge = crate::rig::edge(EU, &nowhere).await;
    let answer = edge.get("/").await;
    assert!(answer.status == 503 && answer.body.contains("was not carried out"), "{answer:?}");
    edge.stop().await;
}

#[tokio::test]
async fn a_spent_budget_ends_retries() {
    let (sick, well) = (app("sick", Manner::Close).await, app("well", Manner::Answer).await);
    let mut system = system_with(EU, &[sick.address, well.address]);
    service(&mut system).retries.budget = Share::ZERO;
    let edge = edge(EU, &system).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(edge.get("/").await.status);
    }
    assert_eq!(statuses.iter().filter(|s| **s == 502).count(), 2, "{statuses:?}");
    assert!(edge.metrics.render().contains("budget-spent"), "{}", edge.metrics.render());
    edge.stop().await;
}

#[tokio::test]
async fn a_connection_that_the_application_closed_is_not_a_failure() {
    let app = app("one", Manner::AnswerAndClose).await;
    let mut system = system_with(EU, &[app.address]);
    // Were the closed connection counted as an attempt, there would be no other.
    service(&mut system).retries.attempts = 1;
    let edge = edge(EU, &system).await;
    for number in 1..=5 {
        let answer = edge.post("/").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        until("the request", || app.seen().len() == number).await;
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_answer_that_stops_half_way_is_broken_off() {
    let app = app("one", Manner::HalfAnswer).await;
    let limits = meridian_edge::Limits { body_idle: Duration::from_millis(100), ..Default::default() };
    let edge = edge_with(EU, &system_with(EU, &[app.address]), limits).await;
    let answer = edge.get("/").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "half"));
    assert_eq!(app.seen().len(), 1, "its head had come: never again");
    edge.stop().await;
}
