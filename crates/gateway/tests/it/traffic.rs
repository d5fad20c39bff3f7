//! What passes through a session: large, both ways, pipelined, and interrupted.

use std::pin::pin;
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::SimpleQueryMessage;

use crate::postgres::{PASSWORD, USER, bin, pair};
use crate::rig::{Rig, code_of, connect, let_in, listener, message, raw, text, within};

#[tokio::test(flavor = "multi_thread")]
async fn large_results_and_large_values() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let (client, _) = connect(rig.write).await.unwrap();
    let rows =
        within("rows", client.query("select n, repeat('x', 1000) from generate_series(1, 30000) n", &[]))
            .await;
    let rows = rows.unwrap();
    assert_eq!(rows.len(), 30_000);
    assert!(
        (1..).zip(&rows).all(|(n, row)| row.get::<_, i32>(0) == n && row.get::<_, &str>(1).len() == 1_000)
    );
    let value = "v".repeat(20 << 20);
    let back = within("a value", client.query_one("select $1::text", &[&value])).await.unwrap();
    assert!(back.get::<_, &str>(0) == value, "20 MiB there and back");
    drop(client);
    rig.metric("gateway_sessions_closed_total", r#"reason="client""#, 1).await;
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_in_both_directions() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    // psql copies by simple query, with a million lines from its own standard input.
    let target = format!("host={} port={} user={USER} dbname=postgres", rig.write.ip(), rig.write.port());
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-A", "-t", "-d", &target, "-c", "create table lines (n int, t text)"]);
    command.args(["-c", "copy lines from stdin", "-c", "select count(*), sum(n) from lines"]);
    command.args(["-c", "copy (select * from lines order by n) to stdout", "-c", "drop table lines"]);
    command.env("PGPASSWORD", PASSWORD).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let copied = tokio::task::spawn_blocking(move || {
        use std::io::Write;
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let lines: String = (1..=100_000).map(|n| format!("{n}\tline number {n}\n")).collect();
        let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        text(&output.stdout)
    });
    let out = within("copy", copied).await.unwrap();
    assert!(out.starts_with("100000|5000050000"), "{}", out.get(..200).unwrap_or(&out));
    assert!(out.ends_with("100000\tline number 100000"));
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_extended_queries_and_transactions() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let (mut client, _) = connect(rig.write).await.unwrap();
    let statement = client.prepare("select $1::int4 * 2").await.unwrap();
    let (a, b, c) = tokio::join!(
        client.query_one(&statement, &[&1]),
        client.query_one(&statement, &[&2]),
        client.query_one(&statement, &[&3])
    );
    assert_eq!([a, b, c].map(|row| row.unwrap().get::<_, i32>(0)), [2, 4, 6]);
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute("create temp table t (n int); insert into t values (7)").await.unwrap();
    assert_eq!(transaction.query_one("select n from t", &[]).await.unwrap().get::<_, i32>(0), 7);
    transaction.rollback().await.unwrap();
    assert_eq!(code_of(client.simple_query("select * from t").await), "42P01");
    let many = client.simple_query("select 1; select 2; select 3").await.unwrap();
    assert_eq!(many.iter().filter(|m| matches!(m, SimpleQueryMessage::Row(_))).count(), 3);
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_runs() {
    let pair = pair();
    let rig = Rig::local(pair.two).await;
    let address = [rig.write.ip().to_string(), rig.write.port().to_string()];
    let bench = move |arguments: &[&str]| {
        let mut command = Command::new(bin("pgbench"));
        command.args(["-h", &address[0], "-p", &address[1], "-U", USER]).args(arguments);
        let output = command.arg("postgres").env("PGPASSWORD", PASSWORD).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let ran = tokio::task::spawn_blocking(move || {
        bench(&["-i", "-q"]);
        bench(&["-c", "4", "-t", "50", "-M", "prepared"])
    });
    let said = within("pgbench", ran).await.unwrap();
    assert!(said.contains("transactions actually processed: 200/200"), "{said}");
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_reaches_the_server_that_runs_the_query() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let (client, _) = connect(rig.write).await.unwrap();
    let token = client.cancel_token();
    let mut sleeping = pin!(client.simple_query("select pg_sleep(600)"));
    let running = running(rig.write, "select pg_sleep(600)");
    tokio::select! {
        early = &mut sleeping => panic!("ended early: {early:?}"),
        () = running => {}
    }
    within("cancel", token.cancel_query(tokio_postgres::NoTls)).await.unwrap();
    assert_eq!(code_of(within("the query ends", sleeping).await), "57014");
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_psql_cancels() {
    let pair = pair();
    let rig = Rig::local(pair.one).await;
    let target = format!("host={} port={} user={USER} dbname=postgres", rig.write.ip(), rig.write.port());
    let mut command = tokio::process::Command::new("psql");
    command.args(["-X", "-d", &target, "-c", "select pg_sleep(601)"]).env("PGPASSWORD", PASSWORD);
    let psql = command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    running(rig.write, "select pg_sleep(601)").await;
    let pid = psql.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = within("psql ends", psql.wait_with_output()).await.unwrap();
    assert!(
        text(&output.stderr).contains("canceling statement due to user request"),
        "{}",
        text(&output.stderr)
    );
    rig.stopped().await;
}

/// Returns when the server runs that statement.
pub(crate) async fn running(address: std::net::SocketAddr, sql: &str) {
    let (watcher, _) = connect(address).await.unwrap();
    let look = "select 1 from pg_stat_activity where query = $1 and state = 'active'";
    let seen = async { while watcher.query(look, &[&sql]).await.unwrap().is_empty() {} };
    within("the statement runs", seen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_holds_its_server_back() {
    let (listener, address) = listener().await;
    let rig = Rig::local(address).await;
    let mut client = raw(rig.write, b"user\0x\0").await;
    let (mut server, _) = crate::rig::accept(&listener).await;
    let_in(&mut server).await;
    assert_eq!(message(&mut client).await.unwrap().0, b'R');
    // 64 MiB that nobody reads: the gateway must not take them all.
    let mut block = vec![b'd', 0, 0, 0x40, 0];
    block.resize(0x4001, b'x');
    let mut sent = 0;
    let stalled = loop {
        match tokio::time::timeout(std::time::Duration::from_millis(500), server.write_all(&block)).await {
            Ok(written) => written.unwrap(),
            Err(_) => break true,
        }
        sent += block.len();
        if sent > 64 << 20 {
            break false;
        }
    };
    assert!(stalled, "{sent} bytes were taken for a client that reads nothing");
    let mut one = [0; 65_536];
    assert!(client.read(&mut one).await.unwrap() > 0, "and it is still there");
    drop((client, server));
    rig.stopped().await;
}
