//! TCP forwards: a listener that mirrors its target, and the life of one connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::link::Link;
use super::listening::Listening;
use super::pump::{End, Line, queue};
use super::{Forward, Origin, World};

/// Connections that one forward carries at once; further ones are reset.
const CONNECTIONS_MAX: usize = 4096;
/// The kernel's queue of connections not yet accepted.
const BACKLOG: i32 = 1024;
/// After a failed accept or listen (no descriptors left, for one).
const PAUSE: Duration = Duration::from_millis(100);

/// A socket bound to `address`, not listening yet.
pub(super) fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Forwards until it is dropped. Listens while the target does, and while the line is cut: a SYN into a
/// dead line is lost, one toward a living machine without that program is refused.
pub(super) async fn serve(world: Arc<World>, forward: Forward, mut listening: Listening) {
    let mut connections = JoinSet::new();
    loop {
        until_wanted(&world, forward, &mut listening).await;
        match listen(forward.listen) {
            Ok(listener) => {
                let listener = Arc::new(listener);
                accept_while_wanted(&world, forward, &listener, &mut listening, &mut connections).await;
            }
            Err(error) => {
                tracing::warn!(address = %forward.listen, %error, "the WAN cannot listen");
                sleep(PAUSE).await;
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bind(address)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn wanted(world: &World, forward: Forward, listening: &Listening) -> bool {
    listening.borrow().contains(&forward.target)
        || world.registry.unreachable(forward.origin, forward.to, &world.links)
}

/// Is each direction cut? Taken before [`wanted`], so that no change is missed after it.
fn cuts(world: &World, forward: Forward) -> (bool, bool) {
    let (there, back) = links(world, forward);
    (there.is_some_and(Link::is_cut), back.is_some_and(Link::is_cut))
}

/// Returns when something that [`wanted`] depends on is not as it was.
async fn changed(world: &World, forward: Forward, listening: &mut Listening, was: (bool, bool)) {
    let (Some(there), Some(back)) = links(world, forward) else { return std::future::pending().await };
    tokio::select! {
        _ = listening.changed() => {}
        () = there.cut_is_not(was.0) => {}
        () = back.cut_is_not(was.1) => {}
    }
}

/// The links to watch; of an unknown origin the target's own, which changes when it is set apart.
fn links(world: &World, forward: Forward) -> (Option<&Link>, Option<&Link>) {
    let from = match forward.origin {
        Origin::Place(from) => from,
        Origin::Owner => forward.to,
    };
    (world.links.get((from, forward.to)), world.links.get((forward.to, from)))
}

async fn until_wanted(world: &World, forward: Forward, listening: &mut Listening) {
    loop {
        let was = cuts(world, forward);
        if wanted(world, forward, listening) {
            return;
        }
        changed(world, forward, listening, was).await;
    }
}

async fn accept_while_wanted(
    world: &Arc<World>,
    forward: Forward,
    listener: &Arc<TcpListener>,
    listening: &mut Listening,
    connections: &mut JoinSet<()>,
) {
    let _registered = world.registry.listener(listener, forward.origin, forward.to, &world.links);
    loop {
        let was = cuts(world, forward);
        if !wanted(world, forward, listening) {
            return;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((near, client)) if connections.len() < CONNECTIONS_MAX => {
                    connections.spawn(connection(Arc::clone(world), forward, near, client));
                }
                Ok((near, _)) => reset(&near),
                Err(error) => {
                    tracing::warn!(address = %forward.listen, %error, "the WAN cannot accept");
                    sleep(PAUSE).await;
                }
            },
            () = changed(world, forward, listening, was) => {}
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection from its accept to its end.
async fn connection(world: Arc<World>, forward: Forward, near: TcpStream, client: SocketAddr) {
    let accepted = Instant::now();
    let from = match forward.origin {
        Origin::Place(place) => Some(place),
        Origin::Owner => world.owners.place_of(client, forward.listen).await,
    };
    let Some(from) = from else {
        tracing::debug!(%client, address = %forward.listen, "a connection of nobody known: reset");
        return reset(&near);
    };
    let near = Arc::new(near);
    if carry(&world, forward, from, &near, accepted).await == End::Reset {
        reset(&near);
    }
}

/// The near handshake took no time, a real one takes a round trip: so the far side is dialled after one and a
/// half (SYN, SYN+ACK, ACK with the first data), which also is when the first bytes arrive.
async fn carry(
    world: &World,
    forward: Forward,
    from: usize,
    near: &Arc<TcpStream>,
    accepted: Instant,
) -> End {
    let to = forward.to;
    let (Some(there), Some(back)) = (world.links.get((from, to)), world.links.get((to, from))) else {
        return End::Reset;
    };
    let _registered = world.registry.stream(near, (from, to), &world.links);
    let _ = near.set_nodelay(true);
    let dial_at = accepted + there.shape().delay * 2 + back.shape().delay;
    let (out, arriving) = queue();
    let (forth, forth_broken) = (Line::new(there, back, dial_at), AtomicBool::new(false));
    let (home, home_broken) = (Line::new(back, there, dial_at), AtomicBool::new(false));
    let rest = async {
        sleep_until(dial_at).await;
        there.open().await;
        back.open().await;
        let Some(far) = dial(world, forward, from).await else {
            sleep(back.shape().delay).await;
            back.open().await;
            return End::Reset;
        };
        let far = Arc::new(far);
        let _registered = world.registry.stream(&far, (to, from), &world.links);
        let (home_out, home_arriving) = queue();
        let writes =
            both(forth.write(arriving, &far, &forth_broken), home.write(home_arriving, near, &home_broken));
        let end = tokio::select! {
            end = writes => end,
            end = never(home.read(&far, &forth_broken, home_out)) => end,
        };
        if end == End::Reset {
            reset(&far);
        }
        end
    };
    tokio::select! {
        end = rest => end,
        end = never(forth.read(near, &home_broken, out)) => end,
    }
}

/// Runs a reader to its end and then says nothing: the writer decides when a connection is over.
async fn never(reader: impl Future<Output = ()>) -> End {
    reader.await;
    std::future::pending().await
}

/// Both directions closed in order, or one of them reset.
async fn both(one: impl Future<Output = End>, other: impl Future<Output = End>) -> End {
    let (mut one, mut other) = (std::pin::pin!(one), std::pin::pin!(other));
    tokio::select! {
        end = &mut one => if end == End::Reset { end } else { other.await },
        end = &mut other => if end == End::Reset { end } else { one.await },
    }
}

async fn dial(world: &World, forward: Forward, from: usize) -> Option<TcpStream> {
    let client = world.places.get(from)?.client;
    let dialled = async {
        let socket = if client.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(client, 0))?;
        socket.connect(forward.target).await
    };
    match dialled.await {
        Ok(far) => {
            let _ = far.set_nodelay(true);
            Some(far)
        }
        Err(error) => {
            tracing::debug!(target = %forward.target, %error, "the far side does not answer: reset");
            None
        }
    }
}

/// Makes the close of `stream` a reset.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
