//! Requests that go well, in every version of HTTP, and those that are refused in words.

use std::path::PathBuf;

use meridian_model::service::TlsFiles;
use meridian_steering::fixture::{EU, US};

use crate::rig::{Manner, app, curl, edge, service, system_with};

#[tokio::test]
async fn http_1_and_2_are_spoken_in_the_clear() {
    let app = app("one", Manner::Answer).await;
    let edge = edge(EU, &system_with(EU, &[app.address])).await;
    for (words, version) in [
        (["--http1.1"], "1.1"),
        (["--http2-prior-knowledge"], "2"),
        (["--http2"], "1.1"),
        (["--http1.0"], "1"),
    ] {
        let answer = edge.curl("/a?b=c", &words).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "one"), "{words:?} {answer:?}");
        assert!(answer.version.starts_with(version), "{words:?} {answer:?}");
        assert_eq!(answer.header("meridian-region"), Some(EU));
    }
    assert!(app.seen().iter().all(|r| r.starts_with("GET /a?b=c HTTP/1.1\r\n")), "{:?}", app.seen());
    edge.stop().await;
}

#[tokio::test]
async fn the_application_sees_who_asked_for_what() {
    let app = app("one", Manner::Answer).await;
    let edge = edge(EU, &system_with(EU, &[app.address])).await;
    let words = ["-H", "Cookie: a=1", "-H", "X-Forwarded-For: 10.9.9.9", "--http2-prior-knowledge"];
    edge.curl("/", &words).await;
    let seen = app.seen()[0].to_ascii_lowercase();
    let host = format!("host: shop.example.com:{}\r\n", edge.http.port());
    for field in [
        host.as_str(),
        "x-forwarded-for: 10.9.9.9, 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "via: 1.1 meridian-eu-central-1\r\n",
        "cookie: a=1\r\n",
    ] {
        assert!(seen.contains(field), "{field} in {seen}");
    }
    assert!(!seen.contains("meridian-hops"), "{seen}");
    edge.stop().await;
}

#[tokio::test]
async fn tls_speaks_both_versions_and_shows_the_service_s_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["shop.example.com".to_owned()]).unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let app = app("one", Manner::Answer).await;
    let mut system = system_with(EU, &[app.address]);
    service(&mut system).tls =
        Some(TlsFiles { certificate_file: path("cert.pem"), key_file: path("key.pem") });
    let edge = edge(EU, &system).await;
    let https = edge.https.unwrap();
    let url = format!("https://shop.example.com:{}/", https.port());
    let cert = path("cert.pem").display().to_string();
    for (word, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let answer = curl(&url, https, &["--cacert", &cert, word]).await;
        assert_eq!((answer.status, answer.version.as_str()), (200, version), "{answer:?}");
    }
    assert!(app.seen()[0].contains("x-forwarded-proto: https"), "{:?}", app.seen());
    edge.stop().await;
}

#[tokio::test]
async fn bodies_of_all_sizes_pass_both_ways() {
    let app = app("one", Manner::Echo).await;
    let edge = edge(EU, &system_with(EU, &[app.address])).await;
    let folder = tempfile::tempdir().unwrap();
    for size in [0, 1, 65_536, 65_537, 3_000_000] {
        let file = folder.path().join("body");
        std::fs::write(&file, vec![b'y'; size]).unwrap();
        let data = format!("@{}", file.display());
        for words in [
            vec!["--data-binary", &data],
            vec!["--data-binary", &data, "--http2-prior-knowledge"],
            vec!["--data-binary", &data, "-H", "Transfer-Encoding: chunked"],
        ] {
            let answer = edge.curl("/", &words).await;
            assert_eq!((answer.status, answer.body.len()), (200, size), "{words:?}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn head_has_no_body_and_keeps_the_length() {
    let app = app("one", Manner::AnswerAndClose).await;
    let edge = edge(EU, &system_with(EU, &[app.address])).await;
    let answer = edge.curl("/", &["--head"]).await;
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("3")));
    edge.stop().await;
}

#[tokio::test]
async fn the_edge_answers_for_its_own_health() {
    let edge = edge(EU, &system_with(US, &[])).await;
    let answer = curl(&format!("http://{}/.meridian/health", edge.http), edge.http, &[]).await;
    assert_eq!((answer.status, answer.body.trim()), (200, "200 serving"));
    edge.stop().await;
}

#[tokio::test]
async fn what_cannot_be_served_is_said() {
    let app = app("one", Manner::Answer).await;
    let edge = edge(EU, &system_with(EU, &[app.address])).await;
    let foreign = edge.curl("/", &["-H", "Host: other.example.com"]).await;
    assert_eq!(foreign.status, 421);
    assert!(!foreign.body.contains("example.com"), "no host is told to strangers: {}", foreign.body);
    let websocket = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket"];
    assert_eq!(edge.curl("/", &websocket).await.status, 501);
    assert_eq!(edge.curl("/", &["-X", "TRACE"]).await.status, 501);
    for bad in [
        "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n",
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: shop.example.com\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ] {
        let answer = edge.raw(bad.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{bad:?}: {answer}");
    }
    assert_eq!(app.seen().len(), 0);
    edge.stop().await;
}

#[tokio::test]
async fn two_lengths_smuggle_nothing() {
    let app = app("one", Manner::Answer).await;
    let edge = edge(EU, &system_with(EU, &[app.address])).await;
    let smuggled = "GET /hidden HTTP/1.1\r\nhost: shop.example.com\r\n\r\n";
    let request = format!(
        "POST / HTTP/1.1\r\nhost: shop.example.com\r\nconnection: close\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
        5 + smuggled.len()
    );
    edge.raw(request.as_bytes()).await;
    assert!(app.seen().iter().all(|r| !r.starts_with("GET /hidden")), "{:?}", app.seen());
    edge.stop().await;
}
