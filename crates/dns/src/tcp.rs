//! Queries over TCP: many on one connection, answered in order, within limits.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use meridian_telemetry::events::{DnsAnswered, DnsCode, DnsMeter, Transport};
use meridian_telemetry::{Metrics, clock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::respond::respond;
use crate::zones::Zones;

/// Connections at once, for each worker; more are closed at once.
pub const TCP_CONNECTIONS_MAX: usize = 256;
/// A connection on which no whole query arrives for so long is closed (RFC 7766 says some seconds).
pub const TCP_IDLE: Duration = Duration::from_secs(10);

/// Answers until told to stop, and then until each connection is at rest.
pub(crate) async fn answer(
    listener: TcpListener,
    zones: watch::Receiver<Arc<Zones>>,
    metrics: Metrics,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let meter = metrics.dns_meter();
    loop {
        let accepted = tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) if connections.len() < TCP_CONNECTIONS_MAX => {
                let connection =
                    Connection { stream, from: from.ip(), zones: zones.clone(), meter: meter.clone() };
                connections.spawn(connection.run(shutdown.clone()));
            }
            Ok(_) => tracing::debug!(limit = TCP_CONNECTIONS_MAX, "a DNS connection is refused: too many"),
            // Out of descriptors, or the client is gone already: breathe, then go on.
            Err(error) => {
                tracing::warn!(%error, "a DNS connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(DRAIN_MAX, all).await;
}

struct Connection {
    stream: TcpStream,
    from: IpAddr,
    zones: watch::Receiver<Arc<Zones>>,
    meter: DnsMeter,
}

impl Connection {
    async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let (mut received, mut answers) = (Vec::with_capacity(512), Vec::new());
        // Moves on only with whole queries, so that single bytes cannot hold a connection.
        let mut deadline = Instant::now() + TCP_IDLE;
        loop {
            if !self.answer_all(&mut received, &mut answers) {
                return;
            }
            if !answers.is_empty() {
                if !matches!(timeout(TCP_IDLE, self.stream.write_all(&answers)).await, Ok(Ok(()))) {
                    return;
                }
                answers.clear();
                deadline = Instant::now() + TCP_IDLE;
            }
            let read = timeout_at(deadline, self.stream.read_buf(&mut received));
            let read = tokio::select! {
                read = read => read,
                _ = shutdown.wait_for(|stop| *stop) => return,
            };
            if !matches!(read, Ok(Ok(1..))) {
                return;
            }
        }
    }

    /// Answers each whole query in `received`. False: what came is no DNS, close.
    fn answer_all(&self, received: &mut Vec<u8>, answers: &mut Vec<u8>) -> bool {
        let zones = self.zones.borrow().clone();
        let (mut at, mut out) = (0, Vec::new());
        while let Some(message) = message_at(received, at) {
            at += LENGTH + message.len();
            let began = clock::now();
            let code = respond(&zones, message, self.from, Transport::Tcp, &mut out);
            let took = clock::now().since(began);
            DnsAnswered { transport: Transport::Tcp, code, took }.emit(&self.meter);
            if code == DnsCode::Dropped {
                return false;
            }
            let length = u16::try_from(out.len()).unwrap_or(u16::MAX);
            answers.extend_from_slice(&length.to_be_bytes());
            answers.extend_from_slice(&out);
        }
        received.drain(..at);
        true
    }
}

/// The message at that place, if it is there as a whole.
fn message_at(received: &[u8], at: usize) -> Option<&[u8]> {
    let rest = received.get(at..)?;
    let (length, rest) = rest.split_first_chunk::<LENGTH>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

/// The length before each message.
const LENGTH: usize = 2;
/// How long connections may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
