//! Edges and applications to test with. All on loopback, port 0, gone with the test's runtime.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meridian_edge::{Config, Error, Limits};
use meridian_model::service::Service;
use meridian_model::{Snapshot, System};
use meridian_steering::View;
use meridian_steering::fixture;
use meridian_telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Nobody listens there: the discard port.
pub(crate) const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// Waits for what must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| unreachable!("{what} did not come"))
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

// === Edge ===

pub(crate) struct Edge {
    pub(crate) http: SocketAddr,
    pub(crate) https: Option<SocketAddr>,
    pub(crate) views: watch::Sender<Arc<View>>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) task: JoinHandle<Result<(), Error>>,
    pub(crate) metrics: Metrics,
}

pub(crate) fn view(here: &str, system: &System, snapshot: Snapshot) -> Arc<View> {
    View::new(Arc::new(system.clone()), fixture::name(here), Arc::new(snapshot))
}

/// The system of the fixture with the given instances, nobody anywhere else.
pub(crate) fn system_with(region: &str, endpoints: &[SocketAddr]) -> System {
    let mut system = fixture::system();
    for region in &mut system.topology.regions {
        region.node.edge_http = NOBODY;
    }
    for backend in &mut system.services[0].backends {
        backend.endpoints = if backend.region.as_str() == region { endpoints.to_vec() } else { vec![NOBODY] };
    }
    system
}

pub(crate) fn service(system: &mut System) -> &mut Service {
    &mut system.services[0]
}

pub(crate) async fn edge(here: &str, system: &System) -> Edge {
    edge_with(here, system, Limits::default()).await
}

pub(crate) async fn edge_with(here: &str, system: &System, limits: Limits) -> Edge {
    let metrics = Metrics::new(None);
    let (views, seen) = watch::channel(view(here, system, fixture::snapshot(system, &[])));
    let config = Config { http: ANY, https: ANY, workers: 1, limits };
    let server = meridian_edge::bind(config, seen, metrics.clone()).await.unwrap();
    let addresses = server.local_addresses();
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(server.serve(stopped));
    Edge { http: addresses[0], https: addresses.get(1).copied(), views, stop, task, metrics }
}

impl Edge {
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        soon("the end of the edge", self.task).await.unwrap().unwrap();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://shop.example.com:{}{path}", self.http.port())
    }

    /// Asks by `curl` for the path, with more words of its command line.
    pub(crate) async fn curl(&self, path: &str, words: &[&str]) -> Answer {
        curl(&self.url(path), self.http, words).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.curl(path, &[]).await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.curl(path, &["--data", "one=1"]).await
    }

    /// Sends raw bytes and reads until the edge closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is as good as an end.
        let _ = soon("the end of the connection", stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

// === curl ===

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `1.1` or `2`.
    pub(crate) version: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

pub(crate) async fn curl(url: &str, to: SocketAddr, words: &[&str]) -> Answer {
    let resolve = format!("shop.example.com:{}:{}", to.port(), to.ip());
    let mut command = tokio::process::Command::new("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20", "--include"]);
    command.args(["--resolve", &resolve, "--write-out", "\n%{http_code} %{http_version}"]);
    command.args(words).arg(url).kill_on_drop(true);
    let output = command.output().await.expect("curl is needed: apt-get install curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (rest, last) = text.rsplit_once('\n').unwrap();
    let (status, version) = last.split_once(' ').unwrap();
    let mut parts = rest.split("\r\n\r\n").skip_while(|head| is_interim(head));
    let head = parts.next().unwrap_or_default().to_owned();
    let body = parts.collect::<Vec<_>>().join("\r\n\r\n");
    Answer { status: status.parse().unwrap(), version: version.to_owned(), head, body }
}

/// `100 Continue` comes before the head that counts.
fn is_interim(head: &str) -> bool {
    head.starts_with("HTTP/1.1 1")
}

// === Applications ===

/// What an application does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Answers with its name.
    Answer,
    /// Answers, and closes the connection without having said so.
    AnswerAndClose,
    /// Reads the request and closes without a word.
    Close,
    /// Reads the request and says nothing more.
    Hang,
    /// Answers with half of the promised body, and then nothing more.
    HalfAnswer,
    /// Answers when it is told to.
    Wait,
    /// Answers with as many bytes as it was sent.
    Echo,
}

/// A scripted application.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    pub(crate) go: watch::Sender<bool>,
}

impl App {
    /// The requests that it has read: head and body.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

pub(crate) async fn app(name: &'static str, manner: Manner) -> App {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (go, wait) = watch::channel(false);
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, name, manner, Arc::clone(&log), wait.clone()));
        }
    });
    App { address, seen, go }
}

async fn serve(
    mut stream: TcpStream,
    name: &'static str,
    manner: Manner,
    seen: Arc<Mutex<Vec<String>>>,
    mut wait: watch::Receiver<bool>,
) {
    let mut rest = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut rest).await {
        let length = request.len() - request.find("\r\n\r\n").map_or(0, |at| at + 4);
        seen.lock().unwrap().push(request);
        let body = match manner {
            Manner::Close => return,
            Manner::Hang => return std::future::pending().await,
            Manner::HalfAnswer => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
                return std::future::pending().await;
            }
            Manner::Wait => {
                wait.wait_for(|go| *go).await.unwrap();
                name.to_owned()
            }
            Manner::Echo => "x".repeat(length),
            Manner::Answer | Manner::AnswerAndClose => name.to_owned(),
        };
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-app: {name}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() || manner == Manner::AnswerAndClose {
            return;
        }
    }
}

/// Head and body of one request; chunked bodies are joined.
async fn read_request(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Option<String> {
    let head_end = loop {
        if let Some(at) = rest.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, rest).await?;
    };
    let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
    rest.drain(..head_end);
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|l| l.split_once(": "));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let mut body = Vec::new();
    if field("transfer-encoding").is_some() {
        loop {
            let line_end = loop {
                if let Some(at) = rest.windows(2).position(|w| w == b"\r\n") {
                    break at;
                }
                more(stream, rest).await?;
            };
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line_end]).ok()?, 16).ok()?;
            while rest.len() < line_end + 2 + size + 2 {
                more(stream, rest).await?;
            }
            body.extend_from_slice(&rest[line_end + 2..line_end + 2 + size]);
            rest.drain(..line_end + 2 + size + 2);
            if size == 0 {
                break;
            }
        }
    } else {
        let length = field("content-length").map_or(0, |l| l.parse().unwrap());
        while rest.len() < length {
            more(stream, rest).await?;
        }
        body = rest.drain(..length).collect();
    }
    Some(head + &String::from_utf8_lossy(&body))
}

async fn more(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Option<()> {
    matches!(stream.read_buf(rest).await, Ok(1..)).then_some(())
}
