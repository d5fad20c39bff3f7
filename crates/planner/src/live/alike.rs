//! What must be alike on two members, so that each can take the other's place.

use std::collections::BTreeMap;

use meridian_model::facts::RoleFacts;

use super::Seen;
use crate::finding::Finding;

/// All in which `other` differs from the writer, and should not.
pub(super) fn check(writer: &Seen<'_>, other: &Seen<'_>) -> Vec<Finding> {
    let single = [version(writer, other), checksums(writer, other), tls(writer, other)];
    let mut found: Vec<Finding> = single.into_iter().flatten().collect();
    found.extend(AT_LEAST.iter().filter_map(|name| at_least(name, writer, other)));
    found.extend(ALIKE.iter().filter_map(|name| alike(name, writer, other)));
    found.extend(roles(writer, other));
    found.extend(sorting(writer, other));
    found
}

fn version(writer: &Seen<'_>, other: &Seen<'_>) -> Option<Finding> {
    let (theirs, ours) = (writer.facts.version, other.facts.version);
    let told = |version: u32| format!("{}.{}", version / 10_000, version % 10_000);
    let message = format!(
        "PostgreSQL is {} in {} and {} in {}, where the writer is",
        told(ours),
        other.region,
        told(theirs),
        writer.region
    );
    if ours / 10_000 != theirs / 10_000 {
        let hint = "a standby follows its own major version only: set `binDir` to the same one everywhere";
        return Some(other.error("version", message).suggest(hint));
    }
    (ours != theirs).then(|| {
        other
            .warning("version", message)
            .suggest("update the standbys first and the writer last: `meridian switchover`")
    })
}

fn checksums(writer: &Seen<'_>, other: &Seen<'_>) -> Option<Finding> {
    (writer.facts.data_checksums != other.facts.data_checksums).then(|| {
        let message = format!(
            "data checksums are {} in {} and {} in {}",
            on_off(other.facts.data_checksums),
            other.region,
            on_off(writer.facts.data_checksums),
            writer.region
        );
        other.warning("checksums", message).suggest("`pg_checksums` switches them on in a stopped server")
    })
}

fn tls(writer: &Seen<'_>, other: &Seen<'_>) -> Option<Finding> {
    (writer.facts.tls != other.facts.tls).then(|| {
        let message = format!(
            "TLS is {} in {} and {} in {}: clients that ask for it, or refuse it, would not find the same",
            on_off(other.facts.tls),
            other.region,
            on_off(writer.facts.tls),
            writer.region
        );
        other.warning("tls", message).suggest("give all members the same `ssl` settings")
    })
}

/// A standby with less does not start, or stops replay when the primary makes use of more.
fn at_least(name: &str, writer: &Seen<'_>, other: &Seen<'_>) -> Option<Finding> {
    let number = |member: &Seen<'_>| member.setting(name)?.parse::<u64>().ok();
    let (theirs, ours) = (number(writer)?, number(other)?);
    let (here, there) = (other.region, writer.region);
    if ours < theirs {
        let message = format!(
            "{name} is {ours} in {here} and {theirs} in {there}, where the writer is: a standby needs as much"
        );
        let hint = format!("set `{name}` of the member in {here} to {theirs} at least");
        return Some(other.error("setting-below-writer", message).suggest(hint));
    }
    (ours > theirs).then(|| {
        let message = format!("{name} is {ours} in {here} and {theirs} in {there}: once the writer is in {here}, {there} could not follow");
        other
            .warning("setting-above-writer", message)
            .suggest(format!("set `{name}` of the member in {there} to {ours} too"))
    })
}

fn alike(name: &str, writer: &Seen<'_>, other: &Seen<'_>) -> Option<Finding> {
    let (theirs, ours) = (writer.setting(name)?, other.setting(name)?);
    (theirs != ours).then(|| {
        let message = format!(
            "{name} is `{ours}` in {} and `{theirs}` in {}, where the writer is: a promotion would change it",
            other.region, writer.region
        );
        other.warning("setting-differs", message).suggest("give all members the same `settings`")
    })
}

/// Roles come by replication; a standby without one is behind, or not a copy. Passwords are compared by the hash
/// of their verifiers. A list that is empty was not to be had: there is always a superuser.
fn roles(writer: &Seen<'_>, other: &Seen<'_>) -> Vec<Finding> {
    let by_name = |member: &Seen<'_>| -> BTreeMap<String, RoleFacts> {
        member.facts.roles.iter().map(|role| (role.name.clone(), role.clone())).collect()
    };
    let (theirs, ours) = (by_name(writer), by_name(other));
    if theirs.is_empty() || ours.is_empty() {
        return Vec::new();
    }
    let hint = "it comes by replication within moments; if it stays so, clone this member anew";
    let told = theirs.iter().filter_map(|(name, wanted)| {
        let (code, what) = match ours.get(name) {
            None => ("role-missing", "is missing"),
            Some(role) if role.password != wanted.password => ("role-password", "has another password"),
            Some(role) if role.attributes != wanted.attributes => ("role-differs", "has other rights"),
            Some(_) => return None,
        };
        let (here, there) = (other.region, writer.region);
        let message = format!("role `{name}` {what} in {here}, compared with {there}, where the writer is");
        Some(other.error(code, message).suggest(hint))
    });
    told.collect()
}

/// Indexes of text are in the order of one machine, and are read by the rules of the other.
fn sorting(writer: &Seen<'_>, other: &Seen<'_>) -> Vec<Finding> {
    let differs = other.facts.databases.iter().filter_map(|ours| {
        let theirs = writer.facts.databases.iter().find(|d| d.name == ours.name)?;
        let (here, there) = (ours.collation_version_here.as_ref()?, theirs.collation_version_here.as_ref()?);
        (here != there).then(|| {
            let message = format!(
                "text of database `{}` is sorted by version {here} of the rules in {} and by {there} in {}",
                ours.name, other.region, writer.region
            );
            other.error("collation", message).suggest(
                "indexes of text would give wrong answers after a move: use the same system libraries \
                 everywhere, or the collation C",
            )
        })
    });
    differs.collect()
}

const fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// PostgreSQL: "hot standby parameters that must not be less than the primary's".
pub(super) const AT_LEAST: [&str; 5] = [
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
];

/// What durability, rewinding, decoding and clients go by.
const ALIKE: [&str; 12] = [
    "wal_level",
    "wal_log_hints",
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "archive_mode",
    "max_replication_slots",
    "shared_preload_libraries",
    "password_encryption",
    "timezone",
    "default_transaction_read_only",
    "wal_segment_size",
];
