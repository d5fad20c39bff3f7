//! The facts of the running server that a recovery could fail by. Nothing is judged here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use meridian_model::facts::{CertificateFacts, DatabaseFacts, DiskFacts, MemberFacts, RoleFacts, SlotFacts};
use meridian_telemetry::clock;
use tokio_postgres::SimpleQueryRow;

use super::Member;
use super::link::Link;
use crate::certificate::earliest_end;
use crate::error::ActuatorError;

impl Member {
    pub(super) async fn inspect(&self) -> Result<MemberFacts, ActuatorError> {
        if self.server.child().is_none() {
            let problem = "it does not run".to_owned();
            return Err(ActuatorError::WrongState { command: "inspect", problem });
        }
        let link = self.link_in("postgres");
        let server = link.rows("asking for its version", SERVER, WITHIN).await?;
        let settings: BTreeMap<_, _> = pairs(&link.rows("asking for its settings", SETTINGS, WITHIN).await?);
        let roles = link.rows("asking for its roles", ROLES, WITHIN).await?;
        let slots = link.rows("asking for its slots", SLOTS, WITHIN).await?;
        let field = |name: &str| server.first().and_then(|row| row.get(name)).unwrap_or_default().to_owned();
        let mut missing = Vec::new();
        let databases = self.databases(&link, &mut missing).await?;
        let tls = settings.get("ssl").is_some_and(|value| value == "on");
        let certificates = if tls { self.certificates(&settings, &mut missing) } else { Vec::new() };
        Ok(MemberFacts {
            region: self.config.region.clone(),
            at: clock::wall(),
            standby: field("standby") == "t",
            streaming: field("streaming") == "t",
            version: field("version").parse().unwrap_or(0),
            data_checksums: settings.get("data_checksums").is_some_and(|value| value == "on"),
            databases,
            roles: roles.iter().filter_map(role_of).collect(),
            tls,
            certificates,
            disk: disk_of(&self.layout.data_dir)?,
            slots: slots.iter().filter_map(slot_facts).collect(),
            settings,
            missing,
        })
    }

    /// Each database needs a session of its own. One that lets nobody in is named as missing.
    async fn databases(
        &self,
        link: &Link,
        missing: &mut Vec<String>,
    ) -> Result<Vec<DatabaseFacts>, ActuatorError> {
        let mut databases = Vec::new();
        for row in link.rows("asking for its databases", DATABASES, WITHIN).await? {
            let Some(mut database) = database_of(&row) else { continue };
            let inside = self.link_in(&database.name);
            match inside.rows("asking for its extensions", EXTENSIONS, WITHIN).await {
                Ok(rows) => {
                    let absent = rows.iter().filter(|row| row.get("here") != Some("t"));
                    database.extensions_absent =
                        absent.filter_map(|row| row.get(0)).map(str::to_owned).collect();
                    database.extensions = pairs(&rows);
                }
                Err(error) => missing.push(format!("extensions of {}: {error}", database.name)),
            }
            databases.push(database);
        }
        Ok(databases)
    }

    fn link_in(&self, dbname: &str) -> Link {
        Link::new(self.config.address, &self.config.postgres.superuser, &self.password, dbname)
    }

    fn certificates(
        &self,
        settings: &BTreeMap<String, String>,
        missing: &mut Vec<String>,
    ) -> Vec<CertificateFacts> {
        let named = ["ssl_cert_file", "ssl_ca_file"].into_iter().filter_map(|name| settings.get(name));
        let mut certificates = Vec::new();
        for file in named.filter(|file| !file.is_empty()) {
            let path = self.layout.data_dir.join(file);
            match fs::read_to_string(&path).map(|pem| earliest_end(&pem)) {
                Ok(Some(expires_at)) => {
                    let file = path.display().to_string();
                    certificates.push(CertificateFacts { file, expires_at });
                }
                Ok(None) => missing.push(format!("the end of {}: no certificate in it", path.display())),
                Err(error) => missing.push(format!("the end of {}: {error}", path.display())),
            }
        }
        certificates
    }
}

/// The first two columns.
fn pairs(rows: &[SimpleQueryRow]) -> BTreeMap<String, String> {
    rows.iter().filter_map(|row| Some((row.get(0)?.to_owned(), row.get(1)?.to_owned()))).collect()
}

fn database_of(row: &SimpleQueryRow) -> Option<DatabaseFacts> {
    Some(DatabaseFacts {
        name: row.get("name")?.to_owned(),
        bytes: row.get("bytes")?.parse().ok()?,
        collation: row.get("collation").unwrap_or_default().to_owned(),
        collation_version_here: row.get("version_here").map(str::to_owned),
        extensions: BTreeMap::new(),
        extensions_absent: Vec::new(),
    })
}

fn role_of(row: &SimpleQueryRow) -> Option<RoleFacts> {
    Some(RoleFacts {
        name: row.get("name")?.to_owned(),
        attributes: row.get("attributes")?.to_owned(),
        password: row.get("password").map(str::to_owned),
    })
}

fn slot_facts(row: &SimpleQueryRow) -> Option<SlotFacts> {
    Some(SlotFacts {
        name: row.get("name")?.to_owned(),
        logical: row.get("logical") == Some("t"),
        active: row.get("active") == Some("t"),
        wal_status: row.get("wal_status").map(str::to_owned),
        restart: row.get("restart").and_then(|text| text.parse().ok()),
        retained_bytes: row.get("retained").and_then(|text| text.parse().ok()).unwrap_or(0),
    })
}

fn disk_of(folder: &Path) -> Result<DiskFacts, ActuatorError> {
    let disk = rustix::fs::statvfs(folder)
        .map_err(|e| ActuatorError::file("measuring the disk of", folder, e.into()))?;
    Ok(DiskFacts {
        total_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
        free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
    })
}

/// Sizes of databases are counted file by file.
const WITHIN: Duration = Duration::from_secs(20);
const SERVER: &str = "select pg_is_in_recovery() as standby, current_setting('server_version_num') as version, \
            exists (select from pg_stat_wal_receiver where status = 'streaming') as streaming";
/// The first line must be at least as high on a standby as on its primary; `fsync` and its kin are what an
/// acknowledgement rests on; the rest is what retention, rewinding, sorting and clients go by.
const SETTINGS: &str = "select name, case when unit is null then setting else current_setting(name) end
  from pg_settings where name in (
    'max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions',
    'max_locks_per_transaction',
    'wal_level', 'wal_log_hints', 'data_checksums', 'full_page_writes', 'fsync', 'synchronous_commit',
    'synchronous_standby_names', 'hot_standby', 'max_replication_slots', 'wal_keep_size',
    'max_slot_wal_keep_size', 'max_wal_size', 'min_wal_size', 'archive_mode', 'wal_receiver_timeout',
    'wal_sender_timeout', 'shared_preload_libraries', 'password_encryption', 'server_encoding', 'timezone',
    'default_transaction_read_only', 'block_size', 'wal_segment_size', 'ssl', 'ssl_cert_file', 'ssl_ca_file')";
/// The version of the sorting rules is there from PostgreSQL 15 on; the JSON form of a row has what there is.
const DATABASES: &str = "
  with d as (select oid, datname, pg_database_size(oid) as bytes, to_jsonb(d) as j from pg_database d
              where datallowconn and not datistemplate)
  select datname as name, bytes,
         concat_ws(' ', j->>'datlocprovider', j->>'datcollate', j->>'datctype',
                   coalesce(j->>'daticulocale', j->>'datlocale'), j->>'datcollversion') as collation,
         case when j ? 'datcollversion' then pg_database_collation_actual_version(oid) end as version_here
    from d order by datname";
const EXTENSIONS: &str = "select e.extname, e.extversion, a.name is not null as here
  from pg_extension e left join pg_available_extension_versions a
    on a.name = e.extname and a.version = e.extversion order by 1";
/// What is hashed never leaves the server.
const ROLES: &str = "
  select r.rolname as name,
         encode(sha256(convert_to(concat_ws('|', r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb,
           r.rolcanlogin, r.rolreplication, r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil at time zone 'UTC',
           (select string_agg(g.rolname || ' ' || m.admin_option, ',' order by g.rolname)
              from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid),
           (select string_agg(coalesce(d.datname, '') || ' ' || s.setconfig::text, ',' order by d.datname)
              from pg_db_role_setting s left join pg_database d on d.oid = s.setdatabase
             where s.setrole = r.oid)), 'UTF8')), 'hex') as attributes,
         encode(sha256(convert_to(r.rolpassword, 'UTF8')), 'hex') as password
    from pg_authid r where r.rolname !~ '^pg_' order by r.rolname";
const SLOTS: &str = "
  with here as (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
                            else pg_current_wal_lsn() end as lsn)
  select slot_name as name, slot_type = 'logical' as logical, active, wal_status, restart_lsn as restart,
         greatest(0, here.lsn - restart_lsn)::bigint as retained
    from pg_replication_slots cross join here order by slot_name";
