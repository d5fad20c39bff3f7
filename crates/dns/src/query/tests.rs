//! The reader against sound, damaged and hostile packets, with hickory as the second opinion.

use hickory_proto::op::{Edns as HickoryEdns, Message, MessageType, OpCode, Query as Question};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsOption};
use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use proptest::prelude::*;

use super::*;

fn message(name: &str) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.add_query(Question::query(Name::from_ascii(name).unwrap(), RecordType::AAAA));
    message
}

fn with_subnet(option: &[u8]) -> Vec<u8> {
    let mut packet = message("shop.example.com.").to_vec().unwrap();
    packet[11] = 1;
    packet.extend_from_slice(&[0, 0, 41, 16, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(&u16::try_from(option.len() + 4).unwrap().to_be_bytes());
    packet.extend_from_slice(&[0, 8]);
    packet.extend_from_slice(&u16::try_from(option.len()).unwrap().to_be_bytes());
    packet.extend_from_slice(option);
    packet
}

#[track_caller]
fn malformed(packet: &[u8]) {
    assert!(matches!(parse(packet), Err(Refusal::Code { code: FORMERR, .. })), "{:?}", parse(packet));
}

#[test]
fn what_hickory_writes_is_read() {
    let mut message = message("Shop.Example.COM.");
    message.metadata.recursion_desired = true;
    let mut edns = HickoryEdns::new();
    edns.set_max_payload(4_000).set_dnssec_ok(true);
    let subnet = ClientSubnet::new("10.2.3.0".parse().unwrap(), 24, 0);
    edns.options_mut().insert(EdnsOption::Subnet(subnet));
    message.set_edns(edns);
    let packet = message.to_vec().unwrap();
    let query = parse(&packet).unwrap();
    assert_eq!((query.id, query.kind, query.class), ([0x12, 0x34], 28, 1));
    assert!(query.recursion_desired);
    assert_eq!(query.name.as_bytes(), b"\x04shop\x07example\x03com\0");
    assert_eq!(query.question, b"\x04Shop\x07Example\x03COM\0\0\x1c\0\x01");
    let subnet = Subnet { family: 1, source: 24, address: "10.2.3.0".parse().unwrap() };
    let edns = Edns { version: 0, payload: 4_000, dnssec_ok: true, subnet: Some(subnet) };
    assert_eq!(query.edns, Some(edns));
    let parents: Vec<_> = query.name.parents().collect();
    assert_eq!(parents.len(), 4);
    assert_eq!(parents[2], b"\x03com\0");
}

#[test]
fn answers_and_scraps_get_silence() {
    let mut packet = message("a.").to_vec().unwrap();
    packet[2] |= QR;
    assert_eq!(parse(&packet), Err(Refusal::Silent));
    assert_eq!(parse(&packet[..11]), Err(Refusal::Silent));
    assert_eq!(parse(&[]), Err(Refusal::Silent));
}

#[test]
fn other_operations_are_not_implemented() {
    let mut packet = message("a.").to_vec().unwrap();
    packet[2] |= 5 << 3;
    assert_eq!(parse(&packet), Err(Refusal::Code { code: NOTIMP, question: None }));
}

#[test]
fn questions_must_be_one_and_whole() {
    let packet = message("shop.example.com.").to_vec().unwrap();
    for count in [0, 2] {
        let mut packet = packet.clone();
        packet[5] = count;
        malformed(&packet);
    }
    for length in 12..packet.len() {
        malformed(&packet[..length]);
    }
    let mut pointer = packet.clone();
    pointer[12] = 0xc0;
    malformed(&pointer);
    let mut promised = packet;
    promised[11] = 1;
    malformed(&promised);
}

#[test]
fn a_name_may_have_255_bytes_and_no_more() {
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for _ in 0..3 {
        packet.push(63);
        packet.extend_from_slice(&[b'a'; 63]);
    }
    let mut longest = packet.clone();
    longest.push(61);
    longest.extend_from_slice(&[b'a'; 61]);
    longest.extend_from_slice(&[0, 0, 1, 0, 1]);
    assert_eq!(parse(&longest).unwrap().name.as_bytes().len(), 255);
    packet.push(62);
    packet.extend_from_slice(&[b'a'; 62]);
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    malformed(&packet);
}

#[test]
fn only_one_opt_and_only_at_the_root() {
    let opt = [0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0];
    let mut twice = message("a.").to_vec().unwrap();
    twice[11] = 2;
    twice.extend_from_slice(&opt);
    assert!(parse(&[&twice[..11], &[1], &twice[12..]].concat()).is_ok());
    twice.extend_from_slice(&opt);
    malformed(&twice);
    let mut named = message("a.").to_vec().unwrap();
    named[11] = 1;
    named.extend_from_slice(&[1, b'a']);
    named.extend_from_slice(&opt);
    malformed(&named);
}

#[test]
fn a_subnet_must_have_the_exact_form_of_a_query() {
    let good: [&[u8]; 6] = [
        &[0, 1, 24, 0, 10, 2, 3],
        &[0, 1, 20, 0, 10, 2, 0x30],
        &[0, 1, 0, 0],
        &[0, 0, 0, 0],
        &[0, 2, 56, 0, 0xfd, 0, 0, 1, 0, 0, 0],
        &[0, 1, 32, 0, 1, 2, 3, 4],
    ];
    for option in good {
        let packet = with_subnet(option);
        assert!(parse(&packet).unwrap().edns.unwrap().subnet.is_some(), "{option:?}");
    }
    let bad: [&[u8]; 9] = [
        &[0, 1, 24, 24, 10, 2, 3],
        &[0, 1, 24, 0, 10, 2],
        &[0, 1, 24, 0, 10, 2, 3, 0],
        &[0, 1, 20, 0, 10, 2, 0x31],
        &[0, 1, 33, 0, 1, 2, 3, 4, 5],
        &[0, 3, 8, 0, 1],
        &[0, 0, 8, 0, 1],
        &[0, 1, 24],
        &[],
    ];
    for option in bad {
        malformed(&with_subnet(option));
    }
}

proptest! {
    #[test]
    fn no_packet_is_a_surprise(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = parse(&packet);
    }

    /// Flips bytes of a sound query: nearer to the interesting edges than noise.
    #[test]
    fn nor_is_a_damaged_one(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut packet = with_subnet(&[0, 1, 24, 0, 10, 2, 3]);
        for (at, value) in flips {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        if let Ok(query) = parse(&packet) {
            // Whatever is taken as a query is one to hickory too, and of the same name.
            prop_assert_eq!(query.question.len(), query.name.as_bytes().len() + 4);
            if let Ok(theirs) = Message::from_vec(&packet) {
                let theirs = theirs.queries[0].name().to_bytes().unwrap().to_ascii_lowercase();
                prop_assert_eq!(theirs, query.name.as_bytes());
            }
        }
    }
}
