//! What passes a hop, what does not, and what a client cannot take away.

use super::*;

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect()
}

fn here() -> RegionName {
    RegionName::new("eu-central-1").unwrap()
}

fn upstream(fields: &[(&str, &str)], hops: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let from = From {
        address: "192.0.2.7".parse().unwrap(),
        is_tls: true,
        host: "shop.example.com:8443",
        hops,
        here: &here(),
    };
    for_upstream(&mut headers, &from);
    headers
}

#[test]
fn what_is_for_one_hop_goes_no_further() {
    let headers = upstream(
        &[
            ("connection", "keep-alive, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("content-length", "5"),
            ("accept", "*/*"),
        ],
        &[],
    );
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let expected =
        ["accept", "forwarded", "host", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
    assert_eq!(names, expected);
}

#[test]
fn a_client_cannot_name_host_or_hops_in_connection() {
    let mut headers = map(&[("connection", "host, meridian-hops"), ("host", "a"), ("meridian-hops", "b")]);
    strip_hop_by_hop(&mut headers);
    assert_eq!(headers.len(), 2);
}

#[test]
fn who_asked_is_passed_on_in_both_forms() {
    let headers = upstream(&[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", "10.0.0.2")], &[]);
    assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 10.0.0.2, 192.0.2.7");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(headers["forwarded"], "for=192.0.2.7;host=\"shop.example.com:8443\";proto=https");
    assert_eq!(headers["via"], "1.1 meridian-eu-central-1");
}

#[test]
fn the_second_edge_keeps_what_the_first_said_of_the_client() {
    let headers = upstream(&[("x-forwarded-proto", "http")], &["us-east-1".to_owned()]);
    assert_eq!(headers["x-forwarded-proto"], "http");
}

#[test]
fn crumbs_of_cookies_become_one() {
    assert_eq!(upstream(&[("cookie", "a=1"), ("cookie", "b=2")], &[])["cookie"], "a=1; b=2");
}

#[test]
fn only_a_sound_trace_is_passed_on() {
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(upstream(&[("traceparent", good)], &[])["traceparent"], good);
    let broken = [
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01",
        "nonsense",
    ];
    for text in broken {
        let headers = upstream(&[("traceparent", text), ("tracestate", "x=y")], &[]);
        assert!(!headers.contains_key("traceparent") && !headers.contains_key("tracestate"), "{text}");
    }
    let twice = upstream(&[("traceparent", good), ("traceparent", good)], &[]);
    assert!(!twice.contains_key("traceparent"));
}

#[test]
fn the_innermost_region_is_kept() {
    let mut headers = map(&[("meridian-region", "us-east-1"), ("via", "1.1 meridian-us-east-1")]);
    for_client(&mut headers, &here(), false);
    assert_eq!(headers["meridian-region"], "us-east-1");
    assert_eq!(headers["via"], "1.1 meridian-us-east-1, 1.1 meridian-eu-central-1");
    for_client(&mut headers, &here(), true);
    assert_eq!(headers["meridian-region"], "eu-central-1");
}

#[test]
fn hops_are_read_however_they_are_written() {
    let mut headers = HeaderMap::new();
    headers.append(HOPS, HeaderValue::from_static("a, b"));
    headers.append(HOPS, HeaderValue::from_static("c"));
    headers.append(HOPS, HeaderValue::from_bytes(&[0xff]).unwrap());
    assert_eq!(hops(&headers), ["a", "b", "c", "unreadable"]);
    mark_hop(&mut headers, &["a".to_owned()], &here());
    assert_eq!(hops(&headers), ["a", "eu-central-1"]);
}
