//! What a standby must have at least as much of as its primary, or it cannot replay what the primary writes.
//!
//! With less it refuses to start, and one that runs when the primary is given more pauses replay (before version 14:
//! it ends). So after a spec with greater values, or a version of Meridian with greater defaults, has reached the
//! primary, the other members would be standbys no more until they are told the same. The control file says what the
//! primary had last: a standby is started with that much whatever it was told.

use std::ffi::OsString;
use std::path::Path;

use meridian_model::Lsn;

use super::config::PostgresConfig;
use super::settings::{conf_value, line_of};
use super::{Member, QUICK};
use crate::error::ActuatorError;

/// Such settings: as `pg_controldata` names them, as they are named, and what they are where nobody sets them.
pub(super) const NEEDED: [(&str, &str, u64); 5] = [
    ("max_connections setting", "max_connections", 100),
    ("max_worker_processes setting", "max_worker_processes", 8),
    ("max_wal_senders setting", "max_wal_senders", 10),
    ("max_prepared_xacts setting", "max_prepared_transactions", 0),
    ("max_locks_per_xact setting", "max_locks_per_transaction", 64),
];

/// One of them, and how much of it the primary had.
pub(super) type Needs = Vec<(&'static str, u64)>;

impl Member {
    /// The arguments for a standby in `data_dir`: what its files set too low. They are on the command line, because
    /// that alone beats what somebody has set by `alter system`.
    pub(super) async fn at_least(&self, data_dir: &Path) -> Vec<OsString> {
        let needs = match self.control_data_of(data_dir).await {
            Ok(control) => control.needs,
            Err(error) => {
                tracing::warn!(%error, "what this standby needs is not known; it is started with what it was told");
                return Vec::new();
            }
        };
        let auto_conf = std::fs::read_to_string(data_dir.join("postgresql.auto.conf")).unwrap_or_default();
        let lacking = lacking(&needs, |name| set_to(&self.config, &auto_conf, name)).into_iter();
        lacking.flat_map(|(name, value)| ["-c".into(), format!("{name}={value}").into()]).collect()
    }

    /// Replay has paused at that place. When it did so because this server was started with less than its primary has
    /// now, it goes on, which ends the server: whoever has it follow then starts it with as much. Somebody's own pause
    /// is left alone.
    pub(super) async fn look_at_pause(&self, at: Lsn) {
        let judged = || self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if judged().pause_judged == Some(at) {
            return;
        }
        let ended = match self.running_with_too_little().await {
            Ok(lacking) if lacking.is_empty() => {
                judged().pause_judged = Some(at);
                return;
            }
            Ok(lacking) => {
                tracing::warn!(
                    ?lacking,
                    "the primary was given more than this standby has: it is started anew with as much"
                );
                let sql = "select pg_wal_replay_resume()";
                self.watching.rows("ending a standby that has too little", sql, QUICK).await.map(drop)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "why replay has paused could not be looked at; it is tried again");
        }
    }

    async fn running_with_too_little(&self) -> Result<Needs, ActuatorError> {
        let needs = self.control_data_of(&self.layout.data_dir).await?.needs;
        let sql = "select name, setting from pg_settings";
        let rows = self.watching.rows("asking for its settings", sql, QUICK).await?;
        let running = |name: &str| {
            let row = rows.iter().find(|row| row.get("name") == Some(name))?;
            row.get("setting")?.parse().ok()
        };
        Ok(lacking(&needs, running))
    }
}

/// Those of which there is less than needed.
fn lacking(needs: &Needs, has: impl Fn(&str) -> Option<u64>) -> Needs {
    let lacks = |(name, value): &&(&'static str, u64)| has(name).is_none_or(|has| has < *value);
    needs.iter().filter(lacks).copied().collect()
}

/// What the files of a member set: the last line that `alter system` wrote beats `meridian.conf`.
fn set_to(config: &PostgresConfig, auto_conf: &str, name: &str) -> Option<u64> {
    let mut lines = auto_conf.lines().rev().filter_map(line_of);
    let by_hand = lines.find(|(set, _)| set.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let default = || NEEDED.iter().find(|(_, needed, _)| *needed == name).map(|(.., value)| *value);
    match by_hand.or_else(|| conf_value(config, name)) {
        Some(value) => value.parse().ok(),
        None => default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::settings::tests::config;
    use meridian_model::database::Replication;

    #[test]
    fn what_the_files_set_too_low_is_found_whoever_set_it() {
        let mut config = config(Replication::Async);
        config.postgres.settings = vec![("max_connections".to_owned(), "50".to_owned())];
        let needs: Needs =
            NEEDED.iter().zip([60, 9, 22, 0, 64]).map(|((_, name, _), n)| (*name, n)).collect();
        let found = |auto_conf: &str| lacking(&needs, |name| set_to(&config, auto_conf, name));
        let by_default = [("max_worker_processes", 9), ("max_wal_senders", 22)];
        assert_eq!(found(""), [&[("max_connections", 60)], by_default.as_slice()].concat());
        assert_eq!(found("# by alter system\nmax_connections = '10'\nMAX_connections = '70'\n"), by_default);
        assert_eq!(found("max_wal_senders = '22'\nmax_worker_processes '9'")[..], [("max_connections", 60)]);
        assert_eq!(found("max_connections = 'much'").first(), Some(&("max_connections", 60)));
    }
}
