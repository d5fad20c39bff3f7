//! Steps that a node carries out by itself, with their conditions and their limits.

use std::path::Path;

use meridian_coordination::keys::Keys;
use meridian_model::plan::{Exec, Notify, Secretive};
use meridian_model::run::{RunKind, Step};
use meridian_model::{Epoch, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::testing::{here, name, system, view};

fn steps(folder: &Path) -> Steps {
    Steps {
        here: here(),
        database: system().databases[0].clone(),
        views: watch::channel(view()).1,
        compute: Arc::new(Compute::new(here(), Vec::new())),
        asks: Asks::new(Arc::new(meridian_coordination::Memory::new()), Keys::new(&name("shop"))),
        outside: Outside::new(folder.to_owned()).unwrap(),
    }
}

/// A step that runs this line of shell.
fn shell(script: &str) -> Work {
    let exec = Exec {
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: Vec::new(),
        env_files: Vec::new(),
        directory: None,
        output_max: 1_000,
    };
    Work::new(name("caches"), Task::Exec(exec), Duration::from_secs(60))
}

fn run_of(work: &Work) -> Run {
    Run {
        cause: "a test".to_owned(),
        steps: vec![Step::pending(work.clone())],
        ..Run::begin(
            name("orders-7-failover"),
            name("orders"),
            RunKind::Failover,
            Epoch(7),
            here(),
            Timestamp(0),
        )
    }
}

async fn carry_out(steps: &Steps, work: Work) -> Result<String, String> {
    steps.carry_out(&work.name, &run_of(&work)).await
}

/// A page that answers everything alike.
async fn page(status: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

fn answers(url: &str, status: u16) -> Vec<Check> {
    vec![Check::Http { url: url.to_owned(), status, contains: None }]
}

#[test]
fn each_database_is_verified_through_its_own_ports() {
    let system = system();
    let first = gateway_of(&system, &here(), &name("orders")).unwrap();
    let second = gateway_of(&system, &here(), &name("users")).unwrap();
    let node = &system.region(&here()).unwrap().node;
    assert_eq!((first.write, first.read), (node.gateway_write, node.gateway_read));
    assert_eq!(second.write.port(), node.gateway_write.port() + 2);
    assert_eq!(second.read.port(), node.gateway_read.port() + 2);
    assert!(gateway_of(&system, &here(), &name("nobody")).unwrap_err().contains("nobody"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_before_its_condition_holds_and_none_is_asked_before_it_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let steps = steps(folder.path());
    let url = page("204 No Content").await;
    let trace = || std::fs::read_to_string(folder.path().join("trace")).unwrap_or_default();
    let work = || shell("echo done >> trace");
    let error = carry_out(&steps, Work { before: answers(&url, 200), ..work() }).await.unwrap_err();
    assert!(error.starts_with("before it: ") && error.contains("it answered 204"), "{error}");
    assert_eq!(trace(), "");
    let error = carry_out(&steps, Work { afterwards: answers(&url, 200), ..work() }).await.unwrap_err();
    assert!(error.starts_with("afterwards: "), "{error}");
    assert_eq!(trace(), "done\n");
    let (before, afterwards) = (answers(&url, 204), answers(&url, 204));
    let said = carry_out(&steps, Work { before, afterwards, ..work() }).await.unwrap();
    assert_eq!(said.matches("answers 204").count(), 2, "{said}");
    assert_eq!(trace(), "done\ndone\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_asks_its_own_checks_and_notify_tells() {
    let folder = tempfile::tempdir().unwrap();
    let steps = steps(folder.path());
    let url = page("204 No Content").await;
    let timeout = Duration::from_secs(60);
    let verify = |status| Work::new(name("verify"), Task::Verify { checks: answers(&url, status) }, timeout);
    let host = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    assert_eq!(carry_out(&steps, verify(204)).await, Ok(format!("{host} answers 204")));
    assert!(carry_out(&steps, verify(200)).await.unwrap_err().contains("does not hold"));
    let to = Notify::Webhook { url: Secretive::Open(url.clone()) };
    let tell = Work::new(name("tell"), Task::Notify { to, text: "moved".to_owned() }, timeout);
    assert!(carry_out(&steps, tell).await.unwrap().ends_with("answered 204 No Content"));
}

/// A run was ended, and the program of its step went on.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_ended_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let steps = Arc::new(steps(folder.path()));
    let (events, mut told) = mpsc::channel(1);
    let mut doing = Doing::default();
    let pipe = folder.path().join("alive");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    // Itself and one that it leaves in the background: both keep the pipe open.
    let work = shell("exec 9>alive; sleep 60 & echo begun >&9; wait");
    let run = run_of(&work);
    doing.begin(work.name.clone(), run.clone().into(), &steps, events);
    let mut words = [0; 6];
    let all = async {
        let mut alive = tokio::fs::File::open(&pipe).await.unwrap();
        alive.read_exact(&mut words).await.unwrap();
        doing.end(run.id, work.name);
        assert_eq!(alive.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        assert!(told.recv().await.is_none(), "nothing is told of it");
    };
    tokio::time::timeout(Duration::from_secs(20), all)
        .await
        .expect("nobody is left that keeps the pipe open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_ends_with_its_timeout_and_says_what_was_too_slow() {
    let folder = tempfile::tempdir().unwrap();
    let steps = steps(folder.path());
    let mut hangs = shell("echo waiting; sleep 600");
    hangs.timeout_ms = 300;
    let error = carry_out(&steps, hangs).await.unwrap_err();
    assert!(error.contains("did not end within 300ms") && error.contains("caches.log"), "{error}");
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let task = Task::Verify { checks: answers(&url, 200) };
    let error = carry_out(&steps, Work::new(name("verify"), task, Duration::from_secs(1))).await.unwrap_err();
    assert!(error.contains("an HTTP check was not answered within 900ms"), "{error}");
}
