//! From a startup packet to a server that has answered it: tries the targets of the moment, and waits
//! in the room for better ones.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::door::Door;
use crate::end::Refusal;
use crate::protocol::Startup;
use crate::route::{HOP, Port, Routes, Target};
use crate::stream::Client;
use crate::upstream::{Upstream, reach};
use crate::waiting::Place;

/// The pause after the first failed try; doubles up to [`PAUSE_MAX`]. New routes end a pause at once.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// What a client may send before it was answered. None does; more stays in the kernel.
const EARLY_MAX: usize = 4_096;

/// A server, and what happened until it was found.
pub(crate) struct Found {
    pub(crate) server: Upstream,
    /// How long the session waited; none: it did not.
    pub(crate) waited: Option<Duration>,
    /// What the client has said since its startup packet.
    pub(crate) said: BytesMut,
}

/// Finds a server for a session that opened with `startup`.
pub(crate) async fn seek(door: &Door, client: &mut Client, startup: Startup) -> Result<Found, Refusal> {
    let mut said = BytesMut::new();
    let mut search = Search::new(door, startup);
    let deadline = Instant::now() + door.limits.max_wait;
    let found = tokio::select! {
        found = timeout_at(deadline, search.run()) => found,
        () = left(client, &mut said) => return Err(Refusal::ClientLeft),
        () = door.draining() => return Err(Refusal::Draining),
    };
    match found {
        Ok(Ok(server)) => {
            let waited = search.place.take().map(|p| meridian_telemetry::clock::now().since(p.since()));
            Ok(Found { server, waited, said })
        }
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(Refusal::WaitedTooLong { after: door.limits.max_wait, why: search.why }),
    }
}

struct Search<'a> {
    door: &'a Door,
    routes: watch::Receiver<Arc<Routes>>,
    startup: Startup,
    /// Another gateway sent this session.
    hopped: bool,
    place: Option<Place>,
    /// Why there is no server so far.
    why: String,
}

impl<'a> Search<'a> {
    fn new(door: &'a Door, startup: Startup) -> Self {
        let hopped = startup.parameter(HOP).is_some();
        let startup = startup.without(HOP);
        Self { door, routes: door.routes.clone(), startup, hopped, place: None, why: String::new() }
    }

    async fn run(&mut self) -> Result<Upstream, Refusal> {
        let mut pause = PAUSE_MIN;
        loop {
            let routes = Arc::clone(&self.routes.borrow_and_update());
            let mut changes = self.routes.clone();
            tokio::select! {
                biased;
                tried = self.try_all(&routes) => match tried {
                    Ok(server) => return Ok(server),
                    Err(why) => self.why = why,
                },
                // The keeper ends only with the server of this session.
                Ok(()) = changes.changed() => continue,
            }
            self.stay()?;
            tokio::select! {
                () = sleep(pause) => pause = PAUSE_MAX.min(pause * 2),
                Ok(()) = changes.changed() => pause = PAUSE_MIN,
            }
        }
    }

    /// Tries each target once; says why none took the session.
    async fn try_all(&self, routes: &Routes) -> Result<Upstream, String> {
        let mut why = None;
        for target in routes.targets(self.door.port, self.hopped) {
            match reach(target, &self.packet(target)).await {
                Ok(server) => return Ok(server),
                Err(error) => why = Some(format!("the database in `{}`: {error}", target.region)),
            }
        }
        Err(why.unwrap_or_else(|| routes.why_nowhere(self.door.port)))
    }

    /// The startup packet as that target gets it.
    fn packet(&self, target: &Target) -> Vec<u8> {
        let startup = self.startup.clone();
        let startup = match self.door.port {
            Port::Read => startup.with("default_transaction_read_only", "on"),
            Port::Write if target.hop => startup.with(HOP, "1"),
            Port::Write => startup,
        };
        startup.packet()
    }

    /// Takes a place in the room, once. A session that another gateway sent does not wait here: its
    /// own gateway knows sooner where else to go.
    fn stay(&mut self) -> Result<(), Refusal> {
        if self.hopped {
            return Err(Refusal::NotHere { why: self.why.clone() });
        }
        if self.place.is_none() {
            let bytes = self.startup.size() + EARLY_MAX;
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            let entered = self.door.room.enter(bytes, &self.why, &self.door.meter);
            self.place = Some(entered.map_err(|full| Refusal::RoomFull { full, why: self.why.clone() })?);
        }
        Ok(())
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
