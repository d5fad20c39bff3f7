//! Passing a request on, and trying again what is safe to try again.
//!
//! The rule: another attempt is made only if nothing of the request was sent, or if its method is
//! idempotent, its body is at hand, and no head of an answer came. Never more attempts than the
//! service allows, and never more retries in all than its budget. A head that came is the answer,
//! whatever its status: the application has spoken.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use meridian_model::RegionName;
use meridian_telemetry::clock;
use meridian_telemetry::events::{EdgeRetry, RetryReason};
use tokio::time::timeout;

use crate::body::Body;
use crate::headers;
use crate::pool::{ConnectError, Lease};
use crate::refusal::Refusal;
use crate::routes::{Backend, Route};
use crate::worker::Worker;

/// A request ready to be sent, as often as may be.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Upload,
    /// The regions whose edges it has passed before.
    pub(crate) hops: Vec<String>,
}

/// The body of a request.
pub(crate) enum Upload {
    /// All of it: can be sent again.
    Whole(Bytes),
    /// It flows, once. `None` when it has been sent.
    Flowing(Box<Option<Body>>),
}

/// What came back.
pub(crate) struct Answered<'a> {
    pub(crate) response: Response<Body>,
    pub(crate) backend: &'a Backend,
    pub(crate) attempts: u32,
}

/// Sends `outgoing` to the backends of `route` in their order until one answers.
pub(crate) async fn forward<'a>(
    worker: &Worker,
    route: &'a Route,
    here: &RegionName,
    mut outgoing: Outgoing,
) -> Result<Answered<'a>, Refusal> {
    let retries = route.service.retries;
    let mut targets = targets(worker, route, !outgoing.hops.is_empty())?;
    route.budget.request(clock::now());
    let mut tried = Tried { repeatable: outgoing.is_repeatable(), attempts: 0, sent: None };
    while let Some(target) = targets.pop_front() {
        tried.attempts += 1;
        let failure = match attempt(worker, here, target, &mut outgoing).await {
            Ok(response) => {
                return Ok(Answered { response, backend: target.backend, attempts: tried.attempts });
            }
            Err(failure) => failure,
        };
        tracing::debug!(service = %route.service.name, address = %target.address, %failure, "an attempt failed");
        let may_repeat = failure.is_unsent() || tried.repeatable;
        if may_repeat && !failure.is_unsent() {
            // It may do better next time; one that could not be reached will not.
            targets.push_back(target);
        }
        let reason = failure.reason();
        tried.note(failure);
        if !may_repeat || targets.is_empty() || tried.attempts >= retries.attempts {
            break;
        }
        let granted = route.budget.retry(clock::now(), retries.budget);
        let reason = if granted { reason } else { RetryReason::BudgetSpent };
        EdgeRetry { reason, backend: target.backend.region.as_str() }.emit(&target.backend.meter);
        if !granted {
            break;
        }
    }
    Err(tried.refusal())
}

/// What came of the attempts so far.
struct Tried {
    /// The request may be sent twice.
    repeatable: bool,
    attempts: u32,
    /// The last attempt of which something was sent: what the client must know of.
    sent: Option<Failure>,
}

impl Tried {
    fn note(&mut self, failure: Failure) {
        if !failure.is_unsent() {
            self.sent = Some(failure);
        }
    }

    fn refusal(self) -> Refusal {
        let carried_out = if self.repeatable { "" } else { "; it may or may not have been carried out" };
        let (status, what) = match self.sent {
            None => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the application could not be reached; the request was not carried out".to_owned(),
            ),
            Some(Failure::Timeout(within)) => (
                StatusCode::GATEWAY_TIMEOUT,
                format!("the application did not begin to answer within {within:?}{carried_out}"),
            ),
            Some(_) => (
                StatusCode::BAD_GATEWAY,
                format!("the application broke off before it answered{carried_out}"),
            ),
        };
        Refusal::passing(status, what)
    }
}

/// A place to send to.
#[derive(Clone, Copy)]
struct Target<'a> {
    backend: &'a Backend,
    address: SocketAddr,
    try_timeout: Duration,
}

/// All places in the order to try: as steering has ranked them, instances of a region in turn; those
/// set aside after failures come behind the others, but before what is held to be down.
fn targets<'a>(
    worker: &Worker,
    route: &'a Route,
    came_from_an_edge: bool,
) -> Result<VecDeque<Target<'a>>, Refusal> {
    let now = clock::now();
    let (turn, try_timeout) = (worker.next_turn(), route.service.retries.try_timeout);
    let mut all: Vec<(bool, bool, Target<'a>)> = Vec::new();
    for backend in route.backends.iter().filter(|b| b.is_local || !came_from_an_edge) {
        let count = backend.addresses.len().max(1);
        for place in 0..backend.addresses.len() {
            let Some(address) = backend.addresses.get((turn + place) % count) else { continue };
            let is_down = backend.rank == meridian_steering::Rank::Down;
            let aside = worker.pool.is_aside(*address, now);
            all.push((is_down, aside, Target { backend, address: *address, try_timeout }));
        }
    }
    all.sort_by_key(|(is_down, aside, _)| (*is_down, *aside));
    match (all.is_empty(), came_from_an_edge) {
        (false, _) => Ok(all.into_iter().map(|(_, _, target)| target).collect()),
        (true, true) => Err(Refusal::passing(
            StatusCode::SERVICE_UNAVAILABLE,
            "this request came from another region's edge, and there is no instance here to serve it",
        )),
        (true, false) => {
            Err(Refusal::passing(StatusCode::SERVICE_UNAVAILABLE, "no region may serve this request now"))
        }
    }
}

/// One attempt at one place.
async fn attempt(
    worker: &Worker,
    here: &RegionName,
    target: Target<'_>,
    outgoing: &mut Outgoing,
) -> Result<Response<Body>, Failure> {
    let within = outgoing.patience(worker, target.try_timeout);
    loop {
        let mut lease = worker.pool.lease(target.address).await.map_err(Failure::Connect)?;
        let mut request = outgoing.request();
        if !target.backend.is_local {
            headers::mark_hop(request.headers_mut(), &outgoing.hops, here);
        }
        match timeout(within, lease.sender.try_send_request(request)).await {
            Err(_) => {
                worker.pool.timed_out(target.address);
                return Err(Failure::Timeout(within));
            }
            Ok(Ok(response)) => {
                worker.pool.worked(target.address);
                return accept(response, lease, worker.limits.body_idle);
            }
            Ok(Err(mut error)) => {
                let unsent = error.take_message();
                let is_unsent = unsent.is_some();
                if let Some(request) = unsent {
                    outgoing.take_back(request.into_body());
                }
                // The other side closed an idle connection just now: a fresh one tells.
                if !(is_unsent && lease.reused) {
                    return Err(Failure::Broken { source: error.into_error(), is_unsent });
                }
            }
        }
    }
}

fn accept(response: Response<Incoming>, lease: Lease, idle: Duration) -> Result<Response<Body>, Failure> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::Switched);
    }
    Ok(response.map(|body| Body::flowing(body, idle, Some(lease))))
}

impl Outgoing {
    /// Sending it twice does no harm, and can be done.
    fn is_repeatable(&self) -> bool {
        self.method.is_idempotent() && matches!(self.body, Upload::Whole(_))
    }

    /// How long one attempt may take to begin its answer. What cannot be repeated gains nothing from
    /// being given up early.
    fn patience(&self, worker: &Worker, try_timeout: Duration) -> Duration {
        match self.body {
            Upload::Whole(_) if self.method.is_idempotent() => try_timeout,
            Upload::Whole(_) => worker.limits.answer,
            Upload::Flowing(_) => worker.limits.upload,
        }
    }

    fn request(&mut self) -> Request<Body> {
        let body = match &mut self.body {
            Upload::Whole(bytes) => Body::whole(bytes.clone()),
            Upload::Flowing(body) => body.take().unwrap_or_else(|| Body::whole(Bytes::new())),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().clone_from(&self.headers);
        request
    }

    fn take_back(&mut self, unsent: Body) {
        if let Upload::Flowing(place) = &mut self.body {
            **place = Some(unsent);
        }
    }
}

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Connect(ConnectError),
    #[error("no answer began within {0:?}")]
    Timeout(Duration),
    #[error("the connection broke (request unsent: {is_unsent}): {source}")]
    Broken { source: hyper::Error, is_unsent: bool },
    #[error("the backend switched protocols without being asked")]
    Switched,
}

impl Failure {
    /// Nothing of the request left this machine.
    const fn is_unsent(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Broken { is_unsent: true, .. })
    }

    const fn reason(&self) -> RetryReason {
        match self {
            Self::Timeout(_) => RetryReason::Timeout,
            Self::Connect(_) | Self::Broken { .. } | Self::Switched => RetryReason::Connect,
        }
    }
}
