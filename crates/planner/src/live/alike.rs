//! What must be alike on two members, so that each can take the other's place.

use std::collections::BTreeMap;

use meridian_model::facts::{MemberFacts, RoleFacts};

use super::Seen;
use crate::finding::Finding;

/// All in which `other` differs from the writer, and should not.
pub(super) fn check(writer: &Seen<'_>, other: &Seen<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = version(writer, other).into_iter().collect();
    found.extend(SWITCHES.iter().filter_map(|switch| switched(switch, writer, other)));
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

/// Something that is on or off in a member.
struct Switch {
    code: &'static str,
    /// What is on or off, in the words of a sentence.
    what: &'static str,
    on: fn(&MemberFacts) -> bool,
    /// What comes of a difference.
    so: &'static str,
    hint: &'static str,
}

fn switched(switch: &Switch, writer: &Seen<'_>, other: &Seen<'_>) -> Option<Finding> {
    let (theirs, ours) = ((switch.on)(writer.facts), (switch.on)(other.facts));
    let word = |on: bool| if on { "on" } else { "off" };
    (theirs != ours).then(|| {
        let message = format!(
            "{} {} in {} and {} in {}{}",
            switch.what,
            word(ours),
            other.region,
            word(theirs),
            writer.region,
            switch.so
        );
        other.warning(switch.code, message).suggest(switch.hint)
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

const SWITCHES: [Switch; 2] = [
    Switch {
        code: "checksums",
        what: "data checksums are",
        on: |facts| facts.data_checksums,
        so: "",
        hint: "`pg_checksums` switches them on in a stopped server",
    },
    Switch {
        code: "tls",
        what: "TLS is",
        on: |facts| facts.tls,
        so: ": clients that ask for it, or refuse it, would not find the same",
        hint: "give all members the same `ssl` settings",
    },
];

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
