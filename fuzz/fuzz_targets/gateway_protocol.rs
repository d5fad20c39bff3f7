//! The gateway's protocol code on any bytes: no panic, nothing lost, bounded holding back, bounded keeping.
//!
//! The first byte chooses how the rest is cut into pieces; the rest is once a first packet and once a
//! stream of messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_gateway::protocol::message::error_field;
use meridian_gateway::protocol::tracker::KEPT_MAX;
use meridian_gateway::protocol::{Dialogue, Frames, Login, Opening, Tracker, WHOLE_MAX};

fuzz_target!(|data: &[u8]| {
    let Some((cut, rest)) = data.split_first() else { return };
    opening(rest);
    stream(rest, usize::from(*cut) + 1);
    talk(rest);
    let _ = Login::new(b"a secret").hear(rest);
});

fn opening(rest: &[u8]) {
    match Opening::parse(rest) {
        Ok(Opening::Session(startup)) => {
            assert_eq!(startup.packet().get(4..), Some(rest), "what is accepted passes unchanged");
            assert_eq!(startup.size(), rest.len() + 4);
            let set = startup.with("meridian.hop", "1");
            assert_eq!(set.parameter("meridian.hop"), Some(&b"1"[..]));
            assert!(set.without("meridian.hop").parameter("meridian.hop").is_none());
        }
        Ok(Opening::Cancel(key)) => assert_eq!(key.request().get(4..), Some(rest)),
        Ok(Opening::Tls | Opening::Gss) => {}
        Err(error) => assert_eq!(error.sqlstate().len(), 5),
    }
}

fn stream(bytes: &[u8], cut: usize) {
    let (mut frames, mut dialogue, mut held) = (Frames::default(), Dialogue::default(), Vec::new());
    for piece in bytes.chunks(cut) {
        held.extend_from_slice(piece);
        let scanned = frames.scan(&held, |tag, body| {
            dialogue.client_said(tag);
            let _ = dialogue.server_said(tag, body);
            let _ = error_field(body, b'C');
        });
        if scanned.is_err() {
            return;
        }
        assert!(frames.cleared() <= held.len());
        assert!(held.len() - frames.cleared() <= WHOLE_MAX);
        let send = frames.cleared().min(cut);
        frames.sent(&held, send);
        held.drain(..send);
    }
}

/// The same bytes as a conversation: every other message is the server's.
fn talk(bytes: &[u8]) {
    let (mut tracker, mut frames, mut turn) = (Tracker::default(), Frames::default(), false);
    let note = |tag, body: &[u8], whole| {
        turn = !turn;
        if turn { tracker.client_said(tag, body, whole) } else { tracker.server_said(tag, body) }
        true
    };
    let _ = frames.scan_while(bytes, note);
    let replay = tracker.replay();
    assert!(replay.bytes.len() <= 2 * KEPT_MAX);
    let mut frames = Frames::default();
    assert!(frames.scan(&replay.bytes, |_, _| ()).is_ok() && frames.cleared() == replay.bytes.len());
}
