//! What is looked up is shared, judged and counted; what is mended is counted down.

use meridian_coordination::{Faults, Memory as Twin, decode};
use meridian_model::facts::{DatabaseFacts, RoleFacts, SlotFacts};
use meridian_model::group::{DatabaseStatus, GroupRecord};
use meridian_model::service::{HealthCheck, Retries, Service, TlsFiles};
use meridian_model::snapshot::GroupState;

use super::*;
use crate::testing::{Says, facts, here, name, system};

fn service(host: &str) -> Service {
    Service {
        name: name("shop"),
        hosts: vec![host.to_owned()],
        zone: "example.com".to_owned(),
        dns_ttl: Duration::from_secs(30),
        backends: Vec::new(),
        health_check: HealthCheck { path: "/health".to_owned() },
        retries: Retries::default(),
        tls: None,
    }
}

/// What the loop of a group says whose database is that.
fn loop_says(role: DatabaseRole) -> GroupFacts {
    let explanation = meridian_failover::Explanation {
        state: State::Following,
        doing: String::new(),
        would_act: false,
        rules: Vec::new(),
    };
    let state = GroupState {
        group: name("orders"),
        epoch: meridian_model::Epoch(1),
        writer: None,
        reason: String::new(),
        readers: Vec::new(),
    };
    GroupFacts { state, explanation, database: Some(DatabaseStatus::stopped(role)) }
}

fn doctor(store: &Twin, says: &Arc<Says>) -> Doctor {
    doctor_of(store, says, watch::channel(loop_says(DatabaseRole::Standby)).1)
}

fn doctor_of(store: &Twin, says: &Arc<Says>, facts: watch::Receiver<GroupFacts>) -> Doctor {
    let mut system = system();
    // No name server is asked: its name cannot be.
    system.services = vec![service("a..b")];
    Doctor {
        system: Arc::new(system),
        here: here(),
        members: vec![Patient {
            group: name("orders"),
            database: Arc::clone(says) as Arc<dyn DatabaseActuator>,
            facts,
        }],
        certificates: BTreeMap::new(),
        compute: Arc::new(Compute::new(here(), Vec::new())),
        open_files: OpenFiles { limit: None, needed: 0 },
        knowledge: Arc::new(Mutex::new(Knowledge::new(&name("shop"), vec![name("orders")]))),
        verdicts: watch::channel(Arc::default()).1,
        coordination: watch::channel(CoordinationStatus { reachable: true, ..Default::default() }).1,
        store: Arc::new(store.clone()),
        keys: Keys::new(&name("shop")),
        metrics: Metrics::new(None),
    }
}

#[tokio::test]
async fn a_region_shares_what_it_has_and_knows_it_without_etcd_too() {
    let (store, says) = (Twin::new(), Arc::new(Says::standby()));
    let doctor = doctor(&store, &says);
    let looked = doctor.look().await;
    assert_eq!(looked.members[0].facts.as_ref().map(|f| f.version), Ok(150_018));
    assert!(looked.services[0].dns.as_ref().unwrap().contains("no name"), "{looked:?}");
    doctor.share(&looked).await;
    let listing = store.list(&doctor.keys.facts(&here())).await.unwrap();
    assert_eq!(decode::<RegionFacts>(&listing.items[0]).unwrap(), looked);

    let unreachable = store.another();
    unreachable.set_faults(Faults { unreachable: true, ..Faults::default() });
    let cut_off = self::doctor(&unreachable, &says);
    let known = Arc::clone(&cut_off.knowledge);
    let running = tokio::spawn(cut_off.run());
    let known = async {
        while known.lock().unwrap().facts().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), known).await.unwrap();
    running.abort();
}

#[tokio::test]
async fn a_failing_check_is_a_metric_until_it_is_mended() {
    let (store, says) = (Twin::new(), Arc::new(Says::standby()));
    let doctor = doctor(&store, &says);
    let line = |count: u32| {
        format!(
            r#"meridian_check_findings{{check="not-streaming",subject="orders",severity="error"}} {count}"#
        )
    };
    let judged = async |streaming: bool, counts: Counts| {
        says.facts.lock().unwrap().as_mut().unwrap().streaming = streaming;
        let looked = doctor.look().await;
        doctor.knowledge.lock().unwrap().take_facts(looked);
        let record = record();
        let value = meridian_coordination::Versioned {
            key: doctor.keys.record(&name("orders")),
            value: encode(&record),
            revision: 1,
        };
        let change = meridian_coordination::Change::Put(value);
        doctor.knowledge.lock().unwrap().apply(change, meridian_model::Moment::ZERO);
        let findings = doctor.findings().await;
        doctor.count(&findings, counts)
    };
    let counts = judged(false, Counts::new()).await;
    let text = doctor.metrics.render();
    assert!(text.lines().any(|l| l == line(1)), "{text}");
    let counts = judged(true, counts).await;
    let text = doctor.metrics.render();
    assert!(text.lines().any(|l| l == line(0)), "{text}");
    assert!(!counts.is_empty(), "the other regions have told nothing");

    *says.facts.lock().unwrap() = Err("it does not run".to_owned());
    let looked = doctor.look().await;
    let problem = looked.members[0].facts.as_ref().unwrap_err();
    assert!(problem.contains("it does not run"), "{problem}");
}

/// After a switchover, a look from before stood for a minute.
#[tokio::test]
async fn a_member_that_has_become_something_else_is_looked_at_anew_and_no_other() {
    let (store, says) = (Twin::new(), Arc::new(Says::standby()));
    let (told, facts) = watch::channel(loop_says(DatabaseRole::Standby));
    let mut doctor = doctor_of(&store, &says, facts);
    // Nothing that fails, so that it looks every minute.
    Arc::get_mut(&mut doctor.system).unwrap().services.clear();
    let known = Arc::clone(&doctor.knowledge);
    let looked_as = || known.lock().unwrap().facts().first().and_then(|f| f.members[0].looked_as());
    let until = async |role| {
        let seen = async {
            while looked_as() != Some(role) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LOOK_EVERY / 2, seen).await.unwrap();
    };
    for same in [DatabaseRole::Standby, DatabaseRole::Starting, DatabaseRole::Standby] {
        told.send_replace(loop_says(same));
        let waits =
            tokio::time::timeout(Duration::ZERO, doctor.changed(&[Some(DatabaseRole::Standby)])).await;
        assert!(waits.is_err(), "{same:?} is no news of a standby");
    }
    let running = tokio::spawn(doctor.run());
    until(DatabaseRole::Standby).await;
    says.facts.lock().unwrap().as_mut().unwrap().standby = false;
    told.send_replace(loop_says(DatabaseRole::Primary));
    until(DatabaseRole::Primary).await;
    // It does not run any more.
    *says.facts.lock().unwrap() = Err("it does not run".to_owned());
    told.send_replace(loop_says(DatabaseRole::Stopped));
    until(DatabaseRole::Stopped).await;
    running.abort();
}

#[test]
fn the_certificate_of_the_edge_is_told_with_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let mut system = system();
    let tls = TlsFiles { certificate_file: file("shop.pem"), key_file: file("shop.key") };
    system.services = vec![Service { tls: Some(tls), ..service("shop.example.com") }];
    assert_eq!(certificates(&system), BTreeMap::new(), "the edge says what is wrong, and does not start");
    std::fs::write(file("shop.pem"), CERTIFICATE).unwrap();
    let told = certificates(&system);
    assert_eq!(told[&name("shop")].expires_at, CERTIFICATE_ENDS);
    assert!(told[&name("shop")].file.ends_with("shop.pem"));
}

/// A look opens connections and counts files: what is lastingly wrong is no reason to do that all the time.
#[test]
fn what_goes_on_failing_is_not_looked_at_more_often_than_what_is_well() {
    let fails = |group: &str, free: u32| {
        let member = Subject::Member(name(group), here());
        let message = format!("{free} bytes are free");
        let (details, suggestion) = (Vec::new(), String::new());
        Finding { severity: Severity::Error, code: "disk", subject: member, message, details, suggestion }
    };
    let at_home = |findings: Vec<Finding>| fails_at(&here(), findings);
    let (mut pauses, mut before, mut last) = (Vec::new(), Failing::new(), LOOK_AGAIN);
    let mut looks: Vec<_> = (0..6).map(|look| vec![fails("orders", look)]).collect();
    // Something else, the same again, and all is well.
    looks.extend([vec![fails("users", 0)], vec![fails("users", 1)], Vec::new(), Vec::new()]);
    for findings in looks {
        let now = at_home(findings);
        last = pause(&now, &before, last);
        before = now;
        pauses.push(last.as_secs());
    }
    assert_eq!(pauses, [10, 20, 40, 60, 60, 60, 10, 20, 60, 60]);
}

fn record() -> GroupRecord {
    GroupRecord::begin(name("orders"), meridian_model::Epoch(1), name("eu-central-1"), Timestamp(0))
}

fn region_of(member: meridian_model::facts::MemberFacts) -> RegionFacts {
    RegionFacts {
        region: here(),
        at: clock::wall(),
        members: vec![MemberSeen { group: name("orders"), role: None, at_work: false, facts: Ok(member) }],
        services: Vec::new(),
        open_files: OpenFiles { limit: None, needed: 0 },
        plan_files: Vec::new(),
    }
}

#[test]
fn what_is_too_much_to_share_is_left_out_and_named() {
    let small = region_of(facts());
    assert_eq!(fitted(small.clone()), small);

    let role = |n: usize| RoleFacts { name: format!("r{n}"), attributes: "a".repeat(64), password: None };
    let database = |n: usize| DatabaseFacts {
        name: format!("d{n}-{}", "x".repeat(40)),
        bytes: 1,
        collation: String::new(),
        collation_version_here: None,
        extensions: BTreeMap::new(),
        extensions_absent: Vec::new(),
    };
    let mut many = facts();
    many.roles = (0..2_000).map(role).collect();
    many.databases = vec![database(1)];
    let shared = fitted(region_of(many.clone()));
    let member = shared.members[0].facts.as_ref().unwrap();
    assert!(encode(&shared).len() <= SHARED_MAX && member.roles.is_empty());
    assert_eq!((member.databases.len(), member.missing.len()), (1, 1));
    assert!(member.missing[0].contains("roles"), "{:?}", member.missing);

    many.databases = (0..2_000).map(database).collect();
    let shared = fitted(region_of(many.clone()));
    assert!(encode(&shared).len() <= SHARED_MAX);
    assert_eq!(shared.members[0].facts.as_ref().unwrap().missing.len(), 2);

    let slot = |n: usize| SlotFacts {
        name: format!("s{n}"),
        logical: false,
        active: true,
        wal_status: Some("reserved".to_owned()),
        restart: None,
        retained_bytes: 0,
    };
    many.slots = (0..2_000).map(slot).collect();
    let shared = fitted(region_of(many));
    assert!(encode(&shared).len() <= SHARED_MAX);
    assert!(shared.members[0].facts.is_err(), "it is not told as if there were nothing");
}

/// Of shop.example.com; its end by `openssl x509 -noout -enddate` and `date -u +%s`.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBSjCB/aADAgECAhRINFXW9tXuUujMZZRG0YEKTTsdCjAFBgMrZXAwGzEZMBcG
A1UEAwwQc2hvcC5leGFtcGxlLmNvbTAeFw0yNjExMjUyMTU4NDlaFw0zNjExMjIy
MTU4NDlaMBsxGTAXBgNVBAMMEHNob3AuZXhhbXBsZS5jb20wKjAFBgMrZXADIQAf
Tl2UuUNGHm6V20ldp3TUHwBvwxgUn3TseRyiS2AcFqNTMFEwHQYDVR0OBBYEFCEc
4YIWMTa/S0bynr71rd3URhXHMB8GA1UdIwQYMBaAFCEc4YIWMTa/S0bynr71rd3U
RhXHMA8GA1UdEwEB/wQFMAMBAf8wBQYDK2VwA0EAeVuQ5vt87P20PqUDW91N+AR8
zcmCv3T6nPVkg/9rIUuIhtJkChsI6Qj8q31Jq6Wrj6elAYYqSEUn3+riAFxpCQ==
-----END CERTIFICATE-----
";
const CERTIFICATE_ENDS: Timestamp = Timestamp(2_111_003_929_000);
