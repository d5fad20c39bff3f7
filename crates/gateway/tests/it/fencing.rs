//! The local writer behind its fence: sessions end with a reason, and no acknowledgement slips out.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use meridian_gateway::Fence;
use meridian_telemetry::clock;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Builder;

use crate::postgres::pair;
use crate::rig::{
    Rig, Setup, accept, away, committing, connect, group, home, let_in, listener, message, raw, sqlstate,
    told, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_is_ended_when_the_fence_closes() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let (client, ended) = connect(rig.write).await.unwrap();
    client.simple_query("select 1").await.unwrap();
    let (_reader, reader_ended) = connect(rig.read).await.unwrap();
    rig.fence.close(&group(), "the node was asked to give the lease up");
    let (code, message) = told(&within("closed", ended).await.unwrap().unwrap_err());
    assert_eq!(code, "57P01");
    assert!(message.contains("epoch 1") && message.contains("give the lease up"), "{message}");
    // The read port's session sat on the writer too: it could have written.
    assert_eq!(told(&within("closed", reader_ended).await.unwrap().unwrap_err()).0, "57P01");
    rig.metric("gateway_sessions_closed_total", r#"port="write",reason="fenced""#, 1).await;
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_runs_out_ends_sessions_by_itself() {
    let pair = pair();
    let rig = Setup::new(pair.one).build().await;
    rig.fence.allow_until(&group(), clock::now() + Duration::from_secs(3));
    rig.view(1, Some(home()), &[]);
    let (client, ended) = connect(rig.write).await.unwrap();
    client.simple_query("begin").await.unwrap();
    rig.fence.allow_until(&group(), clock::now() + Duration::from_secs(4));
    let (code, message) = told(&within("closed", ended).await.unwrap().unwrap_err());
    assert_eq!(code, "57P01");
    assert!(message.contains("not renewed in time"), "{message}");
    assert!(clock::now() >= rig.fence.allowed_until(&group()), "not before the time");
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_ends_the_sessions_of_the_old_one() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let (_client, ended) = connect(rig.write).await.unwrap();
    rig.view(2, Some(away()), &[]);
    let (code, message) = told(&within("closed", ended).await.unwrap().unwrap_err());
    assert_eq!(code, "57P01");
    assert!(message.contains("epoch 1") && message.contains("`eu-central-1` writes in epoch 2"), "{message}");
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_a_long_message_it_is_closed_without_another() {
    let (listener, address) = listener().await;
    let rig = Rig::local(address).await;
    let mut client = raw(rig.write, b"user\0ann\0").await;
    let (mut server, _) = accept(&listener).await;
    let_in(&mut server).await;
    assert_eq!(message(&mut client).await.unwrap().0, b'R');
    assert_eq!(message(&mut client).await.unwrap().0, b'Z');
    // 20,000 of a message of 1,000,000 bytes.
    let mut part = vec![b'D', 0, 0x0f, 0x42, 0x40];
    part.resize(20_000, 7);
    server.write_all(&part).await.unwrap();
    let mut got = Vec::new();
    rig.metric_at_least("gateway_bytes_total", r#"direction="to-client""#, 20_000).await;
    rig.fence.close(&group(), "now");
    let all = tokio::io::AsyncReadExt::read_to_end(&mut client, &mut got);
    within("closed", all).await.unwrap();
    assert_eq!(got, part, "what was passed on, and nothing in the middle of it");
    rig.stopped().await;
}

/// The gateway's process is frozen (its only thread is held) while the server acknowledges a commit and
/// the lease runs out. When it wakes, the acknowledgement is there to be read, and must not pass.
#[test]
fn a_gateway_that_wakes_late_passes_no_acknowledgement() {
    let (tell, told) = mpsc::channel();
    let (freeze, frozen) = tokio::sync::oneshot::channel::<()>();
    let (thaw, thawed) = mpsc::channel::<()>();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let (still, stands_still) = mpsc::channel::<()>();
    let gateway = std::thread::spawn(move || {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let (listener, database) = listener().await;
            let rig = Setup::new(database).build().await;
            rig.view(1, Some(home()), &[]);
            tell.send((rig.write, listener.into_std().unwrap(), Arc::clone(&rig.fence))).unwrap();
            frozen.await.unwrap();
            still.send(()).unwrap();
            // The whole runtime stands still here.
            thawed.recv().unwrap();
            ended.await.unwrap();
        });
    });
    let (write, listener, fence) = told.recv().unwrap();
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let renewing = tokio::spawn(renew(Arc::clone(&fence)));
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let (mut client, mut server) = committing(write, &listener).await;
        freeze.send(()).unwrap();
        stands_still.recv().unwrap();
        renewing.abort();
        server.write_all(b"C\0\0\0\x0bCOMMIT\0Z\0\0\0\x05I").await.unwrap();
        let gate = fence.gate(&group());
        within("the lease runs out", async {
            while gate.is_open() {
                tokio::task::yield_now().await
            }
        })
        .await;
        thaw.send(()).unwrap();
        assert_eq!(sqlstate(message(&mut client).await.unwrap()), "57P01", "not the acknowledgement");
        assert_eq!(message(&mut client).await, None);
    });
    end.send(()).unwrap();
    gateway.join().unwrap();
}

/// What the node's loop does: a lease of some seconds, again and again.
async fn renew(fence: Arc<Fence>) {
    loop {
        fence.allow_until(&group(), clock::now() + Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
