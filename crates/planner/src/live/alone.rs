//! What one member needs by itself: files of extensions, room on the disk, slots, certificates, an upstream.

use meridian_model::facts::{CertificateFacts, SlotFacts};
use meridian_model::{Database, RegionName, Timestamp};

use super::{Seen, size_text};
use crate::finding::{Finding, Severity};

/// What holds for every member.
pub(super) fn check(member: &Seen<'_>, database: &Database) -> Vec<Finding> {
    let mut found = missing(member);
    found.extend(extensions(member));
    found.extend(collation(member));
    found.extend(certificates(member));
    found.extend(disk(member));
    found.extend(room_for_others(member, database));
    found
}

fn missing(member: &Seen<'_>) -> Vec<Finding> {
    let told = member.facts.missing.iter().map(|what| {
        let message = format!("in {} this could not be looked up: {what}", member.region);
        member.warning("fact-missing", message).suggest("until then nothing can be said about it")
    });
    told.collect()
}

fn extensions(member: &Seen<'_>) -> Vec<Finding> {
    let absent = member.facts.databases.iter().flat_map(|d| d.extensions_absent.iter().map(move |e| (d, e)));
    let told = absent.map(|(database, extension)| {
        let version = database.extensions.get(extension).map(|v| format!(" {v}")).unwrap_or_default();
        let message = format!(
            "extension `{extension}`{version} of database `{}` is not installed in {}",
            database.name, member.region
        );
        member.error("extension-absent", message).suggest(
            "what uses it fails there after a promotion: install its package on that machine, in that version",
        )
    });
    told.collect()
}

/// The version that indexes were made with is the last word of the collation.
fn collation(member: &Seen<'_>) -> Vec<Finding> {
    let changed = member.facts.databases.iter().filter_map(|database| {
        let here = database.collation_version_here.as_deref()?;
        let made_with = database.collation.split(' ').next_back()?;
        (made_with != here).then(|| {
            let message = format!(
                "indexes of text in database `{}` were made with version {made_with} of the sorting rules, and {} has {here}",
                database.name, member.region
            );
            member.error("collation", message).suggest(
                "they may give wrong answers there: use the same system libraries everywhere, or rebuild them \
                 (REINDEX) and then ALTER DATABASE … REFRESH COLLATION VERSION",
            )
        })
    });
    changed.collect()
}

fn certificates(member: &Seen<'_>) -> Vec<Finding> {
    let soon = member.facts.certificates.iter().filter_map(|certificate| {
        let (severity, message) = ends_soon(certificate, member.facts.at, member.region)?;
        let finding = Finding { severity, ..member.error("certificate", message) };
        Some(finding.suggest("replace the file and reload: `select pg_reload_conf()`"))
    });
    soon.collect()
}

/// How bad it is that the certificate ends so soon after `at`, and the words for it.
pub(super) fn ends_soon(
    certificate: &CertificateFacts,
    at: Timestamp,
    here: &RegionName,
) -> Option<(Severity, String)> {
    let left = certificate.expires_at.0.saturating_sub(at.0);
    let file = &certificate.file;
    let message = if left <= 0 {
        format!("the certificate {file} in {here} has expired")
    } else {
        format!("the certificate {file} in {here} expires in {} days", left / DAY_MS)
    };
    match left {
        left if left < EXPIRY_ERROR_MS => Some((Severity::Error, message)),
        left if left < EXPIRY_WARNING_MS => Some((Severity::Warning, message)),
        _ => None,
    }
}

/// Once it is the writer it sends log to each other member and keeps it for each in a slot; what the actuator
/// decodes losses from takes one more.
fn room_for_others(member: &Seen<'_>, database: &Database) -> Vec<Finding> {
    let others = u64::try_from(database.members.len().saturating_sub(1)).unwrap_or(u64::MAX);
    let needs = [("max_replication_slots", others + 1), ("max_wal_senders", others + 1)];
    let few = needs.into_iter().filter_map(|(name, needed)| {
        let here = member.setting(name)?.parse::<u64>().ok().filter(|here| *here < needed)?;
        let message = format!(
            "{name} is {here} in {}, and a writer of {} needs {needed}: one for each of the {others} others, and one more",
            member.region, database.name
        );
        Some(member.error("target-room", message).suggest(format!("set `{name}` of that member to {needed} at least")))
    });
    few.collect()
}

/// Whoever may be the writer keeps log for members that are away, up to a limit; that must fit beside what
/// is there already.
fn disk(member: &Seen<'_>) -> Vec<Finding> {
    let free = member.facts.disk.free_bytes;
    let here = member.region;
    let mut found = Vec::new();
    let most = |name: &str| member.size(name).unwrap_or(0);
    match (member.setting("max_slot_wal_keep_size"), member.size("max_slot_wal_keep_size")) {
        (None, _) => {}
        (Some(_), None) => {
            let message = format!(
                "nothing limits the log that is kept in {here} for a member that is away: it fills the disk"
            );
            found.push(member.warning("wal-unlimited", message).suggest("set `max_slot_wal_keep_size`"));
        }
        (Some(_), Some(limit)) => {
            let kept = member.facts.slots.iter().map(|s| s.retained_bytes).max().unwrap_or(0);
            let grows =
                limit.max(most("wal_keep_size")).saturating_add(most("max_wal_size")).saturating_sub(kept);
            found.extend((free < grows).then(|| {
                let (free, grows) = (size_text(free), size_text(grows));
                let message = format!(
                    "{free} are free in {here}, and the log may grow by {grows} while a member is away"
                );
                let sum = "max_slot_wal_keep_size + max_wal_size - what slots keep now".to_owned();
                let hint = "free some space, or lower `max_slot_wal_keep_size`";
                member.error("disk-wal", message).show(vec![sum]).suggest(hint)
            }));
        }
    }
    let copy = member.facts.databases.iter().map(|d| d.bytes).sum::<u64>();
    if free < copy {
        let (free, copy) = (size_text(free), size_text(copy));
        let message = format!("{free} are free in {here}, and a copy of the database takes {copy}");
        found.push(member.warning("disk-copy", message).suggest(
            "a rehearsal is refused there, and an old primary that cannot be rewound loses its old data \
             directory when it is cloned anew",
        ));
    }
    found
}

/// A member that is not the writer should receive from it. One that was a primary when it was looked at may
/// have been the writer until just now; and one may have begun to receive since.
pub(super) fn streaming(member: &Seen<'_>) -> Option<Finding> {
    let comes = member.outdated || member.says.is_some_and(|says| says.streaming);
    (member.facts.standby && !member.facts.streaming && !comes).then(|| {
        let message = format!("the standby in {} does not receive from its upstream", member.region);
        member
            .error("not-streaming", message)
            .suggest("it falls behind: `meridian status` says how far, `postgres.log` in its folder says why")
    })
}

/// The slots of the writer: one for each other member, read from, and with all the log that it needs.
/// Whether a member `reads` or is about to, it says itself, and later than the writer was looked at.
pub(super) fn slots(
    writer: &Seen<'_>,
    database: &Database,
    reads: impl Fn(&RegionName) -> bool,
) -> Vec<Finding> {
    if writer.outdated {
        return Vec::new();
    }
    let others = database.members.iter().map(|m| &m.region).filter(|region| *region != writer.region);
    let slot_of = |region: &RegionName| region.as_str().replace('-', "_");
    let without = others.filter(|region| !writer.facts.slots.iter().any(|s| s.name == slot_of(region)));
    let missing = without.map(|region| {
        let message = format!("the writer in {} keeps no log for {region}: it has no slot", writer.region);
        writer.warning("slot-missing", message).suggest(format!(
            "when {region} is away for long it must be cloned anew; its node makes the slot"
        ))
    });
    let members = || database.members.iter().map(|m| &m.region);
    let found = writer.facts.slots.iter().flat_map(|slot| {
        let reader = members().find(|region| slot_of(region) == slot.name);
        let idle = idle(writer, slot, reader).filter(|_| !reader.is_some_and(&reads));
        one_slot(writer, slot).into_iter().chain(idle)
    });
    missing.chain(found).collect()
}

/// Nobody reads from it; `reader`: the member whose it is.
fn idle(writer: &Seen<'_>, slot: &SlotFacts, reader: Option<&RegionName>) -> Option<Finding> {
    let lost = matches!(slot.wal_status.as_deref(), Some("lost" | "unreserved"));
    if slot.active || lost || is_ledger(slot) {
        return None;
    }
    let (name, kept) = (&slot.name, size_text(slot.retained_bytes));
    let message = format!("nobody reads from slot `{name}` in {}; it keeps {kept} of log", writer.region);
    let hint = match reader {
        Some(region) => format!("its reader is the member in {region}: bring it back"),
        None => "bring its reader back; drop a slot that nobody needs any more".to_owned(),
    };
    Some(writer.warning("slot-inactive", message).suggest(hint))
}

/// Made anew by itself, and read only after a loss.
fn is_ledger(slot: &SlotFacts) -> bool {
    slot.logical && slot.name == LEDGER
}

fn one_slot(writer: &Seen<'_>, slot: &SlotFacts) -> Vec<Finding> {
    let name = &slot.name;
    let kept = size_text(slot.retained_bytes);
    let limit = writer.size("max_slot_wal_keep_size").filter(|limit| *limit > 0);
    let percent = limit.map_or(0, |limit| slot.retained_bytes.saturating_mul(100) / limit);
    let lost = match slot.wal_status.as_deref() {
        Some("lost") if !is_ledger(slot) => Some(
            writer
                .error(
                    "slot-lost",
                    format!("the log that slot `{name}` needs is gone from {}", writer.region),
                )
                .suggest("who reads from it must be cloned anew; a slot that nobody needs should be dropped"),
        ),
        Some("unreserved") => Some(
            writer
                .error(
                    "slot-at-risk",
                    format!("the log that slot `{name}` needs may go at the next checkpoint"),
                )
                .suggest("bring its reader back, or raise `max_slot_wal_keep_size`"),
        ),
        _ => None,
    };
    let much = limit.filter(|_| lost.is_none() && percent >= KEPT_WARNING_PERCENT).map(|limit| {
        let message = format!(
            "slot `{name}` keeps {kept} of log in {}, {percent} % of max_slot_wal_keep_size ({})",
            writer.region,
            size_text(limit)
        );
        let finding = if percent >= KEPT_ERROR_PERCENT {
            writer.error("wal-kept", message)
        } else {
            writer.warning("wal-kept", message)
        };
        finding.suggest("beyond that its reader must be cloned anew: bring it back, or raise the limit")
    });
    [lost, much].into_iter().flatten().collect()
}

/// The slot that the actuator keeps to decode what was lost.
const LEDGER: &str = "meridian_ledger";
const DAY_MS: i64 = 86_400_000;
const EXPIRY_WARNING_MS: i64 = 30 * DAY_MS;
const EXPIRY_ERROR_MS: i64 = 7 * DAY_MS;
const KEPT_WARNING_PERCENT: u64 = 50;
const KEPT_ERROR_PERCENT: u64 = 80;
