//! Commits that wait for a synchronous standby: one that was cancelled is not acknowledged.

use std::pin::pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::postgres::without_their_standby;
use crate::rig::{Rig, code_of, committing, connect, frame, listener, message, sqlstate, told, within};

/// What PostgreSQL 17 sends for a cancelled COMMIT, in a French cluster: a warning, then the acknowledgement.
const WARNING: &[&str] = &[
    "SATTENTION",
    "VWARNING",
    "C01000",
    "Mannulation de l'attente de la réplication synchrone",
    "Fsyncrep.c",
    "L287",
    "RSyncRepWaitForLSN",
];

fn notice(fields: &[&str]) -> Vec<u8> {
    let body: Vec<u8> = fields.iter().flat_map(|f| [f.as_bytes(), b"\0"].concat()).chain([0]).collect();
    frame(b'N', &body)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_acknowledgement_after_the_warning_does_not_pass() {
    let (listener, address) = listener().await;
    let rig = Rig::local(address).await;
    // Once all at once, once with the acknowledgement in a packet of its own.
    for apart in [false, true] {
        let (mut client, mut server) = committing(rig.write, &listener).await;
        let other = notice(&["SWARNING", "C01000", "Msomething else", "RSomewhereElse"]);
        let warning = notice(WARNING);
        let acknowledgement = b"C\0\0\0\x0bCOMMIT\0Z\0\0\0\x05I";
        if apart {
            server.write_all(&[other, warning].concat()).await.unwrap();
            // The gateway may be gone already.
            let _ = server.write_all(acknowledgement).await;
        } else {
            server.write_all(&[&other[..], &warning, acknowledgement].concat()).await.unwrap();
        }
        assert_eq!(message(&mut client).await.unwrap().0, b'N', "other warnings pass");
        let fault = message(&mut client).await.unwrap();
        let words = String::from_utf8_lossy(&fault.1).into_owned();
        assert!(words.contains("`us-east-1`") && words.contains("unknown"), "{words}");
        assert_eq!(sqlstate(fault), "08007");
        assert_eq!(message(&mut client).await, None, "and no acknowledgement");
        let mut rest = Vec::new();
        // Closed, or reset because of what it did not read.
        let _ = within("the server is left", server.read_to_end(&mut rest)).await;
    }
    rig.metric("gateway_sessions_closed_total", r#"port="write",reason="unreplicated""#, 2).await;
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_commit_of_postgresql_is_not_acknowledged() {
    let pair = tokio::task::spawn_blocking(without_their_standby).await.unwrap();
    let rig = Rig::local(pair.one).await;
    let (keeper, _) = connect(rig.write).await.unwrap();
    keeper.batch_execute("set synchronous_commit = local; create table kept (n int)").await.unwrap();
    for (n, sql) in [(1, "insert into kept values (1)"), (2, "insert into kept values ($1)")] {
        let (client, ended) = connect(rig.write).await.unwrap();
        let token = client.cancel_token();
        let simple = async { client.batch_execute(sql).await };
        let prepared = async { client.execute(sql, &[&n]).await.map(drop) };
        let mut inserting = pin!(async { if n == 1 { simple.await } else { prepared.await } });
        tokio::select! {
            early = &mut inserting => panic!("no standby has it, and yet: {early:?}"),
            () = waiting(&keeper, sql) => {}
        }
        within("cancel", token.cancel_query(tokio_postgres::NoTls)).await.unwrap();
        let inserted = within("the commit ends", inserting).await;
        // The driver hears of it in its answer, or as the end of its connection.
        let code = match inserted {
            Err(error) if error.as_db_error().is_some() => told(&error).0,
            Err(_) => code_of(within("the session ends", ended).await.unwrap()),
            Ok(()) => panic!("acknowledged, and no standby has it"),
        };
        assert_eq!(code, "08007");
        let look = "select 1 from kept where n = $1";
        let seen = async { while keeper.query(look, &[&n]).await.unwrap().is_empty() {} };
        within("it is committed on the writer", seen).await;
    }
    drop(keeper);
    rig.stopped().await;
}

/// Returns when that statement waits for a standby.
async fn waiting(keeper: &tokio_postgres::Client, sql: &str) {
    let look = "select 1 from pg_stat_activity where query = $1 and wait_event = 'SyncRep'";
    let seen = async { while keeper.query(look, &[&sql]).await.unwrap().is_empty() {} };
    within("the commit waits", seen).await;
}
