//! The gateway's protocol code on any bytes: no panic, nothing lost, bounded holding back.
//!
//! The first byte chooses how the rest is cut into pieces; the rest is once a first packet and once a
//! stream of messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_gateway::protocol::message::error_field;
use meridian_gateway::protocol::{Dialogue, Frames, Opening, WHOLE_MAX};

fuzz_target!(|data: &[u8]| {
    let Some((cut, rest)) = data.split_first() else { return };
    opening(rest);
    stream(rest, usize::from(*cut) + 1);
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
