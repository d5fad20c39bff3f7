//! Sessions that go on at another server, and those that cannot.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use meridian_model::database::GatewayLimits;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::holding::pid;
use crate::postgres::{PASSWORD, Pair, USER, mortal, pair, stop};
use crate::rig::{Rig, Setup, away, code_of, connect, group, home, nowhere, told, within};
use crate::routing::port_of;

/// The gateways of two regions with a PostgreSQL each; `near` is where the clients are.
struct Two {
    near: Rig,
    far: Rig,
    _pair: Arc<Pair>,
}

impl Two {
    /// The writer is in that region.
    async fn with_writer(region: fn() -> meridian_model::RegionName) -> Self {
        Self::of(pair(), region, GatewayLimits::default()).await
    }

    async fn of(pair: Arc<Pair>, region: fn() -> meridian_model::RegionName, limits: GatewayLimits) -> Self {
        let far = Setup { here: away(), away_database: pair.two, ..Setup::new(nowhere()) }.build().await;
        let tls = Some(crate::clients::certificate());
        let near = Setup { away_gateway: far.write, tls, limits, ..Setup::moving(pair.one) }.build().await;
        let two = Self { near, far, _pair: pair };
        let here = if region() == home() { &two.near } else { &two.far };
        here.open();
        two.view(1, region());
        two
    }

    fn view(&self, epoch: u64, writer: meridian_model::RegionName) {
        self.near.view(epoch, Some(writer.clone()), &[]);
        self.far.view(epoch, Some(writer), &[]);
    }

    fn hold(&self, epoch: u64) {
        self.near.hold(epoch);
        self.far.hold(epoch);
    }

    /// A planned move, as the nodes do it: the new epoch is the next.
    async fn switch(&self, epoch: u64, to: fn() -> meridian_model::RegionName) {
        self.hold(epoch);
        let (near, far) = (&self.near, &self.far);
        near.expect(to());
        far.expect(to());
        within("quiet", async { tokio::join!(near.fence.quiet(&group()), far.fence.quiet(&group())) }).await;
        let (from, new) = if to() == home() { (far, near) } else { (near, far) };
        from.fence.close(&group(), "the writer is being moved");
        new.open();
        self.view(epoch + 1, to());
    }

    async fn stopped(self) {
        self.near.stopped().await;
        self.far.stopped().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_and_settings_survive_two_moves() {
    let two = Two::with_writer(home).await;
    let (client, _) = connect(two.near.write).await.unwrap();
    let statement = client.prepare("select $1::int * 2, current_setting('app.tenant', true)").await.unwrap();
    client
        .batch_execute("set application_name = 'before'; set app.tenant = 'x'; set app.tenant = 'acme'")
        .await
        .unwrap();
    client.batch_execute("begin; set search_path = pg_catalog; commit").await.unwrap();
    client.batch_execute("begin; set timezone = 'Asia/Tokyo'; rollback").await.unwrap();
    for (epoch, to, port) in [(1, away as fn() -> _, 5433), (2, home, 5432)] {
        two.switch(epoch, to).await;
        let row = client.query_one(&statement, &[&21]).await.unwrap();
        assert_eq!((row.get::<_, i32>(0), row.get::<_, &str>(1)), (42, "acme"));
        assert_eq!(port_of(&client).await, port);
        let settings = "select current_setting('application_name') || current_setting('search_path') \
                        || current_setting('timezone')";
        let settings: String = client.query_one(settings, &[]).await.unwrap().get(0);
        assert!(settings.starts_with("beforepg_catalog") && !settings.contains("Tokyo"), "{settings}");
        two.near.metric("gateway_sessions_moved_total", r#"group="orders""#, epoch).await;
    }
    two.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_through_another_gateway_comes_home_without_a_word() {
    let two = Two::with_writer(away).await;
    let (client, _) = connect(two.near.write).await.unwrap();
    assert_eq!(port_of(&client).await, 5433);
    // The other gateway ends the session that it carries; our client does not hear of it.
    two.switch(1, home).await;
    two.far.metric("gateway_sessions_closed_total", r#"port="write""#, 1).await;
    assert_eq!(port_of(&client).await, 5432);
    two.stopped().await;
}

/// What is asked during the move is answered after it, by the new server, once.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_meanwhile_is_done_at_the_new_writer() {
    let two = Two::with_writer(home).await;
    let (client, _) = connect(two.near.write).await.unwrap();
    client.simple_query("select 1").await.unwrap();
    two.hold(1);
    let asked = tokio::spawn(async move { (port_of(&client).await, client) });
    two.near.metric("gateway_held", r#"group="orders""#, 1).await;
    two.switch(1, away).await;
    assert_eq!(within("an answer", asked).await.unwrap().0, 5433);
    two.near.metric("gateway_held", r#"group="orders""#, 0).await;
    two.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_notices_nothing_plain_or_under_tls() {
    let two = Two::with_writer(home).await;
    let runs = [("disable", ["5432", "5433"], away as fn() -> _), ("require", ["5433", "5432"], home)];
    for ((mode, ports, to), epoch) in runs.into_iter().zip(1..) {
        let address = format!("host={} port={}", two.near.write.ip(), two.near.write.port());
        let mut command = tokio::process::Command::new("psql");
        command.args(["-XAt", "-d", &format!("{address} user={USER} dbname=postgres sslmode={mode}")]);
        command.env("PGPASSWORD", PASSWORD).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut psql = command.spawn().unwrap();
        let mut stdin = psql.stdin.take().unwrap();
        let mut lines = BufReader::new(psql.stdout.take().unwrap()).lines();
        stdin.write_all(b"set app.tenant = 'acme';\nselect inet_server_port();\n").await.unwrap();
        for said in ["SET", ports[0]] {
            assert_eq!(within("a line", lines.next_line()).await.unwrap().as_deref(), Some(said), "{mode}");
        }
        two.switch(epoch, to).await;
        stdin.write_all(b"select inet_server_port(), current_setting('app.tenant');\n").await.unwrap();
        let said = within("a line", lines.next_line()).await.unwrap();
        assert_eq!(said, Some(format!("{}|acme", ports[1])), "{mode}");
        drop(stdin);
        let output = within("psql ends", psql.wait_with_output()).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{mode}");
    }
    two.stopped().await;
}

/// A thread for each session: one that waits for a held session cannot go on with the transaction of another.
#[tokio::test(flavor = "multi_thread")]
async fn pgbench_runs_on_through_moves_without_an_error() {
    let two = Two::with_writer(home).await;
    let address = [two.near.write.ip().to_string(), two.near.write.port().to_string()];
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&script, "begin;\nselect 1;\nselect :client_id;\nend;\n").unwrap();
    let mut command = tokio::process::Command::new(crate::postgres::bin("pgbench"));
    command.args([
        "-h",
        &address[0],
        "-p",
        &address[1],
        "-U",
        USER,
        "-n",
        "-c",
        "4",
        "-j",
        "4",
        "-t",
        "1000",
        "-M",
        "prepared",
    ]);
    command.arg("-f").arg(script.path()).arg("postgres").env("PGPASSWORD", PASSWORD).kill_on_drop(true);
    let bench = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    two.near.metric("gateway_sessions", r#"port="write""#, 4).await;
    two.switch(1, away).await;
    two.near.metric("gateway_sessions_moved_total", r#"group="orders""#, 4).await;
    two.switch(2, home).await;
    let output = within("pgbench ends", bench.wait_with_output()).await.unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("transactions actually processed: 4000/4000"), "{said}");
    two.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_finds_the_session_where_it_is() {
    let two = Two::with_writer(home).await;
    let (client, _) = connect(two.near.write).await.unwrap();
    let token = client.cancel_token();
    two.switch(1, away).await;
    let sleeping = client.simple_query("select pg_sleep(605)");
    let cancel = async {
        crate::traffic::running(two.near.write, "select pg_sleep(605)").await;
        token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    };
    let (slept, ()) = within("cancel", async { tokio::join!(sleeping, cancel) }).await;
    assert_eq!(code_of(slept), "57014");
    two.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_plan_idle_sessions_move_and_busy_ones_end() {
    let two = Two::with_writer(home).await;
    let (idle, _) = connect(two.near.write).await.unwrap();
    let (busy, ended) = connect(two.near.write).await.unwrap();
    busy.batch_execute("begin").await.unwrap();
    two.near.fence.close(&group(), "the lease ran out");
    let (code, message) = told(&within("ended", ended).await.unwrap().unwrap_err());
    assert!(code == "57P01" && message.contains("the lease ran out"), "{code} {message}");
    two.near.metric("gateway_sessions_unmovable_total", r#"reason="busy""#, 1).await;
    // It waits for a writer, and so does what it asks.
    let asked = tokio::spawn(async move { (port_of(&idle).await, idle) });
    two.near.metric("gateway_held", r#"group="orders""#, 1).await;
    two.far.open();
    two.view(2, away());
    assert_eq!(within("an answer", asked).await.unwrap().0, 5433);
    two.stopped().await;
}

/// PostgreSQL says goodbye in its own words: stopped in order here, at once behind another gateway.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_takes_no_idle_session_along() {
    let pair = Arc::new(tokio::task::spawn_blocking(mortal).await.unwrap());
    let limits = GatewayLimits { max_wait: Duration::from_secs(8), ..GatewayLimits::default() };
    let two = Two::of(pair, home, limits).await;
    let (client, _) = connect(two.near.write).await.unwrap();
    let (stopper, _) = connect(two.near.write).await.unwrap();
    assert_eq!(port_of(&client).await, 5436);
    stop(&stopper, "INT").await;
    two.near.metric("gateway_held", r#"group="orders""#, 2).await;
    two.far.open();
    two.view(2, away());
    assert_eq!(port_of(&client).await, 5437);
    two.near.metric("gateway_sessions_moved_total", r#"group="orders""#, 2).await;
    drop((client, stopper));
    let (client, _) = connect(two.near.write).await.unwrap();
    let (stopper, _) = connect(two.near.write).await.unwrap();
    assert_eq!(port_of(&client).await, 5437);
    stop(&stopper, "QUIT").await;
    two.near.metric("gateway_held", r#"group="orders""#, 2).await;
    let asked = client.simple_query("select 1").await;
    assert_eq!(code_of(asked), "57P03", "both are gone: it has waited for another in vain");
    two.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_carried_ends_with_a_reason() {
    let two = Two::with_writer(home).await;
    let (temporary, temporary_ended) = connect(two.near.write).await.unwrap();
    temporary.batch_execute("create temp table t (n int)").await.unwrap();
    let (listening, listening_ended) = connect(two.near.write).await.unwrap();
    listening.batch_execute("listen x").await.unwrap();
    let (cleaned, _) = connect(two.near.write).await.unwrap();
    cleaned.batch_execute("create temp table t (n int)").await.unwrap();
    cleaned.batch_execute("discard all").await.unwrap();
    two.switch(1, away).await;
    for ended in [temporary_ended, listening_ended] {
        assert_eq!(told(&within("ended", ended).await.unwrap().unwrap_err()).0, "57P01");
    }
    for reason in ["temporary", "listen"] {
        two.near.metric("gateway_sessions_unmovable_total", &format!("reason=\"{reason}\""), 1).await;
    }
    assert_eq!(port_of(&cleaned).await, 5433, "clean again");
    two.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_users_whose_password_is_known_are_moved() {
    let pair = pair();
    let far = Setup { here: away(), away_database: pair.two, ..Setup::new(nowhere()) }.build().await;
    far.open();
    far.view(2, Some(away()), &[]);
    let cases = [
        (None, None, "unknown-user"),
        (Some((USER, "wrong")), None, "not-moved"),
        // Read when the gateway began, and again when the server refused it.
        (Some((USER, "wrong")), Some(PASSWORD), ""),
    ];
    for (known, later, reason) in cases {
        let near = Setup { away_gateway: far.write, known, ..Setup::new(pair.one) }.build().await;
        near.open();
        near.view(1, Some(home()), &[]);
        let (client, ended) = connect(near.write).await.unwrap();
        client.simple_query("select 1").await.unwrap();
        if let Some(password) = later {
            std::fs::write(&near.password, password).unwrap();
        }
        near.hold(1);
        near.view(2, Some(away()), &[]);
        if reason.is_empty() {
            assert_eq!(port_of(&client).await, 5433);
        } else {
            let (code, message) = told(&within("ended", ended).await.unwrap().unwrap_err());
            assert!(code == "57P01" && message.contains("this session of `orders` is ended"), "{message}");
            assert!(!message.contains("wrong"), "{message}");
            near.metric("gateway_sessions_unmovable_total", &format!("reason=\"{reason}\""), 1).await;
        }
        drop(client);
        near.stopped().await;
    }
    far.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_writer_under_a_higher_epoch_is_no_move() {
    let pair = pair();
    let rig = Setup::moving(pair.one).build().await;
    rig.open();
    rig.view(1, Some(home()), &[]);
    let (client, _) = connect(rig.write).await.unwrap();
    client.batch_execute("begin").await.unwrap();
    let before = pid(&client).await;
    rig.hold(1);
    rig.view(2, None, &[]);
    rig.view(3, Some(home()), &[]);
    client.batch_execute("commit").await.unwrap();
    assert_eq!(pid(&client).await, before, "and a hold of the old epoch does not concern it");
    assert!(!rig.metrics.render().contains("gateway_sessions_moved_total{"));
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_may_still_end_a_session() {
    let pair = pair();
    let rig = Setup::moving(pair.one).build().await;
    rig.open();
    rig.view(1, Some(home()), &[]);
    let (client, ended) = connect(rig.write).await.unwrap();
    let victim = pid(&client).await;
    let (other, _) = connect(rig.write).await.unwrap();
    other.query_one("select pg_terminate_backend($1)", &[&victim]).await.unwrap();
    let (code, message) = told(&within("ended", ended).await.unwrap().unwrap_err());
    assert_eq!((&*code, &*message), ("57P01", "terminating connection due to administrator command"));
    rig.metric("gateway_sessions_closed_total", r#"reason="terminated""#, 1).await;
    rig.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_writer_has_an_end() {
    let pair = pair();
    let limits = GatewayLimits { max_wait: Duration::from_millis(400), ..GatewayLimits::default() };
    let rig = Setup { limits, ..Setup::moving(pair.one) }.build().await;
    rig.open();
    rig.view(1, Some(home()), &[]);
    let (client, ended) = connect(rig.write).await.unwrap();
    client.simple_query("select 1").await.unwrap();
    rig.fence.close(&group(), "the lease ran out");
    let (code, message) = told(&within("ended", ended).await.unwrap().unwrap_err());
    assert!(code == "57P03" && message.contains("the lease ran out"), "{code} {message}");
    rig.metric("gateway_held", r#"group="orders""#, 0).await;
    rig.stopped().await;
}
