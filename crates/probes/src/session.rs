//! The gateway's greeting: the first exchange of every PostgreSQL session, without a session.
//!
//! A client that wants TLS sends `SSLRequest` and is answered by one byte, `S` or `N`. That needs no
//! user and no writer, yet proves that the gateway's program takes sessions.

use std::net::SocketAddr;

use meridian_telemetry::clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::probe::Outcome;

/// A gateway at an address.
pub(crate) struct Greeting {
    address: SocketAddr,
}

impl Greeting {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Each time by a new connection: the greeting is for those only.
    pub(crate) async fn ask(&mut self) -> Outcome {
        let failed = |e: std::io::Error| format!("{}: {e}", self.address);
        let mut stream = TcpStream::connect(self.address).await.map_err(failed)?;
        let began = clock::now();
        stream.write_all(&SSL_REQUEST).await.map_err(failed)?;
        match stream.read_u8().await.map_err(failed)? {
            b'S' | b'N' => Ok(clock::now().since(began)),
            b'E' => Err("it refused the session".to_owned()),
            other => Err(format!("it is no PostgreSQL: it answered byte {other:#04x}")),
        }
    }
}

/// Length 8 and the code 80877103 (PostgreSQL protocol, "SSLRequest").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F];
