//! A hold: what runs goes on, what is new waits, and at the deadline the rest is cut.

use std::time::Duration;

use meridian_model::database::GatewayLimits;
use meridian_telemetry::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::Client;

use crate::postgres::pair;
use crate::rig::{
    Rig, Setup, accept, away, code_of, connect, expect, frame, group, home, let_in, listener, message,
    nowhere, raw, sqlstate, told, value, within,
};

/// The server's process that a session is at.
pub(crate) async fn pid(client: &Client) -> i32 {
    value(client, "select pg_backend_pid()").await.parse().unwrap()
}

/// Returns when so many sessions are busy. (Drivers close statements behind one's back.)
async fn busy(rig: &Rig, count: usize) {
    let counted = async {
        while rig.fence.busy(&group()) != count {
            tokio::task::yield_now().await;
        }
    };
    within("so many are busy", counted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_transaction_finishes_and_a_new_one_waits() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let (running, _) = connect(rig.write).await.unwrap();
    let (idle, _) = connect(rig.write).await.unwrap();
    let before = pid(&idle).await;
    running.batch_execute("begin").await.unwrap();
    busy(&rig, 1).await;
    rig.hold(1);
    let waiting = tokio::spawn(async move { (pid(&idle).await, idle) });
    let new = tokio::spawn(async move { connect(rig.write).await.unwrap().0 });
    rig.metric("gateway_held", r#"group="orders""#, 1).await;
    rig.metric("gateway_waiting", r#"group="orders""#, 1).await;
    assert_eq!(rig.fence.busy(&group()), 1, "who waits is not busy");
    // Several messages, each a command of the open transaction.
    running.query_one("select $1::int", &[&1]).await.unwrap();
    running.batch_execute("commit").await.unwrap();
    within("quiet", rig.fence.quiet(&group())).await;
    let next = tokio::spawn(async move { (pid(&running).await, running) });
    rig.metric("gateway_held", r#"group="orders""#, 2).await;
    assert!(!waiting.is_finished() && !new.is_finished() && !next.is_finished());
    rig.release();
    let (after, _idle) = within("it goes on", waiting).await.unwrap();
    assert_eq!(after, before, "at the same server, as if nothing had been");
    let (_running, _new) =
        (within("it goes on", next).await.unwrap(), within("it begins", new).await.unwrap());
    rig.metric("gateway_held", r#"group="orders""#, 0).await;
    rig.metric_at_least("gateway_held_seconds_count", r#"group="orders""#, 2).await;
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_by_itself() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let (client, _) = connect(rig.write).await.unwrap();
    let until = clock::now() + Duration::from_millis(300);
    rig.hold_until(1, until);
    let (asked, began) =
        within("both go on", async { tokio::join!(client.simple_query("select 1"), connect(rig.write)) })
            .await;
    assert!(asked.is_ok() && began.is_ok() && clock::now() >= until);
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_busy_at_the_deadline_is_cut() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let (idle, _) = connect(rig.write).await.unwrap();
    let (long, long_ended) = connect(rig.write).await.unwrap();
    let (open, open_ended) = connect(rig.write).await.unwrap();
    open.batch_execute("begin").await.unwrap();
    let sleeping = tokio::spawn(async move { long.simple_query("select pg_sleep(604)").await.map(drop) });
    crate::traffic::running(rig.write, "select pg_sleep(604)").await;
    busy(&rig, 2).await;
    rig.hold(1);
    assert_eq!(rig.fence.cut(&group()), 2);
    within("quiet", rig.fence.quiet(&group())).await;
    let (code, message) = told(&within("cut", open_ended).await.unwrap().unwrap_err());
    assert_eq!(code, "57P01");
    assert!(message.contains("took longer than the move waits"), "{message}");
    assert!(
        within("cut", sleeping).await.unwrap().is_err() && within("cut", long_ended).await.unwrap().is_err()
    );
    rig.metric("gateway_sessions_closed_total", r#"reason="cut""#, 2).await;
    rig.release();
    idle.simple_query("begin; select 1").await.unwrap();
    rig.view(1, Some(home()), &[]);
    assert!(idle.simple_query("commit").await.is_ok(), "a cut of the past cuts nobody");
    rig.stopped().await;
}

/// Commands that follow each other without waiting for answers: what belongs to the open transaction passes.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_pipeline_the_server_s_answer_decides() {
    let (listener, address) = listener().await;
    let rig = Rig::local(address).await;
    let mut client = raw(rig.write, b"user\0ann\0").await;
    let (mut server, _) = accept(&listener).await;
    let_in(&mut server).await;
    expect(&mut client, b'R', &[0; 4]).await;
    expect(&mut client, b'Z', b"I").await;
    within("logged in", rig.fence.quiet(&group())).await;
    client.write_all(&frame(b'Q', b"begin\0")).await.unwrap();
    expect(&mut server, b'Q', b"begin\0").await;
    rig.hold(1);
    let rest = [frame(b'Q', b"one\0"), frame(b'P', b"\0two\0\0\0"), frame(b'S', b""), frame(b'Q', b"next\0")]
        .concat();
    client.write_all(&rest).await.unwrap();
    rig.metric("gateway_held", r#"group="orders""#, 1).await;
    for (asked, more, status) in [(b'Q', &b"one\0"[..], b'T'), (b'P', b"\0two\0\0\0", b'T')] {
        server.write_all(&frame(b'Z', &[status])).await.unwrap();
        expect(&mut client, b'Z', &[status]).await;
        expect(&mut server, asked, more).await;
    }
    expect(&mut server, b'S', b"").await;
    server.write_all(&frame(b'Z', b"I")).await.unwrap();
    expect(&mut client, b'Z', b"I").await;
    within("quiet", rig.fence.quiet(&group())).await;
    rig.release();
    expect(&mut server, b'Q', b"next\0").await;
    drop((client, server));
    rig.stopped().await;
}

/// A COPY is one command, whatever the hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_not_held_in_its_middle() {
    let (listener, address) = listener().await;
    let rig = Rig::local(address).await;
    let mut client = raw(rig.write, b"user\0ann\0").await;
    let (mut server, _) = accept(&listener).await;
    let_in(&mut server).await;
    expect(&mut client, b'R', &[0; 4]).await;
    expect(&mut client, b'Z', b"I").await;
    client.write_all(&frame(b'Q', b"copy t from stdin\0")).await.unwrap();
    expect(&mut server, b'Q', b"copy t from stdin\0").await;
    rig.hold(1);
    client
        .write_all(&[frame(b'd', b"line\n"), frame(b'c', b""), frame(b'Q', b"next\0")].concat())
        .await
        .unwrap();
    expect(&mut server, b'd', b"line\n").await;
    expect(&mut server, b'c', b"").await;
    rig.metric("gateway_held", r#"group="orders""#, 1).await;
    server.write_all(&[frame(b'C', b"COPY 1\0"), frame(b'Z', b"I")].concat()).await.unwrap();
    within("quiet", rig.fence.quiet(&group())).await;
    drop((client, server));
    rig.release();
    rig.stopped().await;
}

/// Much more than a buffer: it stays with the client, and comes out whole.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_bounded_and_comes_out_whole() {
    let (listener, address) = listener().await;
    let rig = Rig::local(address).await;
    let mut client = raw(rig.write, b"user\0ann\0").await;
    let (mut server, _) = accept(&listener).await;
    let_in(&mut server).await;
    expect(&mut client, b'R', &[0; 4]).await;
    expect(&mut client, b'Z', b"I").await;
    rig.hold(1);
    let mut all = frame(b'Q', &[vec![b'x'; 30 << 20], vec![0]].concat());
    all.extend(frame(b'Q', b"and more\0"));
    let (mut from_client, mut to_server) = client.split();
    let sending = to_server.write_all(&all);
    let mut sending = std::pin::pin!(sending);
    tokio::select! {
        sent = &mut sending => panic!("30 MiB were taken during a hold: {sent:?}"),
        () = rig.metric("gateway_held", r#"group="orders""#, 1) => {}
    }
    rig.release();
    let mut got = vec![0; all.len()];
    let (sent, read) =
        within("all of it", async { tokio::join!(sending, server.read_exact(&mut got)) }).await;
    assert!(sent.is_ok() && read.is_ok() && got == all);
    server.write_all(&frame(b'Z', b"I")).await.unwrap();
    assert_eq!(from_client.read_u8().await.unwrap(), b'Z');
    drop((client, server));
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_say_goodbye_during_a_hold() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let (client, ended) = connect(rig.write).await.unwrap();
    rig.hold(1);
    drop(client);
    assert!(within("gone", ended).await.unwrap().is_ok());
    rig.metric("gateway_sessions", r#"port="write""#, 0).await;
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_who_is_held() {
    let (listener, address) = listener().await;
    let rig = Rig::local(address).await;
    let mut client = raw(rig.write, b"user\0ann\0").await;
    let (mut server, _) = accept(&listener).await;
    let_in(&mut server).await;
    expect(&mut client, b'R', &[0; 4]).await;
    expect(&mut client, b'Z', b"I").await;
    rig.hold(1);
    client.write_all(&frame(b'Q', b"select 1\0")).await.unwrap();
    rig.metric("gateway_held", r#"group="orders""#, 1).await;
    rig.stop();
    assert_eq!(sqlstate(message(&mut client).await.unwrap()), "57P01");
    let mut heard = Vec::new();
    within("left", server.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"", "the server never heard of it");
    rig.stopped_after(client).await;
}

/// Sessions that another gateway sends: what it let pass runs, new ones are refused.
#[tokio::test(flavor = "multi_thread")]
async fn the_writer_s_gateway_lets_pass_what_another_has_let_pass() {
    let pair = pair();
    let far = Setup { here: away(), away_database: pair.two, ..Setup::new(nowhere()) }.build().await;
    far.open();
    far.view(1, Some(away()), &[away()]);
    let limits = GatewayLimits { max_wait: Duration::from_millis(1_500), ..GatewayLimits::default() };
    let near = Setup { away_gateway: far.write, limits, ..Setup::new(nowhere()) }.build().await;
    near.view(1, Some(away()), &[]);
    let (client, _) = connect(near.write).await.unwrap();
    far.hold(1);
    client.batch_execute("begin").await.unwrap();
    assert_eq!((far.fence.busy(&group()), near.fence.busy(&group())), (1, 1), "both count it");
    client.batch_execute("commit").await.unwrap();
    assert_eq!(code_of(connect(near.write).await), "57P03");
    near.hold(1);
    let held = tokio::spawn(async move { client.batch_execute("begin").await.map(|()| client) });
    near.metric("gateway_held", r#"group="orders""#, 1).await;
    within("quiet", async { tokio::join!(near.fence.quiet(&group()), far.fence.quiet(&group())) }).await;
    near.release();
    assert!(within("it goes on", held).await.unwrap().is_ok());
    near.stopped().await;
    far.stopped().await;
}
