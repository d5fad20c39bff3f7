//! Requests to answers: the paths, the bodies, and what each fault looks like outside.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::orders::{NewOrder, Shop};

/// The body of `POST /orders`.
#[derive(Deserialize)]
struct OrderForm {
    id: String,
    user: Value,
    item: String,
    #[serde(default = "one")]
    quantity: i32,
}

/// The body of `POST /users`.
#[derive(Deserialize)]
struct UserForm {
    name: String,
    country: String,
}

/// The answer to a request; `draining` is for the health page.
pub(crate) async fn answer(
    shop: Arc<Shop>,
    request: Request<Incoming>,
    draining: bool,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_matches('/').to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let (status, mut value) = match route(&shop, &parts.method, &path, &query, body, draining).await {
        Ok(found) => found,
        Err(fault) => refusal(&fault),
    };
    if let Some(fields) = value.as_object_mut() {
        fields.entry("region").or_insert_with(|| json!(shop.region));
    }
    response(&shop.region, status, &value)
}

async fn route(
    shop: &Shop,
    method: &Method,
    path: &str,
    query: &str,
    body: Incoming,
    draining: bool,
) -> Result<(StatusCode, Value), Fault> {
    let words: Vec<_> = path.split('/').collect();
    match (method, words.as_slice()) {
        (&Method::GET, ["health"]) => Ok(health(shop, draining)),
        (&Method::GET, ["orders"]) => Ok((StatusCode::OK, shop.orders(limit(query)?).await?)),
        (&Method::GET, ["orders", id]) => Ok((StatusCode::OK, shop.order(id).await?)),
        (&Method::GET, ["users", id]) => Ok((StatusCode::OK, shop.user(id).await?)),
        (&Method::POST, ["orders"]) => Ok((StatusCode::CREATED, shop.add_order(&order(body).await?).await?)),
        (&Method::POST, ["users"]) => {
            let UserForm { name, country } = form(body).await?;
            Ok((StatusCode::CREATED, shop.add_user(&name, &country).await?))
        }
        _ => Err(Fault::Missing),
    }
}

/// 200 while it serves, also without a writer: reads go on.
fn health(shop: &Shop, draining: bool) -> (StatusCode, Value) {
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let word = if draining { "draining" } else { "ok" };
    (status, json!({ "status": word, "reads": shop.reads.last(), "writes": shop.writes.last() }))
}

async fn order(body: Incoming) -> Result<NewOrder, Fault> {
    let OrderForm { id, user, item, quantity } = form(body).await?;
    let user = match user {
        Value::String(user) => user,
        Value::Number(user) => user.to_string(),
        _ => return Err(Fault::Wrong("`user` must be a text or a number".to_owned())),
    };
    let named = !id.is_empty()
        && id.len() <= ID_MAX
        && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !named {
        return Err(Fault::Wrong(format!("`id` must have 1 to {ID_MAX} letters, digits, `-`, `_` or `.`")));
    }
    Ok(NewOrder { id, user, item, quantity })
}

async fn form<T: serde::de::DeserializeOwned>(body: Incoming) -> Result<T, Fault> {
    let wrong = |e: &dyn std::fmt::Display| Fault::Wrong(format!("the body is not what is expected: {e}"));
    let bytes = Limited::new(body, BODY_MAX).collect().await.map_err(|e| wrong(&e))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|e| wrong(&e))
}

fn limit(query: &str) -> Result<i64, Fault> {
    let given = query.split('&').find_map(|pair| pair.strip_prefix("limit="));
    let Some(given) = given else { return Ok(LIMIT_DEFAULT) };
    let limit = given.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| Fault::Wrong(format!("`limit` must be 1 to {LIMIT_MAX}, not `{given}`")))
}

fn refusal(fault: &Fault) -> (StatusCode, Value) {
    match fault {
        Fault::Unavailable(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "error": why, "outcome": "nothing was done", "retry": true }),
        ),
        Fault::Unknown(why) => (
            StatusCode::GATEWAY_TIMEOUT,
            json!({ "error": why, "outcome": "unknown", "retry": "with the same id" }),
        ),
        Fault::Wrong(why) => {
            (StatusCode::BAD_REQUEST, json!({ "error": why, "outcome": "nothing was done" }))
        }
        Fault::Missing => (StatusCode::NOT_FOUND, json!({ "error": "there is no such thing" })),
    }
}

fn response(region: &str, status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{value}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(region) = HeaderValue::from_str(region) {
        headers.insert("meridian-region", region);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

const fn one() -> i32 {
    1
}

const ID_MAX: usize = 100;
const BODY_MAX: usize = 64 << 10;
const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: i64 = 1000;
