//! One direction of a connection: read, keep for the delay, write; in order, with a bounded window.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

use super::link::Link;

/// Bytes read at once.
const CHUNK: usize = 16 << 10;

/// What is under way.
#[derive(Debug)]
enum Item {
    Data(Bytes),
    /// The sender has closed its side.
    Fin,
    /// The sender's socket is gone.
    Reset,
}

/// How a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Closed in order; the other direction may go on.
    Closed,
    /// Reset: nothing passes any more, either way.
    Reset,
}

/// The line of one direction: the reader's and the writer's shared part.
#[derive(Debug)]
pub(super) struct Line<'a> {
    link: &'a Link,
    /// The way back: a retransmission takes a whole round trip.
    back: &'a Link,
    /// Free bytes of the window.
    window: Semaphore,
    size: usize,
    /// Nothing arrives before: the handshake is not over.
    not_before: Instant,
}

/// What travels, with its arrival.
pub(super) type Queue =
    (mpsc::UnboundedSender<(Instant, Travelling)>, mpsc::UnboundedReceiver<(Instant, Travelling)>);

/// An item on its way (opaque outside).
#[derive(Debug)]
pub(super) struct Travelling(Item);

/// A queue; its length is bounded by the line's window.
pub(super) fn queue() -> Queue {
    mpsc::unbounded_channel()
}

impl<'a> Line<'a> {
    pub(super) fn new(link: &'a Link, back: &'a Link, not_before: Instant) -> Self {
        let size = link.window();
        Self { link, back, window: Semaphore::new(size), size, not_before }
    }

    /// Reads `source` to its end. `broken` is set when a write to `source` has failed: its end is a reset then,
    /// whatever the next read says (the kernel tells an error only once).
    pub(super) async fn read(
        &self,
        source: &TcpStream,
        broken: &AtomicBool,
        out: mpsc::UnboundedSender<(Instant, Travelling)>,
    ) {
        let mut last = self.not_before;
        loop {
            let item = self.next(source, broken).await;
            let bytes = if let Item::Data(data) = &item { data.len() } else { 0 };
            let ends = bytes == 0;
            last = self.link.arrival(bytes, self.back_delay()).max(last);
            if out.send((last, Travelling(item))).is_err() || ends {
                return;
            }
        }
    }

    /// Writes to `sink` what arrives. `broken` is set when `sink` does not take it any more.
    pub(super) async fn write(
        &self,
        mut arriving: mpsc::UnboundedReceiver<(Instant, Travelling)>,
        sink: &TcpStream,
        broken: &AtomicBool,
    ) -> End {
        while let Some((at, Travelling(item))) = arriving.recv().await {
            sleep_until(at).await;
            self.link.open().await;
            match item {
                Item::Data(data) => {
                    // A sink that is gone is told to the sender by the other direction's reader.
                    if !broken.load(Ordering::Relaxed) && write_all(sink, &data).await.is_err() {
                        broken.store(true, Ordering::Relaxed);
                    }
                    self.window.add_permits(self.cost(data.len()));
                }
                Item::Fin => {
                    let _ = SockRef::from(sink).shutdown(std::net::Shutdown::Write);
                    return End::Closed;
                }
                Item::Reset => return End::Reset,
            }
        }
        End::Reset
    }

    async fn next(&self, source: &TcpStream, broken: &AtomicBool) -> Item {
        let end = || if broken.load(Ordering::Relaxed) { Item::Reset } else { Item::Fin };
        loop {
            // First room, then data: what is not read stays in the kernel, and the sender feels it.
            let Ok(room) = self.window.acquire_many(permits(self.cost(CHUNK))).await else {
                return Item::Reset;
            };
            if source.readable().await.is_err() {
                return Item::Reset;
            }
            let mut chunk = BytesMut::with_capacity(CHUNK);
            match source.try_read_buf(&mut chunk) {
                Ok(0) => return end(),
                Ok(read) => {
                    room.forget();
                    let used = self.cost(read);
                    self.window.add_permits(self.cost(CHUNK).saturating_sub(used));
                    return Item::Data(chunk.freeze());
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Item::Reset,
            }
        }
    }

    /// What a chunk takes of the window: small ones count for their bookkeeping too.
    fn cost(&self, bytes: usize) -> usize {
        const LEAST: usize = 256;
        bytes.clamp(LEAST, self.size)
    }

    fn back_delay(&self) -> Duration {
        self.back.shape().delay
    }
}

fn permits(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

async fn write_all(sink: &TcpStream, mut data: &[u8]) -> std::io::Result<()> {
    while !data.is_empty() {
        sink.writable().await?;
        match sink.try_write(data) {
            Ok(written) => data = data.get(written..).unwrap_or_default(),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
