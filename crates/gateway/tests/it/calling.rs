//! Held sessions call on the next writer before it is the writer.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bytewise::{STARTUP, logged_in, logged_in_by_scram, played};
use crate::rig::{accept, away, expect, frame, group, home, let_in, message, raw, sqlstate, within};

/// SCRAM's first word, as a message.
fn first_word((tag, body): (u8, Vec<u8>)) -> bool {
    tag == b'p' && body.starts_with(b"SCRAM-SHA-256\0")
}

/// A server that asks for SCRAM is called on while the session is held, and left again when the move is called
/// off; the session goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_session_calls_on_the_next_writer_and_leaves_when_the_move_is_called_off() {
    let (rig, first, second) = played().await;
    let (mut client, mut old, packet) = logged_in(&rig, &first).await;
    for _ in 0..2 {
        rig.hold(1);
        rig.expect(away());
        let (mut next, early) = accept(&second).await;
        let hop = b"meridian.hop\0early\0\0";
        assert_eq!(early, [packet.strip_suffix(b"\0").unwrap(), hop].concat());
        rig.release();
        let mut rest = Vec::new();
        within("the call ends", next.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"", "its server did not ask for SCRAM, so nothing was said");
    }
    client.write_all(&frame(b'Q', b"select 1\0")).await.unwrap();
    expect(&mut old, b'Q', b"select 1\0").await;
    old.write_all(&frame(b'Z', b"I")).await.unwrap();
    expect(&mut client, b'Z', b"I").await;
    rig.stopped_after(client).await;
}

/// The answer to the call is the beginning of the login; there is no second one.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_writer_goes_on_with_the_call() {
    let (rig, first, second) = played().await;
    let (mut client, _old, _) = logged_in_by_scram(&rig, &first).await;
    rig.hold(1);
    rig.expect(away());
    client.write_all(&frame(b'Q', b"select 1\0")).await.unwrap();
    let (mut next, _) = accept(&second).await;
    assert!(first_word(message(&mut next).await.unwrap()), "said with the startup packet");
    rig.view(2, Some(away()), &[]);
    // It lets the session in without more; what matters here is on which connection.
    next.write_all(&frame(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0")).await.unwrap();
    next.write_all(&frame(b'E', b"SFATAL\0C28P01\0Mno\0\0")).await.unwrap();
    let words = within("the session ends with the word of that server", message(&mut client)).await.unwrap();
    assert_eq!(sqlstate(words), "57P01");
    rig.stopped_after(client).await;
}

/// A session that comes early waits until this region is the writer.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_early_is_let_in_when_this_region_is_the_writer() {
    let (rig, first, _second) = played().await;
    rig.view(1, Some(away()), &[]);
    let hopped = |how: &[u8]| [STARTUP, b"meridian.hop\0", how, b"\0"].concat();
    let mut strayed = raw(rig.write, &hopped(b"1")).await;
    assert_eq!(message(&mut strayed).await.unwrap().0, b'E', "the writer is not here");
    let mut early = raw(rig.write, &hopped(b"early")).await;
    rig.view(2, Some(home()), &[]);
    let (mut server, packet) = accept(&first).await;
    assert!(!String::from_utf8_lossy(&packet).contains("meridian.hop"));
    let_in(&mut server).await;
    assert_eq!(message(&mut early).await.unwrap().0, b'R');
    rig.stopped_after(early).await;
}

/// Before this region is the writer it logs in at its standby, and nothing else reaches that; then all does.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_early_logs_in_and_begins_nothing_before_this_region_is_the_writer() {
    let (rig, first, _second) = played().await;
    rig.view(1, Some(away()), &[]);
    rig.fence.close(&group(), "another region writes");
    rig.hold(1);
    rig.expect(home());
    let mut early = raw(rig.write, &[STARTUP, b"meridian.hop\0early\0"].concat()).await;
    let (mut server, _) = accept(&first).await;
    server.write_all(&frame(b'R', b"\0\0\0\x03")).await.unwrap();
    assert_eq!(message(&mut early).await.unwrap().0, b'R', "no fence stands before a login");
    let word = [frame(b'p', b"secret\0"), frame(b'Q', b"set a.b = 1\0")].concat();
    early.write_all(&word).await.unwrap();
    expect(&mut server, b'p', b"secret\0").await;
    let_in(&mut server).await;
    assert_eq!(message(&mut early).await.unwrap().0, b'R');
    assert_eq!(message(&mut early).await.unwrap().0, b'Z');
    rig.metric("gateway_held", r#"group="orders""#, 1).await;
    assert_eq!(rig.fence.busy(&group()), 0, "no gateway waits for it to end");
    rig.open();
    rig.view(2, Some(home()), &[]);
    expect(&mut server, b'Q', b"set a.b = 1\0").await;
    assert_eq!(rig.fence.busy(&group()), 1);
    rig.fence.close(&group(), "the lease ran out");
    server.write_all(&frame(b'Z', b"I")).await.unwrap();
    assert_eq!(sqlstate(message(&mut early).await.unwrap()), "57P01", "now it stands behind the fence");
    rig.stopped_after(early).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_came_early_leaves_when_the_move_is_called_off() {
    let (rig, first, _second) = played().await;
    rig.view(1, Some(away()), &[]);
    rig.hold(1);
    rig.expect(home());
    let mut early = raw(rig.write, &[STARTUP, b"meridian.hop\0early\0"].concat()).await;
    let (mut server, _) = accept(&first).await;
    let_in(&mut server).await;
    assert_eq!(message(&mut early).await.unwrap().0, b'R');
    assert_eq!(message(&mut early).await.unwrap().0, b'Z');
    rig.release();
    assert_eq!(sqlstate(message(&mut early).await.unwrap()), "57P01");
    rig.stopped_after(early).await;
}

/// What the client asked waits for one round trip, not for the login too; what was set up since the call is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_session_is_logged_in_at_the_next_writer_before_it_moves() {
    for (to, last) in [(away as fn() -> _, false), (home, true)] {
        let (rig, first, second) = played().await;
        let from = if last { away } else { home };
        rig.view(1, Some(from()), &[]);
        let (old_at, next_at) = if last { (&second, &first) } else { (&first, &second) };
        let (mut client, _old, _) = logged_in(&rig, old_at).await;
        rig.hold(1);
        rig.expect(to());
        let (mut next, packet) = accept(next_at).await;
        assert_eq!(String::from_utf8_lossy(&packet).contains("meridian.hop"), !last, "{packet:?}");
        let standby =
            [frame(b'R', &[0; 4]), frame(b'S', b"in_hot_standby\0on\0"), frame(b'Z', b"I")].concat();
        next.write_all(&standby).await.unwrap();
        client.write_all(&frame(b'Q', b"select 1\0")).await.unwrap();
        rig.metric("gateway_held", r#"group="orders""#, 1).await;
        rig.open();
        rig.view(2, Some(to()), &[]);
        expect(&mut next, b'Q', b"select 1\0").await;
        next.write_all(&frame(b'Z', b"I")).await.unwrap();
        expect(&mut client, b'Z', b"I").await;
        rig.stopped_after(client).await;
    }
}
