//! A small web server that writes down what it is sent, and answers as the test says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What came in.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// The request line and the headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Heard {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// Answers everything with that status line and body.
    pub(crate) async fn http(status: &'static str, body: impl Into<String>) -> Self {
        Self::start(status, body.into(), None).await
    }

    /// The same over TLS, with a certificate for `localhost` that is also written to a file.
    pub(crate) async fn https(status: &'static str, folder: &Path) -> (Self, PathBuf) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let bundle = folder.join("bundle.pem");
        std::fs::write(&bundle, made.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        (Self::start(status, String::new(), Some(acceptor)).await, bundle)
    }

    /// It accepts and never says anything; when the other side closes, that is written down too.
    pub(crate) async fn silent() -> Self {
        Self::start("", String::new(), None).await
    }

    async fn start(status: &'static str, body: String, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (body, into, tls) = (body.clone(), Arc::clone(&into), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, status, &body, &into).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, status, &body, &into).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, heard, task }
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    status: &str,
    body: &str,
    into: &Mutex<Vec<Heard>>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut sent = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut sent).await.ok()?;
    into.lock().unwrap().push(Heard { head, body: String::from_utf8(sent).unwrap() });
    if status.is_empty() {
        let closed = stream.read(&mut [0]).await.is_ok_and(|read| read == 0);
        into.lock().unwrap().push(Heard { head: format!("closed: {closed}"), body: String::new() });
        return None;
    }
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}
