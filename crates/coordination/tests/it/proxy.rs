//! A TCP proxy in front of one member, that can cut, swallow, or keep answers back.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Both ways.
    Forward,
    /// Requests arrive, answers do not.
    SwallowAnswers,
    /// Nothing arrives; connections stay open: a partition.
    Swallow,
    /// Connections are closed, new ones too.
    Cut,
}

pub(crate) struct Proxy {
    address: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
    to: Arc<watch::Sender<SocketAddr>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port and forwards to `to`, such as `http://127.0.0.1:2379`.
    pub(crate) async fn to(to: &str) -> Self {
        let to = Arc::new(watch::Sender::new(parse(to)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = Arc::new(watch::Sender::new(Mode::Forward));
        let (modes, target) = (Arc::clone(&mode), Arc::clone(&to));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, *target.borrow(), modes.subscribe()));
            }
        });
        Self { address, mode, to, task }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// New connections lead there.
    pub(crate) fn lead_to(&self, to: &str) {
        self.to.send_replace(parse(to));
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn parse(endpoint: &str) -> SocketAddr {
    endpoint.strip_prefix("http://").unwrap().parse().unwrap()
}

async fn serve(client: TcpStream, to: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let Ok(server) = TcpStream::connect(to).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let forward = |m: Mode| m == Mode::Forward;
    let requests = |m: Mode| matches!(m, Mode::Forward | Mode::SwallowAnswers);
    let other = mode.clone();
    tokio::select! {
        _ = mode.wait_for(|m| *m == Mode::Cut) => {}
        () = copy(from_client, to_server, other.clone(), requests) => {}
        () = copy(from_server, to_client, other, forward) => {}
    }
}

/// What is swallowed is gone, as for a connection that a partition has hit: it never recovers.
async fn copy(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    mode: watch::Receiver<Mode>,
    passes: impl Fn(Mode) -> bool,
) {
    let mut buffer = vec![0; 16 << 10];
    let mut broken = false;
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 {
            return;
        }
        broken |= !passes(*mode.borrow());
        if !broken && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
