//! The facts of a server.

use std::os::unix::fs::{PermissionsExt as _, chown};

use meridian_actuators::{DatabaseActuator as _, Postgres};
use meridian_model::Epoch;
use meridian_model::database::Replication;
use meridian_model::facts::MemberFacts;
use meridian_telemetry::clock;

use super::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_s_facts_are_those_of_its_primary_where_they_must_be_and_hold_no_secret() {
    let rig = Rig::new(Replication::Async);
    let (primary, standby) = (rig.primary().await, rig.standby(1).await);
    let client = connect(rig.addresses[0], "meridian", SUPER_PASSWORD, "shop").await.unwrap();
    client
        .batch_execute(
            "create extension hstore; create role other login password 'x' in role pg_monitor; checkpoint",
        )
        .await
        .unwrap();
    let written = primary.status().await.received;
    status_until(&standby, "it has the role", |s| s.replayed >= written.lsn).await;

    let began = clock::now();
    let (a, b) = (primary.inspect().await.unwrap(), standby.inspect().await.unwrap());
    println!("measured: facts of two members in {:?}", clock::now().since(began));
    assert_eq!((a.standby, b.standby), (false, true));
    assert_eq!((a.streaming, b.streaming), (false, true));
    assert!(a.version > 140_000 && a.version == b.version && a.data_checksums);
    assert_eq!(a.roles, b.roles);
    assert_eq!(a.roles.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["app", "meridian", "other"]);
    let shop = a.databases.iter().find(|d| d.name == "shop").unwrap();
    assert!(shop.bytes > 1 << 20 && shop.collation.contains('C') && shop.extensions_absent.is_empty());
    assert!(shop.extensions.contains_key("hstore") && shop.extensions.contains_key("plpgsql"));
    assert_eq!(
        b.databases.iter().map(|d| &d.extensions).collect::<Vec<_>>(),
        a.databases.iter().map(|d| &d.extensions).collect::<Vec<_>>()
    );
    for (name, value) in [("wal_level", "logical"), ("max_connections", "20"), ("wal_keep_size", "256MB")] {
        assert_eq!(a.settings.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(a.settings.contains_key("max_locks_per_transaction") && a.settings["wal_log_hints"] == "on");
    assert!(a.disk.total_bytes > a.disk.free_bytes && a.disk.free_bytes > 0);
    let slot = a.slots.iter().find(|s| s.name == "eu_central_1").unwrap();
    assert!(slot.active && !slot.logical && slot.wal_status.as_deref() == Some("reserved"), "{slot:?}");
    assert!(!a.tls && a.certificates.is_empty() && a.missing.is_empty(), "{:?}", a.missing);

    let text = serde_json::to_string(&a).unwrap();
    for secret in [APP_PASSWORD, SUPER_PASSWORD, "SCRAM-SHA-256$"] {
        assert!(!text.contains(secret));
    }
    assert_eq!(serde_json::from_str::<MemberFacts>(&text).unwrap(), a);
    client.batch_execute("alter role other password 'y'").await.unwrap();
    client.batch_execute("alter role app connection limit 7").await.unwrap();
    let c = primary.inspect().await.unwrap();
    let differs = |name: &str| {
        let of = |facts: &MemberFacts| facts.roles.iter().find(|r| r.name == name).unwrap().clone();
        let (before, after) = (of(&a), of(&c));
        (before.attributes != after.attributes, before.password != after.password)
    };
    assert_eq!(
        (differs("other"), differs("app"), differs("meridian")),
        ((false, true), (true, false), (false, false))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_the_end_of_the_certificate_is_told() {
    let rig = Rig::new(Replication::Async);
    let primary = rig.open(0);
    assert!(primary.inspect().await.unwrap_err().to_string().contains("it does not run"));
    primary.initialise().await.unwrap();
    drop(primary);
    let mut config = rig.config(0);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["db.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2031, 3, 1);
    let pem = params.self_signed(&key).unwrap().pem();
    for (name, text) in [("server.crt", pem), ("server.key", key.serialize_pem())] {
        let file = config.postgres.data_dir.join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let owner =
            std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&config.postgres.data_dir).unwrap());
        chown(&file, Some(owner), None).unwrap();
    }
    config.postgres.settings.push(("ssl".to_owned(), "on".to_owned()));
    let primary = Postgres::open(config).unwrap();
    fence_late(&primary);
    primary.start_primary(Epoch(1)).await.unwrap();
    let facts = primary.inspect().await.unwrap();
    assert!(facts.tls && facts.missing.is_empty(), "{:?}", facts.missing);
    let [certificate] = &facts.certificates[..] else { panic!("{:?}", facts.certificates) };
    assert!(certificate.file.ends_with("server.crt"));
    assert_eq!(certificate.expires_at.0, 1_930_089_600_000);
}
