//! `Database` as it is written.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use meridian_model::Name;
use meridian_model::database::OnRpoBreach;
use serde_json::{Value, json};

use super::word_or;
use crate::form::{At, AtLeastOne, Bytes, Form, form, words};
use crate::source::Problems;
use crate::tree::Node;

form! {
    /// A PostgreSQL database with one writer and streaming replicas.
    pub(crate) struct DatabaseForm {
        /// The engine; `postgresql` is the only one yet.
        optional _engine "engine": Engine,
        /// The mode; `read-replicas` is the only one yet.
        optional _mode "mode": Mode,
        /// The database inside PostgreSQL that applications use. Default: the resource's name.
        optional dbname "database": At<String>,
        /// How commits reach the replicas. Default: `async`.
        optional replication "replication": At<ReplicationForm>,
        /// A standby further behind than this serves no reads. Default: 10s.
        optional max_read_lag "maxReadLag": Duration,
        /// What happens while the objective for data loss is not kept. With `async`, when the lag of the best
        /// standby passes the RPO: `block`: new writes wait until it is within again; `warn`: an event and a
        /// metric; `degrade`: the database is read-only until then. With `quorum`, when too few standbys are
        /// there to acknowledge: `block` and `warn`: commits wait; `degrade`: it goes on asynchronously, and
        /// no failover happens by itself meanwhile. Default: `warn`.
        optional on_rpo_breach "onRpoBreach": OnRpoBreach,
        /// What bounds a switchover. Where a limit is passed, the move is given up and the old writer goes on.
        optional switchover "switchover": At<SwitchoverForm>,
        /// The members: names of regions, or mappings. Default: every region that is no witness.
        optional members "members": At<Vec<MemberForm>>,
        /// How PostgreSQL is set up, for every member that does not say it itself.
        optional postgres "postgres": PostgresForm,
        /// The limits of the gateway.
        optional gateway "gateway": At<GatewayForm>,
    }
}

/// The engine that a database runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Postgresql,
}

words!(Engine: "an engine" {
    "postgresql" => Engine::Postgresql,
});

/// How the members share the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    ReadReplicas,
}

words!(Mode: "a mode that this version knows" {
    "read-replicas" => Mode::ReadReplicas,
});

words!(OnRpoBreach: "`block`, `warn` or `degrade`" {
    "block" => OnRpoBreach::Block,
    "warn" => OnRpoBreach::Warn,
    "degrade" => OnRpoBreach::Degrade,
});

form! {
    /// What bounds a switchover.
    pub(crate) struct SwitchoverForm {
        /// How long running transactions may still take; then they are cut. Default: 2s.
        optional drain "drain": Duration,
        /// How long the target may take to replay what is left. Default: 2s.
        optional catch_up "catchUp": Duration,
        /// It is not begun while the target lags more than this. Default: 1s.
        optional max_lag "maxLag": Duration,
    }
}

/// `async`, `quorum`, or a mapping.
#[derive(Debug, Clone)]
pub(crate) struct ReplicationForm {
    pub(crate) mode: Option<ReplicationMode>,
    pub(crate) acknowledgers: Option<At<u32>>,
}

/// How commits reach the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplicationMode {
    Async,
    Quorum,
}

words!(ReplicationMode: "a way to replicate" {
    "async" => ReplicationMode::Async,
    "quorum" => ReplicationMode::Quorum,
});

form! {
    /// How commits reach the replicas, at length.
    pub(crate) struct ReplicationMap {
        /// `async`: a commit waits for nobody. `quorum`: it waits for standbys.
        required mode "mode": ReplicationMode,
        /// With quorum: how many standbys acknowledge each commit. Default: 1.
        optional acknowledgers "acknowledgers": At<u32>,
    }
}

impl Form for ReplicationForm {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        let word = |node: &Node, problems: &mut Problems| {
            let mode = Some(ReplicationMode::parse(node, problems)?);
            Some(Self { mode, acknowledgers: None })
        };
        let map = |node: &Node, problems: &mut Problems| {
            let map = ReplicationMap::parse(node, problems)?;
            Some(Self { mode: map.mode, acknowledgers: map.acknowledgers })
        };
        word_or(node, "`async`, `quorum` or a mapping", word, map, problems)
    }
    fn schema() -> Value {
        json!({ "anyOf": [ReplicationMode::schema(), ReplicationMap::schema()] })
    }
}

/// The name of a region, or a mapping.
#[derive(Debug, Clone)]
pub(crate) enum MemberForm {
    Word(At<Name>),
    Map(Box<MemberMap>),
}

form! {
    /// One PostgreSQL server of a database.
    pub(crate) struct MemberMap {
        /// Where.
        required region "region": At<Name>,
        /// Its PostgreSQL. Default: port 5432 of the region's address.
        optional address "address": At<SocketAddr>,
        /// How it is set up, where that differs from the database's.
        optional postgres "postgres": PostgresForm,
    }
}

impl MemberForm {
    /// The region, if one is named.
    pub(crate) fn region(&self) -> Option<&At<Name>> {
        match self {
            Self::Word(name) => Some(name),
            Self::Map(map) => map.region.as_ref(),
        }
    }

    /// The mapping, if there is one.
    pub(crate) fn map(&self) -> Option<&MemberMap> {
        match self {
            Self::Word(_) => None,
            Self::Map(map) => Some(map),
        }
    }
}

impl Form for MemberForm {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        let word = |node: &Node, problems: &mut Problems| At::parse(node, problems).map(Self::Word);
        let map = |node: &Node, problems: &mut Problems| {
            MemberMap::parse(node, problems).map(|map| Self::Map(Box::new(map)))
        };
        word_or(node, "the name of a region or a mapping", word, map, problems)
    }
    fn schema() -> Value {
        json!({ "anyOf": [Name::schema(), MemberMap::schema()] })
    }
}

form! {
    /// How a PostgreSQL that Meridian runs itself is set up.
    pub(crate) struct PostgresForm {
        /// The folder with `postgres`, `initdb`, `pg_basebackup` and `pg_rewind`. Default: found by itself.
        optional bin_dir "binDir": PathBuf,
        /// The data directory. Default: `postgres/<database>` in the region's dataDir.
        optional data_dir "dataDir": PathBuf,
        /// The unprivileged user to run as when the node is root. Default: `postgres`.
        optional run_as "runAs": String,
        /// The superuser that Meridian works as. Default: `meridian`.
        optional superuser "superuser": String,
        /// The file with that user's password. Default: `/etc/meridian/<database>-superuser-password`.
        optional password_file "passwordFile": PathBuf,
        /// The user of applications. Default: `app`.
        optional app_user "appUser": String,
        /// The file with that user's password. Default: `/etc/meridian/<database>-app-password`.
        optional app_password_file "appPasswordFile": PathBuf,
        /// Extra settings of PostgreSQL, `name: value`.
        optional settings "settings": Vec<(String, String)>,
    }
}

form! {
    /// What a gateway holds back while there is no writer, and its other limits.
    pub(crate) struct GatewayForm {
        /// Sessions at once. Default: 500.
        optional max_sessions "maxSessions": AtLeastOne,
        /// Sessions that wait for a writer. Default: 200.
        optional max_waiting "maxWaiting": u32,
        /// What waiting sessions may hold. Default: 16MiB.
        optional max_waiting_bytes "maxWaitingBytes": Bytes,
        /// How long one waits. Default: 30s.
        optional max_wait "maxWait": Duration,
    }
}
