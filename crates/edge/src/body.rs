//! Bodies as they pass through: what goes to clients, what goes upstream, and how long either may
//! make no progress.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::pool::Lease;

/// What is wrong with a body that ended early.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body on its way: one that is held whole, or one that flows.
pub(crate) struct Body {
    kind: Kind,
    /// Dropped with the body: counts and connections that it holds.
    held: Vec<Box<dyn std::any::Any + Send + Sync>>,
}

enum Kind {
    Whole(Option<Bytes>),
    Flowing(Box<Flow>),
}

struct Flow {
    body: Incoming,
    idle: Duration,
    /// Armed while nothing arrives.
    stall: Option<Pin<Box<Sleep>>>,
    /// The upstream connection that it flows from: given back when the body has ended well.
    lease: Option<Lease>,
}

impl Body {
    /// All of it, at hand.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole((!bytes.is_empty()).then_some(bytes)), held: Vec::new() }
    }

    /// One that flows, and is broken off when nothing arrives for `idle`. With the upstream
    /// connection it flows from, if it is an answer.
    pub(crate) fn flowing(body: Incoming, idle: Duration, lease: Option<Lease>) -> Self {
        let mut flow = Box::new(Flow { body, idle, stall: None, lease });
        if flow.body.is_end_stream() {
            flow.finish();
        }
        Self { kind: Kind::Flowing(flow), held: Vec::new() }
    }

    /// Keeps `thing` until the body is done with.
    pub(crate) fn hold(mut self, thing: impl std::any::Any + Send + Sync) -> Self {
        self.held.push(Box::new(thing));
        self
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Flowing(flow) => flow.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Flowing(flow) => flow.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| u64::try_from(b.len()).unwrap_or(u64::MAX)))
            }
            Kind::Flowing(flow) => flow.body.size_hint(),
        }
    }
}

impl Flow {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let idle = self.idle;
            let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(idle)));
            ready!(stall.as_mut().poll(cx));
            return Poll::Ready(Some(Err(format!("the body made no progress for {idle:?}").into())));
        };
        self.stall = None;
        if frame.is_none() || self.body.is_end_stream() {
            self.finish();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body")
    }
}
