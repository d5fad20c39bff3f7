//! Who owns a socket: `/proc/net/tcp` names its inode, `/proc/PID/fd` the process that holds it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// The state column of a listening socket.
const LISTEN: &str = "0A";

/// The processes that connections without an address of their own may belong to: `(place, pid)`.
#[derive(Debug, Clone, Default)]
pub struct Owners(Arc<Mutex<Vec<(usize, u32)>>>);

impl Owners {
    /// `pid` is the process of `place` from now on.
    pub fn set(&self, place: usize, pid: u32) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|(p, _)| *p != place);
        list.push((place, pid));
    }

    /// The place whose process has the connection `client` → `server`, seen from the client's side.
    #[must_use]
    pub fn place_of(&self, client: SocketAddr, server: SocketAddr) -> Option<usize> {
        let inode =
            TcpTable::all().find(|entry| entry.local == client && entry.remote == server).map(|e| e.inode)?;
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        list.into_iter().find(|(_, pid)| holds(*pid, inode)).map(|(place, _)| place)
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
    let wanted = format!("socket:[{inode}]");
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .filter_map(Result::ok)
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .any(|link| link.to_str() == Some(wanted.as_str()))
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

    #[test]
    fn a_connection_is_attributed_to_its_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(server).unwrap();
        let owners = Owners::default();
        assert_eq!(owners.place_of(client.local_addr().unwrap(), server), None);
        owners.set(4, std::process::id());
        assert_eq!(owners.place_of(client.local_addr().unwrap(), server), Some(4));
    }
}
