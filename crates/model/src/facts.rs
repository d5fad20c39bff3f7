//! What is true of one region and of its database servers, so far as a recovery could fail by it.
//!
//! Facts only: whether they fit together is judged elsewhere. No secret is among them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::group::DatabaseRole;
use crate::moment::Timestamp;
use crate::name::{GroupName, Name, RegionName, ServiceName};
use crate::units::Lsn;

/// What a region's node has looked up at home at one time. Kept in etcd, one key a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionFacts {
    /// Where.
    pub region: RegionName,
    /// When, by that region's wall clock.
    pub at: Timestamp,
    /// The members of data groups that it has.
    pub members: Vec<MemberSeen>,
    /// Every service.
    pub services: Vec<ServiceFacts>,
    /// How many files its node may have open, and needs.
    pub open_files: OpenFiles,
    /// Files that steps of recovery plans need here, and that they could not use.
    #[serde(default)]
    pub plan_files: Vec<PlanFile>,
}

/// A file that a step of a recovery plan needs on this machine, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFile {
    /// Whose plan.
    pub group: GroupName,
    /// Which step.
    pub step: Name,
    /// A run goes on when that step fails.
    pub goes_on: bool,
    /// Its path.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
}

/// One member, or why it could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberSeen {
    /// Of which group.
    pub group: GroupName,
    /// What its node took it for just before; none: it did not know yet.
    #[serde(default)]
    pub role: Option<DatabaseRole>,
    /// Its node was at work to make it what it should be: it took stock, cloned, or let an old primary rejoin.
    #[serde(default)]
    pub at_work: bool,
    /// What is true of it, or what went wrong.
    pub facts: Result<MemberFacts, String>,
}

impl MemberSeen {
    /// As what it was looked at: as what it said of itself, or was taken for.
    #[must_use]
    pub fn looked_as(&self) -> Option<DatabaseRole> {
        match &self.facts {
            Ok(facts) if facts.standby => Some(DatabaseRole::Standby),
            Ok(_) => Some(DatabaseRole::Primary),
            Err(_) => self.role,
        }
    }
}

/// One service in one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFacts {
    /// Which.
    pub service: ServiceName,
    /// Instances that run.
    pub running: u32,
    /// Instances that are wanted now; 0 where somebody else runs them.
    pub wanted: u32,
    /// What is wrong with the answer of the region's own name server for its name; none: it answers.
    pub dns: Option<String>,
    /// The certificate that the region's edge shows for it; none: it shows none.
    #[serde(default)]
    pub certificate: Option<CertificateFacts>,
}

/// Files that a node may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFiles {
    /// The limit of its process; none: there is no limit.
    pub limit: Option<u64>,
    /// What all sessions that the spec allows would need.
    pub needed: u64,
}

/// The facts of one member at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFacts {
    /// Where.
    pub region: RegionName,
    /// When they were looked up, by that region's wall clock.
    pub at: Timestamp,
    /// It runs as a standby.
    pub standby: bool,
    /// A standby: it is receiving from its upstream.
    pub streaming: bool,
    /// `server_version_num`, such as 150018.
    pub version: u32,
    /// Settings by name, as the server shows them; one that it does not know is missing.
    pub settings: BTreeMap<String, String>,
    /// Blocks carry checksums, so that a rewind works and a damaged block is seen.
    pub data_checksums: bool,
    /// The databases that applications can connect to.
    pub databases: Vec<DatabaseFacts>,
    /// The roles that can log in or own something, without the server's own.
    pub roles: Vec<RoleFacts>,
    /// Clients can connect by TLS.
    pub tls: bool,
    /// The server's certificates; empty without TLS.
    pub certificates: Vec<CertificateFacts>,
    /// The file system of the data directory.
    pub disk: DiskFacts,
    /// Replication slots.
    pub slots: Vec<SlotFacts>,
    /// What could not be looked up, and why.
    pub missing: Vec<String>,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseFacts {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its rules of sorting: provider, locale, and the version that its indexes were made with.
    pub collation: String,
    /// The version of those rules on this machine; another one than in `collation` may break indexes.
    pub collation_version_here: Option<String>,
    /// Extensions by name, with the version that is installed in it.
    pub extensions: BTreeMap<String, String>,
    /// Extensions whose files are not on this machine, or not in that version.
    pub extensions_absent: Vec<String>,
}

/// One role. Two servers agree about it when these are equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleFacts {
    /// Its name.
    pub name: String,
    /// A hash of its attributes, memberships and settings.
    pub attributes: String,
    /// A hash of the verifier of its password; none without a password.
    pub password: Option<String>,
}

/// One certificate file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// Its path.
    pub file: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// One file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFacts {
    /// Its size.
    pub total_bytes: u64,
    /// What PostgreSQL may still write.
    pub free_bytes: u64,
}

/// One replication slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotFacts {
    /// Its name.
    pub name: String,
    /// It is logical.
    pub logical: bool,
    /// Somebody reads from it now.
    pub active: bool,
    /// PostgreSQL's word for its log: `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: Option<String>,
    /// The oldest log that it needs.
    pub restart: Option<Lsn>,
    /// How much log it holds.
    pub retained_bytes: u64,
}
