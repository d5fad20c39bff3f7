//! What happens to the fields of a head on the way through (RFC 9110 section 7.6, RFC 7239).

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderValue};
use meridian_model::RegionName;

/// Which region's instances answered: set by the innermost edge.
pub(crate) const REGION: HeaderName = HeaderName::from_static("meridian-region");
/// The regions whose edges a request has passed, in order.
pub(crate) const HOPS: HeaderName = HeaderName::from_static("meridian-hops");

/// Takes away what is meant for the next hop only, and what `connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        // A client must not be able to take away what routes its request or counts its hops.
        .filter(|name| *name != HOST && *name != HOPS && *name != CONTENT_LENGTH)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// A request's fields as the next hop should see them.
pub(crate) fn for_upstream(headers: &mut HeaderMap, from: &From<'_>) {
    strip_hop_by_hop(headers);
    headers.remove(EXPECT);
    // Written anew from the length of the body, so that the two can never disagree.
    headers.remove(CONTENT_LENGTH);
    join_cookies(headers);
    drop_broken_trace(headers);
    headers.remove(HOPS);
    append(headers, X_FORWARDED_FOR, &from.address.to_string());
    if from.hops.is_empty() {
        set(headers, X_FORWARDED_PROTO, from.scheme());
        set(headers, X_FORWARDED_HOST, from.host);
    }
    append(headers, FORWARDED, &forwarded(from));
    append(headers, VIA, &via(from.here));
    set(headers, HOST, from.host);
}

/// An answer's fields as the client should see them.
pub(crate) fn for_client(headers: &mut HeaderMap, here: &RegionName, answered_here: bool) {
    strip_hop_by_hop(headers);
    append(headers, VIA, &via(here));
    if answered_here || !headers.contains_key(REGION) {
        set(headers, REGION, here.as_str());
    }
}

/// Marks a request that goes to another edge with the regions it has passed.
pub(crate) fn mark_hop(headers: &mut HeaderMap, hops: &[String], here: &RegionName) {
    let all: Vec<&str> = hops.iter().map(String::as_str).chain([here.as_str()]).collect();
    set(headers, HOPS, &all.join(","));
}

/// The regions whose edges a request has passed.
pub(crate) fn hops(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(HOPS).iter();
    // What is no text still counts as a hop: it must not open a way around the rule.
    let texts = values.map(|value| value.to_str().unwrap_or("unreadable"));
    let names = texts.flat_map(|text| text.split(',').map(str::trim));
    names.filter(|name| !name.is_empty()).take(HOPS_READ_MAX).map(str::to_owned).collect()
}

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From<'a> {
    pub(crate) address: IpAddr,
    pub(crate) is_tls: bool,
    pub(crate) host: &'a str,
    pub(crate) hops: &'a [String],
    pub(crate) here: &'a RegionName,
}

impl From<'_> {
    const fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }
}

fn via(here: &RegionName) -> String {
    format!("1.1 meridian-{here}")
}

/// RFC 7239: IPv6 addresses and hosts with ports stand in quotes.
fn forwarded(from: &From<'_>) -> String {
    let node = match from.address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("\"[{v6}]\""),
    };
    format!("for={node};host=\"{}\";proto={}", from.host, from.scheme())
}

/// HTTP/2 sends cookies in crumbs; HTTP/1.1 knows one field only (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

/// A `traceparent` that is not of the W3C's form is worse than none: it goes, with its state.
fn drop_broken_trace(headers: &mut HeaderMap) {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let fine = match (all.next(), all.next()) {
        (None, _) => return,
        (Some(one), None) => is_traceparent(one.as_bytes()),
        _ => false,
    };
    if !fine {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, neither id all zero.
fn is_traceparent(value: &[u8]) -> bool {
    let parts: Vec<&[u8]> = value.split(|b| *b == b'-').collect();
    let [version, trace, parent, flags] = parts.as_slice() else { return false };
    let is_hex = |part: &[u8], length| {
        part.len() == length && part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |part: &[u8]| part.iter().all(|b| *b == b'0');
    is_hex(version, 2)
        && *version != b"ff"
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && !is_zero(trace)
        && !is_zero(parent)
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Adds a member to a list field, in one line with those that are there.
fn append(headers: &mut HeaderMap, name: HeaderName, member: &str) {
    let present: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
    let mut whole = present.join(&b", "[..]);
    if !whole.is_empty() {
        whole.extend_from_slice(b", ");
    }
    whole.extend_from_slice(member.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&whole) {
        headers.insert(name, value);
    }
}

const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// One is the most that our own edges make; more are read only to be refused.
const HOPS_READ_MAX: usize = 16;

#[cfg(test)]
mod tests;
