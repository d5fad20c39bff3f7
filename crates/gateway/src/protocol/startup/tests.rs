//! First packets: the ones that clients send, the ones that attackers send, and any bytes.

use proptest::prelude::*;

use super::*;

fn parse_packet(packet: &[u8]) -> Result<Opening, OpeningError> {
    let (word, rest) = packet.split_first_chunk::<4>().unwrap();
    assert_eq!(bytes_after_length(*word)?, rest.len(), "the length word counts all");
    Opening::parse(rest)
}

fn session(pairs: &[u8]) -> Result<Opening, OpeningError> {
    let mut rest = (3u32 << 16).to_be_bytes().to_vec();
    rest.extend_from_slice(pairs);
    Opening::parse(&rest)
}

fn startup(pairs: &[u8]) -> Startup {
    match session(pairs) {
        Ok(Opening::Session(startup)) => startup,
        other => panic!("no session: {other:?}"),
    }
}

#[test]
fn the_requests_of_real_clients() {
    assert_eq!(parse_packet(&[0, 0, 0, 8, 4, 210, 22, 47]), Ok(Opening::Tls));
    assert_eq!(parse_packet(&[0, 0, 0, 8, 4, 210, 22, 48]), Ok(Opening::Gss));
    let key = CancelKey { process: 258, secret: [9, 8, 7, 6].into() };
    assert_eq!(
        parse_packet(&[0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 1, 2, 9, 8, 7, 6]),
        Ok(Opening::Cancel(key))
    );
    let long = CancelKey { process: 1, secret: [5; 256].into() };
    assert_eq!(parse_packet(&long.request()), Ok(Opening::Cancel(long)));
}

#[test]
fn parameters_are_read_and_kept_as_they_came() {
    let startup = startup(b"user\0ann\0database\0shop\0user\0bob\0\0");
    assert_eq!(startup.parameter("user"), Some(&b"bob"[..]), "the last one counts");
    assert_eq!(startup.parameter("database"), Some(&b"shop"[..]));
    assert_eq!(startup.parameter("replication"), None);
    let packet = startup.packet();
    assert_eq!(packet.len(), startup.size());
    assert_eq!(parse_packet(&packet), Ok(Opening::Session(startup)));
}

#[test]
fn a_parameter_is_replaced_and_removed() {
    let startup = startup(b"a\0x\0user\0ann\0a\0y\0\0");
    let set = startup.clone().with("a", "z");
    assert_eq!(set.parameters().collect::<Vec<_>>(), [(&b"user"[..], &b"ann"[..]), (b"a", b"z")]);
    assert_eq!(startup.without("a").parameters().count(), 1);
}

#[test]
fn the_minor_version_passes_through() {
    let Ok(Opening::Session(startup)) = Opening::parse(&[0, 3, 0, 2, 0]) else { panic!("3.2 is a session") };
    assert_eq!(startup.packet(), [0, 0, 0, 9, 0, 3, 0, 2, 0]);
}

#[test]
fn replication_is_seen_in_every_spelling() {
    for value in ["true", "on", "1", "database", "yes", "nonsense"] {
        assert!(startup(format!("replication\0{value}\0\0").as_bytes()).wants_replication(), "{value}");
    }
    for value in ["false", "OFF", "0", "no"] {
        assert!(!startup(format!("replication\0{value}\0\0").as_bytes()).wants_replication(), "{value}");
    }
}

#[test]
fn what_is_refused_and_how() {
    let code = |result: Result<Opening, OpeningError>| result.unwrap_err().sqlstate();
    assert_eq!(code(Opening::parse(&[0, 2, 0, 0])), "0A000");
    assert_eq!(code(Opening::parse(b"GET / HT")), "0A000");
    assert_eq!(code(Opening::parse(&[4, 210, 22, 46, 0, 0, 0, 1])), "08P01");
    for broken in
        [&b""[..], b"user", b"user\0", b"user\0ann\0", b"user\0ann\0x\0\0", b"user\0ann", b"\0x\0\0"]
    {
        assert_eq!(session(broken), Err(OpeningError::Layout), "{broken:?}");
    }
    assert_eq!(bytes_after_length([0, 0, 0, 7]), Err(OpeningError::Length(7)));
    assert_eq!(bytes_after_length(10_001u32.to_be_bytes()), Err(OpeningError::Length(10_001)));
    assert_eq!(bytes_after_length([0, 0, 0, 8]), Ok(4));
}

#[test]
fn a_log_does_not_tell_the_secret() {
    let key = CancelKey { process: 77, secret: [201, 202, 203, 204].into() };
    let told = format!("{key:?}");
    assert!(told.contains("77") && !told.contains("201"), "{told}");
}

proptest! {
    #[test]
    fn any_bytes_are_answered_and_what_is_accepted_comes_out_the_same(
        version in prop_oneof![Just(3u32 << 16), Just(CANCEL), Just(SSL), any::<u32>()],
        rest in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..300),
    ) {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend_from_slice(&rest);
        match Opening::parse(&bytes) {
            Ok(Opening::Session(startup)) => prop_assert_eq!(&startup.packet()[4..], &bytes[..]),
            Ok(Opening::Cancel(key)) => prop_assert_eq!(&key.request()[4..], &bytes[..]),
            Ok(Opening::Tls | Opening::Gss) => prop_assert!(version == SSL || version == GSS),
            Err(error) => prop_assert_eq!(error.sqlstate().len(), 5),
        }
    }

    #[test]
    fn setting_keeps_the_others(names in proptest::collection::vec("[a-c]{1,2}", 0..6), value in "[a-z]{0,5}") {
        let pairs: String = names.iter().map(|n| format!("{n}\0v-{n}\0")).chain(["\0".to_owned()]).collect();
        let set = startup(pairs.as_bytes()).with("a", &value);
        prop_assert_eq!(set.parameter("a"), Some(value.as_bytes()));
        for name in names.iter().filter(|n| n.as_str() != "a") {
            let value = format!("v-{name}");
            prop_assert_eq!(set.parameter(name), Some(value.as_bytes()));
        }
        prop_assert!(matches!(parse_packet(&set.packet()), Ok(Opening::Session(_))));
    }
}
