//! Steps that reach beyond the database: real sockets, real programs, a real PostgreSQL.

use std::fs;
use std::path::Path;
use std::time::Duration;

use meridian_actuators::{Access, Outside};
use meridian_model::database::Replication;
use meridian_model::plan::{Check, Exec, Notify, Secretive, Task, Work};
use meridian_model::run::{Run, RunKind, Step, StepState};
use meridian_model::{Epoch, Name, Timestamp};

use super::listener::Listener;
use super::support::{APP_PASSWORD, Rig, until};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn run() -> Run {
    let verify = Work::new(name("verify"), Task::Verify { checks: Vec::new() }, Duration::from_secs(1));
    let done = StepState::Done { since: Timestamp(1), at: Timestamp(2), detail: "it works".to_owned() };
    Run {
        from: Some(name("us-east-1")),
        cause: "us-east-1 is <down> & silent".to_owned(),
        detected_at: Some(Timestamp(1_000)),
        proof: "its lease has run out".to_owned(),
        plan: Some(name("orders-recovery")),
        steps: vec![Step { state: done, ..Step::pending(verify) }],
        ..Run::begin(
            name("orders-7-failover"),
            name("orders"),
            RunKind::Failover,
            Epoch(7),
            name("eu-central-1"),
            Timestamp(2_000),
        )
    }
}

fn outside(folder: &Path) -> Outside {
    Outside::new(folder.to_owned()).unwrap()
}

/// Tells, with a usual text; the words of the outcome or of the error.
async fn tell(outside: &Outside, to: Notify) -> Result<String, String> {
    let text = "{group} moves to {to}: {cause}";
    outside.tell(&run(), &name("tell"), &to, text).await.map_err(|e| e.to_string())
}

fn open(url: String) -> Secretive {
    Secretive::Open(url)
}

// === told ===

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_every_fact_of_the_run_and_a_key_that_stays() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Listener::http("204 No Content", "").await;
    let to = Notify::Webhook { url: open(format!("http://{}/moved?by=meridian", hook.address)) };
    let outside = outside(folder.path());
    let said = tell(&outside, to.clone()).await.unwrap();
    assert_eq!(said, format!("{} answered 204 No Content", hook.address));
    tell(&outside, to).await.unwrap();
    let heard = hook.heard();
    assert!(heard[0].head.starts_with("POST /moved?by=meridian HTTP/1.1\r\n"), "{}", heard[0].head);
    assert_eq!(heard[0].header("content-type"), Some("application/json"));
    assert_eq!(heard[0].header("idempotency-key"), Some("orders-7-failover/tell"));
    assert_eq!(heard[1].header("idempotency-key"), Some("orders-7-failover/tell"), "the same when repeated");
    let expected = serde_json::json!({
        "run": "orders-7-failover", "step": "tell", "group": "orders", "kind": "failover",
        "plan": "orders-recovery", "epoch": 7, "from": "us-east-1", "to": "eu-central-1",
        "cause": "us-east-1 is <down> & silent", "proof": "its lease has run out",
        "detected_at_ms": 1_000, "decided_at_ms": 2_000, "takes_over": null,
        "text": "orders moves to eu-central-1: us-east-1 is <down> & silent",
        "steps": [{ "name": "verify", "kind": "verify", "state": "done", "failures": 0, "detail": "it works" }],
    });
    assert_eq!(heard[0].json(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_gets_a_text_and_pagerduty_one_incident_for_the_step() {
    let folder = tempfile::tempdir().unwrap();
    let (url, key) = (folder.path().join("url"), folder.path().join("key"));
    let service = Listener::http("202 Accepted", "{}").await;
    fs::write(&url, format!("http://{}/services/T0/B0/hidden\n", service.address)).unwrap();
    fs::write(&key, "routing-key-1\n").unwrap();
    let outside = outside(folder.path());
    let said = tell(&outside, Notify::Slack { url: Secretive::File(url.clone()) }).await.unwrap();
    assert_eq!(said, format!("the address in {} answered 202 Accepted", url.display()));
    let to = Notify::Pagerduty {
        url: open(format!("http://{}/v2/enqueue", service.address)),
        routing_key_file: key,
    };
    let said = tell(&outside, to).await.unwrap();
    assert!(!said.contains("routing-key-1"), "{said}");
    let heard = service.heard();
    let text = "orders moves to eu-central-1: us-east-1 is &lt;down&gt; &amp; silent";
    assert_eq!(heard[0].json(), serde_json::json!({ "text": text }));
    assert!(heard[0].head.starts_with("POST /services/T0/B0/hidden "), "{}", heard[0].head);
    let event = heard[1].json();
    assert_eq!(event["routing_key"], "routing-key-1");
    assert_eq!(event["event_action"], "trigger");
    assert_eq!(event["dedup_key"], "orders-7-failover/tell");
    assert_eq!(event["payload"]["severity"], "critical");
    assert_eq!(event["payload"]["summary"], "orders moves to eu-central-1: us-east-1 is <down> & silent");
    assert_eq!(event["payload"]["custom_details"]["epoch"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_gives_a_secret_address_away() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("url");
    let outside = outside(folder.path());
    let refusing = Listener::http("403 Forbidden", "no_service at /services/hidden").await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cases = [
        (format!("http://{}/services/hidden", refusing.address), "it answered 403 Forbidden"),
        (format!("http://{gone}/services/hidden"), "Connection refused"),
        ("http://hidden.invalid/services/hidden".to_owned(), "failed"),
        ("http://user:hidden@127.0.0.1/services/hidden".to_owned(), "a user's name"),
        ("ftp://hidden.example/services/hidden".to_owned(), "no absolute http"),
        ("services hidden".to_owned(), "no URL"),
    ];
    for (secret, words) in cases {
        fs::write(&url, &secret).unwrap();
        let error = tell(&outside, Notify::Slack { url: Secretive::File(url.clone()) }).await.unwrap_err();
        assert!(error.contains(words) && error.contains(&url.display().to_string()), "{secret}: {error}");
        assert!(!error.contains("hidden") && !error.contains("127.0.0.1"), "{error}");
    }
    let missing = folder.path().join("nowhere");
    let error = tell(&outside, Notify::Slack { url: Secretive::File(missing) }).await.unwrap_err();
    assert!(error.contains("nowhere"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_believed_only_by_a_certificate_that_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (hook, bundle) = Listener::https("200 OK", folder.path()).await;
    let port = hook.address.port();
    let to = |host: &str| Notify::Webhook { url: open(format!("https://{host}:{port}/hook")) };
    let trusting = outside(folder.path()).trusting(bundle);
    let said = tell(&trusting, to("localhost")).await.unwrap();
    assert_eq!(said, format!("localhost:{port} answered 200 OK"));
    assert_eq!(hook.heard().len(), 1);
    let error = tell(&trusting, to("127.0.0.1")).await.unwrap_err();
    assert!(error.contains("TLS: "), "not its name: {error}");
    let other = Listener::https("200 OK", tempfile::tempdir().unwrap().path()).await.0;
    let to_other = Notify::Webhook { url: open(format!("https://localhost:{}/hook", other.address.port())) };
    let error = tell(&trusting, to_other).await.unwrap_err();
    assert!(error.contains("TLS: "), "not trusted: {error}");
    assert!(other.heard().is_empty());
    let without = outside(folder.path()).trusting(folder.path().join("nothing"));
    let error = tell(&without, to("localhost")).await.unwrap_err();
    assert!(error.contains("ca-certificates"), "{error}");
}

// === programs ===

fn exec(script: &str) -> Exec {
    Exec {
        command: ["/bin/sh", "-c", script, "script"].map(str::to_owned).to_vec(),
        env: vec![("CACHE_TIER".to_owned(), "hot".to_owned())],
        env_files: Vec::new(),
        directory: None,
        output_max: 1_000,
    }
}

async fn execute(outside: &Outside, exec: &Exec) -> Result<String, String> {
    outside.execute(&run(), &name("caches"), exec).await.map_err(|e| e.to_string())
}

/// What was kept of it.
fn kept(outside: &Outside) -> String {
    fs::read_to_string(outside.output_file(&run(), &name("caches"))).unwrap()
}

fn gone(pid: &str) -> bool {
    // A zombie that nobody has reaped yet has ended too.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_what_it_is_told_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let outside = outside(folder.path());
    let said = execute(&outside, &exec("/usr/bin/env; pwd; echo bad >&2")).await.unwrap();
    assert!(said.contains("exit status: 0") && said.ends_with("bad"), "{said}");
    let kept = kept(&outside);
    let (told, rest): (Vec<&str>, Vec<&str>) = kept.lines().partition(|line| line.contains('='));
    let mut told: Vec<&str> = told.into_iter().filter(|l| !l.starts_with("PWD=")).collect();
    told.sort_unstable();
    // Shells other than dash set more of their own.
    told.retain(|line| !line.starts_with("SHLVL=") && !line.starts_with("_="));
    assert_eq!(
        told,
        [
            "CACHE_TIER=hot",
            "MERIDIAN_EPOCH=7",
            "MERIDIAN_FROM=us-east-1",
            "MERIDIAN_GROUP=orders",
            "MERIDIAN_RUN=orders-7-failover",
            "MERIDIAN_STEP=caches",
            "MERIDIAN_TO=eu-central-1",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ]
    );
    let home = folder.path().canonicalize().unwrap();
    assert_eq!(rest, [home.to_str().unwrap(), "bad"], "it runs in the data directory");
    let own_path = Exec { env: vec![("PATH".to_owned(), "/nowhere".to_owned())], ..exec("echo $PATH") };
    assert!(execute(&outside, &own_path).await.unwrap().ends_with("/nowhere"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_tells_the_code_and_the_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let outside = outside(folder.path());
    let error = execute(&outside, &exec("echo cannot warm it >&2; exit 3")).await.unwrap_err();
    for words in ["/bin/sh failed", "exit status: 3", "step caches", "cannot warm it", "caches.log"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let error = execute(&outside, &exec("kill -9 $$")).await.unwrap_err();
    assert!(error.contains("signal: 9") && error.contains("it said nothing"), "{error}");
    let missing = Exec { command: vec!["/nowhere/warm-caches".to_owned()], ..exec("") };
    let error = execute(&outside, &missing).await.unwrap_err();
    assert!(error.contains("warm-caches was not found in /nowhere"), "{error}");
    let homeless = Exec { directory: Some("/nowhere".into()), ..exec("true") };
    let error = execute(&outside, &homeless).await.unwrap_err();
    assert!(error.contains("/nowhere is not there"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_the_program_and_is_told_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (outside, token, key) =
        (outside(folder.path()), folder.path().join("token"), folder.path().join("key"));
    fs::write(&token, "planted-token\n").unwrap();
    fs::write(&key, "-----BEGIN\nplanted-line\nEND-----").unwrap();
    let files = vec![("TOKEN".to_owned(), token.clone()), ("KEY".to_owned(), key)];
    let telling = |script: &str| Exec { env_files: files.clone(), ..exec(script) };
    let good = r#"test "$TOKEN" = planted-token || exit 9; echo "got $TOKEN"; echo "$KEY" | grep planted"#;
    let said = execute(&outside, &telling(good)).await.unwrap();
    assert!(said.ends_with("got ***\n***"), "{said}");
    assert_eq!(kept(&outside), "got ***\n***\n");
    let error = execute(&outside, &telling("echo no $TOKEN >&2; exit 3")).await.unwrap_err();
    assert!(error.contains("no ***") && error.contains("exit status: 3"), "{error}");
    // Of more than is kept the rest is cut off, perhaps within a secret.
    let long = Exec { output_max: 20, ..telling("for i in 1 2 3 4 5 6 7 8 9; do printf $TOKEN; done") };
    execute(&outside, &long).await.unwrap();
    assert!(kept(&outside).chars().all(|c| c == '*'), "{}", kept(&outside));
    let homeless = Exec { directory: Some("/planted-token".into()), ..telling("true") };
    let error = execute(&outside, &homeless).await.unwrap_err();
    assert!(error.contains("/*** is not there"), "{error}");
    fs::write(&token, "abc").unwrap();
    let error = execute(&outside, &telling("true")).await.unwrap_err();
    assert!(error.contains("token is shorter than 4 characters") && !error.contains("abc"), "{error}");
    fs::remove_file(&token).unwrap();
    let error = execute(&outside, &telling("true")).await.unwrap_err();
    assert!(error.contains("reading the secret in") && error.contains("token"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_any_amount_of_output_the_end_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let outside = outside(folder.path());
    // More than a pipe holds, so that it would stand still if nobody heard it.
    let said = execute(&outside, &exec("yes | head -c 300000; printf the-end")).await.unwrap();
    assert!(said.ends_with("the-end"), "{said}");
    let kept = kept(&outside);
    assert_eq!((kept.len(), kept.ends_with("y\nthe-end")), (1_000, true));
    execute(&outside, &exec("echo second")).await.unwrap();
    assert_eq!(self::kept(&outside), "second\n", "the latest attempt replaces the one before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_hangs_dies_with_all_that_it_has_started_and_leaves_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let outside = outside(folder.path());
    let script = "trap '' TERM; /bin/sh -c 'echo $$ > child; while :; do sleep 60; done' & \
                  echo $$ > parent; echo waiting; wait";
    let exec = exec(script);
    let pid = |who: &str| fs::read_to_string(folder.path().join(who)).unwrap_or_default().trim().to_owned();
    let begun = until("both have begun", || async { !pid("child").is_empty() && !pid("parent").is_empty() });
    tokio::select! {
        ended = execute(&outside, &exec) => panic!("it ended by itself: {ended:?}"),
        () = begun => {}
    }
    for who in ["child", "parent"] {
        let pid = pid(who);
        until("it is dead", || async { gone(&pid) }).await;
    }
    let file = outside.output_file(&run(), &name("caches"));
    until("its words are kept", || async { file.exists() && kept(&outside) == "waiting\n" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_takes_what_it_left_in_the_background_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let outside = outside(folder.path());
    let said = execute(&outside, &exec("sleep 600 & echo $!")).await.unwrap();
    let pid = said.rsplit(' ').next().unwrap().to_owned();
    assert!(pid.parse::<u32>().is_ok(), "{said}");
    until("it is dead", || async { gone(&pid) }).await;
}

// === checks ===

fn nowhere() -> Access {
    let address = "127.0.0.1:1".parse().unwrap();
    let [user, dbname] = ["app", "shop"].map(str::to_owned);
    Access { write: address, read: address, user, dbname, password_file: "/nowhere".into() }
}

async fn ask(outside: &Outside, check: Check) -> Result<String, String> {
    outside.ask(&check, &nowhere()).await.map_err(|e| e.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_its_status_and_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let outside = outside(folder.path());
    let page = Listener::http("200 OK", "all is well").await;
    let url = format!("http://{}/health?deep=1", page.address);
    let check = |status, contains: Option<&str>| Check::Http {
        url: url.clone(),
        status,
        contains: contains.map(str::to_owned),
    };
    let said = ask(&outside, check(200, None)).await.unwrap();
    assert_eq!(said, format!("{} answers 200", page.address), "what is behind the host may let one in");
    assert!(ask(&outside, check(200, Some("is well"))).await.unwrap().contains("contains `is well`"));
    assert!(page.heard()[0].head.starts_with("GET /health?deep=1 HTTP/1.1\r\n"));
    let error = ask(&outside, check(204, None)).await.unwrap_err();
    assert!(
        error.contains("answers 204 does not hold: it answered 200 OK") && !error.contains("deep"),
        "{error}"
    );
    let error = ask(&outside, check(200, Some("is bad"))).await.unwrap_err();
    assert!(error.contains("it is not in its 11 bytes") && !error.contains("deep"), "{error}");
    let large = Listener::http("200 OK", "x".repeat(3 << 20) + "end").await;
    let beyond = Check::Http {
        url: format!("http://{}/", large.address),
        status: 200,
        contains: Some("end".to_owned()),
    };
    let error = ask(&outside, beyond).await.unwrap_err();
    assert!(error.contains("its 1048576 bytes"), "no more is read: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_to_prometheus_holds_when_every_value_is_something() {
    let folder = tempfile::tempdir().unwrap();
    let outside = outside(folder.path());
    let vector = |values: &[&str]| {
        let series: Vec<_> =
            values.iter().map(|v| serde_json::json!({ "metric": {}, "value": [1.5, v] })).collect();
        let data = serde_json::json!({ "resultType": "vector", "result": series });
        serde_json::json!({ "status": "success", "data": data }).to_string()
    };
    let refused = r#"{"status":"error","errorType":"bad_data","error":"parse error at char 4"}"#;
    let cases = [
        ("200 OK", vector(&["1", "0.5"]), Ok("holds (2 values)")),
        ("200 OK", vector(&[]), Err("its result is empty")),
        ("200 OK", vector(&["1", "0"]), Err("a value of its result is 0")),
        ("200 OK", vector(&["NaN"]), Err("a value of its result is NaN")),
        ("400 Bad Request", refused.to_owned(), Err("parse error at char 4")),
        ("502 Bad Gateway", "<html>".to_owned(), Err("it answered 502 Bad Gateway, and not as Prometheus")),
    ];
    for (status, body, expected) in cases {
        let prometheus = Listener::http(status, body).await;
        let url = format!("http://{}/prom/", prometheus.address);
        let seen = ask(&outside, Check::Promql { url, query: "rate(a{b=\"c\"}[1m]) > 0".to_owned() }).await;
        match (&seen, expected) {
            (Ok(seen), Ok(words)) => assert!(seen.contains(words), "{seen}"),
            (Err(error), Err(words)) => assert!(error.contains(words), "{error}"),
            _ => panic!("{seen:?}, not {expected:?}"),
        }
        let heard = &prometheus.heard()[0];
        assert!(heard.head.starts_with("POST /prom/api/v1/query HTTP/1.1\r\n"), "{}", heard.head);
        assert_eq!(heard.body, "query=rate%28a%7Bb%3D%22c%22%7D%5B1m%5D%29%20%3E%200");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_dropped_ends_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let outside = outside(folder.path());
    let silent = Listener::silent().await;
    let check = Check::Http { url: format!("http://{}/", silent.address), status: 200, contains: None };
    tokio::select! {
        ended = ask(&outside, check) => panic!("it ended: {ended:?}"),
        () = until("it was asked", || async { !silent.heard().is_empty() }) => {}
    }
    until("the connection is closed", || async { silent.heard().len() == 2 }).await;
    assert_eq!(silent.heard()[1].head, "closed: true");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_go_as_the_application_s_user_and_are_compared_as_text() {
    let rig = Rig::new(Replication::Async);
    let database = rig.primary().await;
    rig.app(0).await.batch_execute("create table t (n int); insert into t values (1), (2)").await.unwrap();
    let outside = outside(rig.folder.path());
    let access = Access {
        write: rig.addresses[0],
        read: rig.addresses[0],
        password_file: rig.folder.path().join("app"),
        ..nowhere()
    };
    let ask = async |statement: &str, expect: Option<&str>| {
        let expect = expect.map(str::to_owned);
        let check = Check::Sql { statement: statement.to_owned(), write: true, expect };
        outside.ask(&check, &access).await.map_err(|e| e.to_string())
    };
    assert_eq!(ask("select count(*) from t", Some("2")).await.unwrap(), "`select count(*) from t` is `2`");
    assert_eq!(ask("select count(*) >= 0 from t", Some("t")).await.map(|_| ()), Ok(()));
    assert!(ask("insert into t values (3)", None).await.unwrap().ends_with("succeeds"));
    let cases = [
        ("select count(*) from t", Some("2"), "does not hold: it is `3`"),
        ("select n from t where n > 9", Some("1"), "it is no row"),
        ("select null", Some(""), "it is NULL"),
        ("select n / (n - 3) from t order by n", Some("0"), "division by zero"),
        ("select * from nothing", None, "does not exist"),
    ];
    for (statement, expect, words) in cases {
        let error = ask(statement, expect).await.unwrap_err();
        assert!(error.contains(words), "{statement}: {error}");
        assert!(!error.contains(APP_PASSWORD), "{error}");
    }
    drop(database);
}
