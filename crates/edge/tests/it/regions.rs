//! Several regions: to the edge of the nearest, never in circles.

use meridian_model::health::{Health, Part};
use meridian_steering::fixture::{self, AP, EU, US};

use crate::rig::{Edge, Manner, NOBODY, app, edge, system_with, until, view};

/// Points the edge at others, as its spec would.
fn connect(edge: &Edge, here: &str, system: &meridian_model::System, others: &[(&str, &Edge)]) {
    let mut system = system.clone();
    for region in &mut system.topology.regions {
        let other = others.iter().find(|(name, _)| *name == region.name.as_str());
        region.node.edge_http = other.map_or(NOBODY, |(_, edge)| edge.http);
    }
    edge.views.send_replace(view(here, &system, fixture::snapshot(&system, &[])));
}

#[tokio::test]
async fn a_region_without_living_instances_asks_the_edge_of_the_nearest() {
    let app = app("one", Manner::Answer).await;
    let (at_eu, at_us) = (system_with(EU, &[]), system_with(US, &[app.address]));
    let (eu, us) = (edge(EU, &at_eu).await, edge(US, &at_us).await);
    connect(&eu, EU, &at_eu, &[(US, &us)]);
    for method in ["GET", "POST"] {
        let answer = eu.curl("/", &["-X", method]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "one"), "{answer:?}");
        assert_eq!(answer.header("meridian-region"), Some(US), "the innermost edge is kept");
        assert_eq!(answer.header("via"), Some("1.1 meridian-us-east-1, 1.1 meridian-eu-central-1"));
    }
    let seen = app.seen()[0].to_ascii_lowercase();
    assert!(seen.contains(&format!("host: shop.example.com:{}", eu.http.port())), "{seen}");
    eu.stop().await;
    us.stop().await;
}

#[tokio::test]
async fn two_edges_without_instances_do_not_play_ball() {
    let at = |here| system_with(here, &[]);
    let (eu, us) = (edge(EU, &at(EU)).await, edge(US, &at(US)).await);
    connect(&eu, EU, &at(EU), &[(US, &us), (AP, &us)]);
    connect(&us, US, &at(US), &[(EU, &eu), (AP, &eu)]);
    let answer = eu.get("/").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("came from another region"), "{answer:?}");
    let circle = eu.curl("/", &["-H", "meridian-hops: us-east-1, eu-central-1"]).await;
    assert_eq!(circle.status, 508, "{circle:?}");
    assert!(circle.body.contains("us-east-1 -> eu-central-1 -> eu-central-1"), "{circle:?}");
    eu.stop().await;
    us.stop().await;
}

#[tokio::test]
async fn one_that_came_from_an_edge_is_served_here() {
    let app = app("one", Manner::Answer).await;
    let edge = edge(EU, &system_with(EU, &[app.address])).await;
    assert_eq!(edge.curl("/", &["-H", "meridian-hops: us-east-1"]).await.status, 200);
    edge.stop().await;
}

#[tokio::test]
async fn a_view_may_change_at_any_time() {
    let (here, there) = (app("here", Manner::Answer).await, app("there", Manner::Answer).await);
    let (mut at_eu, at_us) = (system_with(EU, &[here.address]), system_with(US, &[there.address]));
    let us = edge(US, &at_us).await;
    for region in &mut at_eu.topology.regions {
        region.node.edge_http = us.http;
    }
    let eu = edge(EU, &at_eu).await;
    assert_eq!(eu.get("/").await.body, "here");
    let mut snapshot = fixture::snapshot(&at_eu, &[]);
    fixture::set_part(&mut snapshot, EU, Part::App, Health::Down);
    eu.views.send_replace(view(EU, &at_eu, snapshot));
    assert_eq!(eu.get("/").await.body, "there");
    eu.views.send_replace(view(EU, &at_eu, fixture::snapshot(&at_eu, &[])));
    assert_eq!(eu.get("/").await.body, "here");
    until("the count", || eu.metrics.render().contains(r#"backend="us-east-1""#)).await;
    eu.stop().await;
    us.stop().await;
}
