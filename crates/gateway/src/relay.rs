//! Both directions of a session in one task: two pipes, and what passes by.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use meridian_telemetry::events::GatewayMeter;
use tokio::net::TcpStream;

use crate::cancel::{Cancels, Registered};
use crate::door::Door;
use crate::end::End;
use crate::pipe::{Passing, Pipe, PipeEnd};
use crate::protocol::{Dialogue, FrameError, Said};
use crate::route::Target;
use crate::stream::{Client, Stall};
use crate::upstream::Upstream;

/// A running session.
pub(crate) struct Relay<'a> {
    client: &'a mut Client,
    server: TcpStream,
    to_server: Pipe,
    to_client: Pipe,
    watch: Watch<'a>,
    /// The server takes nothing any more; its last words are awaited.
    deaf: bool,
    idle_ends: bool,
    turn: bool,
    client_stalls: Stall,
    server_stalls: Stall,
}

/// What is learned from what passes.
struct Watch<'a> {
    dialogue: Dialogue,
    meter: &'a GatewayMeter,
    cancels: &'a Arc<Cancels>,
    target: Target,
    key: Option<Registered>,
    /// The server's last message was an error: if it closes now, it has said why.
    error_last: bool,
    /// The client has said goodbye (Terminate).
    goodbye: bool,
}

impl<'a> Relay<'a> {
    /// A session whose server has answered, and whose client may have `said` something since.
    pub(crate) fn new(
        door: &'a Door,
        client: &'a mut Client,
        server: Upstream,
        said: BytesMut,
    ) -> Result<Self, FrameError> {
        let mut watch = Watch {
            dialogue: Dialogue::default(),
            meter: &door.meter,
            cancels: &door.cancels,
            target: server.target,
            key: None,
            error_last: false,
            goodbye: false,
        };
        let to_client = Pipe::with(server.early, &mut FromServer(&mut watch))?;
        let to_server = Pipe::with(said, &mut FromClient(&mut watch))?;
        Ok(Self {
            client,
            server: server.tcp,
            to_server,
            to_client,
            watch,
            deaf: false,
            idle_ends: false,
            turn: false,
            client_stalls: Stall::default(),
            server_stalls: Stall::default(),
        })
    }

    /// From now on the session ends when it is idle.
    pub(crate) fn end_when_idle(&mut self) {
        self.idle_ends = true;
    }

    /// The client may be told something: what it got so far ends between two messages, and nothing
    /// that the fence holds back would be sent along.
    pub(crate) fn may_speak(&mut self) -> bool {
        let keeps_back = self.client.is_tls() && self.client.was_refused();
        self.to_client.is_clean() && !keeps_back
    }

    /// Passes everything on until the session ends.
    pub(crate) async fn run(&mut self) -> End {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        // In turns, so that the budget of one wake-up does not go to the same direction each time.
        self.turn = !self.turn;
        for to_client in [self.turn, !self.turn] {
            let polled = if to_client { self.poll_to_client(cx) } else { self.poll_to_server(cx) };
            if let Poll::Ready(end) = polled {
                return Poll::Ready(end);
            }
        }
        self.client_stalls.follow(self.to_client.is_stalled(), self.client.tcp());
        self.server_stalls.follow(self.to_server.is_stalled(), &self.server);
        let idle = self.watch.dialogue.idle() && self.to_client.is_empty() && self.to_server.is_empty();
        if self.idle_ends && idle { Poll::Ready(End::Draining) } else { Poll::Pending }
    }

    fn poll_to_client(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let passing = &mut FromServer(&mut self.watch);
        let polled = self.to_client.poll(cx, &mut self.server, &mut Pin::new(&mut *self.client), passing);
        polled.map(|end| match end {
            PipeEnd::Closed | PipeEnd::Read(_) if self.watch.goodbye => End::Client,
            PipeEnd::Closed | PipeEnd::Read(_) if self.watch.error_last => End::Server,
            PipeEnd::Closed | PipeEnd::Read(_) => End::ServerLost(self.watch.target.region.clone()),
            PipeEnd::Withheld => End::Unreplicated(self.watch.target.region.clone()),
            PipeEnd::Frame(error) => End::Nonsense(error),
            PipeEnd::Write(_) if self.client.was_refused() => {
                End::Fenced(format!("epoch {} is fenced: its lease has run out", self.watch.target.epoch))
            }
            PipeEnd::Write(_) => End::Client,
        })
    }

    fn poll_to_server(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.deaf {
            return Poll::Pending;
        }
        let passing = &mut FromClient(&mut self.watch);
        let polled = self.to_server.poll(cx, &mut *self.client, &mut self.server, passing);
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(PipeEnd::Frame(error)) => Poll::Ready(End::Nonsense(error)),
            Poll::Ready(PipeEnd::Write(_)) => {
                self.deaf = true;
                Poll::Pending
            }
            Poll::Ready(PipeEnd::Closed | PipeEnd::Read(_) | PipeEnd::Withheld) => Poll::Ready(End::Client),
        }
    }
}

struct FromClient<'a, 'b>(&'a mut Watch<'b>);
struct FromServer<'a, 'b>(&'a mut Watch<'b>);

impl Passing for FromClient<'_, '_> {
    fn message(&mut self, tag: u8, _: &[u8]) -> bool {
        self.0.dialogue.client_said(tag);
        self.0.goodbye = tag == b'X';
        true
    }

    fn bytes(&mut self, count: usize) {
        self.0.meter.to_server(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

impl Passing for FromServer<'_, '_> {
    /// Everything may pass but the warning that no standby has what is acknowledged next, and with it
    /// the acknowledgement. A client that has set `client_min_messages` above `warning` keeps PostgreSQL
    /// from saying it, and a warning over [`WHOLE_MAX`](crate::protocol::WHOLE_MAX) is not looked into.
    fn message(&mut self, tag: u8, body: &[u8]) -> bool {
        let said = self.0.dialogue.server_said(tag, body);
        self.0.error_last = said == Said::Error;
        if let Said::Key(key) = said {
            self.0.key = None;
            self.0.key = Some(self.0.cancels.register(key, self.0.target.address));
            return true;
        }
        said != Said::GaveUpStandby
    }

    fn bytes(&mut self, count: usize) {
        self.0.meter.to_client(u64::try_from(count).unwrap_or(u64::MAX));
    }
}
