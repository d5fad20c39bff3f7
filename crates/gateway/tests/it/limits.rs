//! Bounds: sessions, waiting by count, bytes and time; and the end of the gateway itself.

use std::time::Duration;

use meridian_gateway::{Config, Credentials, Fence, Listen, bind};
use meridian_model::database::GatewayLimits;
use meridian_telemetry::Metrics;

use crate::postgres::pair;
use crate::rig::{Rig, Setup, code_of, connect, group, home, message, nowhere, raw, sqlstate, told, within};

async fn limited(limits: GatewayLimits, database: std::net::SocketAddr) -> Rig {
    let rig = Setup { limits, ..Setup::new(database) }.build().await;
    rig.open();
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_number_of_sessions() {
    let pair = pair();
    let rig = limited(GatewayLimits { max_sessions: 2, ..GatewayLimits::default() }, pair.one).await;
    rig.view(1, Some(home()), &[home()]);
    let (first, _) = connect(rig.write).await.unwrap();
    let (second, _) = connect(rig.read).await.unwrap();
    assert_eq!(code_of(connect(rig.write).await), "53300");
    // A cancel request needs no seat.
    first.cancel_token().cancel_query(tokio_postgres::NoTls).await.unwrap();
    drop(second);
    rig.metric("gateway_sessions", r#"port="read""#, 0).await;
    assert!(connect(rig.write).await.is_ok(), "the seat is free again");
    rig.stopped().await;
}

/// Refused clients that neither read nor leave: the first of them are given time, the others are not.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_in_masses_is_closed_at_once() {
    let rig = limited(GatewayLimits { max_sessions: 0, ..GatewayLimits::default() }, nowhere()).await;
    let (mut told, mut closed) = (0, 0);
    let both = async {
        while told == 0 || closed == 0 {
            let mut clients = Vec::new();
            for _ in 0..200 {
                clients.push(raw(rig.write, b"user\0ann\0").await);
            }
            for mut client in clients {
                match message(&mut client).await {
                    Some(refusal) => {
                        assert_eq!(sqlstate(refusal), "53300");
                        told += 1;
                    }
                    None => closed += 1,
                }
            }
        }
    };
    within("both are seen", both).await;
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_with_a_code_a_reason_and_a_hint() {
    let limits = GatewayLimits { max_wait: Duration::from_millis(300), ..GatewayLimits::default() };
    let rig = limited(limits, nowhere()).await;
    rig.view(1, None, &[]);
    let error = connect(rig.write).await.map(|_| ()).unwrap_err();
    let (code, message) = told(&error);
    assert_eq!(code, "57P03");
    assert!(message.contains("a test holds it back") && message.contains("300ms"), "{message}");
    assert!(error.as_db_error().unwrap().hint().unwrap().contains("meridian status"));
    // The same when there is a writer that cannot be reached, and on the read port.
    rig.view(1, Some(home()), &[]);
    let (code, message) = told(&connect(rig.write).await.map(|_| ()).unwrap_err());
    assert_eq!(code, "57P03");
    assert!(message.contains("us-east-1") && message.contains("refused"), "{message}");
    assert_eq!(code_of(connect(rig.read).await), "57P03");
    rig.metric("gateway_sessions_refused_total", r#"port="write",reason="waited-too-long""#, 2).await;
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_bounds_of_waiting() {
    let rig = limited(GatewayLimits { max_waiting: 1, ..GatewayLimits::default() }, nowhere()).await;
    rig.view(1, None, &[]);
    let waiting = raw(rig.write, b"user\0ann\0").await;
    rig.metric("gateway_waiting", r#"group="orders""#, 1).await;
    let (code, message) = told(&connect(rig.write).await.map(|_| ()).unwrap_err());
    assert_eq!(code, "53300");
    assert!(message.contains("1 sessions wait already"), "{message}");
    drop(waiting);
    rig.metric("gateway_waiting", r#"group="orders""#, 0).await;
    rig.stopped().await;
    let rig = limited(GatewayLimits { max_waiting_bytes: 100, ..GatewayLimits::default() }, nowhere()).await;
    rig.view(1, None, &[]);
    assert_eq!(code_of(connect(rig.write).await), "53300");
    rig.stopped().await;
}

/// Anybody may say so: it is a word in the startup packet.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_early_needs_a_place_in_the_room_too() {
    let limits = GatewayLimits { max_waiting: 1, ..GatewayLimits::default() };
    let rig = limited(limits, nowhere()).await;
    rig.view(1, None, &[]);
    let early = b"user\0ann\0meridian.hop\0early\0";
    let waiting = raw(rig.write, early).await;
    rig.metric("gateway_waiting", r#"group="orders""#, 1).await;
    // Its gateway takes this word for "not now", and goes the ordinary way.
    let mut second = raw(rig.write, early).await;
    assert_eq!(sqlstate(message(&mut second).await.unwrap()), "57P03");
    rig.metric("gateway_sessions_refused_total", r#"port="write",reason="not-here""#, 1).await;
    drop(waiting);
    rig.metric("gateway_waiting", r#"group="orders""#, 0).await;
    rig.stopped_after(second).await;
    let rig = limited(GatewayLimits { max_waiting_bytes: 100, ..GatewayLimits::default() }, nowhere()).await;
    rig.view(1, None, &[]);
    let mut large = raw(rig.write, early).await;
    assert_eq!(sqlstate(message(&mut large).await.unwrap()), "57P03");
    rig.stopped_after(large).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_lets_transactions_end_and_idle_sessions_go_at_once() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let (idle, idle_ended) = connect(rig.write).await.unwrap();
    idle.simple_query("select 1").await.unwrap();
    let (busy, busy_ended) = connect(rig.write).await.unwrap();
    busy.batch_execute("begin").await.unwrap();
    rig.stop();
    assert_eq!(told(&within("idle", idle_ended).await.unwrap().unwrap_err()).0, "57P01");
    assert!(busy.query_one("select 1", &[]).await.is_ok(), "its transaction goes on");
    busy.batch_execute("commit").await.unwrap();
    assert_eq!(told(&within("busy", busy_ended).await.unwrap().unwrap_err()).0, "57P01");
    assert!(connect(rig.write).await.is_err(), "nobody listens any more");
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_has_an_end() {
    let pair = pair();
    let rig = Setup { drain: Duration::from_millis(200), ..Setup::new(pair.one) }.build().await;
    rig.open();
    rig.view(1, Some(home()), &[]);
    let (busy, ended) = connect(rig.write).await.unwrap();
    busy.batch_execute("begin").await.unwrap();
    rig.stopped().await;
    assert_eq!(told(&within("ended", ended).await.unwrap().unwrap_err()).0, "57P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_when_the_drain_begins_is_told() {
    let rig = limited(GatewayLimits::default(), nowhere()).await;
    rig.view(1, None, &[]);
    let mut waiting = raw(rig.write, b"user\0ann\0").await;
    rig.metric("gateway_waiting", r#"group="orders""#, 1).await;
    rig.stop();
    assert_eq!(sqlstate(message(&mut waiting).await.unwrap()), "57P01");
    rig.stopped_after(waiting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let (_taken, address) = crate::rig::listener().await;
    let listen = Listen {
        group: group(),
        write: address,
        read: address,
        limits: GatewayLimits::default(),
        credentials: Credentials::default(),
    };
    let config =
        Config { databases: vec![listen], fence: Fence::new(), tls: None, drain: Duration::from_secs(1) };
    let views = crate::rig::no_views();
    let error = bind(config, views, Metrics::new(None)).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("write port"), "{error}");
    assert!(error.contains("in use") && error.contains("ss -ltnp"), "{error}");
}
