//! Sessions that move, byte by byte: both servers are played by the test.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{
    Rig, Setup, accept, away, expect, frame, group, home, let_in, listener, message, raw, sqlstate, within,
};

/// A gateway whose two writers are played by the test; the user is `ann`.
pub(crate) async fn played() -> (Rig, TcpListener, TcpListener) {
    let (first, first_address) = listener().await;
    let (second, second_address) = listener().await;
    let known = Some(("ann", "a secret"));
    let rig = Setup { away_gateway: second_address, known, ..Setup::new(first_address) }.build().await;
    rig.open();
    rig.view(1, Some(home()), &[]);
    (rig, first, second)
}

pub(crate) const STARTUP: &[u8] = b"user\0ann\0options\0-c work_mem=1MB\0";

/// A client that is logged in at the first of them.
pub(crate) async fn logged_in(rig: &Rig, first: &TcpListener) -> (TcpStream, TcpStream, Vec<u8>) {
    let mut client = raw(rig.write, STARTUP).await;
    let (mut server, packet) = accept(first).await;
    let parameters = [frame(b'S', b"TimeZone\0UTC\0"), frame(b'S', b"server_version\0v15.1\0")].concat();
    server.write_all(&frame(b'R', &[0; 4])).await.unwrap();
    server
        .write_all(&[parameters, frame(b'K', &[0, 0, 0, 1, 1, 1, 1, 1]), frame(b'Z', b"I")].concat())
        .await
        .unwrap();
    for tag in *b"RSSKZ" {
        assert_eq!(message(&mut client).await.unwrap().0, tag);
    }
    within("logged in", rig.fence.quiet(&group())).await;
    (client, server, packet)
}

/// The same at a server that asked for SCRAM; the client proves nothing, for nobody checks it here.
pub(crate) async fn logged_in_by_scram(rig: &Rig, first: &TcpListener) -> (TcpStream, TcpStream, Vec<u8>) {
    let mut client = raw(rig.write, STARTUP).await;
    let (mut server, packet) = accept(first).await;
    server.write_all(&frame(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0")).await.unwrap();
    assert_eq!(message(&mut client).await.unwrap().0, b'R');
    client.write_all(&frame(b'p', b"whatever")).await.unwrap();
    expect(&mut server, b'p', b"whatever").await;
    let_in(&mut server).await;
    for tag in *b"RZ" {
        assert_eq!(message(&mut client).await.unwrap().0, tag);
    }
    within("logged in", rig.fence.quiet(&group())).await;
    (client, server, packet)
}

/// The second takes a session over: it says what PostgreSQL says, up to ReadyForQuery.
async fn take_over(second: &TcpListener) -> (TcpStream, Vec<u8>) {
    let (mut server, packet) = accept(second).await;
    let parameters = [frame(b'S', b"TimeZone\0UTC\0"), frame(b'S', b"server_version\0v15.2\0")].concat();
    server.write_all(&frame(b'R', &[0; 4])).await.unwrap();
    server
        .write_all(&[parameters, frame(b'K', &[0, 0, 0, 2, 2, 2, 2, 2]), frame(b'Z', b"I")].concat())
        .await
        .unwrap();
    (server, packet)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_server_hears_all_that_counts_once_and_the_client_hears_what_is_new() {
    let (rig, first, second) = played().await;
    let (mut client, mut old, packet) = logged_in(&rig, &first).await;
    for (asked, answered) in [
        ([frame(b'P', b"s1\0select 1\0\0\0"), frame(b'S', b"")].concat(), frame(b'1', b"")),
        (
            frame(b'Q', b"set TimeZone = 'Asia/Tokyo'\0"),
            [frame(b'S', b"TimeZone\0Asia/Tokyo\0"), frame(b'C', b"SET\0")].concat(),
        ),
    ] {
        client.write_all(&asked).await.unwrap();
        old.read_exact(&mut vec![0; asked.len()]).await.unwrap();
        let all = [answered, frame(b'Z', b"I")].concat();
        old.write_all(&all).await.unwrap();
        client.read_exact(&mut vec![0; all.len()]).await.unwrap();
    }
    rig.hold(1);
    // One message, and the half of a second one.
    let kept = [frame(b'Q', b"select 1\0"), frame(b'Q', b"select 2\0")].concat();
    let (now, later) = kept.split_at(20);
    client.write_all(now).await.unwrap();
    rig.metric("gateway_held", "", 1).await;
    rig.view(2, Some(away()), &[]);
    let (mut new, again) = take_over(&second).await;
    let hop = b"meridian.hop\x001\x00\x00";
    assert_eq!(again, [packet.strip_suffix(b"\0").unwrap(), hop].concat(), "the same startup parameters");
    expect(&mut new, b'Q', b"set TimeZone = 'Asia/Tokyo'\0").await;
    expect(&mut new, b'P', b"s1\0select 1\0\0\0").await;
    expect(&mut new, b'S', b"").await;
    let answers = [
        frame(b'S', b"TimeZone\0Asia/Tokyo\0"),
        frame(b'C', b"SET\0"),
        frame(b'Z', b"I"),
        frame(b'1', b""),
        frame(b'Z', b"I"),
    ];
    new.write_all(&answers.concat()).await.unwrap();
    expect(&mut new, b'Q', b"select 1\0").await;
    client.write_all(later).await.unwrap();
    expect(&mut new, b'Q', b"select 2\0").await;
    new.write_all(&[frame(b'Z', b"I"), frame(b'Z', b"I")].concat()).await.unwrap();
    expect(&mut client, b'S', b"server_version\0v15.2\0").await;
    expect(&mut client, b'Z', b"I").await;
    expect(&mut client, b'Z', b"I").await;
    let mut rest = Vec::new();
    within("the old server is left", old.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"", "nothing of it went there");
    // A cancel request with the old key comes with the new one.
    let mut cancel = TcpStream::connect(rig.write).await.unwrap();
    cancel.write_all(&[0, 0, 0, 16, 4, 0xd2, 0x16, 0x2e, 0, 0, 0, 1, 1, 1, 1, 1]).await.unwrap();
    let (cancelling, request) = accept(&second).await;
    assert_eq!(request, [4, 0xd2, 0x16, 0x2e, 0, 0, 0, 2, 2, 2, 2, 2]);
    drop(cancelling);
    rig.stopped_after(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn last_words_to_an_idle_session_are_kept_from_the_client() {
    let words = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0RProcessInterrupts\0\0";
    let warning = b"SWARNING\0VWARNING\0C57P02\0Mcrash of another server process\0Rquickdie\0\0";
    let gateway = b"SFATAL\0VFATAL\0C08006\0Mthe database closed the connection unexpectedly\0\0";
    for said in [frame(b'E', words), frame(b'N', warning), frame(b'E', gateway), Vec::new()] {
        let (rig, first, second) = played().await;
        let (mut client, mut old, _) = logged_in(&rig, &first).await;
        old.write_all(&said).await.unwrap();
        drop(old);
        rig.metric("gateway_held", "", 1).await;
        // It is being stopped: the next try is refused.
        let (mut stopping, _) = accept(&first).await;
        let shutting = b"SFATAL\0C57P03\0Mthe database system is shutting down\0\0";
        stopping.write_all(&frame(b'E', shutting)).await.unwrap();
        rig.view(2, Some(away()), &[]);
        let (mut new, _) = take_over(&second).await;
        client.write_all(&frame(b'Q', b"select 1\0")).await.unwrap();
        expect(&mut new, b'Q', b"select 1\0").await;
        expect(&mut client, b'S', b"server_version\0v15.2\0").await;
        rig.stopped_after(client).await;
    }
}

/// The client has heard why: it does not go on elsewhere behind its back.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_its_server_ends_for_a_reason_of_its_own_is_over() {
    let (rig, first, _second) = played().await;
    let (mut client, mut old, _) = logged_in(&rig, &first).await;
    old.write_all(&frame(b'E', b"SFATAL\0VFATAL\0C57P05\0Midle for too long\0\0")).await.unwrap();
    drop(old);
    assert_eq!(sqlstate(message(&mut client).await.unwrap()), "57P05");
    assert_eq!(message(&mut client).await, None);
    rig.metric("gateway_sessions_closed_total", r#"reason="server""#, 1).await;
    rig.stopped().await;
}

/// The same words to a session that is busy, or whose answer has not been passed on, are for the client.
#[tokio::test(flavor = "multi_thread")]
async fn last_words_to_a_busy_session_pass() {
    let (rig, first, _second) = played().await;
    let (mut client, mut old, _) = logged_in(&rig, &first).await;
    client.write_all(&frame(b'Q', b"select 1\0")).await.unwrap();
    expect(&mut old, b'Q', b"select 1\0").await;
    let words = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0RProcessInterrupts\0\0";
    old.write_all(&frame(b'E', words)).await.unwrap();
    drop(old);
    expect(&mut client, b'E', words).await;
    assert_eq!(message(&mut client).await, None);
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_breaks_off_or_is_full_is_tried_again_and_one_that_refuses_is_not() {
    let (rig, first, second) = played().await;
    let (mut client, mut old, _) = logged_in(&rig, &first).await;
    client.write_all(&frame(b'Q', b"set a = 1\0")).await.unwrap();
    expect(&mut old, b'Q', b"set a = 1\0").await;
    old.write_all(&[frame(b'C', b"SET\0"), frame(b'Z', b"I")].concat()).await.unwrap();
    expect(&mut client, b'C', b"SET\0").await;
    expect(&mut client, b'Z', b"I").await;
    rig.view(2, Some(away()), &[]);
    let (mut broken, _) = accept(&second).await;
    let_in(&mut broken).await;
    expect(&mut broken, b'Q', b"set a = 1\0").await;
    drop(broken);
    let (mut full, _) = accept(&second).await;
    full.write_all(&frame(b'E', b"SFATAL\0C53300\0Msorry, too many clients already\0\0")).await.unwrap();
    drop(full);
    let (mut refusing, _) = take_over(&second).await;
    expect(&mut refusing, b'Q', b"set a = 1\0").await;
    refusing.write_all(&frame(b'E', b"SERROR\0C42704\0Munrecognized parameter\0\0")).await.unwrap();
    let fault = message(&mut client).await.unwrap();
    let words = String::from_utf8_lossy(&fault.1).into_owned();
    assert!(words.contains("could not be moved") && words.contains("unrecognized parameter"), "{words}");
    assert_eq!(sqlstate(fault), "57P01");
    rig.stopped_after(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_sessions_and_drops_them_is_not_tried_for_ever() {
    let (rig, first, _second) = played().await;
    let (mut client, old, _) = logged_in(&rig, &first).await;
    drop(old);
    drop(take_over(&first).await);
    expect(&mut client, b'S', b"server_version\0v15.2\0").await;
    let (mut again, _) = accept(&first).await;
    let_in(&mut again).await;
    let fault = message(&mut client).await.unwrap();
    let words = String::from_utf8_lossy(&fault.1).into_owned();
    assert!(words.contains("takes sessions and drops them"), "{words}");
    assert_eq!(sqlstate(fault), "57P01");
    rig.stopped_after(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_during_a_move_is_gone() {
    let (rig, first, second) = played().await;
    let (client, _old, _) = logged_in(&rig, &first).await;
    rig.view(2, Some(away()), &[]);
    let _silent = accept(&second).await;
    drop(client);
    rig.metric("gateway_sessions_closed_total", r#"reason="client""#, 1).await;
    rig.metric("gateway_held", "", 0).await;
    rig.stopped().await;
}
