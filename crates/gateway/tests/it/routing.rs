//! Who is led where, and what happens when that changes.

use std::time::Duration;

use meridian_model::database::GatewayLimits;
use tokio::io::AsyncWriteExt;

use crate::postgres::pair;
use crate::rig::{
    Rig, Setup, accept, away, code_of, connect, home, let_in, listener, message, nowhere, raw, sqlstate,
    told, value, within,
};

/// Which of the two servers is it?
pub(crate) async fn port_of(client: &tokio_postgres::Client) -> u16 {
    value(client, "select inet_server_port()").await.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_go_to_the_nearest_and_leave_with_it() {
    let pair = pair();
    let rig = Setup { away_database: pair.two, ..Setup::new(pair.one) }.build().await;
    rig.view(1, Some(away()), &[home(), away()]);
    let (near, ended) = connect(rig.read).await.unwrap();
    assert_eq!(port_of(&near).await, 5432);
    rig.view(1, Some(away()), &[away()]);
    let error = within("closed", ended).await.unwrap().unwrap_err();
    assert_eq!(told(&error).0, "57P01");
    assert!(told(&error).1.contains("may not serve reads"), "{error:?}");
    let (far, _) = connect(rig.read).await.unwrap();
    assert_eq!(port_of(&far).await, 5433);
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_answer_is_passed_over() {
    let pair = pair();
    let rig = Setup { away_database: pair.two, ..Setup::new(nowhere()) }.build().await;
    rig.view(1, Some(away()), &[home(), away()]);
    let (client, _) = connect(rig.read).await.unwrap();
    assert_eq!(port_of(&client).await, 5433);
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_lead_to_the_writer_of_the_other_region() {
    let pair = pair();
    let far = Setup { here: away(), away_database: pair.two, ..Setup::new(nowhere()) }.build().await;
    far.open();
    far.view(1, Some(away()), &[away()]);
    let near = Setup { away_gateway: far.write, ..Setup::new(pair.one) }.build().await;
    near.view(1, Some(away()), &[]);
    let (client, ended) = connect(near.write).await.unwrap();
    assert_eq!(port_of(&client).await, 5433);
    // A cancel request goes the same way.
    let token = client.cancel_token();
    let sleeping = client.simple_query("select pg_sleep(602)");
    let (watcher, _) = connect(near.write).await.unwrap();
    let look = "select 1 from pg_stat_activity where query = 'select pg_sleep(602)' and state = 'active'";
    let cancel = async {
        while watcher.query(look, &[]).await.unwrap().is_empty() {}
        token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    };
    let (slept, ()) = within("cancel", async { tokio::join!(sleeping, cancel) }).await;
    assert_eq!(code_of(slept), "57014");
    // PostgreSQL sends ReadyForQuery apart; without it the driver takes what comes next for the query's.
    client.simple_query("select 1").await.unwrap();
    // The other region's fence ends the session here too.
    far.fence.close(&crate::rig::group(), "its lease is gone");
    let error = within("closed", ended).await.unwrap().unwrap_err();
    assert_eq!(told(&error).0, "57P01");
    assert!(told(&error).1.contains("its lease is gone"), "{error:?}");
    near.stopped().await;
    far.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_that_each_hold_the_other_for_the_writer_play_no_ball() {
    // Each points at the other; neither has a writer.
    let limits = GatewayLimits { max_wait: Duration::from_millis(1_500), ..GatewayLimits::default() };
    let far = Setup { here: away(), limits, ..Setup::new(nowhere()) }.build().await;
    far.view(1, Some(home()), &[]);
    let near = Setup { away_gateway: far.write, limits, ..Setup::new(nowhere()) }.build().await;
    near.view(1, Some(away()), &[]);
    let refused = connect(near.write).await.map(|_| ());
    assert_eq!(code_of(refused), "57P03");
    far.metric("gateway_waiting", "", 0).await;
    let refused = far.metrics.render();
    assert!(refused.contains(r#"reason="not-here""#), "{refused}");
    near.stopped().await;
    far.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_work_waits_for_a_writer_and_goes_on_by_itself() {
    let pair = pair();
    let rig = Setup::new(pair.one).build().await;
    rig.open();
    rig.view(1, None, &[]);
    let waiting = tokio::spawn(async move { connect(rig.write).await.map(|(client, _)| client) });
    rig.metric("gateway_waiting", r#"group="orders""#, 1).await;
    rig.view(2, Some(home()), &[]);
    let client = within("it goes on", waiting).await.unwrap().unwrap();
    assert_eq!(port_of(&client).await, 5432);
    rig.metric("gateway_waiting", r#"group="orders""#, 0).await;
    rig.metric("gateway_wait_seconds_count", r#"group="orders""#, 1).await;
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_still_starting_is_tried_again() {
    let (listener, address) = listener().await;
    let rig = Rig::local(address).await;
    let client = tokio::spawn(raw(rig.write, b"user\0ann\0"));
    let (mut starting, first) = accept(&listener).await;
    let says = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0";
    starting.write_all(&[b'E', 0, 0, 0, u8::try_from(says.len() + 4).unwrap()]).await.unwrap();
    starting.write_all(says).await.unwrap();
    drop(starting);
    // The second time it breaks off without a word.
    drop(accept(&listener).await);
    let (mut ready, third) = accept(&listener).await;
    assert_eq!(first, third, "the same startup packet");
    let_in(&mut ready).await;
    let mut client = within("the client", client).await.unwrap();
    assert_eq!(message(&mut client).await.unwrap().0, b'R', "it heard nothing of that");
    rig.stopped_after(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_accepts_and_is_silent_is_left_for_the_next_one() {
    let (frozen, frozen_address) = listener().await;
    let (next, next_address) = listener().await;
    let rig = Setup { away_gateway: next_address, ..Setup::new(frozen_address) }.build().await;
    rig.open();
    rig.view(1, Some(home()), &[]);
    let mut client = raw(rig.write, b"user\0ann\0").await;
    let _held = accept(&frozen).await;
    rig.view(2, Some(away()), &[]);
    let (mut server, packet) = accept(&next).await;
    assert!(packet.windows(12).any(|w| w == b"meridian.hop"), "marked as second-hand");
    let_in(&mut server).await;
    assert_eq!(message(&mut client).await.unwrap().0, b'R');
    rig.stopped_after(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_s_end_is_the_client_s_end() {
    let (listener, address) = listener().await;
    let rig = Rig::local(address).await;
    let mut client = raw(rig.write, b"user\0ann\0").await;
    let (mut server, _) = accept(&listener).await;
    let_in(&mut server).await;
    assert_eq!(message(&mut client).await.unwrap().0, b'R');
    assert_eq!(message(&mut client).await.unwrap().0, b'Z');
    // Half of an answer, then nothing more: the client must not get a torn message.
    server.write_all(&[b'C', 0, 0, 0, 50, b'I']).await.unwrap();
    drop(server);
    assert_eq!(sqlstate(message(&mut client).await.unwrap()), "08006");
    assert_eq!(message(&mut client).await, None);
    rig.metric("gateway_sessions_closed_total", r#"reason="server-lost""#, 1).await;
    rig.stopped().await;
}
