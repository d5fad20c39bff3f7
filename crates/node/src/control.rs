//! The control interface of a node: status, promises, orders, metrics. HTTP/1.1 on the region's control address.
//!
//! Everything but `/healthz` and `/metrics` asks for the shared secret. It decides nothing: it reads the
//! status that the loops publish and hands promises and announcements to the group's loop.
//!
//! Whoever reaches the port may connect, but not keep the nodes from talking to each other: when all
//! places are taken, the oldest connection that has not proven the secret gives its place to the next.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use meridian_coordination::asks::Asks;
use meridian_failover::Event;
use meridian_gateway::Fence;
use meridian_model::group::{Announcement, Promise};
use meridian_model::{GroupName, System};
use meridian_telemetry::Metrics;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::board::Board;
use crate::doctor::{DOCTOR, diagnose};
use crate::rehearse::{REHEARSALS, Rehearser};
use crate::secret::Secret;
use crate::status::STATUS;

/// Control connections at once. When all of them have proven the secret, the next ones wait in the
/// kernel's queue.
const CONNECTIONS_MAX: usize = 128;
/// The most that a question may hold.
const QUESTION_MAX: usize = 64 << 10;
/// A connection that sends no whole head within this is closed.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// A question whose body is not there this long after its head is not answered any more.
const QUESTION_WITHIN: Duration = Duration::from_secs(2);
/// A connection that takes none of its answers for this long is closed.
const STALL_MAX: Duration = Duration::from_secs(5);
/// Where renewals are announced.
pub(crate) const ANNOUNCE: &str = "/v1/announcement";
/// How long a group's loop may think about a promise; its disk write is in this.
const PROMISE_WITHIN: Duration = Duration::from_millis(800);

/// A promise that was asked for, on its way to the group's loop.
#[derive(Debug)]
pub(crate) struct PromiseAsked {
    /// What is asked.
    pub(crate) promise: Promise,
    /// Where the answer goes.
    pub(crate) answer: oneshot::Sender<PromiseAnswer>,
}

/// The answer to a promise that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseAnswer {
    /// It is promised, and on disk.
    pub granted: bool,
    /// Why, or why not.
    pub reason: String,
}

/// What the control interface needs.
pub(crate) struct Control {
    /// What everybody was told to do.
    pub(crate) system: Arc<System>,
    /// Where what people ask is put.
    pub(crate) asks: Asks,
    /// The local gateway, to hold transactions.
    pub(crate) fence: Arc<Fence>,
    /// The secret that callers prove.
    pub(crate) secret: Secret,
    /// All metrics of this process.
    pub(crate) metrics: Metrics,
    /// What the status is made from.
    pub(crate) board: Board,
    /// Who carries rehearsals out.
    pub(crate) rehearser: Arc<Rehearser>,
    /// The loops of the data groups: where promises are asked for, and where news goes in.
    pub(crate) groups: Vec<(GroupName, mpsc::Sender<PromiseAsked>, mpsc::Sender<Event>)>,
}

/// Serves until `shutdown` says so.
pub(crate) async fn serve(listener: TcpListener, control: Arc<Control>, mut shutdown: watch::Receiver<bool>) {
    let mut callers = Callers::default();
    loop {
        let accepted = async {
            let accepted = listener.accept().await;
            callers.make_room().await;
            accepted
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = crate::stopped(&mut shutdown) => break,
        };
        match accepted {
            Ok((stream, peer)) => callers.welcome(stream, peer, &control),
            Err(error) => {
                tracing::warn!(%error, "the control interface cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// The connections of now.
#[derive(Default)]
struct Callers {
    tasks: JoinSet<()>,
    /// The oldest first.
    known: VecDeque<Caller>,
}

struct Caller {
    /// It has shown the secret at least once.
    proven: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Callers {
    /// Returns when there is a place for one more.
    async fn make_room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        while self.tasks.len() >= CONNECTIONS_MAX {
            self.known.retain(|caller| !caller.task.is_finished());
            let unproven = self.known.iter().position(|caller| !caller.proven.load(Ordering::Relaxed));
            if let Some(oldest) = unproven.and_then(|at| self.known.remove(at)) {
                oldest.task.abort();
            }
            self.tasks.join_next().await;
        }
        self.known.retain(|caller| !caller.task.is_finished());
    }

    fn welcome(&mut self, stream: TcpStream, peer: SocketAddr, control: &Arc<Control>) {
        let proven = Arc::new(AtomicBool::new(false));
        let task = self.tasks.spawn(connection(stream, peer, Arc::clone(control), Arc::clone(&proven)));
        self.known.push_back(Caller { proven, task });
    }
}

/// Without it a caller that reads nothing would hold its place for ever. Where it cannot be set, nothing
/// else is lost.
fn limit_stalls(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(
        stream,
        u32::try_from(STALL_MAX.as_millis()).unwrap_or(u32::MAX),
    );
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

async fn connection(stream: TcpStream, peer: SocketAddr, control: Arc<Control>, proven: Arc<AtomicBool>) {
    limit_stalls(&stream);
    let service = service_fn(|request| answer(request, Arc::clone(&control), Arc::clone(&proven)));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a control connection ended badly");
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(
    request: Request<Incoming>,
    control: Arc<Control>,
    proven: Arc<AtomicBool>,
) -> Result<Answer, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let open = match (&head.method, head.uri.path()) {
        (&Method::GET, "/healthz") => Some(text(StatusCode::OK, "ok\n")),
        (&Method::GET, "/metrics") => Some(metrics(&control.metrics)),
        _ => None,
    };
    if let Some(answer) = open {
        return Ok(answer);
    }
    if !control.secret.proves(head.headers.get(header::AUTHORIZATION).map(|v| v.as_bytes())) {
        return Ok(text(StatusCode::UNAUTHORIZED, "the control secret is missing or wrong\n"));
    }
    proven.store(true, Ordering::Relaxed);
    Ok(match (&head.method, head.uri.path()) {
        (&Method::GET, STATUS) => json(&control.board.status()),
        (&Method::GET, DOCTOR) => json(&diagnose(&control.system, &control.board)),
        (&Method::GET, REHEARSALS) => json(&control.board.rehearsals()),
        (&Method::POST, REHEARSALS) => asks::rehearse(body, &control).await,
        (&Method::POST, "/v1/promise") => promise(body, &control).await,
        (&Method::POST, ANNOUNCE) => announced(body, &control).await,
        (&Method::POST, asks::ORDERS) => asks::order(body, &control).await,
        (&Method::POST, asks::WORDS) => asks::say(body, &control).await,
        (&Method::POST, asks::MAINTENANCE) => asks::maintain(body, &control).await,
        (&Method::POST, asks::DIALS) => dials::turn(body, &control).await,
        (&Method::POST, asks::ALERTS) => asks::alerts(body, &control).await,
        (&Method::POST, lost::LOST) => lost::lost(body, &control).await,
        (&Method::POST, asks::HOLD) => asks::hold(body, &control).await,
        (&Method::POST, asks::UNHOLD) => asks::unhold(body, &control).await,
        _ => text(
            StatusCode::NOT_FOUND,
            "there is /healthz, /metrics, /v1/status, /v1/doctor, /v1/rehearsals, /v1/orders, /v1/words, \
             /v1/maintenance, /v1/dials, /v1/alerts and /v1/lost\n",
        ),
    })
}

/// Reads the body of a question.
async fn asked<T: DeserializeOwned>(body: Incoming, what: &str) -> Result<T, Answer> {
    let body = tokio::time::timeout(QUESTION_WITHIN, Limited::new(body, QUESTION_MAX).collect()).await;
    let late = |_| text(StatusCode::REQUEST_TIMEOUT, "the question did not arrive in time\n");
    let broken = |_| text(StatusCode::BAD_REQUEST, "the question did not arrive whole\n");
    let body = body.map_err(late)?.map_err(broken)?;
    serde_json::from_slice(&body.to_bytes())
        .map_err(|error| text(StatusCode::BAD_REQUEST, &format!("this is no {what}: {error}\n")))
}

fn no_group() -> Answer {
    text(StatusCode::NOT_FOUND, "this node knows no such data group\n")
}

fn busy() -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, "the data group's loop is busy\n")
}

async fn announced(body: Incoming, control: &Control) -> Answer {
    let announcement: Announcement = match asked(body, "announcement").await {
        Ok(announcement) => announcement,
        Err(answer) => return answer,
    };
    let group = control.groups.iter().find(|(name, ..)| *name == announcement.group);
    let Some((.., events)) = group else { return no_group() };
    match events.try_send(Event::Announced(announcement)) {
        Ok(()) => text(StatusCode::OK, "heard\n"),
        Err(_) => busy(),
    }
}

async fn promise(body: Incoming, control: &Control) -> Answer {
    let promise: Promise = match asked(body, "promise").await {
        Ok(promise) => promise,
        Err(answer) => return answer,
    };
    let group = control.groups.iter().find(|(name, ..)| *name == promise.group);
    let Some((_, group, _)) = group else { return no_group() };
    let (answer, answered) = oneshot::channel();
    if group.try_send(PromiseAsked { promise, answer }).is_err() {
        return busy();
    }
    match tokio::time::timeout(PROMISE_WITHIN, answered).await {
        Ok(Ok(answer)) => json(&answer),
        _ => text(StatusCode::SERVICE_UNAVAILABLE, "the data group's loop did not answer in time\n"),
    }
}

fn metrics(metrics: &Metrics) -> Answer {
    let mut answer = text(StatusCode::OK, &metrics.render());
    let kind = header::HeaderValue::from_static(meridian_telemetry::CONTENT_TYPE);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn json<T: Serialize>(value: &T) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut answer = Response::new(Full::new(Bytes::from(bytes)));
            let kind = header::HeaderValue::from_static("application/json");
            answer.headers_mut().insert(header::CONTENT_TYPE, kind);
            answer
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_owned())));
    *answer.status_mut() = status;
    answer
}

pub(crate) mod asks;
pub(crate) mod dials;
pub(crate) mod lost;
#[cfg(test)]
mod tests;
