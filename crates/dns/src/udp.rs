//! Queries over UDP: read one, answer it, and again while there are more.

use std::sync::Arc;

use meridian_telemetry::events::{DnsAnswered, DnsMeter, Transport};
use meridian_telemetry::{Metrics, clock};
use tokio::net::UdpSocket;
use tokio::sync::watch;

use crate::respond::{PAYLOAD, respond};
use crate::zones::Zones;

/// Answers until told to stop.
pub(crate) async fn answer(
    socket: UdpSocket,
    mut zones: watch::Receiver<Arc<Zones>>,
    metrics: Metrics,
    mut shutdown: watch::Receiver<bool>,
) {
    let current = zones.borrow_and_update().clone();
    let worker = &mut Worker { current, zones, meter: metrics.dns_meter() };
    let mut packet = [0; PACKET_MAX];
    let mut out = Vec::with_capacity(usize::from(PAYLOAD));
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            ready = socket.readable() => if let Err(error) = ready {
                tracing::error!(%error, "the DNS socket cannot be read any more");
                return;
            },
        }
        worker.refresh();
        for _ in 0..BATCH {
            if !worker.answer_one(&socket, &mut packet, &mut out) {
                break;
            }
        }
    }
}

struct Worker {
    current: Arc<Zones>,
    zones: watch::Receiver<Arc<Zones>>,
    meter: DnsMeter,
}

impl Worker {
    fn refresh(&mut self) {
        if self.zones.has_changed().unwrap_or(false) {
            self.current = self.zones.borrow_and_update().clone();
        }
    }

    /// Says whether there may be another packet.
    fn answer_one(&self, socket: &UdpSocket, packet: &mut [u8], out: &mut Vec<u8>) -> bool {
        let (length, from) = match socket.try_recv_from(packet) {
            Ok(received) => received,
            // Errors of earlier answers (nobody listens there) are reported here too: go on.
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        };
        let began = clock::now();
        let query = packet.get(..length).unwrap_or_default();
        let code = respond(&self.current, query, from.ip(), Transport::Udp, out);
        if !out.is_empty() {
            // A full send buffer loses the answer, as the network may: the client asks again.
            let _ = socket.try_send_to(out, from);
        }
        let took = clock::now().since(began);
        DnsAnswered { transport: Transport::Udp, code, took }.emit(&self.meter);
        true
    }
}

/// Queries are small; what is longer is cut off and then malformed.
const PACKET_MAX: usize = 4_096;
/// Packets in a row before others on this thread get their turn.
const BATCH: usize = 64;
