//! The texts that PostgreSQL will read.

use std::path::PathBuf;

use meridian_model::database::PostgresMember;
use meridian_model::{GroupName, RegionName};

use super::*;

pub(in crate::postgres) fn config(replication: Replication) -> PostgresConfig {
    let region = |name| RegionName::new(name).unwrap();
    PostgresConfig {
        group: GroupName::new("orders").unwrap(),
        region: region("eu-central-1"),
        address: "127.0.0.1:5432".parse().unwrap(),
        postgres: PostgresMember {
            bin_dir: None,
            data_dir: "/data".into(),
            run_as: "postgres".into(),
            superuser: "meridian".into(),
            password_file: PathBuf::new(),
            app_user: "app".into(),
            app_password_file: PathBuf::new(),
            settings: vec![("shared_buffers".into(), "64MB".into())],
        },
        dbname: "shop".into(),
        replication,
        others: vec![region("us-east-1"), region("ap-southeast-1")],
        work_dir: "/work".into(),
        kept_wal_dir: "/kept".into(),
        guard: Vec::new(),
    }
}

#[test]
fn a_follower_names_its_upstream_its_slot_and_its_password_file() {
    let upstream = Some("10.0.0.1:5433".parse().unwrap());
    let text =
        meridian_conf(&config(Replication::Async), upstream, Changed::default(), Path::new("/it's/pass"));
    let line = text.lines().find(|l| l.starts_with("primary_conninfo")).unwrap();
    assert!(line.contains("host=''10.0.0.1'' port=''5433''"), "{line}");
    assert!(line.contains("application_name=''eu-central-1''"), "{line}");
    assert!(line.contains(r"passfile=''/it\\''s/pass''"), "{line}");
    assert!(text.contains("primary_slot_name = 'eu_central_1'\n"));
    assert!(text.contains("synchronous_standby_names = ''\n"));
    assert!(text.contains("shared_buffers = '64MB'\n"));
}

#[test]
fn quorum_waits_for_any_of_the_others_and_nobody_is_followed_without_an_upstream() {
    let text = meridian_conf(
        &config(Replication::Quorum { acknowledgers: 1 }),
        None,
        Changed::default(),
        Path::new("/p"),
    );
    assert!(
        text.contains("synchronous_standby_names = 'ANY 1 (\"ap-southeast-1\",\"us-east-1\")'\n"),
        "{text}"
    );
    assert!(text.contains("primary_conninfo = ''\n"));
    assert!(text.contains("primary_slot_name = ''\n"));
}

#[test]
fn with_a_guard_commits_wait_for_its_word_unless_they_wait_for_standbys() {
    let names = |replication, guard: &[&str]| {
        let mut config = config(replication);
        config.guard = guard.iter().map(Into::into).collect();
        synchronous_standby_names(&config)
    };
    assert_eq!(names(Replication::Async, &["meridian", "guard"]), "FIRST 1 (meridian_lease)");
    assert_eq!(LEASE, format!("FIRST 1 ({})", crate::guard::LEASE_NAME));
    assert!(RegionName::new(crate::guard::LEASE_NAME).is_err(), "no region is called so");
    assert_eq!(names(Replication::Async, &[]), "");
    let quorum = Replication::Quorum { acknowledgers: 1 };
    assert_eq!(names(quorum, &["meridian", "guard"]), names(quorum, &[]));
}

#[test]
fn the_number_of_acknowledgers_is_written_and_read() {
    let quorum = config(Replication::Quorum { acknowledgers: 1 });
    let text = meridian_conf(&quorum, None, Changed { names: Some(""), read_only: true }, Path::new("/p"));
    assert!(text.contains("synchronous_standby_names = ''\n"), "{text}");
    assert!(text.contains("default_transaction_read_only = 'on'\n"), "{text}");
    assert_eq!(any_of(2, ["a", "b\"c"].into_iter()), "ANY 2 (\"a\",\"b\"\"c\")");
    for (value, number) in [
        ("", Some(0)),
        (LEASE, Some(0)),
        ("ANY 2 (\"a\",\"b\")", Some(2)),
        ("first 1 (a, b)", Some(1)),
        ("3 (a, b, c)", Some(3)),
        ("a, b", Some(1)),
        ("ANY x (a)", None),
    ] {
        assert_eq!(acknowledgers_of(value), number, "{value}");
    }
}

#[test]
fn what_somebody_set_by_alter_system_cannot_redirect_replication() {
    let auto = "# comment\nwork_mem = '8MB'\nprimary_conninfo = 'host=old'\nPRIMARY_SLOT_NAME='x'\n";
    assert_eq!(without_managed(auto), "# comment\nwork_mem = '8MB'\n");
}

#[test]
fn what_the_promises_rest_on_is_refused_unless_it_keeps_them() {
    for (name, value) in [
        ("fsync", "off"),
        ("FSYNC", "false"),
        ("full_page_writes", "off"),
        ("synchronous_commit", "local"),
        ("synchronous_commit", "remote_write"),
        ("wal_level", "minimal"),
        ("synchronous_standby_names", ""),
        ("primary_conninfo", "host=elsewhere"),
        ("recovery_target_time", "yesterday"),
        ("data_directory", "/elsewhere"),
        ("include", "/elsewhere.conf"),
        ("work_mem = '1MB'\nfsync", "off"),
        ("work_mem", "1MB'\nfsync = off\n#"),
        ("", "on"),
    ] {
        assert!(permitted(name, value).is_err(), "{name} = {value}");
    }
    for (name, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "remote_apply"),
        ("wal_level", "logical"),
        ("shared_buffers", "4GB"),
        ("auto_explain.log_min_duration", "1s"),
    ] {
        assert_eq!(permitted(name, value), Ok(()), "{name} = {value}");
    }
    assert_eq!(
        DEFAULTS.iter().find(|(name, value)| *name != "lc_messages" && permitted(name, value).is_err()),
        None
    );
}

#[test]
fn what_somebody_set_by_alter_system_cannot_weaken_a_commit() {
    let auto = "fsync = 'off'\nfull_page_writes = 'on'\nsynchronous_commit = 'off'\nwal_level = 'logical'\n";
    assert_eq!(without_managed(auto), "full_page_writes = 'on'\nwal_level = 'logical'\n");
}

#[test]
fn a_password_with_separators_is_escaped() {
    assert_eq!(passfile_line("me", r"a:b\c"), "*:*:*:me:a\\:b\\\\c\n");
}

#[test]
fn names_and_texts_cannot_break_out_of_their_quotes() {
    assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    assert_eq!(literal("a'b"), "'a''b'");
}
