//! What one member is told, taken out of the spec.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use meridian_model::database::{Database, PostgresMember, Replication};
use meridian_model::{GroupName, RegionName, System};

use super::settings::permitted;
use crate::error::ActuatorError;

/// One member of a database, as its actuator needs it.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// The data group.
    pub group: GroupName,
    /// The member's region; also the application name of its replication connection.
    pub region: RegionName,
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is run.
    pub postgres: PostgresMember,
    /// The database of applications.
    pub dbname: String,
    /// How commits reach the replicas.
    pub replication: Replication,
    /// The regions of the other members.
    pub others: Vec<RegionName>,
    /// Our own folder for this member: the log, password files, the highest epoch seen.
    pub work_dir: PathBuf,
    /// Where diverged logs are kept.
    pub kept_wal_dir: PathBuf,
    /// The command of the guard (see [`crate::guard`]); empty: no guard, only the watchdog thread, and no
    /// lease in the commit path.
    pub guard: Vec<OsString>,
}

impl PostgresConfig {
    /// The member of `database` in region `here`; its folders are below the node's data directory.
    ///
    /// # Errors
    /// The region or the member is not in the spec, or it sets what Meridian's promises rest on.
    pub fn of(system: &System, database: &Database, here: &RegionName) -> Result<Self, ActuatorError> {
        let absent = || ActuatorError::WrongState {
            command: "run a database",
            problem: format!("the spec has no member of `{}` in `{here}`", database.name),
        };
        let member = database.member(here).ok_or_else(absent)?;
        let node = &system.region(here).ok_or_else(absent)?.node;
        refuse_unsafe(&database.name, &member.postgres.settings)?;
        let others = database.members.iter().filter(|m| &m.region != here).map(|m| m.region.clone());
        Ok(Self {
            group: database.name.clone(),
            region: here.clone(),
            address: member.address,
            postgres: member.postgres.clone(),
            dbname: database.dbname.clone(),
            replication: database.replication,
            others: others.collect(),
            work_dir: node.data_dir.join(format!("postgres-{}", database.name)),
            kept_wal_dir: node.data_dir.join("kept-wal"),
            guard: Vec::new(),
        })
    }

    /// The same with a guard process.
    #[must_use]
    pub fn guarded_by(mut self, command: Vec<OsString>) -> Self {
        self.guard = command;
        self
    }

    /// Whether commits wait for the guard's word (see [`crate::guard`]); under quorum they wait for standbys.
    pub(crate) fn leased(&self) -> bool {
        !self.guard.is_empty() && self.replication == Replication::Async
    }
}

fn refuse_unsafe(database: &GroupName, settings: &[(String, String)]) -> Result<(), ActuatorError> {
    settings.iter().try_for_each(|(name, value)| {
        permitted(name, value).map_err(|problem| ActuatorError::Setting {
            database: database.to_string(),
            setting: format!("{name} = {value}"),
            problem,
        })
    })
}

/// The name of a region's replication slot.
pub(crate) fn slot_of(region: &RegionName) -> String {
    region.as_str().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_breaks_a_promise_is_named_with_what_to_do() {
        let check = |name: &str, value: &str| {
            refuse_unsafe(&GroupName::new("orders").unwrap(), &[(name.to_owned(), value.to_owned())])
        };
        check("work_mem", "8MB").unwrap();
        let said = check("fsync", "off").unwrap_err().to_string();
        assert!(said.contains("`fsync = off` of the database orders is refused"), "{said}");
        assert!(said.contains("remove it from `settings`"), "{said}");
    }
}
