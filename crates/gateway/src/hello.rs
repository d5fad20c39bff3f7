//! The beginning of a connection: encryption requests, then the first packet that means something.
//!
//! Exactly the bytes of one packet are read at a time, so that nothing which was sent in the clear
//! before TLS began can be taken for something said under TLS.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::protocol::startup::{CancelKey, Opening, OpeningError, Startup, bytes_after_length};
use crate::protocol::{Fault, sqlstate};
use crate::stream::Client;

/// How long a client may take from connecting to its startup packet, TLS included.
pub(crate) const HELLO_MAX: Duration = Duration::from_secs(10);
/// The first byte of a TLS record with a handshake: TLS without asking first (PostgreSQL 17).
const TLS_HANDSHAKE: u8 = 0x16;

/// What a client came for.
pub(crate) enum Greeting {
    Session(Startup),
    Cancel(CancelKey),
}

/// Why there is no greeting.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelloError {
    /// It left, or the network did.
    #[error("the connection ended before a startup packet: {0}")]
    Io(#[from] std::io::Error),
    /// It sent something else.
    #[error(transparent)]
    Opening(#[from] OpeningError),
}

/// Reads what the client wants; answers its questions about encryption on the way. The stream comes
/// back also with an error, so that the client can be told.
pub(crate) async fn hear(
    tcp: TcpStream,
    tls: Option<&TlsAcceptor>,
) -> (Option<Client>, Result<Greeting, HelloError>) {
    let mut client = match (tls, first_byte(&tcp).await) {
        (Some(acceptor), Ok(TLS_HANDSHAKE)) => match encrypt(Client::plain(tcp), acceptor).await {
            Ok(client) => client,
            Err(error) => return (None, Err(error.into())),
        },
        (_, Ok(_)) => Client::plain(tcp),
        (_, Err(error)) => return (None, Err(error.into())),
    };
    let (mut gss_asked, mut tls_asked) = (false, client.is_tls());
    loop {
        match read_opening(&mut client).await {
            Ok(Opening::Session(startup)) => return (Some(client), Ok(Greeting::Session(startup))),
            Ok(Opening::Cancel(key)) => return (Some(client), Ok(Greeting::Cancel(key))),
            Ok(Opening::Tls) if !tls_asked => {
                tls_asked = true;
                client = match answer_tls(client, tls).await {
                    Ok(client) => client,
                    Err(error) => return (None, Err(error.into())),
                };
            }
            Ok(Opening::Gss) if !gss_asked => {
                gss_asked = true;
                if let Err(error) = client.write_all(b"N").await {
                    return (None, Err(error.into()));
                }
            }
            // The same question twice: PostgreSQL takes it for a version as well.
            Ok(Opening::Tls | Opening::Gss) => {
                return (Some(client), Err(OpeningError::Version { major: 1234, minor: 5679 }.into()));
            }
            Err(error) => return (Some(client), Err(error)),
        }
    }
}

async fn first_byte(tcp: &TcpStream) -> std::io::Result<u8> {
    let mut byte = [0];
    match tcp.peek(&mut byte).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(u8::from_be_bytes(byte)),
    }
}

async fn read_opening(client: &mut Client) -> Result<Opening, HelloError> {
    let mut word = [0; 4];
    client.read_exact(&mut word).await?;
    let mut rest = vec![0; bytes_after_length(word)?];
    client.read_exact(&mut rest).await?;
    Ok(Opening::parse(&rest)?)
}

async fn answer_tls(mut client: Client, tls: Option<&TlsAcceptor>) -> std::io::Result<Client> {
    let Some(acceptor) = tls else {
        client.write_all(b"N").await?;
        return Ok(client);
    };
    client.write_all(b"S").await?;
    encrypt(client, acceptor).await
}

async fn encrypt(client: Client, acceptor: &TlsAcceptor) -> std::io::Result<Client> {
    match client {
        Client::Plain(guarded) => Ok(Client::Tls(Box::new(acceptor.accept(guarded).await?))),
        Client::Tls(_) => Ok(client),
    }
}

impl HelloError {
    /// What to tell the client; nothing if it is gone.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Io(_) => None,
            Self::Opening(error) => {
                let hint = "This is the port of a PostgreSQL gateway.";
                Some(Fault::fatal(error.sqlstate(), error.to_string(), hint))
            }
        }
    }
}

/// What a client hears that wants the replication protocol.
pub(crate) fn no_replication() -> Fault {
    Fault::fatal(
        sqlstate::FEATURE_NOT_SUPPORTED,
        "the gateway carries no replication connections",
        "Connect to the PostgreSQL server itself, or leave out the `replication` parameter.",
    )
}
