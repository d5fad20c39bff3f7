//! A page that must answer 200, asked over a kept connection.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use meridian_telemetry::{clock, with_causes};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::probe::Outcome;

/// A page at an address.
pub(crate) struct Page {
    address: SocketAddr,
    path: String,
    host: String,
    kept: Option<Kept>,
}

struct Kept {
    requests: SendRequest<Empty<Bytes>>,
    _driver: JoinSet<Result<(), hyper::Error>>,
}

impl Page {
    /// `host` is what the `Host` header says; none: the address.
    pub(crate) fn new(address: SocketAddr, path: &str, host: Option<&str>) -> Self {
        let host = host.map_or_else(|| address.to_string(), str::to_owned);
        Self { address, path: path.to_owned(), host, kept: None }
    }

    /// Where it is.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// By the kept connection first; if the other side has closed it meanwhile, by a new one.
    pub(crate) async fn ask(&mut self) -> Outcome {
        // A kept connection that is lost says nothing about the other side.
        if let Some(kept) = self.kept.take()
            && let Ok(outcome) = self.by(kept).await
        {
            return outcome;
        }
        let fresh = self.connect().await?;
        self.by(fresh).await.map_err(|lost| lost.0)?
    }

    /// The outer error is a lost connection, the inner a wrong answer.
    async fn by(&mut self, mut kept: Kept) -> Result<Outcome, Lost> {
        let lost = |what: &str, e: hyper::Error| Lost(with_causes(format!("{what}: {e}"), &e));
        let request = Request::get(&self.path)
            .header(header::HOST, &self.host)
            .header(header::USER_AGENT, "meridian-probe")
            .body(Empty::new());
        let Ok(request) = request else { return Ok(Err(format!("`{}` is no path", self.path))) };
        kept.requests.ready().await.map_err(|e| lost("the connection ended", e))?;
        let began = clock::now();
        let answer = kept.requests.send_request(request).await.map_err(|e| lost("no answer", e))?;
        let took = clock::now().since(began);
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_MAX).collect().await;
        if body.is_ok() {
            self.kept = Some(kept);
        }
        Ok(judge(status, took))
    }

    async fn connect(&self) -> Result<Kept, String> {
        let stream = TcpStream::connect(self.address).await.map_err(|e| format!("{}: {e}", self.address))?;
        let _only_slower_without = stream.set_nodelay(true);
        let failed = |e: hyper::Error| with_causes(format!("{}: {e}", self.address), &e);
        let (requests, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let mut driver = JoinSet::new();
        // How it ended shows in the next request.
        driver.spawn(connection);
        Ok(Kept { requests, _driver: driver })
    }
}

/// The connection was lost before an answer came.
struct Lost(String);

fn judge(status: StatusCode, took: Duration) -> Outcome {
    if status == StatusCode::OK { Ok(took) } else { Err(format!("it answered {status}")) }
}

/// A health page that says more than this is read no further, and its connection not kept.
const BODY_MAX: usize = 64 << 10;
