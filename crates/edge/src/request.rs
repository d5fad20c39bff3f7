//! The life of one HTTP request, as a list of named steps: [`handle`].

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use meridian_model::Moment;
use meridian_telemetry::events::{EdgeMeter, EdgeRequest};
use meridian_telemetry::{clock, spans};
use tokio::time::timeout;
use tracing::Instrument;

use crate::body::Body;
use crate::forward::{Outgoing, Upload, forward};
use crate::headers;
use crate::refusal::Refusal;
use crate::routes::{Route, Routes};
use crate::worker::Worker;

/// The edge's own health: 200 while it serves, 503 while it drains. For every host.
pub const HEALTH_PATH: &str = "/.meridian/health";

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) is_tls: bool,
}

/// Answers one request; whatever happens, there is an answer.
pub(crate) async fn handle(worker: Arc<Worker>, peer: Peer, request: Request<Incoming>) -> Response<Body> {
    let began = clock::now();
    let routes = worker.routes();
    if request.uri().path() == HEALTH_PATH {
        return own_health(&worker, &routes);
    }
    let Some(place) = worker.admit() else {
        let what = "the edge has as many requests in work as it may have";
        return from_here(&routes, Refusal::passing(StatusCode::SERVICE_UNAVAILABLE, what));
    };
    let response = match serve(&worker, &routes, peer, request, began).await {
        Ok(response) => response,
        Err(refusal) => from_here(&routes, refusal),
    };
    response.map(|body| body.hold(place))
}

/// The steps of a request that is admitted.
async fn serve(
    worker: &Worker,
    routes: &Routes,
    peer: Peer,
    request: Request<Incoming>,
    began: Moment,
) -> Result<Response<Body>, Refusal> {
    let (parts, body) = request.into_parts();
    refuse_what_is_not_spoken(&parts)?;
    let host = host_of(&parts)?;
    let route = route_of(routes, &host)?;
    let span = spans::edge_request(route.service.name.as_str(), parts.method.as_str());
    let arrival = Arrival { routes, peer, host, parts, body };
    let outcome = pass_on(worker, route, arrival).instrument(span.clone()).await;
    let (status, attempts, meter) = match &outcome {
        Ok((response, attempts, meter)) => (response.status(), *attempts, *meter),
        Err(refusal) => (refusal.status, 0, &route.nobody),
    };
    span.record("status", status.as_u16());
    count(meter, status, attempts, peer, began);
    outcome.map(|(response, ..)| response)
}

/// A request whose host is known.
struct Arrival<'a> {
    routes: &'a Routes,
    peer: Peer,
    host: String,
    parts: Parts,
    body: Incoming,
}

/// From a known service to its answer, with how many attempts that took and who counts it.
async fn pass_on<'a>(
    worker: &Worker,
    route: &'a Route,
    arrival: Arrival<'_>,
) -> Result<(Response<Body>, u32, &'a EdgeMeter), Refusal> {
    let here = &arrival.routes.here;
    let hops = hops_of(arrival.routes, &arrival.parts)?;
    let outgoing = prepare(worker, hops, arrival).await?;
    let answered = forward(worker, route, here, outgoing).await?;
    let mut response = answered.response;
    headers::for_client(response.headers_mut(), here, answered.backend.is_local);
    Ok((response, answered.attempts, &answered.backend.meter))
}

// === Steps ===

fn own_health(worker: &Worker, routes: &Routes) -> Response<Body> {
    if worker.is_draining() {
        return from_here(routes, Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "draining"));
    }
    from_here(routes, Refusal::new(StatusCode::OK, "serving"))
}

/// An answer of the edge itself says which region it is from, too.
fn from_here(routes: &Routes, refusal: Refusal) -> Response<Body> {
    let mut response = refusal.into_response();
    headers::for_client(response.headers_mut(), &routes.here, true);
    response
}

/// Tunnels and WebSockets are refused in words; other wishes to upgrade are passed over, as RFC 9110
/// allows (`curl --http2` asks for h2c, and does without).
fn refuse_what_is_not_spoken(parts: &Parts) -> Result<(), Refusal> {
    let is_websocket = |value: &http::HeaderValue| {
        value.as_bytes().split(|b| *b == b',').any(|p| p.trim_ascii().eq_ignore_ascii_case(b"websocket"))
    };
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        let what = format!("{} is not supported by this edge", parts.method);
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, what));
    }
    if parts.headers.get_all(UPGRADE).iter().any(is_websocket) {
        let what = "WebSockets are not supported by this edge yet";
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, what));
    }
    Ok(())
}

/// The host that is meant: the target's own, else the one `host` field.
fn host_of(parts: &Parts) -> Result<String, Refusal> {
    if let Some(authority) = parts.uri.authority() {
        return Ok(authority.as_str().to_owned());
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next().map(http::HeaderValue::to_str), hosts.next()) {
        (Some(Ok(host)), None) if !host.is_empty() && !host.contains(['"', ' ', '\\', '@', '/']) => {
            Ok(host.to_owned())
        }
        _ => Err(Refusal::new(StatusCode::BAD_REQUEST, "exactly one host is needed")),
    }
}

fn route_of<'a>(routes: &'a Routes, host: &str) -> Result<&'a Route, Refusal> {
    let refusal = || Refusal::new(StatusCode::MISDIRECTED_REQUEST, "this host is not served here");
    routes.find(host).map(Arc::as_ref).ok_or_else(refusal)
}

/// The edges that the request has passed. Once is normal, here twice is a circle.
fn hops_of(routes: &Routes, parts: &Parts) -> Result<Vec<String>, Refusal> {
    let hops = headers::hops(&parts.headers);
    if hops.iter().any(|hop| hop == routes.here.as_str()) {
        let what = format!("this request goes around in circles: {} -> {}", hops.join(" -> "), routes.here);
        tracing::warn!(hops = %hops.join(","), "a request went around in circles");
        return Err(Refusal::new(StatusCode::LOOP_DETECTED, what));
    }
    Ok(hops)
}

/// The request as it is sent on: its fields for the next hop, its body at hand if that is small.
async fn prepare(worker: &Worker, hops: Vec<String>, arrival: Arrival<'_>) -> Result<Outgoing, Refusal> {
    let Arrival { routes, peer, host, mut parts, body } = arrival;
    let (address, here) = (peer.address.ip(), &routes.here);
    let from = headers::From { address, is_tls: peer.is_tls, host: &host, hops: &hops, here };
    headers::for_upstream(&mut parts.headers, &from);
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let uri = path.parse::<Uri>().unwrap_or_else(|_| Uri::from_static("/"));
    let body = upload(worker, body).await?;
    Ok(Outgoing { method: parts.method, uri, headers: parts.headers, body, hops })
}

/// A body of known, small length is read first: so it can be sent again.
async fn upload(worker: &Worker, body: Incoming) -> Result<Upload, Refusal> {
    let limits = &worker.limits;
    if body.is_end_stream() {
        return Ok(Upload::Whole(Bytes::new()));
    }
    match body.size_hint().exact() {
        Some(length) if length <= limits.replay_bytes => {
            let bound = usize::try_from(limits.replay_bytes).unwrap_or(usize::MAX);
            match timeout(limits.body_idle, Limited::new(body, bound).collect()).await {
                Ok(Ok(whole)) => Ok(Upload::Whole(whole.to_bytes())),
                Ok(Err(_)) => Err(Refusal::new(StatusCode::BAD_REQUEST, "the body ended before its length")),
                Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive")),
            }
        }
        _ => Ok(Upload::Flowing(Box::new(Some(Body::flowing(body, limits.body_idle, None))))),
    }
}

fn count(meter: &EdgeMeter, status: StatusCode, attempts: u32, peer: Peer, began: Moment) {
    let took = clock::now().since(began);
    EdgeRequest { status: status.as_u16(), took, attempts, client: Some(peer.address.ip()) }.emit(meter);
}
