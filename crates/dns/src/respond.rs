//! From one packet to one answer: no socket, no clock, no allocation once a buffer has grown.
//!
//! [`respond`] reads as the list of steps. What is sent when:
//! - nothing, to what is no query at all (answers to answers make loops);
//! - `NOTIMP` to other operations, `FORMERR` to what is malformed, `BADVERS` to a later EDNS;
//! - `REFUSED` outside our zones, else the compiled answer, shortened to what fits.

use std::net::IpAddr;

use meridian_telemetry::events::{DnsCode, Transport};

use crate::query::{
    self, AA, CLIENT_SUBNET, DO, Edns, FORMERR, HEADER, NOTIMP, OPT, QR, Query, RD, Refusal, Subnet, TC,
};
use crate::tail::{NOERROR, Tail};
use crate::zones::{NXDOMAIN, REFUSED, Zones};

/// Answers `packet` into `out` and says how; `out` stays empty when nothing is to be sent.
pub(crate) fn respond(
    zones: &Zones,
    packet: &[u8],
    from: IpAddr,
    transport: Transport,
    out: &mut Vec<u8>,
) -> DnsCode {
    out.clear();
    let query = match query::parse(packet) {
        Ok(query) => query,
        Err(Refusal::Silent) => return DnsCode::Dropped,
        Err(Refusal::Code { code, question }) => {
            write_refusal(packet, code, question, out);
            return word(code, false);
        }
    };
    if query.edns.is_some_and(|edns| edns.version > EDNS_VERSION) {
        write(&query, &Tail::bare(BADVERS), 0, OPTLESS_MAX, out);
        return word(BADVERS, false);
    }
    let found = zones.find(&query, from);
    write(&query, &found.tail, found.scope, limit(&query, transport), out);
    word(found.tail.code, found.tail.answers > 0)
}

const fn word(code: u8, has_answers: bool) -> DnsCode {
    match code {
        NOERROR if has_answers => DnsCode::Answer,
        NOERROR => DnsCode::NoData,
        FORMERR => DnsCode::FormErr,
        NXDOMAIN => DnsCode::NxDomain,
        NOTIMP | BADVERS => DnsCode::NotImp,
        REFUSED => DnsCode::Refused,
        _ => DnsCode::ServFail,
    }
}

/// The largest answer that the other side can take.
fn limit(query: &Query<'_>, transport: Transport) -> usize {
    match (transport, query.edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => OPTLESS_MAX,
        (Transport::Udp, Some(edns)) => usize::from(edns.payload.min(PAYLOAD)).max(OPTLESS_MAX),
    }
}

/// Puts the answer together: whole, or without its additional section, or empty with TC set.
fn write(query: &Query<'_>, tail: &Tail, scope: u8, limit: usize, out: &mut Vec<u8>) {
    let fixed = HEADER + query.question.len() + query.edns.map_or(0, |edns| opt_length(&edns));
    let fits = |bytes: &[u8]| fixed + bytes.len() <= limit;
    let (bytes, counts, truncated) = if fits(tail.full()) {
        (tail.full(), [tail.answers, tail.authorities, tail.additionals], false)
    } else if fits(tail.lean()) {
        (tail.lean(), [tail.answers, tail.authorities, 0], false)
    } else {
        (&[][..], [0, 0, 0], true)
    };
    let [answers, authorities, additionals] = counts;
    let authoritative = matches!(tail.code, NOERROR | NXDOMAIN);
    let flags = QR
        | if authoritative { AA } else { 0 }
        | if truncated { TC } else { 0 }
        | if query.recursion_desired { RD } else { 0 };
    out.extend_from_slice(&query.id);
    out.extend_from_slice(&[flags, tail.code & CODE_LOW]);
    let opts = u16::from(query.edns.is_some());
    for count in [1, answers, authorities, additionals.saturating_add(opts)] {
        out.extend_from_slice(&count.to_be_bytes());
    }
    out.extend_from_slice(query.question);
    out.extend_from_slice(bytes);
    if let Some(edns) = &query.edns {
        write_opt(edns, tail.code, scope, out);
    }
}

/// RFC 6891: an OPT is answered with an OPT. RFC 7871: a subnet with the same subnet and our scope.
fn write_opt(edns: &Edns, code: u8, scope: u8, out: &mut Vec<u8>) {
    let flags = if edns.dnssec_ok { DO } else { 0 };
    out.push(0);
    out.extend_from_slice(&OPT.to_be_bytes());
    out.extend_from_slice(&PAYLOAD.to_be_bytes());
    out.extend_from_slice(&[code >> CODE_LOW_BITS, EDNS_VERSION, flags, 0]);
    let length = u16::try_from(opt_length(edns) - OPT_FIXED).unwrap_or_default();
    out.extend_from_slice(&length.to_be_bytes());
    let Some(subnet) = edns.subnet else { return };
    out.extend_from_slice(&CLIENT_SUBNET.to_be_bytes());
    let length = u16::try_from(subnet_bytes(&subnet) + SUBNET_FIXED).unwrap_or_default();
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&subnet.family.to_be_bytes());
    out.extend_from_slice(&[subnet.source, scope]);
    let mut address = [0; 16];
    match subnet.address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [address[0], address[1], address[2], address[3]] = [a, b, c, d];
        }
        IpAddr::V6(v6) => address = v6.octets(),
    }
    out.extend_from_slice(address.get(..subnet_bytes(&subnet)).unwrap_or_default());
}

fn opt_length(edns: &Edns) -> usize {
    OPT_FIXED + edns.subnet.map_or(0, |subnet| OPTION_FIXED + SUBNET_FIXED + subnet_bytes(&subnet))
}

fn subnet_bytes(subnet: &Subnet) -> usize {
    usize::from(subnet.source.div_ceil(8))
}

/// To a packet that could not be read as a query, but has a header.
fn write_refusal(packet: &[u8], code: u8, question: Option<&[u8]>, out: &mut Vec<u8>) {
    let &[id_0, id_1, flags, ..] = packet else { return };
    // The operation and RD come back as they were asked.
    out.extend_from_slice(&[id_0, id_1, QR | flags & !(AA | TC), code]);
    out.extend_from_slice(&[0, u8::from(question.is_some()), 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(question.unwrap_or_default());
    debug_assert!(out.len() >= HEADER && (code == FORMERR || question.is_none()), "a header and no more");
}

/// The only version there is.
const EDNS_VERSION: u8 = 0;
/// RFC 6891: a version that is not spoken here. Above 15: its upper part stands in the OPT.
pub(crate) const BADVERS: u8 = 16;
const CODE_LOW: u8 = 0x0f;
const CODE_LOW_BITS: u8 = 4;
/// The UDP answers that we send at most and advertise: fits every path (DNS flag day 2020).
pub(crate) const PAYLOAD: u16 = 1_232;
/// RFC 1035: without EDNS.
pub(crate) const OPTLESS_MAX: usize = 512;
/// An OPT without options: name, type, class, TTL, length.
const OPT_FIXED: usize = 11;
/// Code and length of an option.
const OPTION_FIXED: usize = 4;
/// Family, source and scope of a client subnet.
const SUBNET_FIXED: usize = 4;

#[cfg(test)]
mod tests;
