//! Ordinary clients, with and without TLS, and what strangers send.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::postgres::{USER, pair};
use crate::rig::{Rig, Setup, code_of, config, connect, home, message, psql, raw, sqlstate, text};

#[tokio::test(flavor = "multi_thread")]
async fn psql_connects_whatever_it_asks_for_first() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    for mode in ["sslmode=disable", "sslmode=prefer", "sslmode=prefer gssencmode=prefer", "sslmode=allow"] {
        let output = psql(rig.write, mode, "select 6 * 7").await;
        assert_eq!(text(&output.stdout), "42", "{mode}: {}", text(&output.stderr));
    }
    let output = psql(rig.write, "sslmode=require", "select 1").await;
    assert!(text(&output.stderr).contains("server does not support SSL"), "{}", text(&output.stderr));
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn libpq_with_several_hosts_takes_the_next_one() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let several = format!("host=127.0.0.1,{} port=1,{}", rig.write.ip(), rig.write.port());
    let output = psql(rig.write, &format!("{several} target_session_attrs=read-write"), "select 1").await;
    assert_eq!(text(&output.stdout), "1", "{}", text(&output.stderr));
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_at_the_gateway_with_scram_but_without_channel_binding() {
    let pair = pair();
    let tls = Some(certificate());
    let rig = Setup { tls, ..Setup::new(pair.one) }.build().await;
    rig.open();
    rig.view(1, Some(home()), &[home()]);
    for mode in ["sslmode=require", "sslmode=prefer channel_binding=prefer", "sslmode=disable"] {
        let output = psql(rig.write, mode, "select repeat('x', 100000)").await;
        assert_eq!(text(&output.stdout).len(), 100_000, "{mode}: {}", text(&output.stderr));
    }
    let output = psql(rig.write, "sslmode=require channel_binding=require", "select 1").await;
    assert!(text(&output.stderr).contains("channel binding"), "{}", text(&output.stderr));
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_session_under_tls_hears_why() {
    let pair = pair();
    let rig = Setup { tls: Some(certificate()), ..Setup::new(pair.one) }.build().await;
    rig.open();
    rig.view(1, Some(home()), &[home()]);
    let sleeping = tokio::spawn(psql(rig.write, "sslmode=require", "select pg_sleep(603)"));
    crate::traffic::running(rig.write, "select pg_sleep(603)").await;
    rig.fence.close(&crate::rig::group(), "the lease went elsewhere");
    let said = text(&sleeping.await.unwrap().stderr);
    assert!(said.contains("57P01") && said.contains("the lease went elsewhere"), "{said}");
    rig.stopped().await;
}

pub(crate) fn certificate() -> Arc<rustls::ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
    Arc::new(config.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_s_own_errors_pass_through() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let wrong = config(rig.write).password("wrong").connect(tokio_postgres::NoTls).await;
    assert_eq!(code_of(wrong.map(|_| ())), "28P01");
    let missing = config(rig.write).dbname("missing").connect(tokio_postgres::NoTls).await;
    assert_eq!(code_of(missing.map(|_| ())), "3D000");
    let (client, _) = connect(rig.write).await.unwrap();
    assert_eq!(code_of(client.simple_query("select * from nothing").await), "42P01");
    assert!(client.simple_query("select 1").await.is_ok(), "the session goes on");
    rig.metric("gateway_sessions", r#"port="write""#, 1).await;
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_is_refused_with_a_reason() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let output = psql(rig.write, "replication=database", "IDENTIFY_SYSTEM").await;
    let said = text(&output.stderr);
    assert!(said.contains("no replication connections") && said.contains("HINT"), "{said}");
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_answered_and_dropped() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    for (sent, code) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "08P01"),
        (&[0, 0, 0, 3], "08P01"),
        (&[0, 0, 0, 8, 0, 2, 0, 0], "0A000"),
        (&[0, 0, 0, 13, 0, 3, 0, 0, b'u', b's', b'e', b'r', 0], "08P01"),
        (&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc], "08P01"),
    ] {
        let mut tcp = TcpStream::connect(rig.write).await.unwrap();
        tcp.write_all(sent).await.unwrap();
        assert_eq!(sqlstate(message(&mut tcp).await.unwrap()), code, "{sent:?}");
        assert_eq!(message(&mut tcp).await, None, "and closed");
    }
    // A message with an impossible length, in the middle of a session.
    let mut tcp = raw(rig.write, format!("user\0{USER}\0database\0postgres\0").as_bytes()).await;
    assert_eq!(message(&mut tcp).await.unwrap().0, b'R');
    tcp.write_all(&[b'p', 0, 0, 0, 0]).await.unwrap();
    assert_eq!(sqlstate(message(&mut tcp).await.unwrap()), "08P01");
    let (client, _) = connect(rig.write).await.unwrap();
    assert!(client.simple_query("select 1").await.is_ok(), "nobody else noticed");
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_minor_version_is_for_the_server_to_answer() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let mut tcp = TcpStream::connect(rig.write).await.unwrap();
    let pairs = format!("user\0{USER}\0_pq_.later\0x\0\0");
    let mut packet = u32::try_from(8 + pairs.len()).unwrap().to_be_bytes().to_vec();
    packet.extend([0, 3, 0, 2]);
    packet.extend(pairs.bytes());
    tcp.write_all(&packet).await.unwrap();
    assert_eq!(message(&mut tcp).await.unwrap().0, b'v', "NegotiateProtocolVersion of PostgreSQL 15");
    assert_eq!(message(&mut tcp).await.unwrap().0, b'R');
    rig.stopped_after(tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_read_port_reads() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let output = psql(rig.read, "", "show default_transaction_read_only").await;
    assert_eq!(text(&output.stdout), "on", "{}", text(&output.stderr));
    let output =
        psql(rig.read, "options=-cdefault_transaction_read_only=off", "create table t (x int)").await;
    assert!(text(&output.stderr).contains("25006"), "{}", text(&output.stderr));
    let output = psql(rig.write, "", "show default_transaction_read_only").await;
    assert_eq!(text(&output.stdout), "off");
    rig.stopped().await;
}
