//! Pipes between in-memory streams of any size.

use std::future::poll_fn;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

#[derive(Default)]
struct Told {
    tags: Vec<u8>,
    bytes: usize,
    /// Lets everything pass.
    lenient: bool,
}

impl Passing for Told {
    fn message(&mut self, tag: u8, _: &[u8], _: bool) -> bool {
        let passes = tag != b'!' || self.lenient;
        if passes {
            self.tags.push(tag);
        }
        passes
    }

    fn bytes(&mut self, count: usize) {
        self.bytes += count;
    }
}

fn message(tag: u8, body: usize) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(u32::try_from(body + 4).unwrap().to_be_bytes());
    bytes.resize(5 + body, tag);
    bytes
}

async fn run(mut from: DuplexStream, mut to: DuplexStream) -> (PipeEnd, Told, usize) {
    let (mut pipe, mut told, mut most) = (Pipe::default(), Told::default(), 0);
    let end = poll_fn(|cx| {
        let polled = pipe.poll(cx, &mut from, &mut to, &mut told);
        most = most.max(pipe.held.len());
        polled
    });
    let end = end.await;
    (end, told, most)
}

#[tokio::test]
async fn a_partial_message_is_not_passed_on() {
    let (mut sender, from) = duplex(1 << 16);
    let (to, mut receiver) = duplex(1 << 16);
    let (whole, torn) = (message(b'C', 10), message(b'D', 100));
    sender.write_all(&whole).await.unwrap();
    sender.write_all(&torn[..50]).await.unwrap();
    drop(sender);
    let (end, told, _) = run(from, to).await;
    assert!(matches!(end, PipeEnd::Closed), "{end:?}");
    assert_eq!(told.tags, b"C");
    let mut got = Vec::new();
    receiver.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, whole);
}

#[tokio::test]
async fn nothing_passes_from_a_withheld_message_on() {
    for size in [10, 3 * WHOLE_MAX] {
        let (mut sender, from) = duplex(1 << 17);
        // The writer takes little at a time: what came before is still written whole.
        let (to, mut receiver) = duplex(7);
        let before = message(b'D', 100);
        let all = [before.clone(), message(b'!', size), message(b'C', 10)].concat();
        sender.write_all(&all).await.unwrap();
        let mut got = Vec::new();
        let ((end, told, _), read) = tokio::join!(run(from, to), receiver.read_to_end(&mut got));
        read.unwrap();
        assert!(matches!(end, PipeEnd::Withheld), "{end:?}");
        assert_eq!(told.tags, b"D");
        assert_eq!(got, before);
    }
}

#[tokio::test]
async fn what_was_withheld_passes_once_when_it_may() {
    let (mut sender, mut from) = duplex(1 << 16);
    let (mut to, mut receiver) = duplex(1 << 16);
    let (mut pipe, mut told) = (Pipe::default(), Told::default());
    let all = [message(b'Q', 10), message(b'!', 20), message(b'Q', 30)].concat();
    sender.write_all(&all).await.unwrap();
    for _ in 0..2 {
        let end = poll_fn(|cx| pipe.poll(cx, &mut from, &mut to, &mut told)).await;
        assert!(matches!(end, PipeEnd::Withheld) && pipe.is_withheld() && pipe.is_done());
        pipe.ask_again(&mut told).unwrap();
    }
    told.lenient = true;
    pipe.ask_again(&mut told).unwrap();
    let pending = poll_fn(|cx| Poll::Ready(pipe.poll(cx, &mut from, &mut to, &mut told).is_pending())).await;
    assert!(pending && pipe.is_empty());
    assert_eq!(told.tags, b"Q!Q");
    let mut got = vec![0; all.len()];
    receiver.read_exact(&mut got).await.unwrap();
    assert_eq!(got, all);
}

#[tokio::test]
async fn nonsense_ends_it() {
    let (mut sender, from) = duplex(64);
    let (to, _receiver) = duplex(64);
    sender.write_all(&[b'Q', 0, 0, 0, 1]).await.unwrap();
    assert!(matches!(run(from, to).await.0, PipeEnd::Frame(_)));
}

#[tokio::test]
async fn an_idle_pipe_owns_no_buffer() {
    let (mut sender, mut from) = duplex(1 << 16);
    let (mut to, mut receiver) = duplex(1 << 16);
    let (mut pipe, mut told) = (Pipe::default(), Told::default());
    let bytes = message(b'Z', 1);
    sender.write_all(&bytes).await.unwrap();
    let pending = poll_fn(|cx| Poll::Ready(pipe.poll(cx, &mut from, &mut to, &mut told).is_pending())).await;
    assert!(pending && pipe.is_empty());
    assert_eq!(pipe.held.capacity(), 0);
    let mut got = vec![0; bytes.len()];
    receiver.read_exact(&mut got).await.unwrap();
    assert_eq!(got, bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn everything_comes_out_once_in_order_and_little_is_held(
        sizes in proptest::collection::vec(prop_oneof![0usize..60, 8_000usize..60_000], 1..12),
        window_in in 1usize..70_000,
        window_out in 1usize..70_000,
    ) {
        let stream: Vec<u8> = sizes.iter().zip(b'a'..).flat_map(|(s, tag)| message(tag, *s)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (got, told, most) = runtime.block_on(async {
            let (mut sender, from) = duplex(window_in);
            let (to, mut receiver) = duplex(window_out);
            let mut got = Vec::new();
            let sent = async { sender.write_all(&stream).await.unwrap(); drop(sender) };
            let (_, (_, told, most), read) = tokio::join!(sent, run(from, to), receiver.read_to_end(&mut got));
            read.unwrap();
            (got, told, most)
        });
        prop_assert!(got == stream, "the stream is changed");
        prop_assert_eq!(told.bytes, stream.len());
        prop_assert_eq!(told.tags.len(), sizes.len());
        prop_assert!(most <= 4 * WHOLE_MAX, "held {}", most);
    }
}
