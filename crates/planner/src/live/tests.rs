//! Each check is broken by itself, and named; and a sound system gets no finding.

use meridian_model::facts::{
    CertificateFacts, DatabaseFacts, DiskFacts, MemberSeen, OpenFiles, RoleFacts, SlotFacts,
};

use meridian_model::Epoch;
use meridian_model::group::GroupRecord;
use meridian_model::health::RegionHealth;
use meridian_model::order::Maintenance;
use meridian_model::run::Run;

use super::*;
use crate::tests::{name, sound};

mod begins;
mod looks;

const NOW: Timestamp = Timestamp(1_000_000_000_000);
const WRITER: &str = "us-east-1";
const STANDBY: &str = "eu-central-1";
const OTHER: &str = "ap-southeast-1";

fn text(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn slot(name: &str) -> SlotFacts {
    SlotFacts {
        name: name.to_owned(),
        logical: false,
        active: true,
        wal_status: Some("reserved".to_owned()),
        restart: None,
        retained_bytes: 0,
    }
}

fn role(name: &str) -> RoleFacts {
    RoleFacts { name: name.to_owned(), attributes: "a".to_owned(), password: Some("hash".to_owned()) }
}

fn member(region: &str) -> MemberFacts {
    let writes = region == WRITER;
    let settings = text(&[
        ("max_connections", "200"),
        ("max_wal_senders", "21"),
        ("wal_level", "logical"),
        ("max_slot_wal_keep_size", "1GB"),
        ("wal_keep_size", "256MB"),
        ("max_wal_size", "1GB"),
    ]);
    let database = DatabaseFacts {
        name: "shop".to_owned(),
        bytes: 1 << 30,
        collation: "c en_US.utf8 en_US.utf8 2.36".to_owned(),
        collation_version_here: Some("2.36".to_owned()),
        extensions: text(&[("hstore", "1.8")]),
        extensions_absent: Vec::new(),
    };
    let ledger = SlotFacts { logical: true, active: false, ..slot("meridian_ledger") };
    MemberFacts {
        region: name(region),
        at: NOW,
        standby: !writes,
        streaming: !writes,
        version: 150_018,
        settings,
        data_checksums: true,
        databases: vec![database],
        roles: vec![role("app"), role("meridian")],
        tls: true,
        certificates: vec![CertificateFacts {
            file: "server.crt".to_owned(),
            expires_at: Timestamp(NOW.0 + 31 * 86_400_000),
        }],
        disk: DiskFacts { total_bytes: 100 << 30, free_bytes: 50 << 30 },
        slots: if writes { vec![slot("eu_central_1"), slot("ap_southeast_1"), ledger] } else { Vec::new() },
        missing: Vec::new(),
    }
}

fn region_facts(region: &str) -> RegionFacts {
    let service = ServiceFacts { service: name("shop"), running: 1, wanted: 1, dns: None, certificate: None };
    RegionFacts {
        region: name(region),
        at: NOW,
        members: vec![MemberSeen {
            group: name("orders"),
            role: None,
            at_work: false,
            facts: Ok(member(region)),
        }],
        services: vec![service],
        open_files: OpenFiles { limit: Some(4_096), needed: 1_256 },
        plan_files: Vec::new(),
    }
}

/// Three regions, all of them well.
struct World {
    system: System,
    facts: Vec<RegionFacts>,
    writers: BTreeMap<GroupName, RegionName>,
    members: BTreeMap<GroupName, Vec<MemberReport>>,
    unreachable: bool,
    maintenance: Option<Maintenance>,
    records: BTreeMap<GroupName, GroupRecord>,
    runs: BTreeMap<GroupName, Run>,
    regions: Vec<RegionHealth>,
}

impl World {
    fn sound() -> Self {
        let mut system = sound();
        let room: Vec<std::net::SocketAddr> =
            vec!["10.0.0.1:1".parse().unwrap(), "10.0.0.1:2".parse().unwrap()];
        system.services[0].backends.iter_mut().for_each(|b| b.endpoints.clone_from(&room));
        let facts = [WRITER, STANDBY, OTHER].map(region_facts).to_vec();
        let members = [(name("orders"), Vec::new())].into();
        let writers = [(name("orders"), name(WRITER))].into();
        let record = GroupRecord::begin(name("orders"), Epoch(1), name(WRITER), NOW);
        let records = [(name("orders"), record)].into();
        let (unreachable, maintenance, runs, regions) = (false, None, BTreeMap::new(), Vec::new());
        Self { system, facts, writers, members, unreachable, maintenance, records, runs, regions }
    }

    fn region(&mut self, region: &str) -> &mut RegionFacts {
        self.facts.iter_mut().find(|f| f.region == name(region)).unwrap()
    }

    fn member(&mut self, region: &str) -> &mut MemberFacts {
        self.region(region).members[0].facts.as_mut().unwrap()
    }

    fn findings(&self) -> Vec<Finding> {
        let (facts, writers, members) = (&self.facts, &self.writers, &self.members);
        let control = Control {
            here: &self.facts[0].region,
            reachable: !self.unreachable,
            maintenance: self.maintenance.as_ref(),
            records: &self.records,
            runs: &self.runs,
            regions: &self.regions,
        };
        examine(&self.system, &Live { now: NOW, facts, writers, members, control })
    }
}

/// What is found after `change`: severity, code, and where.
fn found(change: impl FnOnce(&mut World)) -> Vec<(Severity, &'static str, String)> {
    let mut world = World::sound();
    change(&mut world);
    let findings = world.findings();
    for finding in &findings {
        assert!(!finding.suggestion.is_empty(), "it says what to do: {finding}");
    }
    let place = |f: &Finding| f.subject.region().map_or_else(String::new, ToString::to_string);
    findings.iter().map(|f| (f.severity, f.code, place(f))).collect()
}

/// Exactly one finding, in that region.
fn one(severity: Severity, code: &'static str, region: &str, change: impl FnOnce(&mut World)) {
    assert_eq!(found(change), [(severity, code, region.to_owned())], "{code}");
}

fn error(code: &'static str, region: &str, change: impl FnOnce(&mut World)) {
    one(Severity::Error, code, region, change);
}

fn warning(code: &'static str, region: &str, change: impl FnOnce(&mut World)) {
    one(Severity::Warning, code, region, change);
}

fn set(member: &mut MemberFacts, name: &str, value: &str) {
    member.settings.insert(name.to_owned(), value.to_owned());
}

#[test]
fn a_sound_system_has_no_findings() {
    assert_eq!(World::sound().findings(), []);
}

#[test]
fn members_that_differ_from_the_writer_are_named() {
    error("version", STANDBY, |w| w.member(STANDBY).version = 140_023);
    warning("version", STANDBY, |w| w.member(STANDBY).version = 150_017);
    warning("checksums", OTHER, |w| w.member(OTHER).data_checksums = false);
    warning("tls", OTHER, |w| w.member(OTHER).tls = false);
    for name in alike::AT_LEAST {
        error("setting-below-writer", STANDBY, |w| {
            [WRITER, OTHER].iter().for_each(|region| set(w.member(region), name, "64"));
            set(w.member(STANDBY), name, "63");
        });
        warning("setting-above-writer", STANDBY, |w| {
            [WRITER, OTHER].iter().for_each(|region| set(w.member(region), name, "64"));
            set(w.member(STANDBY), name, "100");
        });
    }
    warning("setting-differs", OTHER, |w| set(w.member(OTHER), "wal_level", "replica"));
    error("role-missing", STANDBY, |w| w.member(STANDBY).roles.truncate(1));
    error("role-password", STANDBY, |w| w.member(STANDBY).roles[0].password = None);
    error("role-differs", STANDBY, |w| w.member(STANDBY).roles[0].attributes = "b".to_owned());
    error("collation", STANDBY, |w| {
        let database = &mut w.member(STANDBY).databases[0];
        database.collation_version_here = Some("2.31".to_owned());
        database.collation = "c en_US.utf8 en_US.utf8 2.31".to_owned();
    });
}

#[test]
fn a_hash_of_a_password_is_told_nowhere() {
    let mut world = World::sound();
    world.member(STANDBY).roles[0].password = Some("0123abcd".to_owned());
    let told = world.findings().iter().map(ToString::to_string).collect::<String>();
    assert!(told.contains("role `app` has another password in eu-central-1"), "{told}");
    assert!(!told.contains("0123abcd") && !told.contains("hash"), "{told}");
}

#[test]
fn what_could_not_be_had_is_not_compared() {
    assert_eq!(found(|w| w.member(STANDBY).roles.clear()), []);
    assert_eq!(found(|w| w.member(STANDBY).databases.clear()), []);
    assert_eq!(found(|w| drop(w.member(STANDBY).settings.remove("max_connections"))), []);
    assert_eq!(found(|w| drop(w.member(STANDBY).settings.remove("max_slot_wal_keep_size"))), []);
    warning("fact-missing", OTHER, |w| {
        w.member(OTHER).missing.push("extensions of shop: refused".to_owned())
    });
    assert_eq!(
        found(|w| {
            w.member(STANDBY).databases[0].collation_version_here = None;
            w.member(STANDBY).databases[0].collation = "c C C".to_owned();
        }),
        [],
        "the collation C has no version"
    );
}

#[test]
fn a_member_by_itself_needs_files_room_and_certificates() {
    error("extension-absent", STANDBY, |w| {
        w.member(STANDBY).databases[0].extensions_absent.push("hstore".to_owned());
    });
    let expires = |days: i64| {
        move |w: &mut World| {
            w.member(OTHER).certificates[0].expires_at = Timestamp(NOW.0 + days * 86_400_000);
        }
    };
    warning("certificate", OTHER, expires(29));
    error("certificate", OTHER, expires(6));
    error("certificate", OTHER, expires(-1));
    let free = |bytes: u64| move |w: &mut World| w.member(STANDBY).disk.free_bytes = bytes;
    assert_eq!(found(free(2 << 30)), [], "a full log and a copy of the database still fit");
    error("disk-wal", STANDBY, free((2 << 30) - 1));
    warning("disk-copy", STANDBY, |w| w.member(STANDBY).databases[0].bytes = 51 << 30);
    warning("wal-unlimited", STANDBY, |w| set(w.member(STANDBY), "max_slot_wal_keep_size", "-1"));
    error("not-streaming", STANDBY, |w| w.member(STANDBY).streaming = false);
    assert_eq!(found(|w| w.member(WRITER).streaming = false), [], "a writer has no upstream");
}

#[test]
fn log_that_a_slot_keeps_already_needs_no_more_room() {
    let half = |w: &mut World| {
        w.member(WRITER).disk.free_bytes = 3 << 29;
        w.member(WRITER).slots[0].retained_bytes = 511 << 20;
    };
    error("disk-wal", WRITER, half);
    let codes = found(|w| {
        half(w);
        w.member(WRITER).slots[0].retained_bytes = 512 << 20;
    });
    assert_eq!(codes, [(Severity::Warning, "wal-kept", WRITER.to_owned())], "half of what it may keep");
}

#[test]
fn the_slots_of_the_writer_are_looked_at() {
    let status = |word: &'static str| {
        move |w: &mut World| w.member(WRITER).slots[0].wal_status = Some(word.to_owned())
    };
    error("slot-lost", WRITER, status("lost"));
    error("slot-at-risk", WRITER, status("unreserved"));
    warning("slot-inactive", WRITER, |w| w.member(WRITER).slots[0].active = false);
    warning("slot-missing", WRITER, |w| drop(w.member(WRITER).slots.remove(0)));
    warning("wal-kept", WRITER, |w| w.member(WRITER).slots[0].retained_bytes = 600 << 20);
    error("wal-kept", WRITER, |w| w.member(WRITER).slots[0].retained_bytes = 900 << 20);
    let of_a_standby =
        |w: &mut World| w.member(STANDBY).slots = vec![SlotFacts { active: false, ..slot("x") }];
    assert_eq!(found(of_a_standby), [], "a standby's own slots are its node's business");
}

#[test]
fn regions_are_judged_by_what_they_have_and_not_when_they_are_away() {
    warning("facts-absent", STANDBY, |w| w.facts.retain(|f| f.region != name(STANDBY)));
    warning("facts-old", STANDBY, |w| {
        w.region(STANDBY).at = Timestamp(NOW.0 - FACTS_LAST_MS - 1);
        // Whatever was true of it then says nothing now.
        w.member(STANDBY).version = 140_000;
        w.member(STANDBY).streaming = false;
    });
    assert_eq!(found(|w| w.region(STANDBY).at = Timestamp(NOW.0 - FACTS_LAST_MS)), []);
    error("member-unseen", STANDBY, |w| {
        w.region(STANDBY).members[0].facts = Err("it does not run".to_owned())
    });
    error("member-unseen", STANDBY, |w| w.region(STANDBY).members.clear());
    error("dns-answer", OTHER, |w| w.region(OTHER).services[0].dns = Some("it refused".to_owned()));
    error("instances-few", OTHER, |w| w.region(OTHER).services[0].wanted = 2);
    error("instances-room", OTHER, |w| w.system.services[0].backends[2].endpoints.truncate(1));
    warning("open-files", OTHER, |w| w.region(OTHER).open_files.limit = Some(1_024));
    assert_eq!(found(|w| w.region(OTHER).open_files.limit = None), []);
}

#[test]
fn a_target_has_room_for_what_a_writer_needs() {
    for setting in ["max_replication_slots", "max_wal_senders"] {
        let few = |w: &mut World| {
            [WRITER, STANDBY, OTHER].iter().for_each(|region| set(w.member(region), setting, "2"));
        };
        let all = [WRITER, STANDBY, OTHER].map(|r| (Severity::Error, "target-room", r.to_owned()));
        let mut told = found(few);
        told.sort_by_key(|(_, _, region)| all.iter().position(|(_, _, r)| r == region));
        assert_eq!(told, all, "{setting}");
    }
    assert_eq!(found(|w| set(w.member(WRITER), "max_replication_slots", "3")), []);
}

#[test]
fn the_certificate_of_an_edge_is_judged_by_its_end() {
    let ends = |days: i64| {
        move |w: &mut World| {
            let expires_at = Timestamp(NOW.0 + days * 86_400_000);
            let file = "/etc/meridian/shop.pem".to_owned();
            w.region(OTHER).services[0].certificate = Some(CertificateFacts { file, expires_at });
        }
    };
    error("certificate", OTHER, ends(-1));
    error("certificate", OTHER, ends(6));
    warning("certificate", OTHER, ends(29));
    assert_eq!(found(ends(31)), []);
}

#[test]
fn without_the_writer_s_facts_members_are_only_judged_by_themselves() {
    let codes = found(|w| {
        w.facts.retain(|f| f.region != name(WRITER));
        w.member(STANDBY).version = 140_000;
        w.member(STANDBY).streaming = false;
    });
    let expected = [(Severity::Error, "not-streaming", STANDBY), (Severity::Warning, "facts-absent", WRITER)];
    assert_eq!(codes, expected.map(|(severity, code, region)| (severity, code, region.to_owned())));
}

#[test]
fn sizes_are_read_as_postgres_shows_them() {
    for (text, expected) in [
        ("256MB", Some(256 << 20)),
        ("1GB", Some(1 << 30)),
        ("0", Some(0)),
        ("8kB", Some(8 << 10)),
        ("2TB", Some(2 << 40)),
        ("-1", None),
        ("", None),
        ("1XB", None),
        ("99999999TB", None),
    ] {
        assert_eq!(bytes(text), expected, "{text}");
    }
}

#[test]
fn every_check_is_in_the_document() {
    let document = include_str!("../../../../docs/checks.md");
    let sources = [
        include_str!("../live.rs"),
        include_str!("begin.rs"),
        include_str!("alike.rs"),
        include_str!("alone.rs"),
    ]
    .concat();
    let quoted = sources.split('"').skip(1).step_by(2);
    let of_check =
        |word: &&str| word.contains('-') && word.bytes().all(|b| b == b'-' || b.is_ascii_lowercase());
    let codes: Vec<&str> = quoted.filter(of_check).collect();
    assert!(codes.len() > 15, "{codes:?}");
    for code in codes {
        assert!(document.contains(&format!("`{code}`")), "docs/checks.md does not explain `{code}`");
    }
}
