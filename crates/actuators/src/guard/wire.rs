//! PostgreSQL's replication protocol, as much of it as the guard speaks.
//!
//! Blocking, on a thread of its own: no runtime stands between a message and its answer. The log itself
//! is thrown away unread. A session asks where the log ends, has it sent from there, and tells after each
//! message how far it "has" the log. Where the timeline ends (a standby was promoted) it asks again.

use std::io::ErrorKind::UnexpectedEof;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use meridian_model::Lsn;
use meridian_telemetry::clock;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::{backend, frontend};

/// Where the server is, and how to get in.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) user: String,
    pub(crate) password: String,
}

/// A session that has been let in.
pub(super) struct Wire {
    input: BufReader<TcpStream>,
    out: BytesMut,
}

/// What the server said in a stream of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The log up to here.
    Log(Lsn),
    /// It wants to hear from us.
    Asked,
    /// Its timeline has ended.
    TimelineEnd,
}

impl Wire {
    /// Connects and logs in.
    pub(super) fn open(door: &Door) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&door.address, CONNECT_WITHIN)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        let mut wire = Self { input: BufReader::with_capacity(BUFFER, stream), out: BytesMut::new() };
        let parameters = [
            ("user", door.user.as_str()),
            ("replication", "true"),
            ("application_name", super::LEASE_NAME),
            // It speaks at least every half of that, whatever the member's own setting is.
            ("wal_sender_timeout", "3s"),
        ];
        frontend::startup_message(parameters, &mut wire.out)?;
        wire.send()?;
        wire.log_in(&door.password)?;
        wire.until_ready().map(|_| wire)
    }

    /// Has the log sent from its end on; answers where that is.
    pub(super) fn stream(&mut self) -> io::Result<Lsn> {
        frontend::query("IDENTIFY_SYSTEM", &mut self.out)?;
        self.send()?;
        let end = self.until_ready()?.get(POSITION_COLUMN).and_then(|text| text.parse().ok());
        let end: Lsn = end.ok_or_else(|| nonsense("it does not say where its log ends"))?;
        frontend::query(&format!("START_REPLICATION PHYSICAL {}", first_wanted(end)), &mut self.out)?;
        self.send()?;
        loop {
            match self.head()? {
                (COPY_BOTH, length) => return self.skip(length).map(|()| end),
                (tag, length) => drop(self.ordinary(tag, length)?),
            }
        }
    }

    /// The next thing that matters; waits for it.
    pub(super) fn next(&mut self) -> io::Result<News> {
        loop {
            match self.head()? {
                (backend::COPY_DATA_TAG, length) => {
                    let (kind, length) = (self.array::<1>()?, length.saturating_sub(1));
                    if kind != *b"w" {
                        return self.skip(length).map(|()| News::Asked);
                    }
                    let log = length.checked_sub(24).ok_or_else(|| nonsense("a message is too short"))?;
                    let start = u64::from_be_bytes(self.array()?);
                    // The two fields between are where the server's log ends, and its clock.
                    self.skip(log + 16)?;
                    return Ok(News::Log(Lsn(start.saturating_add(log as u64))));
                }
                (backend::COPY_DONE_TAG, length) => {
                    self.skip(length)?;
                    frontend::copy_done(&mut self.out);
                    self.send()?;
                    return self.until_ready().map(|_| News::TimelineEnd);
                }
                (tag, length) => drop(self.ordinary(tag, length)?),
            }
        }
    }

    /// Says that we have the log up to `place`, unless `allowed` says no at the very last moment. `answer`:
    /// the server is to say something too.
    pub(super) fn confirm(
        &mut self,
        place: Lsn,
        answer: bool,
        allowed: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        let micros = clock::wall().0.saturating_sub(POSTGRES_EPOCH_MS).saturating_mul(1_000);
        let mut body = Vec::with_capacity(34);
        body.push(b'r');
        for _written_flushed_applied in 0..3 {
            body.extend_from_slice(&place.0.to_be_bytes());
        }
        body.extend_from_slice(&micros.to_be_bytes());
        body.push(u8::from(answer));
        frontend::CopyData::new(body.as_slice())?.write(&mut self.out);
        if !allowed() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the lease has run out"));
        }
        self.send()
    }

    fn log_in(&mut self, password: &str) -> io::Result<()> {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let (tag, length) = self.head()?;
            if tag != backend::AUTHENTICATION_TAG {
                self.ordinary(tag, length)?;
                continue;
            }
            let body = self.body(length)?;
            let (kind, data) = body.split_first_chunk::<4>().ok_or_else(|| nonsense("an empty request"))?;
            match u32::from_be_bytes(*kind) {
                0 => return Ok(()),
                10 => frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut self.out)?,
                11 => {
                    scram.update(data)?;
                    frontend::sasl_response(scram.message(), &mut self.out)?;
                }
                12 => scram.finish(data)?,
                _ => return Err(nonsense("it wants another proof than SCRAM-SHA-256")),
            }
            self.send()?;
        }
    }

    /// Reads to the end of an answer; the fields of its last row.
    fn until_ready(&mut self) -> io::Result<Vec<String>> {
        let mut row = Vec::new();
        loop {
            let (tag, length) = self.head()?;
            let body = self.ordinary(tag, length)?;
            match tag {
                backend::DATA_ROW_TAG => row = fields(&body),
                backend::READY_FOR_QUERY_TAG => return Ok(row),
                _ => {}
            }
        }
    }

    /// A message of which only an error matters.
    fn ordinary(&mut self, tag: u8, length: usize) -> io::Result<Vec<u8>> {
        let body = self.body(length)?;
        if tag == backend::ERROR_RESPONSE_TAG { Err(said(&body)) } else { Ok(body) }
    }

    fn head(&mut self) -> io::Result<(u8, usize)> {
        let [tag, length @ ..] = self.array::<5>()?;
        let length = usize::try_from(u32::from_be_bytes(length)).ok().and_then(|all| all.checked_sub(4));
        Ok((tag, length.ok_or_else(|| nonsense("a message has no length"))?))
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        let read = self.input.read_exact(&mut bytes);
        read.map(|()| bytes).map_err(|e| if e.kind() == UnexpectedEof { closed() } else { e })
    }

    fn body(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > BODY_MAX {
            return Err(nonsense("a message is too long"));
        }
        let mut body = vec![0; length];
        self.input.read_exact(&mut body).map(|()| body)
    }

    fn skip(&mut self, mut left: usize) -> io::Result<()> {
        while left > 0 {
            let here = self.input.fill_buf()?.len().min(left);
            if here == 0 {
                return Err(closed());
            }
            self.input.consume(here);
            left -= here;
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        let sent = self.input.get_mut().write_all(&self.out);
        self.out.clear();
        sent
    }
}

/// A byte before the end, so that there is something to answer: an answer to nothing may be overlooked while
/// the sender catches up, and a commit that waits already would wait for the next one. The sender reads
/// any byte of the segment in use; the byte before its beginning may be gone.
fn first_wanted(end: Lsn) -> Lsn {
    if end.0.is_multiple_of(SEGMENT_MIN) { end } else { Lsn(end.0 - 1) }
}

/// The fields of a row; one that is null is empty.
fn fields(body: &[u8]) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = body.get(2..).unwrap_or_default();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let Some((field, after)) = after.split_at_checked(length) else { break };
        fields.push(String::from_utf8_lossy(field).into_owned());
        rest = after;
    }
    fields
}

/// The server's error: its code and its sentence.
fn said(body: &[u8]) -> io::Error {
    let field = |kind: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        let found = fields.find_map(|field| field.strip_prefix(&[kind]));
        String::from_utf8_lossy(found.unwrap_or_default()).into_owned()
    };
    io::Error::other(format!("{} ({})", field(b'M'), field(b'C')))
}

fn closed() -> io::Error {
    io::Error::new(UnexpectedEof, "the server has closed the connection")
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// What the server answers to `START_REPLICATION`. (The library knows no message that only replication has.)
const COPY_BOTH: u8 = b'W';
/// Of the answer to `IDENTIFY_SYSTEM`.
const POSITION_COLUMN: usize = 2;
/// 2000-01-01, from which PostgreSQL counts.
const POSTGRES_EPOCH_MS: i64 = 946_684_800_000;
/// The smallest segment of the log that there can be.
const SEGMENT_MIN: u64 = 1 << 20;
/// The sender sends 128 KiB at once at most.
const BUFFER: usize = 132 << 10;
/// Of a message that is not the log.
const BODY_MAX: usize = 64 << 10;
/// On the same machine.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// The server speaks every 1.5 s at least.
const SILENCE_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A session, and the server's end of it.
    fn session() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let wire = Wire { input: BufReader::with_capacity(BUFFER, stream), out: BytesMut::new() };
        (wire, listener.accept().unwrap().0)
    }

    fn copy_data(body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&b"d"[..], &length[..], body].concat()
    }

    #[test]
    fn the_log_is_thrown_away_and_counted() {
        let (mut wire, mut server) = session();
        let log = [&b"w"[..], &7_u64.to_be_bytes()[..], &[0; 16][..], &[9; 200_000][..]].concat();
        let sent = std::thread::spawn(move || {
            server.write_all(&copy_data(&log)).unwrap();
            server.write_all(&copy_data(b"k0123456789abcdef1")).unwrap();
            server.write_all(&copy_data(b"wshort")).unwrap();
        });
        assert_eq!(wire.next().unwrap(), News::Log(Lsn(200_007)));
        assert_eq!(wire.next().unwrap(), News::Asked);
        assert_eq!(wire.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
        sent.join().unwrap();
    }

    #[test]
    fn it_confirms_written_flushed_and_applied_and_says_nothing_when_it_may_not() {
        let (mut wire, mut server) = session();
        assert!(wire.confirm(Lsn(5), false, || false).is_err());
        drop(wire);
        let mut said = Vec::new();
        server.read_to_end(&mut said).unwrap();
        assert_eq!(said, b"");

        let (mut wire, mut server) = session();
        wire.confirm(Lsn(5), true, || true).unwrap();
        drop(wire);
        server.read_to_end(&mut said).unwrap();
        let place = 5_u64.to_be_bytes();
        assert_eq!(said[..30], [&b"d\0\0\0\x26r"[..], &place[..], &place[..], &place[..]].concat());
        assert_eq!((said.len(), said[38]), (39, 1));
    }

    #[test]
    fn it_begins_before_the_end_of_the_log_but_never_in_the_segment_before() {
        assert_eq!(first_wanted(Lsn(0x0100_0001)), Lsn(0x0100_0000));
        assert_eq!(first_wanted(Lsn(0x0100_0000)), Lsn(0x0100_0000));
    }

    #[test]
    fn a_row_with_a_null_and_a_cut_one_are_read() {
        let row = b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\x03";
        assert_eq!(fields(row), ["ab", ""]);
    }

    #[test]
    fn an_error_tells_its_code_and_its_sentence() {
        let body = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";
        assert_eq!(said(body).to_string(), "the database system is starting up (57P03)");
    }
}
