//! The life of one PostgreSQL session, as a list of steps.
//!
//! A client is heard, admitted, led to a server, and from then on every byte passes as it came, both
//! ways, until one of the two ends it, or the gateway must: the writer is fenced or has moved, the
//! replica may not serve any more, or this node stops. The gateway never answers for a server:
//! authentication (SCRAM included) is between client and server. With TLS at the gateway SCRAM works
//! without channel binding (`SCRAM-SHA-256`), for the server sees a plain connection and offers no
//! `-PLUS`; a client that *requires* channel binding cannot connect through a gateway.

use std::sync::Arc;
use std::time::Duration;

use meridian_telemetry::events::{GatewaySessionClosed, GatewaySessionOpened, GatewaySessionRefused};
use meridian_telemetry::spans;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;
use tracing::Instrument;

use crate::door::{Door, Phase};
use crate::end::{End, Refusal};
use crate::hello::{self, Greeting, HELLO_MAX};
use crate::protocol::{CancelKey, Fault, Startup};
use crate::relay::Relay;
use crate::route::{Port, Target};
use crate::seek::{Found, seek};
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
        Ok(found) => {
            let span = spans::gateway_session(&door.group, door.port);
            converse(&door, &mut client, found).instrument(span).await
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
) -> Result<Found, Refusal> {
    if startup.wants_replication() {
        return Err(Refusal::Replication);
    }
    *seat = Arc::clone(&door.seats).try_acquire_owned().ok();
    if seat.is_none() {
        return Err(Refusal::TooManySessions(door.limits.max_sessions));
    }
    seek(door, client, startup).await
}

fn refuse(door: &Door, refusal: &Refusal) -> Option<Fault> {
    let fault = refusal.fault(&door.group);
    let sqlstate = fault.as_ref().map_or("", |f| f.sqlstate);
    GatewaySessionRefused { reason: refusal.word(), sqlstate }.emit(&door.meter, &door.metrics);
    fault
}

/// Step 3: pass everything on, until the end. Says what the client should hear then.
async fn converse(door: &Door, client: &mut Client, found: Found) -> Option<Fault> {
    let target = found.server.target.clone();
    GatewaySessionOpened { backend: &target.region, waited: found.waited }.emit(&door.meter, &door.metrics);
    client.guard(guard(door, &target));
    let (end, may_speak) = match Relay::new(door, client, found.server, found.said) {
        Ok(mut relay) => {
            let end = attend(door, &mut relay, &target).await;
            (end, relay.may_speak())
        }
        Err(error) => (End::Nonsense(error), true),
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

/// Lets the relay run while the routes and the phase allow it.
async fn attend(door: &Door, relay: &mut Relay<'_>, target: &Target) -> End {
    let (mut routes, mut phase) = (door.routes.clone(), door.phase.clone());
    loop {
        if let Some(why) = routes.borrow_and_update().unseats(door.port, target) {
            return if target.local { End::Fenced(why) } else { End::Unseated(why) };
        }
        match *phase.borrow_and_update() {
            Phase::Serving => {}
            Phase::Draining => relay.end_when_idle(),
            Phase::Ending => return End::Draining,
        }
        tokio::select! {
            biased;
            Ok(()) = routes.changed() => {}
            ended = ended_or_changed(&mut phase) => if ended { return End::Draining },
            end = relay.run() => return end,
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
