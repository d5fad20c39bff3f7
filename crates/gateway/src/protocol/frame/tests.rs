//! Framing against a naive model that has all bytes at once.

use proptest::prelude::*;

use super::*;

fn message(tag: u8, body: usize) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(u32::try_from(body + 4).unwrap().to_be_bytes());
    bytes.resize(HEAD + body, tag);
    bytes
}

#[test]
fn a_message_is_cleared_only_when_it_is_whole() {
    let bytes = message(b'D', 10);
    let mut frames = Frames::default();
    for end in 0..bytes.len() {
        frames.scan(&bytes[..end], |_, _| panic!("told too early, at {end}")).unwrap();
        assert_eq!(frames.cleared(), 0);
    }
    let mut told = 0;
    frames.scan(&bytes, |tag, body| told += usize::from(tag == b'D' && body.len() == 10)).unwrap();
    assert_eq!((frames.cleared(), told), (bytes.len(), 1));
}

#[test]
fn a_long_message_passes_as_it_arrives_and_is_torn_meanwhile() {
    let bytes = message(b'D', WHOLE_MAX);
    let mut frames = Frames::default();
    let begun = HEAD + LOOK_MIN;
    frames.scan(&bytes[..begun - 1], |_, _| panic!("told too early")).unwrap();
    let told = frames.scan_while(&bytes[..begun], |_, body, whole| {
        assert!(body.len() == LOOK_MIN && !whole);
        true
    });
    assert_eq!((told, frames.cleared()), (Ok(true), begun));
    frames.sent(&bytes[..begun], begun);
    assert!(!frames.at_boundary());
    frames.scan(&bytes[begun..], |_, _| panic!("told twice")).unwrap();
    frames.sent(&bytes[begun..], bytes.len() - begun);
    assert!(frames.at_boundary());
    assert_eq!(frames, Frames::default());
}

#[test]
fn impossible_lengths_are_errors() {
    for length in [0u32, 3, MESSAGE_MAX + 1, u32::MAX] {
        let mut bytes = vec![b'Q'];
        bytes.extend(length.to_be_bytes());
        let error = Frames::default().scan(&bytes, |_, _| {}).unwrap_err();
        assert_eq!(error, FrameError { tag: b'Q', length });
    }
}

proptest! {
    /// Bytes arrive in any pieces and leave in any pieces: all of them come out in order, each message
    /// is told once, and the boundary is known after every piece.
    #[test]
    fn pieces_make_no_difference(
        sizes in proptest::collection::vec(prop_oneof![0usize..40, 16_300usize..16_500, 30_000usize..50_000], 1..8),
        cuts in proptest::collection::vec(1usize..9_000, 1..60),
        sends in proptest::collection::vec(1usize..9_000, 1..60),
    ) {
        let stream: Vec<u8> = sizes.iter().zip(0u8..).flat_map(|(s, i)| message(b'a' + i, *s)).collect();
        let ends: Vec<usize> = sizes.iter().scan(0, |at, s| { *at += s + HEAD; Some(*at) }).collect();
        let (mut frames, mut held, mut told) = (Frames::default(), Vec::new(), Vec::new());
        let (mut arrived, mut left) = (0, 0);
        let mut steps = cuts.iter().cycle().zip(sends.iter().cycle());
        while left < stream.len() {
            let (cut, send) = steps.next().unwrap();
            let next = (arrived + cut).min(stream.len());
            held.extend_from_slice(&stream[arrived..next]);
            arrived = next;
            frames.scan(&held, |tag, _| told.push(tag)).unwrap();
            let sent = frames.cleared().min(*send);
            frames.sent(&held, sent);
            prop_assert_eq!(&held[..sent], &stream[left..left + sent]);
            held.drain(..sent);
            left += sent;
            prop_assert_eq!(frames.at_boundary(), left == 0 || ends.contains(&left), "after {} bytes", left);
            prop_assert!(held.len() - frames.cleared() <= WHOLE_MAX, "what is held back is bounded");
        }
        prop_assert_eq!(told.len(), sizes.len());
    }

    #[test]
    fn any_bytes_are_survived(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20)) {
        let (mut frames, mut held) = (Frames::default(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(&piece);
            if frames.scan(&held, |_, _| {}).is_err() { break }
            prop_assert!(frames.cleared() <= held.len());
            let half = frames.cleared() / 2;
            frames.sent(&held, half);
            held.drain(..half);
        }
    }
}
