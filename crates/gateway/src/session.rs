//! The life of one PostgreSQL session, as a list of steps.
//!
//! A client is heard, admitted, led to a server, and from then on every byte passes as it came, both
//! ways, until one of the two ends it, or the gateway must: the writer is fenced or has moved, the
//! replica may not serve any more, or this node stops. When the writer moves, a session that has nothing
//! under way goes on at the new one (`moving.rs`). The gateway never answers for a server:
//! authentication (SCRAM included) is between client and server, and only when a session moves the gateway
//! logs in itself. With TLS at the gateway SCRAM works
//! without channel binding (`SCRAM-SHA-256`), for the server sees a plain connection and offers no
//! `-PLUS`; a client that *requires* channel binding cannot connect through a gateway.

use std::sync::Arc;
use std::time::Duration;

use meridian_telemetry::events::{
    GatewaySessionClosed, GatewaySessionOpened, GatewaySessionRefused, GatewaySessionUnmovable,
};
use meridian_telemetry::spans;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;
use tracing::Instrument;

use crate::door::{Door, Phase};
use crate::end::{End, Refusal};
use crate::hello::{self, Greeting, HELLO_MAX};
use crate::hold::Turns;
use crate::moving::{Leave, Mover};
use crate::protocol::{CancelKey, Fault, Startup, Tracker};
use crate::relay::{Baggage, Event, Relay};
use crate::route::{Port, Stance, Target};
use crate::seek::{Caller, Found, seek};
use crate::stream::{Client, Guard};

/// How long a client may take to read the message that ends its session.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Carries one connection from its first byte to its last. Until the end it has one of the places that
/// bound all connections: on the porch, then a seat, or among the farewells.
pub(crate) async fn run(door: Arc<Door>, tcp: TcpStream, porch: OwnedSemaphorePermit) {
    let Some((mut client, greeting)) = hear(&door, tcp).await else { return };
    drop(porch);
    let startup = match greeting {
        Greeting::Cancel(key) => return cancel(&door, &key).await,
        Greeting::Session(startup) => startup,
    };
    let mut seat = None;
    let fault = match begin(&door, &mut client, startup, &mut seat).await {
        Err(refusal) => refuse(&door, &refusal),
        Ok((caller, found)) => {
            let span = spans::gateway_session(&door.group, door.port);
            converse(&door, &mut client, caller, found).instrument(span).await
        }
    };
    let Some(fault) = fault else { return };
    if seat.is_some() {
        return farewell(client, &fault).await;
    }
    // Who comes beyond the limit is closed at once, without a word.
    if let Ok(_place) = door.farewells.try_acquire() {
        farewell(client, &fault).await;
    }
}

/// Step 1: what does the client want?
async fn hear(door: &Door, tcp: TcpStream) -> Option<(Client, Greeting)> {
    let heard = timeout(HELLO_MAX, hello::hear(tcp, door.tls.as_ref())).await;
    match heard.ok()? {
        (Some(client), Ok(greeting)) => Some((client, greeting)),
        (Some(client), Err(error)) => {
            if let Some(fault) = error.fault() {
                GatewaySessionRefused { reason: "protocol", sqlstate: fault.sqlstate }
                    .emit(&door.meter, &door.metrics);
                farewell(client, &fault).await;
            }
            None
        }
        (None, _) => None,
    }
}

/// Step 2, for a cancel request: pass it on. Nothing is answered, that is the protocol.
async fn cancel(door: &Door, key: &CancelKey) {
    match door.cancels.pass_on(key).await {
        Ok(true) => {}
        Ok(false) => {
            tracing::debug!(target: "meridian::gateway", "cancel request for a session that is not here")
        }
        Err(error) => {
            tracing::debug!(target: "meridian::gateway", %error, "cancel request could not be passed on")
        }
    }
}

/// Step 2, for a session: is there a seat, and is there a server?
async fn begin(
    door: &Door,
    client: &mut Client,
    startup: Startup,
    seat: &mut Option<OwnedSemaphorePermit>,
) -> Result<(Caller, Found), Refusal> {
    if startup.wants_replication() {
        return Err(Refusal::Replication);
    }
    *seat = Arc::clone(&door.seats).try_acquire_owned().ok();
    if seat.is_none() {
        return Err(Refusal::TooManySessions(door.limits.max_sessions));
    }
    let caller = Caller::new(startup);
    let found = seek(door, client, &caller).await?;
    Ok((caller, found))
}

fn refuse(door: &Door, refusal: &Refusal) -> Option<Fault> {
    let fault = refusal.fault(&door.group);
    let sqlstate = fault.as_ref().map_or("", |f| f.sqlstate);
    GatewaySessionRefused { reason: refusal.word(), sqlstate }.emit(&door.meter, &door.metrics);
    fault
}

/// Step 3: pass everything on, until the end; at one server after the other. Says what the client should
/// hear then.
async fn converse(door: &Arc<Door>, client: &mut Client, caller: Caller, found: Found) -> Option<Fault> {
    let Found { mut server, waited, said } = found;
    let backend = &server.upstream.target.region;
    GatewaySessionOpened { backend, waited }.emit(&door.meter, &door.metrics);
    let mut mover = Mover::of(door, caller);
    let tracker = mover.is_some().then(Box::<Tracker>::default);
    let mut baggage = Baggage { said, tracker, ..Baggage::default() };
    let (end, may_speak) = loop {
        let early = server.turns.as_ref().is_some_and(Turns::is_early);
        client.guard(guard(door, &server.upstream.target).filter(|_| !early));
        let mut relay = match Relay::new(door, client, server, baggage) {
            Ok(relay) => relay,
            Err(error) => break (End::Nonsense(error), true),
        };
        let leave = match attend(door, &mut relay, mover.as_mut()).await {
            Parting::Leaves(leave) => leave,
            Parting::Ends(end) => break (end, relay.may_speak()),
        };
        baggage = relay.leave();
        let Some(mover) = &mut mover else { break (End::Unseated(leave.why), true) };
        match mover.move_on(door, client, &mut baggage, leave).await {
            Ok(next) => server = next,
            Err(end) => break (end, true),
        }
    };
    GatewaySessionClosed { reason: end.word() }.emit(&door.meter, &door.metrics);
    end.fault(&door.group).filter(|_| may_speak)
}

/// Only the local database stands behind the fence of this gateway; another region's has its own.
fn guard(door: &Door, target: &Target) -> Option<Guard> {
    let gate = Arc::clone(&door.gate);
    match door.port {
        _ if !target.local => None,
        Port::Write => Some(Guard::of_writer(gate)),
        Port::Read => Some(Guard::of_reader(gate, door.routes.clone())),
    }
}

/// How a session and a server part.
enum Parting {
    /// The session is over.
    Ends(End),
    /// It goes on elsewhere.
    Leaves(Leave),
}

/// Lets the relay run while the routes, the phase and the orders allow it.
async fn attend(door: &Arc<Door>, relay: &mut Relay<'_>, mut mover: Option<&mut Mover>) -> Parting {
    let (mut routes, mut phase) = (door.routes.clone(), door.phase.clone());
    let mut cuts = routes.borrow().orders.cuts;
    loop {
        let now = Arc::clone(&routes.borrow_and_update());
        let early = relay.is_early();
        let stance = match early {
            true => now.stance_of_early(relay.target()),
            false => now.stance(door.port, relay.target()),
        };
        match stance {
            Stance::Stays(epoch) => {
                if early {
                    relay.let_in(guard(door, relay.target()));
                }
                relay.raise(epoch);
            }
            Stance::Waits => {}
            Stance::Leaves(why) => return part(door, relay, why),
        }
        if let Some(mover) = &mut mover {
            mover.follow(door, now.next.as_ref(), relay.tracker());
        }
        if std::mem::replace(&mut cuts, now.orders.cuts) < now.orders.cuts && relay.is_busy() {
            return Parting::Ends(End::Cut);
        }
        match *phase.borrow_and_update() {
            Phase::Serving => {}
            Phase::Draining => relay.end_when_idle(),
            Phase::Ending => return Parting::Ends(End::Draining),
        }
        let event = tokio::select! {
            biased;
            Ok(()) = routes.changed() => continue,
            ended = ended_or_changed(&mut phase) => match ended {
                true => return Parting::Ends(End::Draining),
                false => continue,
            },
            event = relay.run() => event,
        };
        return match event {
            Event::Ends(end) => Parting::Ends(end),
            Event::Lost(words) => {
                let why = format!("its server in `{}` is gone", relay.target().region);
                Parting::Leaves(Leave { why, from: relay.target().clone(), lost: Some(words) })
            }
        };
    }
}

/// The session cannot stay at its server.
fn part(door: &Door, relay: &Relay<'_>, why: String) -> Parting {
    let from = relay.target().clone();
    match relay.hindrance() {
        None => Parting::Leaves(Leave { why, from, lost: None }),
        Some(reason) => {
            if door.port == Port::Write && !relay.is_second_hand() {
                GatewaySessionUnmovable { reason }.emit(&door.meter, &door.metrics);
            }
            Parting::Ends(if from.local { End::Fenced(why) } else { End::Unseated(why) })
        }
    }
}

/// True when there is nobody left who could change it.
async fn ended_or_changed(phase: &mut watch::Receiver<Phase>) -> bool {
    phase.changed().await.is_err()
}

/// The last step, when the gateway has something to say: says it, and waits until the client has had
/// the chance to read it. (Closing at once with something unread would reset the connection and could
/// take the message away again.)
async fn farewell(mut client: Client, fault: &Fault) {
    let told = async {
        client.guard(None);
        client.write_all(&fault.encode()).await?;
        client.shutdown().await?;
        let mut scrap = [0; 512];
        while client.read(&mut scrap).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Whether the client heard it changes nothing any more.
    let _ = timeout(FAREWELL_MAX, told).await;
}
