//! One client connection, from its acceptance to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, sleep_until};

use crate::limits::Limits;
use crate::request::{Peer, handle};
use crate::worker::Worker;

/// Serves HTTP/1.1 and HTTP/2 on `stream` until either side has had enough.
pub(crate) async fn serve<S>(worker: Arc<Worker>, stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let service = {
        let (worker, activity) = (Arc::clone(&worker), Arc::clone(&activity));
        service_fn(move |request| {
            let (worker, busy) = (Arc::clone(&worker), activity.begin());
            async move {
                let response = handle(worker, peer, request).await;
                Ok::<_, Infallible>(response.map(|body| body.hold(busy)))
            }
        })
    };
    let builder = builder(&worker.limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut draining = worker.draining.clone();
    let linger = tokio::select! {
        ended = connection.as_mut() => return log_end(peer, ended),
        _ = draining.wait_for(|stop| *stop) => LINGER_BUSY,
        () = activity.idle_for(worker.limits.client_idle, Instant::now()) => LINGER_IDLE,
    };
    // GOAWAY, or `connection: close` on the last answer; what is in work may finish.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => log_end(peer, ended),
        () = activity.idle_for(linger, Instant::now()) => {}
        () = sleep(worker.limits.drain) => {}
    }
}

fn log_end(peer: Peer, ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        // Clients break off all the time; who looks for the reason turns on `debug`.
        tracing::debug!(client = %peer.address, %error, "a client connection broke");
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.client_idle)
        .max_headers(limits.head_fields)
        .max_buf_size(limits.head_bytes.max(HEAD_BYTES_MIN));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN);
    builder
}

/// How many requests of a connection are in work, and since when none is.
struct Activity(Mutex<State>);

struct State {
    in_work: usize,
    quiet_since: Instant,
}

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new(State { in_work: 0, quiet_since: Instant::now() }))
    }
}

impl Activity {
    fn begin(self: &Arc<Self>) -> Busy {
        self.change(|state| state.in_work += 1);
        Busy(Arc::clone(self))
    }

    /// Returns once nothing has been in work for `idle`, counted from `start` at the earliest.
    async fn idle_for(&self, idle: Duration, start: Instant) {
        loop {
            let end = self.change(|state| {
                let since = if state.in_work == 0 { state.quiet_since.max(start) } else { Instant::now() };
                since + idle
            });
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }

    fn change<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request in work on a connection.
struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.in_work = state.in_work.saturating_sub(1);
            state.quiet_since = Instant::now();
        });
    }
}

/// After the word to close: what is written may still be on its way to a slow client.
const LINGER_BUSY: Duration = Duration::from_secs(2);
/// The same where nothing was asked for so long that nothing can be on its way.
const LINGER_IDLE: Duration = Duration::from_millis(300);
/// The least that hyper can work with.
const HEAD_BYTES_MIN: usize = 8 << 10;
/// HTTP/2 connections whose other end is gone are found by pings.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_WITHIN: Duration = Duration::from_secs(10);
