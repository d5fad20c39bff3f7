//! Reading a query in place, without copying and without trust.
//!
//! A query is a fixed header, one question, and at most one OPT record that matters. That little is
//! read here by hand because it runs for every packet; all records that we send are written by
//! `hickory-proto` beforehand (see `tail`), and the tests hold this reader against hickory's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A query that is well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    pub(crate) id: [u8; 2],
    pub(crate) recursion_desired: bool,
    /// Name, type and class as they came: echoed byte for byte, so that 0x20 case survives.
    pub(crate) question: &'a [u8],
    /// The name in lower case, in wire form.
    pub(crate) name: Key,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) edns: Option<Edns>,
}

/// What an OPT record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edns {
    pub(crate) version: u8,
    /// The largest UDP answer that the other side takes.
    pub(crate) payload: u16,
    pub(crate) dnssec_ok: bool,
    pub(crate) subnet: Option<Subnet>,
}

/// A client subnet (RFC 7871) as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) family: u16,
    pub(crate) source: u8,
    pub(crate) address: IpAddr,
}

/// Why a packet is not answered as a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal<'a> {
    /// Not even a header, or itself a response: say nothing.
    Silent,
    /// Answer with this code and, where it could be read, the question.
    Code { code: u8, question: Option<&'a [u8]> },
}

/// Reads a packet.
pub(crate) fn parse(packet: &[u8]) -> Result<Query<'_>, Refusal<'_>> {
    let mut reader = Reader { packet, at: 0 };
    let header: [u8; HEADER] = reader.array().ok_or(Refusal::Silent)?;
    let [id_0, id_1, flags, _, qd_0, qd_1, an_0, an_1, ns_0, ns_1, ar_0, ar_1] = header;
    if flags & QR != 0 {
        return Err(Refusal::Silent);
    }
    if flags & OPCODE != 0 {
        return Err(Refusal::Code { code: NOTIMP, question: None });
    }
    let malformed = |question| Refusal::Code { code: FORMERR, question };
    if [qd_0, qd_1] != [0, 1] {
        return Err(malformed(None));
    }
    let name = reader.name().ok_or(malformed(None))?;
    let (kind, class) = reader.u16().zip(reader.u16()).ok_or(malformed(None))?;
    let question = packet.get(HEADER..reader.at).ok_or(malformed(None))?;
    let others =
        usize::from(u16::from_be_bytes([an_0, an_1])) + usize::from(u16::from_be_bytes([ns_0, ns_1]));
    let additional = u16::from_be_bytes([ar_0, ar_1]);
    let edns = reader.records(others, usize::from(additional)).ok_or(malformed(Some(question)))?;
    Ok(Query { id: [id_0, id_1], recursion_desired: flags & RD != 0, question, name, kind, class, edns })
}

/// A name in lower case and wire form, without the heap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    bytes: [u8; NAME_MAX],
    len: u8,
}

impl Key {
    const EMPTY: Self = Self { bytes: [0; NAME_MAX], len: 0 };

    /// The wire form with its closing zero.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// This name and each of its parents, up to the root.
    pub(crate) fn parents(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::successors(Some(self.as_bytes()), |name| match name.split_first() {
            Some((0, _)) | None => None,
            Some((length, rest)) => rest.get(usize::from(*length)..),
        })
    }

    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        let from = usize::from(self.len);
        let to = from + bytes.len();
        self.bytes.get_mut(from..to)?.copy_from_slice(bytes);
        self.bytes.get_mut(from..to)?.make_ascii_lowercase();
        self.len = u8::try_from(to).ok()?;
        Some(())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

// === Reader ===

/// A place in a packet. Every step either moves on inside the packet or gives up.
struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let to = self.at.checked_add(length)?;
        let bytes = self.packet.get(self.at..to)?;
        self.at = to;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// The name of a question: never compressed, there is nothing before it to point at.
    fn name(&mut self) -> Option<Key> {
        let mut key = Key::EMPTY;
        loop {
            let length = self.u8()?;
            if length > LABEL_MAX {
                return None;
            }
            key.push(&[length])?;
            if length == 0 {
                return Some(key);
            }
            key.push(self.take(usize::from(length))?)?;
        }
    }

    /// Passes over the name of a record; a pointer ends it. Says whether it is the root.
    fn skip_name(&mut self) -> Option<bool> {
        let start = self.at;
        loop {
            match self.u8()? {
                0 => return Some(self.at == start + 1),
                length if length <= LABEL_MAX => self.take(usize::from(length)).map(|_| ())?,
                length if length >= POINTER => return self.u8().map(|_| false),
                _ => return None,
            }
        }
    }

    /// Passes over all records. Only an OPT among the last `additional` ones says anything, and only
    /// one may be there.
    fn records(&mut self, others: usize, additional: usize) -> Option<Option<Edns>> {
        let mut edns = None;
        for number in 0..others + additional {
            let is_root = self.skip_name()?;
            let (kind, class) = self.u16().zip(self.u16())?;
            let ttl: [u8; 4] = self.array()?;
            let length = self.u16()?;
            let data = self.take(usize::from(length))?;
            if kind != OPT || number < others {
                continue;
            }
            if !is_root || edns.is_some() {
                return None;
            }
            edns = Some(read_opt(class, ttl, data)?);
        }
        Some(edns)
    }
}

/// RFC 6891: the class is a size and the TTL is flags.
fn read_opt(class: u16, [_, version, flags, _]: [u8; 4], data: &[u8]) -> Option<Edns> {
    let mut options = Reader { packet: data, at: 0 };
    let mut subnet = None;
    while options.at < data.len() {
        let (code, length) = options.u16().zip(options.u16())?;
        let value = options.take(usize::from(length))?;
        // What a later version means by its options is not ours to judge: it gets BADVERS.
        if code == CLIENT_SUBNET && version == 0 {
            subnet = Some(read_subnet(value)?);
        }
    }
    Some(Edns { version, payload: class, dnssec_ok: flags & DO != 0, subnet })
}

/// RFC 7871, section 7.1.2: anything but the exact form of a query is malformed.
fn read_subnet(value: &[u8]) -> Option<Subnet> {
    let [family_0, family_1, source, scope, bytes @ ..] = value else { return None };
    let family = u16::from_be_bytes([*family_0, *family_1]);
    let width = match family {
        FAMILY_NONE => 0,
        FAMILY_V4 => 32,
        FAMILY_V6 => 128,
        _ => return None,
    };
    if *scope != 0 || *source > width || bytes.len() != usize::from(source.div_ceil(8)) {
        return None;
    }
    let spare_bits = (8 - source % 8) % 8;
    if bytes.last().is_some_and(|last| last.trailing_zeros() < u32::from(spare_bits)) {
        return None;
    }
    let mut whole = [0; 16];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let [a, b, c, d, ..] = whole;
    let v4 = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    let address = if family == FAMILY_V6 { IpAddr::V6(Ipv6Addr::from(whole)) } else { v4 };
    Some(Subnet { family, source: *source, address })
}

// === Constants of the wire ===

/// The length of the header.
pub(crate) const HEADER: usize = 12;
/// The longest name in wire form.
const NAME_MAX: usize = 255;
/// The longest label; the two bits above mark a pointer.
const LABEL_MAX: u8 = 63;
const POINTER: u8 = 0b1100_0000;
/// In the third byte of the header.
pub(crate) const QR: u8 = 0x80;
const OPCODE: u8 = 0x78;
pub(crate) const AA: u8 = 0x04;
pub(crate) const TC: u8 = 0x02;
pub(crate) const RD: u8 = 0x01;
/// In the third byte of an OPT's TTL.
pub(crate) const DO: u8 = 0x80;
/// The type of an OPT record.
pub(crate) const OPT: u16 = 41;
/// The option of RFC 7871.
pub(crate) const CLIENT_SUBNET: u16 = 8;
/// Some clients opt out of RFC 7871 with no family at all.
const FAMILY_NONE: u16 = 0;
const FAMILY_V4: u16 = 1;
const FAMILY_V6: u16 = 2;
pub(crate) const FORMERR: u8 = 1;
pub(crate) const NOTIMP: u8 = 4;

#[cfg(test)]
mod tests;
