//! From a session without a server to a server that has taken it: tries the targets of the moment, and
//! waits for better ones. A new session waits in the room; one that lost its server has a seat already.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use meridian_model::Epoch;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::door::Door;
use crate::end::Refusal;
use crate::hold::Turns;
use crate::moving::Journey;
use crate::protocol::Startup;
use crate::route::{HOP, HOP_EARLY, Port, Routes, Target};
use crate::stream::Client;
use crate::upstream::{ANSWER_MAX, Server, reach};
use crate::waiting::{Full, Place};

/// The pause after the first failed try; doubles up to [`PAUSE_MAX`]. New routes end a pause at once.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// What a client may send before it has a server. More stays in the kernel.
const EARLY_MAX: usize = 4_096;

/// Whose session it is, in its own words.
#[derive(Debug)]
pub(crate) struct Caller {
    startup: Startup,
    /// Another gateway sent it.
    pub(crate) hopped: bool,
    /// It did so before this region is the writer: the session waits here.
    early: bool,
}

/// A server, and what happened until it was found.
pub(crate) struct Found {
    pub(crate) server: Server,
    /// How long the session waited; none: it did not.
    pub(crate) waited: Option<Duration>,
    /// What the client has said since its startup packet.
    pub(crate) said: BytesMut,
}

/// Why a try led to nothing.
pub(crate) enum Failure {
    /// Another one may.
    Again(String),
    /// No other one will.
    Never(Refusal),
}

/// Finds a server for a new session.
pub(crate) async fn seek(door: &Door, client: &mut Client, caller: &Caller) -> Result<Found, Refusal> {
    let mut said = BytesMut::new();
    let mut search = Search::new(door, caller, None);
    let deadline = Instant::now() + door.limits.max_wait;
    let server = search.until(deadline, client, &mut said).await?;
    let waited = search.place.take().map(|p| meridian_telemetry::clock::now().since(p.since()));
    Ok(Found { server, waited, said })
}

/// Finds a server for a session that lost its own, and brings it into the same state.
pub(crate) async fn seek_again(
    door: &Door,
    client: &mut Client,
    journey: &Journey<'_>,
    said: &mut BytesMut,
) -> Result<Server, Refusal> {
    let deadline = Instant::now() + door.limits.max_wait;
    // Of many sessions at once, those go first whose clients wait for an answer.
    let mut queue = None;
    if said.is_empty() {
        queue = tokio::select! {
            place = timeout_at(deadline, door.silent.acquire()) => place.ok().and_then(Result::ok),
            read = client.read_buf(said) => match read {
                Ok(0) | Err(_) => return Err(Refusal::ClientLeft),
                Ok(_) => None,
            },
            () = door.draining() => return Err(Refusal::Draining),
        };
    }
    let server = Search::new(door, journey.caller, Some(journey)).until(deadline, client, said).await;
    drop(queue);
    server
}

impl Caller {
    pub(crate) fn new(startup: Startup) -> Self {
        let hop = startup.parameter(HOP);
        let (hopped, early) = (hop.is_some(), hop == Some(HOP_EARLY.as_bytes()));
        Self { hopped, early, startup: startup.without(HOP) }
    }

    /// As whom it logs in.
    pub(crate) fn user(&self) -> Option<&str> {
        self.startup.parameter("user").and_then(|user| std::str::from_utf8(user).ok())
    }

    /// The startup packet for a region that is about to be the writer.
    pub(crate) fn early_packet(&self) -> Vec<u8> {
        self.startup.clone().with(HOP, HOP_EARLY).packet()
    }

    /// The startup packet as that target gets it.
    pub(crate) fn packet(&self, port: Port, target: &Target) -> Vec<u8> {
        let startup = self.startup.clone();
        let startup = match port {
            Port::Read => startup.with("default_transaction_read_only", "on"),
            Port::Write if target.hop => startup.with(HOP, "1"),
            Port::Write => startup,
        };
        startup.packet()
    }
}

struct Search<'a> {
    door: &'a Door,
    routes: watch::Receiver<Arc<Routes>>,
    caller: &'a Caller,
    /// None: it is a new session.
    journey: Option<&'a Journey<'a>>,
    /// Nothing was tried yet.
    first: bool,
    place: Option<Place>,
    /// Why there is no server so far.
    why: String,
}

impl<'a> Search<'a> {
    fn new(door: &'a Door, caller: &'a Caller, journey: Option<&'a Journey<'a>>) -> Self {
        let routes = door.routes.clone();
        Self { door, routes, caller, journey, first: true, place: None, why: String::new() }
    }

    /// Searches until the deadline, or until the client leaves. Keeps what it says meanwhile.
    async fn until(
        &mut self,
        deadline: Instant,
        client: &mut Client,
        said: &mut BytesMut,
    ) -> Result<Server, Refusal> {
        let door = self.door;
        let found = tokio::select! {
            found = timeout_at(deadline, self.run()) => found,
            () = left(client, said) => return Err(Refusal::ClientLeft),
            () = door.draining() => return Err(Refusal::Draining),
        };
        found.unwrap_or_else(|_| {
            let tried = Some(std::mem::take(&mut self.why)).filter(|why| !why.is_empty());
            let why = tried.unwrap_or_else(|| self.routes.borrow().why_nowhere(door.port));
            Err(Refusal::WaitedTooLong { after: door.limits.max_wait, why })
        })
    }

    async fn run(&mut self) -> Result<Server, Refusal> {
        let mut pause = PAUSE_MIN;
        loop {
            let routes = Arc::clone(&self.routes.borrow_and_update());
            let mut changes = self.routes.clone();
            let tried = self.targets(&routes);
            tokio::select! {
                biased;
                tried = self.try_all(&routes) => match tried {
                    Ok(server) => return Ok(server),
                    Err(Failure::Again(why)) => self.why = why,
                    Err(Failure::Never(refusal)) => return Err(refusal),
                },
                () = self.elsewhere(tried) => {
                    self.first = false;
                    continue;
                }
            }
            self.first = false;
            self.stay()?;
            tokio::select! {
                () = sleep(pause) => pause = PAUSE_MAX.min(pause * 2),
                Ok(()) = changes.changed() => pause = PAUSE_MIN,
            }
        }
    }

    /// Returns when there are other targets than those that are being tried. Whatever else changes breaks off no
    /// login that is under way.
    async fn elsewhere(&self, tried: &[Target]) {
        let mut changes = self.routes.clone();
        // The keeper ends only with the server of this session.
        while changes.changed().await.is_ok() {
            if self.targets(&changes.borrow_and_update()) != tried {
                return;
            }
        }
        std::future::pending().await
    }

    fn targets<'r>(&self, routes: &'r Routes) -> &'r [Target] {
        match self.caller.early && self.door.port == Port::Write {
            true => routes.targets_of_early(),
            false => routes.targets(self.door.port, self.caller.hopped),
        }
    }

    /// Tries each target once; says why none took the session.
    async fn try_all(&self, routes: &Routes) -> Result<Server, Failure> {
        let mut why = None;
        for target in self.targets(routes) {
            let early = self.caller.early && routes.write.as_ref() != Ok(target);
            match self.try_one(target, early).await {
                Err(Failure::Again(because)) => {
                    why = Some(format!("the database in `{}`: {because}", target.region));
                }
                done => return done,
            }
        }
        Err(Failure::Again(why.unwrap_or_else(|| routes.why_nowhere(self.door.port))))
    }

    async fn try_one(&self, target: &Target, early: bool) -> Result<Server, Failure> {
        let again = |why: &dyn ToString| Failure::Again(why.to_string());
        self.begins(target.epoch).map_err(|why| again(&why))?;
        let packet = self.caller.packet(self.door.port, target);
        if let Some(journey) = self.journey {
            let (upstream, key) = journey.enter(target, self.first, packet).await?;
            let turns = Turns::new(Arc::clone(&self.door.gate), target.epoch, false);
            return Ok(Server { upstream, turns: Some(turns), key });
        }
        let upstream = reach(target, &packet, ANSWER_MAX).await.map_err(|e| again(&e))?;
        // The login is under way from now on, unless a hold has begun: the server has heard nothing but
        // the startup packet.
        let turns = (self.door.port == Port::Write).then(|| {
            let gate = Arc::clone(&self.door.gate);
            if early {
                return Turns::early(gate, target.epoch);
            }
            let mut turns = Turns::new(gate, target.epoch, self.caller.hopped);
            turns.begin();
            turns
        });
        self.begins(target.epoch).map_err(|why| again(&why))?;
        Ok(Server { upstream, turns, key: None })
    }

    /// A hold lets no session of its epoch begin, wherever it comes from.
    fn begins(&self, epoch: Epoch) -> Result<(), String> {
        let held = self.door.port == Port::Write && self.door.gate.hold().holds(epoch);
        if held { Err(self.door.gate.hold().reason()) } else { Ok(()) }
    }

    /// Takes a place in the room, once. A session that another gateway sent does not wait here, its
    /// own gateway knows sooner where else to go; unless that sent it early. Such a one leaves when the move is
    /// called off; and as anybody may say that it comes early, it needs a place like others (its gateway asks
    /// again in the ordinary way when it finds none).
    fn stay(&mut self) -> Result<(), Refusal> {
        if self.caller.hopped && !self.caller.early {
            return Err(Refusal::NotHere { why: self.why.clone() });
        }
        if self.place.is_none() && self.journey.is_none() {
            let bytes = self.caller.startup.size() + EARLY_MAX;
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            let entered = self.door.room.enter(bytes, &self.why, &self.door.meter);
            self.place = Some(entered.map_err(|full| self.no_place(full))?);
        }
        Ok(())
    }

    fn no_place(&self, full: Full) -> Refusal {
        let why = self.why.clone();
        match self.caller.early {
            true => Refusal::NotHere { why: format!("{why}, and {full}") },
            false => Refusal::RoomFull { full, why },
        }
    }
}

/// Returns when the client is gone. Keeps what it says meanwhile.
async fn left(client: &mut Client, said: &mut BytesMut) {
    while said.len() < EARLY_MAX {
        match client.read_buf(said).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    std::future::pending().await
}
