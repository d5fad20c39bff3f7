//! The control interface and callers that mean no good.

use std::sync::Mutex;

use meridian_coordination::store::Change;
use meridian_coordination::{Commit, Keys, Listing, Memory as Twin, Store as _, txns};
use meridian_model::Moment;
use meridian_model::run::{Run, RunKind, Step, StepKind, StepState};
use meridian_model::traffic::Turn;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::compute::Compute;
use crate::knowledge::Knowledge;
use crate::losses::{Loss, Losses};
use crate::memory::Memory;
use crate::status::CoordinationStatus;
use crate::testing::{here, name, rehearser, secret, system, view};

/// Longer than anything that works takes.
const PATIENCE: Duration = Duration::from_secs(20);
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: node\r\n\r\n";

/// Serves; the promises that are asked for come out.
async fn serving() -> (SocketAddr, mpsc::Receiver<PromiseAsked>) {
    serving_from(&Twin::new()).await
}

/// The same with that etcd.
async fn serving_from(store: &Twin) -> (SocketAddr, mpsc::Receiver<PromiseAsked>) {
    let mut knowledge = Knowledge::new(&name("shop"), vec![name("orders")]);
    knowledge.apply(Change::Reset(Listing::default()), Moment::ZERO);
    let board = Board {
        here: here(),
        verdicts: watch::channel(Arc::default()).1,
        coordination: watch::channel(CoordinationStatus::default()).1,
        groups: Vec::new(),
        knowledge: Arc::new(Mutex::new(knowledge)),
        views: watch::channel(view()).1,
        compute: Arc::new(Compute::new(here(), Vec::new())),
        losses: losses().await,
    };
    let (promises, asked) = mpsc::channel(16);
    let groups = vec![(name("orders"), promises, mpsc::channel(1).0)];
    let asks = Asks::new(Arc::new(store.clone()), Keys::new(&name("shop")));
    let (system, fence) = (Arc::new(system()), Fence::new());
    let (secret, metrics) = (secret(), Metrics::new(None));
    let (rehearser, _end) = rehearser(store, Vec::new(), &std::env::temp_dir());
    let control = Control { system, asks, fence, secret, metrics, board, rehearser, groups };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        serve(listener, Arc::new(control), stopped).await;
        drop(stop);
    });
    (address, asked)
}

/// One loss, at 7 o'clock.
async fn losses() -> Losses {
    let folder = tempfile::tempdir().unwrap();
    let losses = Losses::open(Memory::open(folder.path()).unwrap(), []);
    let rejoined = crate::losses::tests::rejoined(meridian_actuators::lost::Lost::Nothing);
    let loss = Loss::of(meridian_model::Epoch(2), "followed", &rejoined, meridian_model::Timestamp(7));
    losses.keep(&name("orders"), loss).await;
    losses
}

/// A caller that says this at once, and then nothing.
async fn caller(address: SocketAddr, says: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(says.as_bytes()).await.unwrap();
    stream
}

/// The first line of the next answer; nothing when there is none.
async fn heard(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4_096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await.unwrap();
    bytes.truncate(read.unwrap_or(0));
    String::from_utf8(bytes).unwrap().lines().next().unwrap_or_default().to_owned()
}

fn post(body: &str, length: usize) -> String {
    post_to("/v1/promise", body, length)
}

fn post_to(path: &str, body: &str, length: usize) -> String {
    let secret = secret().bearer();
    format!(
        "POST {path} HTTP/1.1\r\nhost: node\r\nauthorization: {secret}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_promise_is_given_although_strangers_hold_all_places() {
    let (address, mut asked) = serving().await;
    tokio::spawn(async move {
        while let Some(asked) = asked.recv().await {
            let _ = asked.answer.send(PromiseAnswer { granted: true, reason: "a test".to_owned() });
        }
    });
    let promise =
        Promise { group: name("orders"), epoch: meridian_model::Epoch(1), holder: here(), for_ms: 1 };
    let body = serde_json::to_string(&promise).unwrap();
    // The peer that came first keeps its place, though it is the oldest.
    let mut proven = caller(address, &post(&body, body.len())).await;
    assert_eq!(heard(&mut proven).await, "HTTP/1.1 200 OK");
    let mut strangers = Vec::new();
    for _ in 0..CONNECTIONS_MAX - 1 {
        strangers.push(caller(address, HEALTH).await);
        assert_eq!(heard(strangers.last_mut().unwrap()).await, "HTTP/1.1 200 OK");
    }
    let mut peer = caller(address, &post(&body, body.len())).await;
    assert_eq!(heard(&mut peer).await, "HTTP/1.1 200 OK");
    // Not because the others were gone by themselves: only the oldest stranger is.
    let newest = strangers.last_mut().unwrap();
    newest.write_all(HEALTH.as_bytes()).await.unwrap();
    assert_eq!(heard(newest).await, "HTTP/1.1 200 OK");
    assert_eq!(heard(&mut strangers[0]).await, "");
    proven.write_all(post(&body, body.len()).as_bytes()).await.unwrap();
    assert_eq!(heard(&mut proven).await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_question_that_never_ends_is_not_waited_for() {
    let (address, _asked) = serving().await;
    let mut slow = caller(address, &post("{", 1_000)).await;
    assert_eq!(heard(&mut slow).await, "HTTP/1.1 408 Request Timeout");
}

#[tokio::test]
async fn a_person_turns_a_dial_and_clears_it_but_only_of_a_region_that_there_is() {
    let (address, _asked) = serving().await;
    let dial = async |region: &str, turn: Option<Turn>| {
        let (region, by, reason) = (name(region), "ana".to_owned(), "a test".to_owned());
        let body = serde_json::to_string(&dials::DialAsked { region, turn, by, reason }).unwrap();
        heard(&mut caller(address, &post_to(asks::DIALS, &body, body.len())).await).await
    };
    assert_eq!(dial("us-east-1", Some(Turn::Drain)).await, "HTTP/1.1 200 OK");
    assert_eq!(dial("atlantis", Some(Turn::Drain)).await, "HTTP/1.1 409 Conflict");
    assert_eq!(dial("us-east-1", None).await, "HTTP/1.1 200 OK");
    assert_eq!(dial("us-east-1", None).await, "HTTP/1.1 409 Conflict", "nothing is turned any more");
    let stranger = format!("POST {} HTTP/1.1\r\nhost: node\r\ncontent-length: 0\r\n\r\n", asks::DIALS);
    assert_eq!(heard(&mut caller(address, &stranger).await).await, "HTTP/1.1 401 Unauthorized");
}

#[tokio::test]
async fn lost_transactions_are_told_to_whoever_has_the_secret() {
    let (address, _asked) = serving().await;
    let ask = async |authorization: &str, at: u32| {
        let body = format!("{{\"group\":\"orders\",\"at\":{at}}}");
        let head = format!("POST /v1/lost HTTP/1.1\r\nhost: node\r\n{authorization}");
        let question = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        heard(&mut caller(address, &question).await).await
    };
    let proof = format!("authorization: {}\r\n", secret().bearer());
    assert_eq!(ask("", 7).await, "HTTP/1.1 401 Unauthorized");
    assert_eq!(ask(&proof, 7).await, "HTTP/1.1 200 OK");
    assert_eq!(ask(&proof, 8).await, "HTTP/1.1 404 Not Found");
}

/// The status and the body of the answer to this.
async fn answered(
    address: SocketAddr,
    method: Method,
    path: &'static str,
    body: &str,
) -> (StatusCode, String) {
    let question = crate::peer::Question { method, path, body: body.as_bytes().to_vec() };
    let (status, body) = crate::peer::ask(address, &secret(), question, PATIENCE).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// A run of that epoch begins with its reign.
async fn reign(store: &Twin, seen: Option<i64>, epoch: u64) -> (Run, i64) {
    let id = name(&format!("orders-{epoch}-failover"));
    let (group, epoch, at) = (name("orders"), meridian_model::Epoch(epoch), meridian_model::Timestamp(0));
    let step = Step::plain(StepKind::Fence, StepState::Pending).unwrap();
    let run = Run::begin(id, group.clone(), RunKind::Failover, epoch, here(), at);
    let run = Run { steps: vec![step], ..run };
    let record = crate::testing::record(epoch);
    let txn = txns::claim(&Keys::new(&name("shop")), seen, &record, Some(&run));
    let Commit::Done { revision } = store.commit(txn).await.unwrap() else { panic!("it is claimed") };
    (run, revision)
}

/// Whoever says it, not only by our commands: nobody would hear it.
#[tokio::test]
async fn a_word_to_a_run_of_an_earlier_reign_is_refused_with_the_reason() {
    let store = Twin::new();
    let (address, _asked) = serving_from(&store).await;
    let (first, seen) = reign(&store, None, 1).await;
    let (second, _) = reign(&store, Some(seen), 2).await;
    for say in ["pause", "resume", "abort", "approve"] {
        let step = if say == "approve" { r#","step":"fence""# } else { "" };
        let body = |run: &Run| format!(r#"{{"run":"{}","say":"{say}","by":"ana"{step}}}"#, run.id);
        let (status, told) = answered(address, Method::POST, asks::WORDS, &body(&first)).await;
        assert_eq!(status, StatusCode::CONFLICT, "{say}");
        assert!(told.contains("ended with epoch 1, and now it is epoch 2"), "{say}: {told}");
        let (status, told) = answered(address, Method::POST, asks::WORDS, &body(&second)).await;
        assert_eq!(status == StatusCode::OK, say != "approve", "{say}: {told}");
    }
}

#[tokio::test]
async fn what_a_node_finds_wrong_is_told_to_those_who_prove_the_secret() {
    let (address, _asked) = serving().await;
    let stranger = "GET /v1/doctor HTTP/1.1\r\nhost: node\r\n\r\n";
    assert_eq!(heard(&mut caller(address, stranger).await).await, "HTTP/1.1 401 Unauthorized");
    let (status, told) = answered(address, Method::GET, DOCTOR, "").await;
    assert_eq!(status, StatusCode::OK);
    let told: crate::doctor::Diagnosis = serde_json::from_str(&told).unwrap();
    assert_eq!((told.region, told.reachable), (here(), false));
    // Nothing was looked at yet: that is a warning for each region, and no pass.
    let absent = told.findings.iter().filter(|f| f.check == "facts-absent" && !f.fails).count();
    assert_eq!(absent, 3, "{:?}", told.findings);
}

#[tokio::test]
async fn a_rehearsal_is_refused_with_words_where_there_is_nothing_to_clone() {
    let (address, _asked) = serving().await;
    let ask = async |group: &str| {
        let body =
            format!(r#"{{"group":"{group}","graceful":false,"instances":true,"within_ms":1000,"by":"me"}}"#);
        answered(address, Method::POST, REHEARSALS, &body).await
    };
    let (status, told) = ask("orders").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(told.contains("has no member of orders"), "{told}");
    assert_eq!(ask("nobody").await.0, StatusCode::NOT_FOUND);
    assert_eq!(answered(address, Method::POST, REHEARSALS, "{").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(answered(address, Method::GET, REHEARSALS, "").await, (StatusCode::OK, "[]".to_owned()));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_reads_nothing_is_cut_off_by_the_kernel() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    limit_stalls(&stream);
    let limit = rustix::net::sockopt::tcp_user_timeout(&stream).unwrap();
    assert_eq!(u128::from(limit), STALL_MAX.as_millis());
}
