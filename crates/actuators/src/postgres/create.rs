//! How a data directory comes to be: from nothing, or as a copy of another member's.
//!
//! Both build beside the data directory and rename at the end, so a half-made one never has the name.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::config::slot_of;
use super::layout::DataDir;
use super::link::Link;
use super::settings::{conninfo, identifier, literal, passfile_line};
use super::{Member, QUICK, read_password};
use crate::deadline::Deadline;
use crate::error::ActuatorError;
use crate::process::Launch;

impl Member {
    pub(super) async fn initialise(&self) -> Result<(), ActuatorError> {
        let _one_at_a_time = self.commands.lock().await;
        if self.layout.look()? == DataDir::Ours {
            return Ok(());
        }
        let app_password = read_password(&self.config.postgres.app_password_file)?;
        let building = self.layout.begin_building()?;
        self.run_initdb(&building).await?;
        self.make_roles(&building, &app_password).await?;
        self.layout.finish_building()
    }

    pub(super) async fn copy_from(&self, source: SocketAddr) -> Result<(), ActuatorError> {
        let _one_at_a_time = self.commands.lock().await;
        let link = self.link_to(source);
        if self.layout.look()? == DataDir::Ours {
            return self.same_system(&link).await;
        }
        self.fetch_copy(&link).await?;
        self.layout.finish_building()
    }

    /// A base backup of the source in the building folder.
    pub(super) async fn fetch_copy(&self, source: &Link) -> Result<(), ActuatorError> {
        self.check_source_version(source).await?;
        self.check_room(source).await?;
        self.make_own_slot(source).await?;
        let building = self.layout.begin_building()?;
        let conninfo = self.tool_conninfo(source.address())?;
        let args = ["-D", &building.to_string_lossy(), "-d", &conninfo, "-X", "stream", "-c", "fast", "-w"];
        let slot = slot_of(&self.config.region);
        let args = args.into_iter().chain(["-S", slot.as_str()]);
        let launch = Launch::tool(self.binaries.program("pg_basebackup"), args);
        let what = format!("copying the database from {}", source.address());
        self.spawner.run(&what, launch.as_user(self.layout.user.clone()), COPY).await?;
        Ok(())
    }

    /// A connection string for tools, whose password file is written anew. They are no standby: a copy that is
    /// being made must not acknowledge commits under the region's name.
    pub(super) fn tool_conninfo(&self, source: SocketAddr) -> Result<String, ActuatorError> {
        let (user, passfile) = (&self.config.postgres.superuser, self.layout.tools_passfile());
        self.layout.put(&passfile, &passfile_line(user, &self.password), 0o600)?;
        Ok(conninfo(source, user, "meridian copy", &passfile))
    }

    /// A connection to another member.
    pub(super) fn link_to(&self, source: SocketAddr) -> Link {
        Link::new(source, &self.config.postgres.superuser, &self.password, "postgres")
    }

    /// Our slot on the source; one that has lost its log is made anew.
    pub(super) async fn make_own_slot(&self, source: &Link) -> Result<(), ActuatorError> {
        let slot = slot_of(&self.config.region);
        source.rows("making our slot", &slots_sql(std::iter::once(slot)), SLOTS).await.map(drop)
    }

    async fn run_initdb(&self, dir: &Path) -> Result<(), ActuatorError> {
        let pwfile = self.layout.work_dir.join("initdb.password");
        self.layout.put(&pwfile, &format!("{}\n", self.password), 0o600)?;
        let (dir, pw) = (dir.to_string_lossy(), format!("--pwfile={}", pwfile.display()));
        let user = &self.config.postgres.superuser;
        // The C locale sorts the same on every machine: an index made in one region is right in all.
        let args = ["-D", &dir, "-U", user, &pw, "-A", "scram-sha-256", "--data-checksums", "-E", "UTF8"];
        let args = args.into_iter().chain(["--locale=C", "--no-instructions"]);
        let launch = Launch::tool(self.binaries.program("initdb"), args).as_user(self.layout.user.clone());
        let made = self.spawner.run("making an empty database system", launch, INITDB).await;
        std::fs::remove_file(&pwfile).map_err(|e| ActuatorError::file("removing", &pwfile, e))?;
        made.map(drop)
    }

    /// By PostgreSQL's single-user mode: nothing listens yet. Only the verifier of the password is sent.
    async fn make_roles(&self, dir: &Path, app_password: &str) -> Result<(), ActuatorError> {
        let (user, dbname) = (&self.config.postgres.app_user, &self.config.dbname);
        let mut sql = String::new();
        if user != &self.config.postgres.superuser {
            let verifier = postgres_protocol::password::scram_sha_256(app_password.as_bytes());
            sql += &format!("create role {} login password {}\n", identifier(user), literal(&verifier));
        }
        if dbname != "postgres" {
            sql += &format!("create database {} owner {}\n", identifier(dbname), identifier(user));
        }
        let args =
            ["--single", "-D", &dir.to_string_lossy(), "-c", "log_min_error_statement=panic", "postgres"];
        let launch = Launch::tool(self.binaries.program("postgres"), args).reading(sql.into_bytes());
        let exit = self.spawner.run("making roles", launch.as_user(self.layout.user.clone()), INITDB).await?;
        match exit.stderr.lines().find(|line| line.contains("ERROR:") || line.contains("FATAL:")) {
            None => Ok(()),
            Some(line) => Err(ActuatorError::Program {
                program: "postgres --single".to_owned(),
                what: "making roles and the database".to_owned(),
                status: "it went on after an error".to_owned(),
                stderr: line.to_owned(),
            }),
        }
    }

    async fn same_system(&self, source: &Link) -> Result<(), ActuatorError> {
        let theirs = source.value("asking for its identity", SYSTEM, QUICK).await?;
        let ours = self.control_data().await?.system;
        if ours == theirs {
            return Ok(());
        }
        let problem = format!("it is of database system {ours}, the source's is {theirs}");
        Err(self.layout.wrong(&problem, "move it away by hand if it is not needed; it will be cloned then"))
    }

    pub(super) async fn check_source_version(&self, source: &Link) -> Result<(), ActuatorError> {
        let said = source.value("asking for its version", "show server_version_num", FAR).await?;
        let major = said.parse::<u32>().unwrap_or(0) / 10_000;
        if major == self.binaries.major {
            return Ok(());
        }
        let problem =
            format!("it is version {major}, the programs here are {}; set `binDir`", self.binaries.major);
        Err(ActuatorError::Source { address: source.address().to_string(), problem })
    }

    async fn check_room(&self, source: &Link) -> Result<(), ActuatorError> {
        let needed = self.size_of(source).await? + ROOM_BESIDE;
        let free = self.free_bytes()?;
        if free >= needed {
            return Ok(());
        }
        let mib = |bytes: u64| bytes >> 20;
        let detail = format!("a copy of the database needs {} MiB, {} MiB are free", mib(needed), mib(free));
        Err(ActuatorError::DiskFull { path: self.layout.data_dir.clone(), detail })
    }

    /// The bytes of all databases of the source.
    pub(super) async fn size_of(&self, source: &Link) -> Result<u64, ActuatorError> {
        let sql = "select coalesce(sum(pg_database_size(oid)), 0)::bigint from pg_database";
        Ok(source.value("asking for its size", sql, Duration::from_secs(30)).await?.parse().unwrap_or(0))
    }

    /// The free bytes of the data directory's disk.
    pub(super) fn free_bytes(&self) -> Result<u64, ActuatorError> {
        free_bytes_of(self.layout.data_dir.parent().unwrap_or(Path::new("/")))
    }
}

/// The free bytes of a folder's disk.
pub(super) fn free_bytes_of(folder: &Path) -> Result<u64, ActuatorError> {
    let disk = rustix::fs::statvfs(folder)
        .map_err(|e| ActuatorError::file("measuring the disk of", folder, e.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Makes physical slots that are missing, and those anew that have lost their log.
pub(super) fn slots_sql(slots: impl Iterator<Item = String>) -> String {
    let names = slots.map(|slot| literal(&slot)).collect::<Vec<_>>().join(",");
    if names.is_empty() {
        return "select 1".to_owned();
    }
    format!(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots \
           where slot_name in ({names}) and wal_status = 'lost' and not active; \
         select pg_create_physical_replication_slot(wanted.slot::name, true) \
           from unnest(array[{names}]) as wanted(slot) \
           where not exists (select from pg_replication_slots where slot_name = wanted.slot)"
    )
}

pub(super) const SYSTEM: &str = "select system_identifier from pg_control_system()";
/// The log that is written while a copy is made, and some air.
pub(super) const ROOM_BESIDE: u64 = 96 << 20;
/// One or two round trips around the world on a new connection.
pub(super) const FAR: Duration = Duration::from_secs(5);
const SLOTS: Duration = Duration::from_secs(5);
const INITDB: Deadline = Deadline::new(Duration::from_secs(120), "initdb writes and syncs about 40 MB");
pub(super) const COPY: Deadline =
    Deadline::new(Duration::from_secs(6 * 3600), "a large database crosses a slow link");
