//! From the bind to the drained end.

use std::time::Duration;

use meridian_edge::{Config, Limits};
use meridian_model::service::TlsFiles;
use meridian_steering::fixture::{self, EU};
use meridian_telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::rig::{ANY, Manner, app, edge, edge_with, service, soon, system_with, until, view};

async fn failed_bind(http: std::net::SocketAddr, system: &meridian_model::System) -> String {
    let (_views, seen) = watch::channel(view(EU, system, fixture::snapshot(system, &[])));
    let config = Config { http, https: ANY, workers: 2, limits: Limits::default() };
    meridian_edge::bind(config, seen, Metrics::new(None)).await.map(|_| ()).unwrap_err().to_string()
}

#[tokio::test]
async fn an_address_in_use_is_told_with_what_to_do() {
    let system = system_with(EU, &[]);
    let edge = edge(EU, &system).await;
    let text = failed_bind(edge.http, &system).await;
    assert!(text.contains(&edge.http.to_string()) && text.contains("in use"), "{text}");
    edge.stop().await;
}

#[tokio::test]
async fn bad_certificates_are_told_with_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let mut system = system_with(EU, &[]);
    service(&mut system).tls = Some(TlsFiles { certificate_file: cert.clone(), key_file: key.clone() });
    let missing = failed_bind(ANY, &system).await;
    assert!(missing.contains("cert.pem") && missing.contains("`shop`"), "{missing}");
    std::fs::write(&cert, "").unwrap();
    let empty = failed_bind(ANY, &system).await;
    assert!(empty.contains("no certificate"), "{empty}");
    let made = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    std::fs::write(&cert, made("a").cert.pem()).unwrap();
    std::fs::write(&key, made("b").signing_key.serialize_pem()).unwrap();
    let strangers = failed_bind(ANY, &system).await;
    assert!(strangers.contains("cannot be used"), "{strangers}");
}

#[tokio::test]
async fn a_stop_lets_running_requests_finish_and_takes_no_new_ones() {
    let app = app("one", Manner::Wait).await;
    let edge = edge(EU, &system_with(EU, &[app.address])).await;
    let mut kept = TcpStream::connect(edge.http).await.unwrap();
    let slow = async {
        let (one, two) = tokio::join!(edge.get("/"), edge.curl("/", &["--http2-prior-knowledge"]));
        (one, two)
    };
    let stop = async {
        until("both requests", || app.seen().len() == 2).await;
        kept.write_all(b"GET / HTTP/1.1\r\nhost: shop.example.com\r\n\r\n").await.unwrap();
        until("the third request", || app.seen().len() == 3).await;
        edge.stop.send_replace(true);
        // The listener goes first: that is seen from outside.
        soon("the end of the listener", async {
            while TcpStream::connect(edge.http).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(!edge.task.is_finished());
        app.go.send_replace(true);
    };
    let ((one, two), ()) = tokio::join!(slow, stop);
    assert_eq!((one.body.as_str(), two.body.as_str()), ("one", "one"));
    let mut answer = String::new();
    soon("the end of the connection", kept.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.contains("connection: close") && answer.ends_with("one"), "{answer}");
    soon("the end of the edge", edge.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_is_bounded() {
    let app = app("one", Manner::Hang).await;
    let limits = Limits { drain: Duration::from_millis(200), ..Limits::default() };
    let edge = edge_with(EU, &system_with(EU, &[app.address]), limits).await;
    let mut hanging = TcpStream::connect(edge.http).await.unwrap();
    hanging
        .write_all(b"POST / HTTP/1.1\r\nhost: shop.example.com\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    until("the request", || !app.seen().is_empty()).await;
    edge.stop().await;
    assert_eq!(hanging.read(&mut [0; 1]).await.unwrap_or(0), 0);
}
