//! UDP forwards: one far socket for each client, so that answers find their way back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Forward, Origin, World};
use crate::error::LabError;

/// Datagrams under way at once in one forward; further ones are lost.
const IN_FLIGHT_MAX: usize = 4096;
/// Clients at once; the table is emptied of idle ones first.
const CLIENTS_MAX: usize = 4096;
/// After this long without an answer a client's far socket is closed.
const IDLE: Duration = Duration::from_secs(3);
/// The largest datagram: more than any DNS message over UDP.
const DATAGRAM_MAX: usize = 8 << 10;

/// Binds the near socket.
pub(super) fn bind(address: SocketAddr) -> Result<UdpSocket, LabError> {
    let bound = std::net::UdpSocket::bind(address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    });
    bound.map_err(|source| LabError::Socket { doing: "bind (UDP)", address, source })
}

/// Forwards until it is dropped.
pub(super) async fn serve(world: Arc<World>, forward: Forward, near: UdpSocket) {
    let Origin::Place(from) = forward.origin else { return };
    let near = Arc::new(near);
    let room = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok((bytes, client)) = near.recv_from(&mut buffer).await else { continue };
        clients.retain(|_, far| Arc::strong_count(far) > 1);
        let Some(far) = far_socket(&world, forward, from, client, &mut clients).await else { continue };
        if far.1 {
            let way = (forward.to, from);
            tasks.spawn(answers(Arc::clone(&world), way, Arc::clone(&near), Arc::clone(&far.0), client));
        }
        let Some(at) = world.links.get((from, forward.to)).and_then(|link| link.datagram(bytes)) else {
            continue;
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let data = buffer.get(..bytes).unwrap_or_default().to_vec();
        tasks.spawn(async move {
            let _permit = permit;
            sleep_until(at).await;
            let _ = far.0.send(&data).await;
        });
    }
}

/// The far socket of that client, and whether it is new.
async fn far_socket(
    world: &World,
    forward: Forward,
    from: usize,
    client: SocketAddr,
    clients: &mut HashMap<SocketAddr, Arc<UdpSocket>>,
) -> Option<(Arc<UdpSocket>, bool)> {
    if let Some(far) = clients.get(&client) {
        return Some((Arc::clone(far), false));
    }
    if clients.len() >= CLIENTS_MAX {
        return None;
    }
    let socket = UdpSocket::bind(SocketAddr::new(world.places.get(from)?.client, 0)).await.ok()?;
    socket.connect(forward.target).await.ok()?;
    let far = Arc::new(socket);
    clients.insert(client, Arc::clone(&far));
    Some((far, true))
}

/// Brings answers home until none has come for [`IDLE`].
async fn answers(
    world: Arc<World>,
    way: (usize, usize),
    near: Arc<UdpSocket>,
    far: Arc<UdpSocket>,
    client: SocketAddr,
) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut idle_from = Instant::now();
    while let Some(left) = IDLE.checked_sub(idle_from.elapsed()) {
        // An error is `connection refused`: nobody listens there now; a lost datagram like any other.
        let Ok(Ok(bytes)) = timeout(left, far.recv(&mut buffer)).await else { continue };
        idle_from = Instant::now();
        let Some(at) = world.links.get(way).and_then(|link| link.datagram(bytes)) else { continue };
        let (near, data) = (Arc::clone(&near), buffer.get(..bytes).unwrap_or_default().to_vec());
        tokio::spawn(async move {
            sleep_until(at).await;
            let _ = near.send_to(&data, client).await;
        });
    }
}
