//! Bad set-ups: each has a clear error that says what to do, and nothing is destroyed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use meridian_actuators::{ActuatorError, Blame, DatabaseActuator as _, Postgres, Retry, StopMode};
use meridian_model::Epoch;
use meridian_model::database::Replication;

use super::support::*;

fn refusal(rig: &Rig) -> String {
    match Postgres::open(rig.config(0)) {
        Ok(_) => panic!("it was accepted"),
        Err(error) => {
            assert_eq!((error.blame(), error.retry()), (Blame::Setup, Retry::AfterRepair), "{error}");
            error.to_string()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_other_files_is_left_alone() {
    let rig = Rig::new(Replication::Async);
    let data_dir = rig.config(0).postgres.data_dir;
    fs::create_dir_all(&data_dir).unwrap();
    fs::write(data_dir.join("thesis.txt"), "years of work").unwrap();
    assert!(refusal(&rig).contains("holds no PostgreSQL"));
    assert_eq!(fs::read_to_string(data_dir.join("thesis.txt")).unwrap(), "years of work");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_somebody_else_another_group_version_owner_or_mode_is_refused() {
    let rig = Rig::new(Replication::Async);
    let database = rig.open(0);
    database.initialise().await.unwrap();
    drop(database);
    let data_dir = rig.config(0).postgres.data_dir;
    let change = |file: &str, text: Option<&str>, expected: &str| {
        let file = data_dir.join(file);
        let before = fs::read(&file).unwrap();
        match text {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let said = refusal(&rig);
        assert!(said.contains(expected), "{said}");
        fs::write(&file, before).unwrap();
    };
    change("PG_VERSION", Some("13\n"), "it was made by PostgreSQL 13");
    change("meridian-member", None, "that Meridian did not make");
    change(
        "meridian-member",
        Some("meridian group billing\n"),
        "belongs to another database (meridian group billing)",
    );
    fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(refusal(&rig).contains("others may enter it (mode 755)"));
    fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o700)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&data_dir, Some(0), Some(0)).unwrap();
        assert!(refusal(&rig).contains("its owner is user number 0"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_programs_users_and_passwords_are_named() {
    let rig = Rig::new(Replication::Async);
    let mut config = rig.config(0);
    config.postgres.bin_dir = Some("/nowhere/bin".into());
    let said = Postgres::open(config).err().unwrap().to_string();
    assert!(said.contains("postgres was not found in /nowhere/bin") && said.contains("binDir"), "{said}");
    let mut config = rig.config(0);
    config.postgres.password_file = "/nowhere/password".into();
    let said = Postgres::open(config).err().unwrap().to_string();
    assert!(said.contains("reading the password file /nowhere/password"), "{said}");
    if rustix::process::geteuid().is_root() {
        let mut config = rig.config(0);
        config.postgres.run_as = "nobody-of-that-name".to_owned();
        let said = Postgres::open(config).err().unwrap().to_string();
        assert!(said.contains("the user `nobody-of-that-name` does not exist"), "{said}");
        fs::set_permissions(rig.folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let said = Postgres::open(rig.config(0)).err().unwrap().to_string();
        assert!(said.contains("user `postgres` may not pass") && said.contains("chmod o+x"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_and_free_again_it_starts() {
    let rig = Rig::new(Replication::Async);
    let database = rig.open(0);
    database.initialise().await.unwrap();
    fence_late(&database);
    let other = TcpListener::bind(rig.addresses[0]).unwrap();
    let error = database.start_primary(Epoch(1)).await.unwrap_err();
    assert!(matches!(error, ActuatorError::PortInUse { .. }), "{error}");
    assert!(error.to_string().contains(&rig.addresses[0].to_string()));
    drop(other);
    database.start_primary(Epoch(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_the_last_words_of_the_log() {
    let rig = Rig::new(Replication::Async);
    let database = rig.open(0);
    database.initialise().await.unwrap();
    drop(database);
    let mut config = rig.config(0);
    config.postgres.settings.push(("shared_buffers".to_owned(), "a lot".to_owned()));
    let database = Postgres::open(config).unwrap();
    fence_late(&database);
    let error = database.start_primary(Epoch(1)).await.unwrap_err();
    assert!(matches!(error, ActuatorError::StartFailed { .. }), "{error}");
    assert!(error.to_string().contains("a lot"), "{error}");
    assert!(database.exits().borrow().is_none(), "the error is told once, by the command");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_without_data_and_sources_that_do_not_answer_fail_and_change_nothing() {
    let rig = Rig::new(Replication::Async);
    let database = rig.open(0);
    fence_late(&database);
    let refused = [
        database.start_primary(Epoch(1)).await,
        database.seal().await,
        database.follow(rig.addresses[1], Epoch(1)).await,
        database.promote(Epoch(1)).await,
        database.rejoin(rig.addresses[1], Epoch(1)).await.map(drop),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(ActuatorError::WrongState { .. })), "{refused:?}");
    }
    let error = database.copy_from(rig.addresses[1]).await.unwrap_err();
    assert_eq!((error.blame(), error.retry()), (Blame::Peer, Retry::Soon), "{error}");
    assert!(!rig.config(0).postgres.data_dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_not_made_over_another_system() {
    let rig = Rig::new(Replication::Async);
    let _first = rig.primary().await;
    let second = rig.open(1);
    second.initialise().await.unwrap();
    let error = second.copy_from(rig.addresses[0]).await.unwrap_err();
    assert!(error.to_string().contains("it is of database system"), "{error}");
    let error = second.rejoin(rig.addresses[0], Epoch(1)).await.unwrap_err();
    assert!(error.to_string().contains("it is of database system"), "{error}");
    fence_late(&second);
    second.start_primary(Epoch(1)).await.unwrap();
    second.stop(StopMode::Immediate).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_and_with_room_it_works() {
    let rig = Rig::new(Replication::Async);
    let home = rig.folder.path().join(REGIONS[0]);
    fs::create_dir_all(&home).unwrap();
    let Some(disk) = SmallDisk::mount(&home) else { return };
    let database = rig.open(0);
    let error = database.initialise().await.unwrap_err();
    assert!(matches!(error, ActuatorError::DiskFull { .. }), "{error}");
    assert!(!rig.config(0).postgres.data_dir.exists(), "nothing half made has the name");
    disk.grow();
    database.initialise().await.unwrap();
    drop(database);
}
