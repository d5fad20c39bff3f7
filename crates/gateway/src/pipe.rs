//! One direction of a session: reads, finds the ends of messages, writes; bounded, and without a
//! buffer while nothing passes.
//!
//! A pipe holds at most about twice [`WHOLE_MAX`] bytes; when its writer does not take them, it stops
//! reading, and TCP carries the pressure back to the sender. Buffers come from a small stock of the
//! thread and go back when they are empty, so that an idle session owns none.

use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::protocol::{FrameError, Frames, WHOLE_MAX};

/// Buffers that a thread keeps for the next use.
const STOCK_MAX: usize = 32;
/// A larger buffer is not kept.
const STOCK_BYTES_MAX: usize = 2 * WHOLE_MAX;

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    held: BytesMut,
    frames: Frames,
    /// The reader has ended.
    ended: bool,
    /// Something was written and not flushed.
    unflushed: bool,
    /// A message must not pass (now): what came before it is still written, nothing else is.
    withheld: bool,
}

/// How a direction ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipeEnd {
    /// The reader has ended and all was passed on.
    #[error("closed")]
    Closed,
    /// All up to a message that must not pass was passed on. The pipe goes on when the message may pass
    /// after all.
    #[error("a message was withheld")]
    Withheld,
    /// The bytes are no messages.
    #[error("protocol violation: {0}")]
    Frame(#[from] FrameError),
    /// Reading failed.
    #[error("reading: {0}")]
    Read(#[source] io::Error),
    /// Writing failed.
    #[error("writing: {0}")]
    Write(#[source] io::Error),
}

impl Pipe {
    /// With bytes that were read before.
    pub(crate) fn with(early: BytesMut, passing: &mut impl Passing) -> Result<Self, FrameError> {
        let mut pipe = Self { held: early, ..Self::default() };
        pipe.note(passing)?;
        Ok(pipe)
    }

    /// Nothing is under way: what was written ends between two messages, and nothing is held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.is_clean()
    }

    /// All that may pass has passed.
    pub(crate) const fn is_done(&self) -> bool {
        self.frames.cleared() == 0 && self.is_clean()
    }

    /// A message waits for leave to pass, and all that comes after it.
    pub(crate) const fn is_withheld(&self) -> bool {
        self.withheld
    }

    /// Asks again whether what was withheld may pass.
    pub(crate) fn ask_again(&mut self, passing: &mut impl Passing) -> Result<(), FrameError> {
        if self.withheld { self.note(passing) } else { Ok(()) }
    }

    /// What was read and not written.
    pub(crate) fn into_rest(self) -> BytesMut {
        self.held
    }

    /// What was written ends between two messages and has left this process.
    pub(crate) const fn is_clean(&self) -> bool {
        self.frames.at_boundary() && !self.unflushed
    }

    /// The writer does not take what is ready for it.
    pub(crate) const fn is_stalled(&self) -> bool {
        self.frames.cleared() > 0
    }

    /// Moves what can be moved. Ready only when this direction has ended. `passing` is told each
    /// message before it is written, and how many bytes were.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        passing: &mut impl Passing,
    ) -> Poll<PipeEnd> {
        loop {
            let written = match self.poll_drain(cx, to, passing) {
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
            };
            if self.withheld {
                return if written { Poll::Ready(PipeEnd::Withheld) } else { Poll::Pending };
            }
            if self.ended {
                return if written { Poll::Ready(PipeEnd::Closed) } else { Poll::Pending };
            }
            if self.held.len() > WHOLE_MAX {
                return Poll::Pending;
            }
            match self.poll_fill(cx, from, passing) {
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Ready(Ok(())) => {}
                Poll::Pending => {
                    self.give_back();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Writes all that is cleared, and flushes.
    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
        passing: &mut impl Passing,
    ) -> Poll<Result<(), PipeEnd>> {
        let mut to = Pin::new(to);
        while let Some(cleared) = self.held.get(..self.frames.cleared()).filter(|c| !c.is_empty()) {
            let sent = ready!(to.as_mut().poll_write(cx, cleared)).map_err(PipeEnd::Write)?;
            if sent == 0 {
                return Poll::Ready(Err(PipeEnd::Write(io::ErrorKind::WriteZero.into())));
            }
            self.frames.sent(&self.held, sent);
            self.held.advance(sent);
            self.unflushed = true;
            passing.bytes(sent);
        }
        if self.unflushed {
            ready!(to.poll_flush(cx)).map_err(PipeEnd::Write)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        passing: &mut impl Passing,
    ) -> Poll<Result<(), PipeEnd>> {
        self.make_room();
        // Made anew for each poll: it keeps nothing between two.
        let read = ready!(pin!(from.read_buf(&mut self.held)).poll(cx)).map_err(PipeEnd::Read)?;
        self.ended = read == 0;
        Poll::Ready(self.note(passing).map_err(PipeEnd::Frame))
    }

    fn note(&mut self, passing: &mut impl Passing) -> Result<(), FrameError> {
        let all = self.frames.scan_while(&self.held, |tag, body, whole| passing.message(tag, body, whole))?;
        self.withheld = !all;
        Ok(())
    }

    fn make_room(&mut self) {
        if self.held.capacity() == 0 {
            self.held = STOCK.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        if self.held.capacity() - self.held.len() < WHOLE_MAX / 2 {
            self.held.reserve(WHOLE_MAX);
        }
    }

    fn give_back(&mut self) {
        if !self.held.is_empty() || self.held.capacity() == 0 {
            return;
        }
        let mut buffer = std::mem::take(&mut self.held);
        buffer.reserve(WHOLE_MAX);
        if buffer.capacity() <= STOCK_BYTES_MAX {
            STOCK.with_borrow_mut(|stock| {
                if stock.len() < STOCK_MAX {
                    stock.push(buffer);
                }
            });
        }
    }
}

/// Who is told what passes.
pub(crate) trait Passing {
    /// A message is about to be written. Of a long one only the beginning is told (not `whole`). False:
    /// neither it nor what comes after it may be, and the pipe ends when all before it was.
    fn message(&mut self, tag: u8, body: &[u8], whole: bool) -> bool;
    /// So many bytes were written.
    fn bytes(&mut self, count: usize);
}

thread_local! {
    static STOCK: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests;
