//! What the load asks of the example application, and how its answers are read.
//!
//! The rule for a write: any 2xx is an acknowledgement; an answer that says that nothing was written
//! (4xx, or 503 from whoever had no place to send it) is a refusal; every other answer leaves it open
//! whether the write happened, and so does no answer.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use meridian_model::RegionName;
use serde_json::{Value, json};

use super::{Kind, Outcome};
use crate::ledger::Server;

/// The header in which the edge and the application say which region answered.
const REGION_HEADER: &str = "meridian-region";

/// The request of one kind; `id` names the order.
pub(super) fn request(kind: Kind, host: &str, id: &str) -> Result<Request<Full<Bytes>>, http::Error> {
    let builder = Request::builder().header(header::HOST, host).header(header::USER_AGENT, "meridian-load");
    match kind {
        Kind::Read => builder.method(Method::GET).uri("/orders").body(Full::default()),
        Kind::Write => {
            let order = json!({ "id": id, "user": "load", "item": "tea", "quantity": 1 });
            builder
                .method(Method::POST)
                .uri("/orders")
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::from(order.to_string())))
        }
    }
}

/// What an answer means to its user.
pub(super) fn outcome(kind: Kind, answer: &Response<Bytes>) -> Outcome {
    match answer.status() {
        status if status.is_success() => Outcome::Ok,
        StatusCode::SERVICE_UNAVAILABLE => Outcome::Refused,
        status if status.is_client_error() => Outcome::Refused,
        _ if kind == Kind::Read => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

/// The region that answered: by its header, else by the application's own word.
pub(super) fn region(answer: &Response<Bytes>) -> Option<RegionName> {
    let header = answer.headers().get(REGION_HEADER).and_then(|value| value.to_str().ok());
    let named = header.and_then(|text| RegionName::new(text).ok());
    named.or_else(|| RegionName::new(body(answer)?.get("region")?.as_str()?).ok())
}

/// The database server that committed a write, by the application's answer.
pub(super) fn acknowledged_by(answer: &Response<Bytes>) -> Option<Server> {
    let body = body(answer)?;
    let address: IpAddr = body.get("server")?.as_str()?.parse().ok()?;
    let port = u16::try_from(body.get("port")?.as_u64()?).ok()?;
    let timeline = u32::try_from(body.get("timeline")?.as_u64()?).ok()?;
    Some(Server { address: SocketAddr::new(address, port), timeline })
}

/// What an answer that was not the wanted one says: its status and its own words, without what differs
/// from answer to answer by more than a few words.
pub(super) fn told(answer: &Response<Bytes>) -> String {
    let words = body(answer).and_then(|body| body.get("error")?.as_str().map(str::to_owned));
    let words = words.unwrap_or_else(|| String::from_utf8_lossy(answer.body()).into_owned());
    let words: String = words.trim().chars().take(TOLD_MAX).collect();
    format!("{} {words}", answer.status().as_u16())
}

/// How much of an answer is told, in characters.
const TOLD_MAX: usize = 160;

fn body(answer: &Response<Bytes>) -> Option<Value> {
    serde_json::from_slice(answer.body()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Response<Bytes> {
        Response::builder().status(status).body(Bytes::from(body.to_owned())).unwrap()
    }

    #[test]
    fn only_a_success_acknowledges_and_only_a_definite_error_refuses() {
        let cases = [(201, Outcome::Ok), (503, Outcome::Refused), (409, Outcome::Refused)];
        for (status, expected) in cases {
            assert_eq!(outcome(Kind::Write, &answer(status, "")), expected, "{status}");
        }
        for status in [500, 502, 504] {
            assert_eq!(outcome(Kind::Write, &answer(status, "")), Outcome::Unknown, "{status}");
        }
    }

    #[test]
    fn reads_who_committed() {
        let body = r#"{"id":"x","server":"127.10.1.1","port":5432,"timeline":2,"region":"us-east-1"}"#;
        let server = acknowledged_by(&answer(201, body)).unwrap();
        assert_eq!((server.address.to_string(), server.timeline), ("127.10.1.1:5432".to_owned(), 2));
        assert_eq!(region(&answer(201, body)).unwrap().as_str(), "us-east-1");
        assert_eq!(acknowledged_by(&answer(201, "not json")), None);
    }
}
