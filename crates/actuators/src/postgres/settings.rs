//! The texts of PostgreSQL's configuration files. Pure: no file is touched here.
//!
//! Everything that Meridian sets is in `meridian.conf`, included last by `postgresql.conf` and written
//! anew before each start, because `pg_basebackup` and `pg_rewind` copy the other server's files. What
//! must never be wrong (address, port, access rules) is on the command line, which beats all files.

use std::net::SocketAddr;
use std::path::Path;

use meridian_model::RegionName;
use meridian_model::database::Replication;

use super::config::{PostgresConfig, slot_of};

/// What is other than the spec says, for now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Changed<'a> {
    /// Whose acknowledgements count.
    pub(crate) names: Option<&'a str>,
    /// Transactions are for reading only unless they ask for more.
    pub(crate) read_only: bool,
}

/// `meridian.conf` for a member that follows `upstream`, or nobody.
pub(crate) fn meridian_conf(
    config: &PostgresConfig,
    upstream: Option<SocketAddr>,
    changed: Changed<'_>,
    passfile: &Path,
) -> String {
    let mut text = String::from("# Written by Meridian before each start; changes here are lost.\n");
    let mut set = |name: &str, value: &str| {
        text.push_str(name);
        text.push_str(" = ");
        text.push_str(&conf_quoted(value));
        text.push('\n');
    };
    DEFAULTS.iter().for_each(|(name, value)| set(name, value));
    config.postgres.settings.iter().for_each(|(name, value)| set(name, value));
    set("cluster_name", config.group.as_str());
    set("wal_log_hints", "on");
    set("hot_standby", "on");
    set("synchronous_standby_names", changed.names.unwrap_or(&synchronous_standby_names(config)));
    if changed.read_only {
        set(READ_ONLY, "on");
    }
    let conninfo =
        upstream.map(|a| conninfo(a, &config.postgres.superuser, config.region.as_str(), passfile));
    set("primary_conninfo", conninfo.as_deref().unwrap_or_default());
    set("primary_slot_name", &upstream.map(|_| slot_of(&config.region)).unwrap_or_default());
    text
}

/// What a member's server is set to, by its own settings or by [`DEFAULTS`].
pub(crate) fn conf_value<'a>(config: &'a PostgresConfig, name: &str) -> Option<&'a str> {
    let own = config.postgres.settings.iter().rev().map(|(n, v)| (n.as_str(), v.as_str()));
    let mut all = own.chain(DEFAULTS);
    all.find(|(set, _)| set.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Whether a member, or somebody by `alter system`, may set this.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn permitted(name: &str, value: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    if name.is_empty() || !name.chars().all(plain) || value.contains(['\n', '\r', '\0']) {
        return Err("it is no name and value on one line".to_owned());
    }
    let name = name.to_ascii_lowercase();
    if OURS.contains(&name.as_str()) || name.starts_with("recovery_target") {
        return Err("Meridian decides it alone".to_owned());
    }
    let Some((_, safe)) = GUARDED.iter().find(|(guarded, _)| *guarded == name) else { return Ok(()) };
    if safe.contains(&value.trim().to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    Err(format!(
        "with it a write that was acknowledged could be lost; only `{}` is allowed",
        safe.join("`, `")
    ))
}

/// What Meridian decides alone: in `meridian.conf`, on the command line, or by leaving it unset.
const OURS: [&str; 26] = [
    "primary_conninfo",
    "primary_slot_name",
    "synchronous_standby_names",
    "cluster_name",
    "wal_log_hints",
    "hot_standby",
    "restore_command",
    "archive_cleanup_command",
    "recovery_end_command",
    "recovery_min_apply_delay",
    "promote_trigger_file",
    "data_directory",
    "config_file",
    "hba_file",
    "ident_file",
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "restart_after_crash",
    "log_destination",
    "logging_collector",
    "update_process_title",
    "lc_messages",
    "include",
    "include_dir",
    "include_if_exists",
];

/// What the promise rests on that an acknowledged write is kept, and the values that keep it.
const GUARDED: [(&str, &[&str]); 8] = [
    ("fsync", ON),
    ("full_page_writes", ON),
    ("synchronous_commit", &["on", "remote_apply"]),
    ("wal_level", &["replica", "logical"]),
    ("data_sync_retry", OFF),
    ("zero_damaged_pages", OFF),
    ("ignore_checksum_failure", OFF),
    ("ignore_invalid_pages", OFF),
];
const ON: &[&str] = &["on", "true", "yes", "1"];
const OFF: &[&str] = &["off", "false", "no", "0"];

/// `postgresql.auto.conf` (where `alter system` writes, and which beats all other files) without what is
/// not permitted.
pub(crate) fn without_managed(auto_conf: &str) -> String {
    let stays = |line: &&str| line_of(line).is_none_or(|(name, value)| permitted(name, value).is_ok());
    auto_conf.lines().filter(stays).fold(String::new(), |mut text, line| {
        text.push_str(line);
        text.push('\n');
        text
    })
}

/// The name and the value of a line of a configuration file; none: it is empty or a comment.
pub(crate) fn line_of(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let (name, value) = line.split_once(['=', ' ', '\t']).unwrap_or((line, ""));
    let told = !line.is_empty() && !line.starts_with('#');
    told.then(|| (name, value.trim_matches(['=', ' ', '\t', '\''])))
}

/// The access rules: a password for everybody, from everywhere; nobody gets in by the local socket.
pub(crate) fn hba(superuser: &str) -> String {
    let user = superuser.replace('"', "\"\"");
    format!(
        "# Written by Meridian before each start; changes here are lost.\n\
         host replication \"{user}\" all scram-sha-256\n\
         host replication all all reject\n\
         host all all all scram-sha-256\n"
    )
}

/// The access rules of a rehearsal's clone: a password, and only from this machine. Nobody replicates it.
pub(crate) const fn rehearsal_hba() -> &'static str {
    "host replication all all reject\n\
     host all all 127.0.0.1/32 scram-sha-256\n"
}

/// A libpq connection string; the password is in `passfile`.
pub(crate) fn conninfo(address: SocketAddr, user: &str, application: &str, passfile: &Path) -> String {
    let passfile = passfile.to_string_lossy();
    let fields = [
        ("host", address.ip().to_string()),
        ("port", address.port().to_string()),
        ("user", user.to_owned()),
        ("dbname", "postgres".to_owned()),
        ("application_name", application.to_owned()),
        ("passfile", passfile.into_owned()),
    ];
    let mut text = String::new();
    for (name, value) in fields {
        let value = value.replace('\\', "\\\\").replace('\'', "\\'");
        text.push_str(&format!("{name}='{value}' "));
    }
    text + LIBPQ_OPTIONS
}

/// The line of a libpq password file for this user anywhere.
pub(crate) fn passfile_line(user: &str, password: &str) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
    format!("*:*:*:{}:{}\n", escaped(user), escaped(password))
}

/// A text as an SQL identifier.
pub(crate) fn identifier(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A text as an SQL string.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What the spec says. It means nothing on a standby, so it is always set: a promoted one has it in force
/// before it acknowledges anything.
pub(crate) fn synchronous_standby_names(config: &PostgresConfig) -> String {
    match config.replication {
        Replication::Async | Replication::Quorum { acknowledgers: 0 } => nobodys(config),
        Replication::Quorum { acknowledgers } => {
            any_of(acknowledgers, config.others.iter().map(RegionName::as_str))
        }
    }
}

/// The value of `synchronous_standby_names` with which a commit waits for no standby: at most for the guard.
pub(crate) fn nobodys(config: &PostgresConfig) -> String {
    if config.leased() { LEASE.to_owned() } else { String::new() }
}

/// The one with which `acknowledgers` of these must have a commit.
pub(crate) fn any_of<'a>(acknowledgers: u32, names: impl Iterator<Item = &'a str>) -> String {
    // One text for one set.
    let mut names: Vec<_> = names.map(identifier).collect();
    names.sort();
    format!("ANY {acknowledgers} ({})", names.join(","))
}

/// How many must have a commit with such a value; none if it is not to be understood.
pub(crate) fn acknowledgers_of(value: &str) -> Option<u32> {
    let value = value.trim();
    if value == LEASE {
        return Some(0);
    }
    let Some((head, _)) = value.split_once('(') else { return Some(u32::from(!value.is_empty())) };
    let number = head.trim().trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim();
    number.parse().ok()
}

fn conf_quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// Whether transactions that do not say so are for reading only.
pub(crate) const READ_ONLY: &str = "default_transaction_read_only";
/// The guard, by [`crate::guard::LEASE_NAME`].
const LEASE: &str = "FIRST 1 (meridian_lease)";
/// No round trip for GSSAPI; dead peers are noticed within seconds.
const LIBPQ_OPTIONS: &str = "connect_timeout='4' keepalives_idle='3' keepalives_interval='1' \
     keepalives_count='3' tcp_user_timeout='5000' gssencmode='disable'";

/// Settings that worked in measurements; the member's own settings beat them where [`permitted`].
const DEFAULTS: [(&str, &str); 22] = [
    // Lost transactions can be decoded only from such a log.
    ("wal_level", "logical"),
    ("max_connections", "200"),
    // One of them is the guard's.
    ("max_wal_senders", "21"),
    ("max_replication_slots", "20"),
    ("wal_keep_size", "256MB"),
    ("max_slot_wal_keep_size", "1GB"),
    ("wal_receiver_timeout", "3s"),
    ("wal_sender_timeout", "3s"),
    ("wal_receiver_status_interval", "1s"),
    ("wal_retrieve_retry_interval", "100ms"),
    ("password_encryption", "scram-sha-256"),
    ("synchronous_commit", "on"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("client_connection_check_interval", "2s"),
    ("log_line_prefix", "%m [%p] %q%u@%d "),
    ("log_timezone", "UTC"),
    ("log_statement", "none"),
    ("log_min_messages", "warning"),
    ("lc_messages", "C"),
    ("max_standby_streaming_delay", "10s"),
];

#[cfg(test)]
pub(super) mod tests;
