//! One HTTP request to somebody else: a webhook, a page of a service, Prometheus.
//!
//! Each has a connection of its own, which ends with it: such requests are rare, and one that hangs is
//! forgotten with its deadline. Over `https://` the other side's certificate must be signed by who this
//! machine trusts (the bundle that its system keeps). A redirect is an answer like any other: nobody is told
//! anything at a place that the spec does not name.
//!
//! An address may be a secret. Then neither an error nor an outcome has any part of it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::uri::{Scheme, Uri};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use meridian_model::plan::Secretive;
use meridian_telemetry::with_causes;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::error::ActuatorError;

/// Where a request goes.
pub(crate) struct Address {
    uri: Uri,
    host: String,
    /// What people are told: host and port, or the file that holds the secret.
    label: String,
    secret: bool,
}

impl Address {
    /// One that is no secret.
    pub(crate) fn open(url: &str) -> Result<Self, ActuatorError> {
        let label = url.parse::<Uri>().ok().and_then(|uri| Some(named(uri.host()?, uri.port_u16())));
        Self::checked(url, label.unwrap_or_else(|| "a URL of the spec".to_owned()), false)
    }

    /// As the spec has it: read from its file when it is a secret.
    pub(crate) async fn of(url: &Secretive) -> Result<Self, ActuatorError> {
        match url {
            Secretive::Open(url) => Self::open(url),
            Secretive::File(path) => {
                let label = format!("the address in {}", path.display());
                Self::checked(&secret(path.clone()).await?, label, true)
            }
        }
    }

    fn checked(url: &str, label: String, secret: bool) -> Result<Self, ActuatorError> {
        let wrong =
            |problem: &str| ActuatorError::Remote { place: label.clone(), problem: problem.to_owned() };
        let uri: Uri =
            url.parse().map_err(|_| wrong("it is no URL; write an absolute http:// or https:// one"))?;
        let known = uri.scheme().is_some_and(|s| *s == Scheme::HTTP || *s == Scheme::HTTPS);
        let Some(host) = uri.host().filter(|host| known && !host.is_empty()).map(str::to_owned) else {
            return Err(wrong("it is no absolute http:// or https:// URL"));
        };
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(wrong("it holds a user's name, which is not sent; remove it"));
        }
        Ok(Self { uri, host, label, secret })
    }

    /// What people are told of it.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn failed(&self, problem: impl Into<String>) -> ActuatorError {
        let mut problem = problem.into();
        if self.secret {
            problem = problem.replace(&self.host, "the host");
        }
        ActuatorError::Remote { place: self.label.clone(), problem }
    }

    fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// An IPv6 address stands in brackets in a URL.
    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// At most [`ANSWER_MAX`] bytes from the beginning.
    pub(crate) body: Bytes,
    /// There was no more.
    pub(crate) whole: bool,
}

/// What is sent.
pub(crate) struct Message {
    pub(crate) method: Method,
    /// What comes after the address's own path, such as `/api/v1/query`.
    pub(crate) below: &'static str,
    /// The body, with its type.
    pub(crate) body: Option<(&'static str, Vec<u8>)>,
    /// Under which name the other side may know a repetition.
    pub(crate) key: Option<String>,
}

impl Message {
    /// A GET of the address itself.
    pub(crate) const fn get() -> Self {
        Self { method: Method::GET, below: "", body: None, key: None }
    }
}

/// The way to others.
#[derive(Debug, Clone)]
pub(crate) struct Web {
    /// Files with certificates that are trusted; the first that is there counts.
    bundles: Vec<PathBuf>,
}

impl Web {
    /// Trusts whom this machine trusts.
    pub(crate) fn new() -> Self {
        Self { bundles: BUNDLES.map(PathBuf::from).to_vec() }
    }

    /// Trusts those in that file alone.
    pub(crate) fn trusting(bundle: PathBuf) -> Self {
        Self { bundles: vec![bundle] }
    }

    /// Sends a message and waits for the answer. The caller bounds the time; dropping the wait ends the
    /// connection.
    pub(crate) async fn send(&self, to: &Address, message: Message) -> Result<Answer, ActuatorError> {
        let request = request(to, message)?;
        let io = TokioIo::new(self.connect(to).await?);
        let broken = |e: hyper::Error| to.failed(with_causes(e.to_string(), &e));
        let (mut sender, connection) = handshake(io).await.map_err(broken)?;
        // It is driven as long as this is awaited.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let (body, whole) = beginning(answer.into_body()).await.map_err(broken)?;
        Ok(Answer { status, body, whole })
    }

    async fn connect(&self, to: &Address) -> Result<Box<dyn Stream>, ActuatorError> {
        let port = to.uri.port_u16().unwrap_or(if to.is_https() { 443 } else { 80 });
        let failed = |e: std::io::Error| to.failed(e.to_string());
        let stream = TcpStream::connect((to.bare_host(), port)).await.map_err(failed)?;
        let _only_slower_without = stream.set_nodelay(true);
        if !to.is_https() {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(to.bare_host().to_owned())
            .map_err(|_| to.failed("its host can have no certificate"))?;
        let bundles = self.bundles.clone();
        // Reads a file of some hundred kilobytes.
        let made = tokio::task::spawn_blocking(move || connector(&bundles)).await;
        let connector = made.map_err(|e| to.failed(e.to_string()))?.map_err(|problem| to.failed(problem))?;
        let stream = connector.connect(name, stream).await;
        Ok(Box::new(stream.map_err(|e| to.failed(format!("TLS: {e}")))?))
    }
}

/// A file's text without white space around it, as secrets are kept.
pub(crate) async fn secret(path: PathBuf) -> Result<String, ActuatorError> {
    let text = tokio::fs::read_to_string(&path).await;
    let text = text.map_err(|e| ActuatorError::file("reading the secret in", &path, e))?;
    Ok(text.trim().to_owned())
}

/// What a connection may be.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

fn named(host: &str, port: Option<u16>) -> String {
    port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn request(to: &Address, message: Message) -> Result<Request<Full<Bytes>>, ActuatorError> {
    let own = to.uri.path_and_query().map_or("/", |path| path.as_str());
    let target = match message.below {
        "" => own.to_owned(),
        below => format!("{}{below}", to.uri.path().trim_end_matches('/')),
    };
    let mut request = Request::builder()
        .method(message.method)
        .uri(target)
        .header(header::HOST, named(&to.host, to.uri.port_u16()))
        .header(header::USER_AGENT, "meridian");
    if let Some(key) = message.key {
        request = request.header("idempotency-key", key);
    }
    let mut bytes = Vec::new();
    if let Some((kind, body)) = message.body {
        request = request.header(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        bytes = body;
    }
    request.body(Full::new(Bytes::from(bytes))).map_err(|_| to.failed("no request can be made of it"))
}

/// The body as far as it is read, and whether that is all.
async fn beginning(mut body: Incoming) -> Result<(Bytes, bool), hyper::Error> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            read.extend_from_slice(data.get(..ANSWER_MAX - read.len()).unwrap_or(&data));
        }
        if read.len() >= ANSWER_MAX {
            return Ok((read.freeze(), false));
        }
    }
    Ok((read.freeze(), true))
}

fn connector(bundles: &[PathBuf]) -> Result<TlsConnector, String> {
    let listed = || bundles.iter().map(|b| b.display().to_string()).collect::<Vec<_>>().join(", ");
    let Some(bundle) = bundles.iter().find(|bundle| bundle.is_file()) else {
        return Err(format!("no certificates to trust in {}; install ca-certificates", listed()));
    };
    let broken = |e: String| format!("the certificates to trust in {} cannot be read: {e}", bundle.display());
    let all = CertificateDer::pem_file_iter(bundle).map_err(|e| broken(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(all.filter_map(Result::ok));
    if roots.is_empty() {
        return Err(broken("there are none".to_owned()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    Ok(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}

/// More of an answer is not read.
const ANSWER_MAX: usize = 1 << 20;
/// Where systems keep the certificates that they trust: Debian and Alpine, Red Hat, SUSE, others.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
