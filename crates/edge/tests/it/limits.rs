//! Bounds: what is too large, too slow or too much gets a code or the door.

use std::pin::pin;
use std::time::Duration;

use meridian_edge::Limits;
use meridian_steering::fixture::EU;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rig::{Manner, app, edge, edge_with, soon, system_with, until};

#[tokio::test]
async fn heads_are_bounded_in_bytes_and_fields() {
    let app = app("one", Manner::Answer).await;
    let edge = edge(EU, &system_with(EU, &[app.address])).await;
    let long = format!("X-Long: {}", "y".repeat(40_000));
    assert_eq!(edge.curl("/", &["-H", &long]).await.status, 431);
    let fields: String = (0..150).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nhost: shop.example.com\r\n{fields}\r\n");
    assert!(edge.raw(many.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    assert_eq!(app.seen().len(), 0);
    edge.stop().await;
}

#[tokio::test]
async fn who_dawdles_is_shown_the_door() {
    let app = app("one", Manner::Answer).await;
    let limits = Limits {
        client_idle: Duration::from_millis(200),
        body_idle: Duration::from_millis(200),
        ..Limits::default()
    };
    let edge = edge_with(EU, &system_with(EU, &[app.address]), limits).await;
    assert_eq!(edge.raw(b"").await, "", "nothing is sent");
    edge.raw(b"GET / HTTP/1.1\r\nhost: shop.exam").await;
    edge.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let slow =
        b"POST / HTTP/1.1\r\nhost: shop.example.com\r\nconnection: close\r\ncontent-length: 9\r\n\r\nabc";
    let answer = edge.raw(slow).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let kept = edge.raw(b"GET / HTTP/1.1\r\nhost: shop.example.com\r\n\r\n").await;
    assert!(kept.starts_with("HTTP/1.1 200 "), "a connection may stay idle for a while: {kept}");
    assert_eq!(app.seen().len(), 1);
    edge.stop().await;
}

#[tokio::test]
async fn more_requests_than_there_are_places_are_refused_at_once() {
    let app = app("one", Manner::Wait).await;
    let limits = Limits { requests: 1, ..Limits::default() };
    let edge = edge_with(EU, &system_with(EU, &[app.address]), limits).await;
    let first = edge.get("/");
    let second = async {
        until("the first request", || app.seen().len() == 1).await;
        let second = edge.get("/").await;
        app.go.send_replace(true);
        second
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.status, second.status), (200, 503));
    assert_eq!(second.header("retry-after"), Some("2"));
    assert_eq!(edge.get("/").await.status, 200, "the place is free again");
    edge.stop().await;
}

#[tokio::test]
async fn more_connections_than_there_are_places_wait() {
    let app = app("one", Manner::Answer).await;
    let limits = Limits { connections: 1, ..Limits::default() };
    let edge = edge_with(EU, &system_with(EU, &[app.address]), limits).await;
    let mut first = TcpStream::connect(edge.http).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nhost: shop.example.com\r\n\r\n").await.unwrap();
    assert!(soon("the first answer", first.read(&mut [0; 64])).await.unwrap() > 0);
    let mut second = TcpStream::connect(edge.http).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nhost: shop.example.com\r\n\r\n").await.unwrap();
    drop(first);
    assert!(soon("the second answer", second.read(&mut [0; 64])).await.unwrap() > 0);
    drop(second);
    edge.stop().await;
}

#[tokio::test]
async fn an_instance_with_all_its_connections_busy_is_not_asked() {
    let (busy, free) = (app("busy", Manner::Wait).await, app("free", Manner::Answer).await);
    let limits = Limits { upstream_connections: 1, ..Limits::default() };
    let edge = edge_with(EU, &system_with(EU, &[busy.address, free.address]), limits).await;
    {
        // The two take turns: one comes to each, whichever is first.
        let (mut one, mut two) = (pin!(edge.post("/")), pin!(edge.post("/")));
        let (quick, one_is_left) = tokio::select! {
            quick = &mut one => (quick, false),
            quick = &mut two => (quick, true),
        };
        let slow = async { if one_is_left { one.await } else { two.await } };
        assert_eq!(quick.body, "free");
        let others = async {
            until("the held request", || busy.seen().len() == 1).await;
            for _ in 0..3 {
                assert_eq!(edge.post("/").await.body, "free");
            }
            busy.go.send_replace(true);
        };
        let (slow, ()) = soon("all answers", async { tokio::join!(slow, others) }).await;
        assert_eq!(slow.body, "busy");
    }
    edge.stop().await;
}
