//! Both directions of a session in one task: two pipes between a client and its server of the moment.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use meridian_model::Epoch;
use tokio::net::TcpStream;

use crate::cancel::Registered;
use crate::door::Door;
use crate::end::{End, Refusal};
use crate::hold::Turns;
use crate::pipe::{Pipe, PipeEnd};
use crate::protocol::{Dialogue, FrameError, Tracker};
use crate::route::Target;
use crate::stream::{Client, Guard, Stall};
use crate::upstream::Server;
use crate::waiting::Held;
use crate::watch::{FromClient, FromServer, LastWords, Watch};

/// A running session.
pub(crate) struct Relay<'a> {
    client: &'a mut Client,
    server: TcpStream,
    to_server: Pipe,
    to_client: Pipe,
    watch: Watch<'a>,
    /// The client has asked something that is kept back.
    held: Option<Held>,
    /// The server takes nothing any more; its last words are awaited.
    deaf: bool,
    idle_ends: bool,
    turn: bool,
    client_stalls: Stall,
    server_stalls: Stall,
}

/// What a session takes along from one server to the next.
#[derive(Debug, Default)]
pub(crate) struct Baggage {
    /// What the client has said and no server has heard.
    pub(crate) said: BytesMut,
    pub(crate) dialogue: Dialogue,
    pub(crate) tracker: Option<Box<Tracker>>,
    pub(crate) key: Option<Registered>,
    pub(crate) held: Option<Held>,
}

/// How a relay stops.
#[derive(Debug)]
pub(crate) enum Event {
    /// The session is over.
    Ends(End),
    /// The server is gone, and the session can go on elsewhere.
    Lost(Option<LastWords>),
}

impl<'a> Relay<'a> {
    /// A session whose server has answered.
    pub(crate) fn new(
        door: &'a Door,
        client: &'a mut Client,
        server: Server,
        baggage: Baggage,
    ) -> Result<Self, FrameError> {
        let Server { upstream, turns, key } = server;
        if let (Some(registered), Some(key)) = (&baggage.key, key) {
            registered.lead_to(upstream.target.address, key);
        }
        let mut watch = Watch {
            dialogue: baggage.dialogue,
            meter: &door.meter,
            cancels: &door.cancels,
            target: upstream.target,
            key: baggage.key,
            turns,
            tracker: baggage.tracker,
            error_last: false,
            goodbye: false,
            last_words: None,
        };
        let to_client = Pipe::with(upstream.early, &mut FromServer(&mut watch))?;
        let to_server = Pipe::with(baggage.said, &mut FromClient(&mut watch))?;
        Ok(Self {
            client,
            server: upstream.tcp,
            to_server,
            to_client,
            watch,
            held: baggage.held,
            deaf: false,
            idle_ends: false,
            turn: false,
            client_stalls: Stall::default(),
            server_stalls: Stall::default(),
        })
    }

    pub(crate) const fn target(&self) -> &Target {
        &self.watch.target
    }

    /// The same writer goes on under that epoch.
    pub(crate) fn raise(&mut self, epoch: Epoch) {
        self.watch.target.epoch = self.watch.target.epoch.max(epoch);
        if let Some(turns) = &mut self.watch.turns {
            turns.raise(epoch);
        }
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

    /// A transaction is open, or something is asked and not answered, on the write port.
    pub(crate) fn is_busy(&self) -> bool {
        self.watch.turns.as_ref().is_some_and(Turns::is_busy)
    }

    /// Another gateway sent it, and will move it.
    pub(crate) fn is_second_hand(&self) -> bool {
        self.watch.turns.as_ref().is_some_and(Turns::is_held_elsewhere)
    }

    /// It came before this region is the writer.
    pub(crate) fn is_early(&self) -> bool {
        self.watch.turns.as_ref().is_some_and(Turns::is_early)
    }

    /// This region is the writer now: from here on the session is like all others, behind the fence.
    pub(crate) fn let_in(&mut self, guard: Option<Guard>) {
        self.client.guard(guard);
        let logs_in = !self.watch.dialogue.idle();
        if let Some(turns) = &mut self.watch.turns {
            turns.let_in();
            if logs_in {
                turns.begin();
            }
        }
    }

    /// What the session has set up, if it can be moved.
    pub(crate) fn tracker(&self) -> Option<&Tracker> {
        self.watch.tracker.as_deref()
    }

    /// Why the session cannot go on at another server now, if it cannot.
    pub(crate) fn hindrance(&self) -> Option<&'static str> {
        match &self.watch.tracker {
            None => Some("unknown-user"),
            Some(_) if !self.is_idle() => Some("busy"),
            Some(tracker) => tracker.hindrance().map(|mark| mark.word()),
        }
    }

    /// Leaves the server. Nothing is under way there, as [`Relay::hindrance`] has said.
    pub(crate) fn leave(mut self) -> Baggage {
        self.client_stalls.follow(false, self.client.tcp());
        Baggage {
            said: self.to_server.into_rest(),
            dialogue: self.watch.dialogue,
            tracker: self.watch.tracker,
            key: self.watch.key,
            held: self.held,
        }
    }

    /// Passes everything on until the session ends or loses its server.
    pub(crate) async fn run(&mut self) -> Event {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Nothing is under way: all is answered, no transaction is open, and everything has been passed on.
    fn is_idle(&self) -> bool {
        let passed = self.to_client.is_done() && self.to_server.is_done();
        self.watch.dialogue.idle() && passed && !self.watch.goodbye
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        // In turns, so that the budget of one wake-up does not go to the same direction each time.
        self.turn = !self.turn;
        for to_client in [self.turn, !self.turn] {
            let polled = if to_client { self.poll_to_client(cx) } else { self.poll_to_server(cx) };
            if let Poll::Ready(event) = polled {
                return Poll::Ready(event);
            }
        }
        if self.is_idle()
            && let Some(turns) = &mut self.watch.turns
        {
            turns.end();
        }
        if let Poll::Ready(event) = self.poll_withheld(cx) {
            return Poll::Ready(event);
        }
        self.client_stalls.follow(self.to_client.is_stalled(), self.client.tcp());
        self.server_stalls.follow(self.to_server.is_stalled(), &self.server);
        let nothing_half = self.to_server.is_empty() || self.to_server.is_withheld();
        let drained = self.idle_ends && self.is_idle() && nothing_half;
        if drained { Poll::Ready(Event::Ends(End::Draining)) } else { Poll::Pending }
    }

    /// Passes on what was kept back, when the hold is over or the server's answer says that it belongs to
    /// an open transaction.
    fn poll_withheld(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.to_server.is_withheld() {
            if let Err(error) = self.to_server.ask_again(&mut FromClient(&mut self.watch)) {
                return Poll::Ready(Event::Ends(End::Nonsense(error)));
            }
            // Also when only a part of it may pass.
            if let Poll::Ready(event) = self.poll_to_server(cx) {
                return Poll::Ready(event);
            }
        }
        let withheld = self.to_server.is_withheld();
        if withheld != self.held.is_some() {
            self.held = withheld.then(|| Held::new(self.watch.meter));
        }
        Poll::Pending
    }

    fn poll_to_client(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let passing = &mut FromServer(&mut self.watch);
        let polled = self.to_client.poll(cx, &mut self.server, &mut Pin::new(&mut *self.client), passing);
        polled.map(|end| self.after_to_client(end))
    }

    fn after_to_client(&mut self, end: PipeEnd) -> Event {
        let region = &self.watch.target.region;
        let end = match end {
            PipeEnd::Closed | PipeEnd::Read(_) if self.watch.goodbye => End::Client,
            // The client has heard why its session ends.
            PipeEnd::Closed | PipeEnd::Read(_) if self.watch.error_last => End::Server,
            PipeEnd::Closed | PipeEnd::Read(_) if self.hindrance().is_none() => return Event::Lost(None),
            PipeEnd::Closed | PipeEnd::Read(_) => End::ServerLost(region.clone()),
            PipeEnd::Withheld => match self.watch.last_words.take() {
                None => End::Unreplicated(region.clone()),
                Some(words) if self.hindrance().is_none() => return Event::Lost(Some(words)),
                Some(words) => End::Stranded(Refusal::Terminated(words.message)),
            },
            PipeEnd::Frame(error) => End::Nonsense(error),
            PipeEnd::Write(_) if self.client.was_refused() => {
                End::Fenced(format!("epoch {} is fenced: its lease has run out", self.watch.target.epoch))
            }
            PipeEnd::Write(_) => End::Client,
        };
        Event::Ends(end)
    }

    fn poll_to_server(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.deaf {
            return Poll::Pending;
        }
        let passing = &mut FromClient(&mut self.watch);
        let polled = self.to_server.poll(cx, &mut *self.client, &mut self.server, passing);
        match polled {
            Poll::Pending | Poll::Ready(PipeEnd::Withheld) => Poll::Pending,
            Poll::Ready(PipeEnd::Frame(error)) => Poll::Ready(Event::Ends(End::Nonsense(error))),
            Poll::Ready(PipeEnd::Write(_)) => {
                self.deaf = true;
                Poll::Pending
            }
            Poll::Ready(PipeEnd::Closed | PipeEnd::Read(_)) => Poll::Ready(Event::Ends(End::Client)),
        }
    }
}
