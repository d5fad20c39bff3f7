//! The client's side of a session: a TCP stream with the fence in front of `send`, plain or under TLS.
//!
//! The guard sits *below* TLS: what the TLS layer keeps back and writes later is checked as well.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

use crate::fence::Gate;
use crate::route::Routes;

/// Idle this long, the kernel asks whether the other side is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// And again this often.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// The longest that the other side may leave data or a keep-alive unacknowledged before the kernel
/// gives the connection up.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Stands between the local writer and its client.
#[derive(Debug)]
pub(crate) struct Guard {
    gate: Arc<Gate>,
    /// Sessions of the read port are behind the fence only while the local database is the writer.
    only_while_writer: Option<watch::Receiver<Arc<Routes>>>,
}

impl Guard {
    pub(crate) fn of_writer(gate: Arc<Gate>) -> Self {
        Self { gate, only_while_writer: None }
    }

    pub(crate) fn of_reader(gate: Arc<Gate>, routes: watch::Receiver<Arc<Routes>>) -> Self {
        Self { gate, only_while_writer: Some(routes) }
    }

    fn lets_through(&self) -> bool {
        let applies = self.only_while_writer.as_ref().is_none_or(|routes| routes.borrow().fenced_here);
        !applies || self.gate.is_open()
    }
}

/// A TCP stream that writes only while its guard lets it.
#[derive(Debug)]
pub(crate) struct Guarded {
    tcp: TcpStream,
    guard: Option<Guard>,
    /// A write was refused.
    refused: bool,
}

/// The stream to a client.
#[derive(Debug)]
pub(crate) enum Client {
    Plain(Guarded),
    Tls(Box<TlsStream<Guarded>>),
}

/// Sets what every connection of a gateway has: no Nagle, and a limit on silence.
pub(crate) fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_EVERY);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)?;
    limit_silence(tcp, true)
}

/// With or without a limit on silence.
///
/// Without, while the other side has its window shut: Linux ends a connection whose window stays shut
/// for TCP_USER_TIMEOUT even though the other side answers every probe (seen on 6.18), and a client
/// that thinks about a large result, or a COPY that waits for a lock, is not dead.
fn limit_silence(tcp: &TcpStream, limited: bool) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    SockRef::from(tcp).set_tcp_user_timeout(Some(if limited { SILENCE_MAX } else { Duration::ZERO }))?;
    #[cfg(not(target_os = "linux"))]
    let _ = (tcp, limited);
    Ok(())
}

/// Follows whether a stream takes what is written to it.
#[derive(Debug, Default)]
pub(crate) struct Stall(bool);

impl Stall {
    /// Lifts the limit on silence when the stream begins to stall, and sets it again afterwards.
    pub(crate) fn follow(&mut self, stalled: bool, tcp: &TcpStream) {
        if self.0 != stalled {
            self.0 = stalled;
            // Refused by the kernel: then the limit stays as it was, and nothing else changes.
            let _ = limit_silence(tcp, !stalled);
        }
    }
}

// === impl Client ===

impl Client {
    pub(crate) fn plain(tcp: TcpStream) -> Self {
        Self::Plain(Guarded { tcp, guard: None, refused: false })
    }

    /// From now on writes stand behind the fence.
    pub(crate) fn guard(&mut self, guard: Option<Guard>) {
        let guarded = self.guarded();
        guarded.guard = guard;
        guarded.refused = false;
    }

    /// The fence refused a write.
    pub(crate) fn was_refused(&mut self) -> bool {
        self.guarded().refused
    }

    pub(crate) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(guarded) => &guarded.tcp,
            Self::Tls(tls) => &tls.get_ref().0.tcp,
        }
    }

    fn guarded(&mut self) -> &mut Guarded {
        match self {
            Self::Plain(guarded) => guarded,
            Self::Tls(tls) => tls.get_mut().0,
        }
    }
}

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(guarded) => Pin::new(guarded).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(guarded) => Pin::new(guarded).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(guarded) => Pin::new(guarded).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(guarded) => Pin::new(guarded).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

// === impl Guarded ===

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Guarded {
    /// The check stands here and nowhere else, with nothing between it and the `send`.
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.guard.as_ref().is_some_and(|guard| !guard.lets_through()) {
            self.refused = true;
            return Poll::Ready(Err(io::Error::other("the local writer is fenced")));
        }
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::fence::Fence;
    use crate::testing::group;

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (here, there) = tokio::join!(TcpStream::connect(address), listener.accept());
        (here.unwrap(), there.unwrap().0)
    }

    #[tokio::test]
    async fn a_guarded_stream_writes_only_while_its_gate_is_open() {
        let fence = Fence::new();
        let (here, there) = connected().await;
        let mut client = Client::plain(here);
        client.guard(Some(Guard::of_writer(fence.gate(&group()))));
        fence.allow_until(&group(), meridian_telemetry::clock::now() + SILENCE_MAX);
        client.write_all(b"a").await.unwrap();
        assert!(!client.was_refused());
        fence.close(&group(), "closed");
        assert!(client.write_all(b"b").await.is_err() && client.was_refused());
        client.guard(None);
        client.write_all(b"c").await.unwrap();
        drop(client);
        let mut there = Client::plain(there);
        let mut got = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut there, &mut got).await.unwrap();
        assert_eq!(got, b"ac");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_has_the_window_shut_is_not_taken_for_dead() {
        let (here, _there) = connected().await;
        tune(&here).unwrap();
        let limit = || SockRef::from(&here).tcp_user_timeout().unwrap().filter(|t| !t.is_zero());
        assert_eq!(limit(), Some(SILENCE_MAX));
        let mut stall = Stall::default();
        stall.follow(true, &here);
        assert_eq!(limit(), None);
        stall.follow(false, &here);
        assert_eq!(limit(), Some(SILENCE_MAX));
    }
}
