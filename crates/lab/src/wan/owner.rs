//! Who owns a socket: `/proc/net/tcp` names its inode, `/proc/PID/fd` the process that holds it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// The state column of a listening socket.
const LISTEN: &str = "0A";

/// The processes that connections without an address of their own may belong to: `(place, pid)`.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    processes: Arc<Mutex<Vec<(usize, u32)>>>,
    seen: Arc<tokio::sync::Mutex<Seen>>,
}

/// Whose each connection was when the kernel was last asked: its two ends, seen from the client, and the place.
#[derive(Debug, Default)]
struct Seen {
    asked: Option<Instant>,
    places: HashMap<(SocketAddr, SocketAddr), usize>,
}

impl Owners {
    /// `pid` is the process of `place` from now on.
    pub fn set(&self, place: usize, pid: u32) {
        let mut list = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|(p, _)| *p != place);
        list.push((place, pid));
    }

    /// The place whose process has the connection `client` → `server`, seen from the client's side.
    ///
    /// The kernel is asked once for all connections that wait for an answer: a table of thousands of lines for
    /// each of hundreds of connections that come at once would be slower than their clients' patience.
    pub async fn place_of(&self, client: SocketAddr, server: SocketAddr) -> Option<usize> {
        let came = Instant::now();
        let mut seen = self.seen.lock().await;
        // What was seen before it came may be of an earlier connection with the same port.
        if seen.asked.is_none_or(|asked| asked <= came) {
            let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner).clone();
            *seen = tokio::task::spawn_blocking(move || Seen::ask(&processes)).await.unwrap_or_default();
        }
        seen.places.get(&(client, server)).copied()
    }
}

impl Seen {
    fn ask(processes: &[(usize, u32)]) -> Self {
        let asked = Some(Instant::now());
        let of = |(place, pid): &(usize, u32)| sockets(*pid).map(|inode| (inode, *place)).collect::<Vec<_>>();
        let holders: HashMap<u64, usize> = processes.iter().flat_map(of).collect();
        let place = |entry: TcpEntry| Some(((entry.local, entry.remote), *holders.get(&entry.inode)?));
        Self { asked, places: TcpTable::all().filter_map(place).collect() }
    }
}

/// The process that listens on `address`, for people: `etcd (pid 12)`.
#[must_use]
pub fn owner_of(address: SocketAddr) -> Option<String> {
    let any = |a: SocketAddr| a.ip().is_unspecified() && a.port() == address.port();
    let inode = TcpTable::listeners().find(|e| e.local == address || any(e.local)).map(|e| e.inode)?;
    let processes = std::fs::read_dir("/proc").ok()?;
    let pid = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| holds(*pid, inode))?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("{} (pid {pid})", name.trim_end()))
}

/// Does the process have the socket with that inode open?
fn holds(pid: u32, inode: u64) -> bool {
    sockets(pid).any(|socket| socket == inode)
}

/// The inodes of the sockets that a process has open.
fn sockets(pid: u32) -> impl Iterator<Item = u64> {
    let descriptors =
        std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().filter_map(Result::ok);
    let links = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
}

/// One line of `/proc/net/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcpEntry {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) listens: bool,
    pub(super) inode: u64,
}

/// The kernel's table of IPv4 TCP sockets.
pub(super) struct TcpTable;

impl TcpTable {
    /// Every socket.
    pub(super) fn all() -> impl Iterator<Item = TcpEntry> {
        let lines = File::open("/proc/net/tcp").into_iter().flat_map(|file| BufReader::new(file).lines());
        lines.map_while(Result::ok).filter_map(|line| parse(&line))
    }

    /// The listening ones. The kernel lists them first, so the rest of a long table is not read.
    pub(super) fn listeners() -> impl Iterator<Item = TcpEntry> {
        Self::all().take_while(|entry| entry.listens)
    }
}

fn parse(line: &str) -> Option<TcpEntry> {
    let mut fields = line.split_ascii_whitespace();
    let _number = fields.next()?;
    let local = address(fields.next()?)?;
    let remote = address(fields.next()?)?;
    let listens = fields.next()? == LISTEN;
    let inode = fields.nth(5)?.parse().ok()?;
    Some(TcpEntry { local, remote, listens, inode })
}

/// `0100007F:1F90`: the address in the machine's byte order, the port in hexadecimal.
fn address(field: &str) -> Option<SocketAddr> {
    let (ip, port) = field.split_once(':')?;
    let ip = u32::from_str_radix(ip, 16).ok()?.to_ne_bytes();
    Some(SocketAddr::from((Ipv4Addr::from(ip), u16::from_str_radix(port, 16).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read() {
        let line = "   7: 01034D7F:1538 0100007F:D2AC 0A 00000000:00000000 00:00000000 00000000     0        0 48613 1 0";
        let entry = parse(line).unwrap();
        assert_eq!(entry.local, "127.77.3.1:5432".parse().unwrap());
        assert_eq!(entry.remote, "127.0.0.1:53932".parse().unwrap());
        assert!(entry.listens);
        assert_eq!(entry.inode, 48613);
        assert_eq!(parse("  sl  local_address rem_address   st"), None);
    }

    #[test]
    fn the_owner_of_a_listener_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = owner_of(listener.local_addr().unwrap()).unwrap();
        assert!(owner.ends_with(&format!("(pid {})", std::process::id())), "{owner}");
    }

    #[tokio::test]
    async fn a_connection_is_attributed_to_its_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(server).unwrap();
        let owners = Owners::default();
        assert_eq!(owners.place_of(client.local_addr().unwrap(), server).await, None);
        owners.set(4, std::process::id());
        assert_eq!(owners.place_of(client.local_addr().unwrap(), server).await, Some(4));
        let later = std::net::TcpStream::connect(server).unwrap();
        assert_eq!(owners.place_of(later.local_addr().unwrap(), server).await, Some(4));
    }

    #[tokio::test]
    async fn all_who_ask_at_once_are_answered_and_who_comes_later_gets_a_new_look() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(server).unwrap()).collect();
        let owners = Owners::default();
        owners.set(1, std::process::id());
        let held = owners.seen.lock().await;
        let ask = |client: &std::net::TcpStream| {
            let (owners, client) = (owners.clone(), client.local_addr().unwrap());
            tokio::spawn(async move { owners.place_of(client, server).await })
        };
        let mut asking: Vec<_> = clients.iter().map(ask).collect();
        tokio::task::yield_now().await; // each of them has come
        drop(held);
        assert_eq!(asking.remove(0).await.unwrap(), Some(1));
        let asked = owners.seen.lock().await.asked;
        for place in asking {
            assert_eq!(place.await.unwrap(), Some(1));
        }
        assert_eq!(owners.seen.lock().await.asked, asked, "the kernel is asked once for all of them");
        assert_eq!(owners.place_of(clients[0].local_addr().unwrap(), server).await, Some(1));
        assert_ne!(owners.seen.lock().await.asked, asked, "one who came later is not answered from it");
    }
}
