//! Whole answers, as hickory reads them: what is said to whom, and that nothing unsound ever goes out.

use std::sync::Arc;

use hickory_proto::op::{Edns as HickoryEdns, Message, MessageType, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RData, RecordType};
use meridian_model::System;
use meridian_model::health::Health;
use meridian_model::topology::Dial;
use meridian_steering::View;
use meridian_steering::fixture::{self, AP, EU, US};
use proptest::prelude::*;

use super::*;

fn zones_of(change: impl FnOnce(&mut System), healths: &[(&str, Health)]) -> Zones {
    let mut system = fixture::system();
    change(&mut system);
    let snapshot = fixture::snapshot(&system, healths);
    let view = View::new(Arc::new(system), fixture::name(US), Arc::new(snapshot));
    Zones::compile(&view).unwrap()
}

fn zones() -> Zones {
    zones_of(|_| (), &[])
}

struct Ask<'a> {
    name: &'a str,
    kind: RecordType,
    subnet: Option<(&'a str, u8)>,
    edns: bool,
    transport: Transport,
}

const ASK: Ask<'static> = Ask {
    name: "shop.example.com.",
    kind: RecordType::A,
    subnet: None,
    edns: true,
    transport: Transport::Udp,
};

fn packet(ask: &Ask<'_>) -> Vec<u8> {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.add_query(Question::query(Name::from_ascii(ask.name).unwrap(), ask.kind));
    if ask.edns {
        let mut edns = HickoryEdns::new();
        edns.set_max_payload(1_232);
        if let Some((address, prefix)) = ask.subnet {
            let subnet = ClientSubnet::new(address.parse().unwrap(), prefix, 0);
            edns.options_mut().insert(EdnsOption::Subnet(subnet));
        }
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

/// The one place where the tests ask: what comes back is always sound DNS to hickory.
fn ask(zones: &Zones, ask: &Ask<'_>) -> Message {
    let mut out = Vec::new();
    let from = "198.51.100.1".parse().unwrap();
    respond(zones, &packet(ask), from, ask.transport, &mut out);
    let answer = Message::from_vec(&out).unwrap();
    assert_eq!(answer.metadata.id, 77);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    answer
}

fn addresses(message: &Message) -> Vec<String> {
    message.answers.iter().map(|r| r.data.to_string()).collect()
}

fn scope(message: &Message) -> Option<(u8, u8)> {
    match message.edns.as_ref()?.option(EdnsCode::Subnet)? {
        EdnsOption::Subnet(subnet) => Some((subnet.source_prefix(), subnet.scope_prefix())),
        _ => None,
    }
}

#[test]
fn the_nearest_region_and_one_to_fall_back_to() {
    let zones = zones();
    let europe = ask(&zones, &Ask { subnet: Some(("10.2.3.0", 24)), ..ASK });
    assert_eq!(addresses(&europe), ["192.0.2.2", "192.0.2.1"]);
    assert!(europe.metadata.authoritative);
    assert_eq!(europe.answers[0].ttl, 5);
    assert_eq!(scope(&europe), Some((24, 16)));
    let asia = ask(&zones, &Ask { kind: RecordType::AAAA, subnet: Some(("fd00:3::", 32)), ..ASK });
    assert_eq!(addresses(&asia), ["2001:db8::3", "2001:db8::2"]);
    assert_eq!(scope(&asia), Some((32, 32)));
}

#[test]
fn who_opts_out_of_subnets_gets_scope_zero_and_who_sends_none_gets_none() {
    let zones = zones();
    assert_eq!(scope(&ask(&zones, &Ask { subnet: Some(("0.0.0.0", 0)), ..ASK })), Some((0, 0)));
    let plain = ask(&zones, &ASK);
    assert_eq!(scope(&plain), None);
    assert!(plain.edns.is_some());
    assert!(ask(&zones, &Ask { edns: false, ..ASK }).edns.is_none());
}

#[test]
fn a_down_region_is_not_answered() {
    let zones = zones_of(|_| (), &[(EU, Health::Down)]);
    let europe = ask(&zones, &Ask { subnet: Some(("10.2.3.0", 24)), ..ASK });
    assert_eq!(addresses(&europe), ["192.0.2.1", "192.0.2.3"]);
}

#[test]
fn no_lawful_region_is_an_error_and_not_an_address() {
    let zones = zones_of(|s| s.topology.regions.iter_mut().for_each(|r| r.dial = Dial::Forbid), &[]);
    let answer = ask(&zones, &ASK);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!(answer.answers.is_empty() && !answer.metadata.authoritative);
}

#[test]
fn many_partial_dials_are_answered_though_not_compiled_beforehand() {
    let zones = zones_of(
        |s| {
            let region = s.topology.regions[0].clone();
            for number in 0..20_u8 {
                let mut region = region.clone();
                region.name = fixture::name(&format!("r{number}"));
                region.dial = Dial::Share(meridian_model::Share::from_percent(50.0).unwrap());
                s.topology.regions.push(region);
            }
        },
        &[],
    );
    assert_eq!(addresses(&ask(&zones, &Ask { subnet: Some(("10.3.3.0", 24)), ..ASK }))[0], "192.0.2.3");
}

#[test]
fn names_and_types_that_are_not_there() {
    let zones = zones();
    let nxdomain = ask(&zones, &Ask { name: "nothing.example.com.", subnet: Some(("10.2.3.0", 24)), ..ASK });
    assert_eq!(nxdomain.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(scope(&nxdomain), Some((24, 0)));
    let nodata = ask(&zones, &Ask { kind: RecordType::MX, ..ASK });
    assert_eq!(nodata.metadata.response_code, ResponseCode::NoError);
    let no_v6 = zones_of(|s| s.topology.regions.iter_mut().for_each(|r| r.node.public.truncate(1)), &[]);
    let no_aaaa = ask(&no_v6, &Ask { kind: RecordType::AAAA, ..ASK });
    for answer in [nxdomain, nodata, no_aaaa] {
        assert!(answer.answers.is_empty() && answer.metadata.authoritative);
        let soa = &answer.authorities[0];
        assert_eq!((soa.name.to_string().as_str(), soa.ttl), ("example.com.", 5));
        let RData::SOA(soa) = &soa.data else { panic!("{soa:?}") };
        assert_eq!((soa.serial, soa.minimum), (7, 5));
        assert_eq!(soa.mname.to_string(), "ns1.example.com.");
    }
}

#[test]
fn names_between_exist() {
    let zones = zones_of(|s| s.services[0].hosts = vec!["a.b.example.com".to_owned()], &[]);
    let between = ask(&zones, &Ask { name: "b.example.com.", ..ASK });
    assert_eq!(between.metadata.response_code, ResponseCode::NoError);
    assert!(between.answers.is_empty());
    let beside = ask(&zones, &Ask { name: "c.example.com.", ..ASK });
    assert_eq!(beside.metadata.response_code, ResponseCode::NXDomain);
    let below = ask(&zones, &Ask { name: "x.a.b.example.com.", ..ASK });
    assert_eq!(below.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn the_apex_and_its_name_servers() {
    let zones = zones();
    let apex = |kind| ask(&zones, &Ask { name: "example.com.", kind, ..ASK });
    let servers = apex(RecordType::NS);
    assert_eq!(addresses(&servers), ["ns1.example.com.", "ns2.example.com.", "ns3.example.com."]);
    let glue: Vec<_> = servers.additionals.iter().map(|r| format!("{} {}", r.name, r.data)).collect();
    assert_eq!(glue[1], "ns2.example.com. 127.250.2.1");
    assert_eq!(apex(RecordType::SOA).answers.len(), 1);
    assert!(apex(RecordType::A).answers.is_empty());
    let glue = ask(&zones, &Ask { name: "NS3.example.com.", ..ASK });
    assert_eq!(addresses(&glue), ["127.250.3.1"]);
    assert_eq!(glue.queries[0].name().to_string(), "NS3.example.com.");
}

#[test]
fn a_service_at_the_apex_itself() {
    let zones = zones_of(|s| s.services[0].hosts = vec!["Example.com".to_owned()], &[]);
    assert_eq!(ask(&zones, &Ask { name: "example.com.", ..ASK }).answers.len(), 2);
    assert_eq!(ask(&zones, &Ask { name: "example.com.", kind: RecordType::NS, ..ASK }).answers.len(), 3);
}

#[test]
fn any_is_answered_as_little_as_may_be() {
    let any = ask(&zones(), &Ask { kind: RecordType::ANY, ..ASK });
    assert!(matches!(&any.answers[..], [one] if one.record_type() == RecordType::HINFO), "{any:?}");
}

#[test]
fn other_zones_classes_and_transfers_are_refused() {
    let zones = zones();
    for name in ["example.org.", "com.", ".", "notexample.com."] {
        let answer = ask(&zones, &Ask { name, ..ASK });
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "{name}");
        assert!(!answer.metadata.authoritative);
    }
    let transfer = ask(&zones, &Ask { name: "example.com.", kind: RecordType::AXFR, ..ASK });
    assert_eq!(transfer.metadata.response_code, ResponseCode::Refused);
    let mut chaos = packet(&Ask { edns: false, ..ASK });
    let at = chaos.len() - 1;
    chaos[at] = 3;
    assert_eq!(code_of(&zones, &chaos), Some(REFUSED));
}

fn code_of(zones: &Zones, packet: &[u8]) -> Option<u8> {
    let mut out = Vec::new();
    respond(zones, packet, "198.51.100.1".parse().unwrap(), Transport::Udp, &mut out);
    out.get(3).map(|flags| flags & 0x0f)
}

#[test]
fn what_is_no_query_gets_a_code_or_silence() {
    let zones = zones();
    let mut update = packet(&ASK);
    update[2] |= 5 << 3;
    assert_eq!(code_of(&zones, &update), Some(NOTIMP));
    assert_eq!(code_of(&zones, &packet(&ASK)[..20]), Some(FORMERR));
    assert_eq!(code_of(&zones, &[0; 5]), None);
}

#[test]
fn a_later_edns_is_badvers() {
    let mut later = packet(&ASK);
    let version = later.len() - 5;
    later[version] = 1;
    let mut out = Vec::new();
    respond(&zones(), &later, "198.51.100.1".parse().unwrap(), Transport::Udp, &mut out);
    let answer = Message::from_vec(&out).unwrap();
    // 16 is BADSIG as well: in an answer without TSIG it means the version.
    assert_eq!(u16::from(answer.metadata.response_code), 16);
    assert_eq!(answer.edns.unwrap().version(), 0);
}

/// So many name servers that their names do not fit 512 bytes, and their glue not 1,232.
fn wide() -> Zones {
    zones_of(
        |s| {
            let region = s.topology.regions[0].clone();
            for number in 0..45_u8 {
                let mut region = region.clone();
                region.name = fixture::name(&format!("r{number}"));
                s.topology.regions.push(region);
            }
        },
        &[],
    )
}

#[test]
fn what_does_not_fit_loses_its_glue_and_then_is_cut() {
    let zones = wide();
    let ns = Ask { name: "example.com.", kind: RecordType::NS, ..ASK };
    let tcp = ask(&zones, &Ask { transport: Transport::Tcp, ..ns });
    assert_eq!((tcp.answers.len(), tcp.additionals.len()), (48, 48));
    let lean = ask(&zones, &ns);
    assert_eq!((lean.answers.len(), lean.additionals.len(), lean.metadata.truncation), (48, 0, false));
    let cut = ask(&zones, &Ask { edns: false, ..ns });
    assert_eq!((cut.answers.len(), cut.metadata.truncation), (0, true));
}

#[test]
fn a_bad_name_in_the_spec_is_told_with_its_service() {
    let mut system = fixture::system();
    system.services[0].zone = "exa mple..com".to_owned();
    let snapshot = fixture::snapshot(&system, &[]);
    let view = View::new(Arc::new(system), fixture::name(AP), Arc::new(snapshot));
    let error = Zones::compile(&view).unwrap_err().to_string();
    assert!(error.contains("`shop`") && error.contains("exa mple..com"), "{error}");
}

proptest! {
    /// Whatever comes, what goes out is nothing or sound DNS under the same id, within the limit.
    #[test]
    fn every_answer_is_sound(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        kind in any::<u16>(),
        cut in any::<prop::sample::Index>(),
        tcp in any::<bool>(),
    ) {
        let zones = zones();
        let mut packet = packet(&Ask { kind: RecordType::from(kind), subnet: Some(("10.2.3.0", 24)), ..ASK });
        for (at, value) in flips {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        if cut.index(4) == 0 {
            packet.truncate(cut.index(packet.len()));
        }
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let mut out = Vec::new();
        let code = respond(&zones, &packet, "192.0.2.1".parse().unwrap(), transport, &mut out);
        prop_assert_eq!(out.is_empty(), code == DnsCode::Dropped);
        if !out.is_empty() {
            prop_assert_eq!(&out[..2], &packet[..2]);
            prop_assert!(out[2] & QR != 0 && out[3] & 0xf0 == 0);
            prop_assert!(tcp || out.len() <= usize::from(PAYLOAD));
            prop_assert!(Message::from_vec(&out).is_ok(), "{out:?}");
        }
    }

    #[test]
    fn noise_is_answered_soundly_or_not_at_all(packet in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut out = Vec::new();
        respond(&zones(), &packet, "192.0.2.1".parse().unwrap(), Transport::Udp, &mut out);
        prop_assert!(out.is_empty() || out.len() >= HEADER);
    }
}
