//! Servers that answer well, badly or never, as the test says at any time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Between half of the probes' deadline and the whole of it.
const DISTANCE: std::time::Duration = std::time::Duration::from_millis(140);

/// How a fake behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    Badly,
    /// It accepts and then says nothing, like a frozen program.
    Silent,
    /// It closes each connection after one answer.
    Curt,
    /// It is so far away that two answers take longer than a probe may, and one does not.
    Far,
}

#[derive(Clone, Copy)]
enum Speech {
    Http,
    Gateway,
    Postgres,
}

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) mood: watch::Sender<Mood>,
    connections: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(crate) async fn http() -> Self {
        Self::start(Speech::Http).await
    }

    pub(crate) async fn gateway() -> Self {
        Self::start(Speech::Gateway).await
    }

    pub(crate) async fn postgres() -> Self {
        Self::start(Speech::Postgres).await
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::SeqCst)
    }

    async fn start(speech: Speech) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mood, watched) = watch::channel(Mood::Well);
        let connections = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, speech, watched.clone()));
            }
        });
        Self { address, mood, connections, task }
    }
}

async fn serve(mut stream: TcpStream, speech: Speech, mood: watch::Receiver<Mood>) -> Option<()> {
    let mut first = true;
    loop {
        let asked = match speech {
            Speech::Http => until_blank_line(&mut stream).await?,
            Speech::Postgres if !first => message(&mut stream, true).await?,
            Speech::Gateway | Speech::Postgres => message(&mut stream, false).await?,
        };
        let now = *mood.borrow();
        if now == Mood::Silent {
            std::future::pending::<()>().await;
        }
        if now == Mood::Far {
            tokio::time::sleep(DISTANCE).await;
        }
        stream.write_all(&answer(speech, now, first, &asked)).await.ok()?;
        first = false;
        if now == Mood::Curt {
            return None;
        }
    }
}

fn answer(speech: Speech, mood: Mood, first: bool, asked: &[u8]) -> Vec<u8> {
    let well = mood != Mood::Badly;
    match speech {
        Speech::Http if !asked.starts_with(b"GET ") => {
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec()
        }
        Speech::Http if well => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(),
        Speech::Http => b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec(),
        Speech::Gateway => {
            if well {
                b"N".to_vec()
            } else {
                b"E".to_vec()
            }
        }
        Speech::Postgres if !well => starting_up(),
        Speech::Postgres if first => b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I".to_vec(),
        Speech::Postgres => b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I".to_vec(),
    }
}

/// What a server says that is not ready.
fn starting_up() -> Vec<u8> {
    let fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is not yet accepting connections\0\0";
    let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
    [b"E".as_slice(), &length, fields].concat()
}

async fn until_blank_line(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    while !all.ends_with(b"\r\n\r\n") {
        all.push(stream.read_u8().await.ok()?);
    }
    Some(all)
}

async fn message(stream: &mut TcpStream, typed: bool) -> Option<Vec<u8>> {
    if typed {
        stream.read_u8().await.ok()?;
    }
    let length = stream.read_u32().await.ok()?.checked_sub(4)?;
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await.ok()?;
    Some(body)
}
