//! How many files this process may have open: a session of the gateway takes two, one to its client and
//! one to its database.
//!
//! Systems begin processes with a low soft limit (1,024, mostly) for the sake of programs that use
//! `select`, and leave it to others to raise theirs to the hard limit. What a node starts (PostgreSQL,
//! instances of services) begins with the raised one.

use meridian_model::System;
use meridian_model::facts::OpenFiles;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What one session of the gateway has open.
const SESSION: u64 = 2;
/// What a node has open besides: its ports, etcd, probes, files.
const BESIDE: u64 = 256;

/// Raises the soft limit to the hard limit; what cannot be raised stays. Gives the limit that holds then;
/// none: there is no limit.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    getrlimit(Resource::Nofile).current
}

/// Warns when so many open files are too few for all sessions that the spec allows.
pub(crate) fn warn_of_few(limit: Option<u64>, system: &System) {
    let needed = needed(system);
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "this process may open fewer files than all sessions of the gateway need; raise its hard limit \
             (LimitNOFILE= of its systemd unit, or `ulimit -Hn`), or lower `gateway.maxSessions` in the spec"
        );
    }
}

/// What holds now, for the checks of the running system.
pub(crate) fn facts(system: &System) -> OpenFiles {
    OpenFiles { limit: getrlimit(Resource::Nofile).current, needed: needed(system) }
}

fn needed(system: &System) -> u64 {
    let sessions: u64 = system.databases.iter().map(|d| u64::from(d.gateway.max_sessions)).sum();
    sessions.saturating_mul(SESSION).saturating_add(BESIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        let before = getrlimit(Resource::Nofile);
        let half = before.maximum.map(|maximum| maximum / 2);
        setrlimit(Resource::Nofile, Rlimit { current: half, maximum: before.maximum }).unwrap();
        assert_eq!(raise(), before.maximum);
    }

    #[test]
    fn every_session_of_every_database_counts_twice() {
        let mut system = crate::testing::system();
        for (database, sessions) in system.databases.iter_mut().zip([300, 200]) {
            database.gateway.max_sessions = sessions;
        }
        assert_eq!(needed(&system), 1_000 + BESIDE);
    }
}
