//! The drill file: faults over time, the load, when it ends, and what must hold.
//!
//! Every fault of the file is told at once, with its place, by the same reader as a spec's. Region
//! names are checked in a second reading, when the system that the file names is known.

mod fields;
mod types;
mod units;

use std::path::Path;
use std::time::Duration;

use meridian_model::RegionName;
use meridian_spec::reading::{Faults, Reading, Spot};
use meridian_spec::{Diagnostic, SourceFile};

use crate::faults::{Fault, FaultPart};
use fields::Fields;
pub use types::{Drill, Expect, LoadSpec, Rejoined, Timed, Until};
use units::{At, Words};

/// Reads a drill file. With `regions`, their names are checked too.
///
/// # Errors
/// Every fault of the file, each with its place; never empty.
pub fn read(file: SourceFile, regions: Option<&[RegionName]>) -> Result<Drill, Vec<Diagnostic>> {
    read_with(file, regions, None)
}

/// The faults of a drill file whose system cannot be read, that one told where the file names it.
#[must_use]
pub fn without_system(file: SourceFile, why: &str) -> Vec<Diagnostic> {
    read_with(file, None, Some(why)).err().unwrap_or_default()
}

fn read_with(
    file: SourceFile,
    regions: Option<&[RegionName]>,
    system_fault: Option<&str>,
) -> Result<Drill, Vec<Diagnostic>> {
    let folder = Path::new(&file.name).parent().unwrap_or(Path::new("")).to_owned();
    Reading::new(file).finish(|documents, faults| match documents {
        [document] => resource(*document, &folder, &mut Context { faults, regions, system_fault }),
        [] => {
            if faults.is_empty() {
                let hint = "a drill has `kind: Drill`: drills/region-loss.yaml is one to begin with";
                faults.error(Spot::START, "there is no drill in this file", hint);
            }
            None
        }
        [_, second, ..] => {
            faults.error(*second, "a drill file holds one document", "put each drill into a file of its own");
            None
        }
    })
}

/// What every part of the parser needs.
struct Context<'a> {
    faults: &'a mut Faults,
    regions: Option<&'a [RegionName]>,
    /// Why the system cannot be read.
    system_fault: Option<&'a str>,
}

fn resource(document: Spot<'_>, folder: &Path, context: &mut Context<'_>) -> Option<Drill> {
    let mut top = Fields::begin(document, &["apiVersion", "kind", "metadata", "spec"], context.faults)?;
    top.constant("apiVersion", "meridian.dev/v1alpha1", context.faults);
    top.constant("kind", "Drill", context.faults);
    let metadata = top.required("metadata", context.faults);
    let spec = top.required("spec", context.faults);
    let name = metadata.and_then(|spot| metadata_name(spot, context));
    let drill = spec.and_then(|spot| body(spot, folder, context));
    Some(Drill { name: name?, ..drill? })
}

fn metadata_name(spot: Spot<'_>, context: &mut Context<'_>) -> Option<String> {
    let mut fields = Fields::begin(spot, &["name"], context.faults)?;
    let name = fields.required("name", context.faults)?;
    units::name(name, context.faults).map(|n| n.to_string())
}

const BODY: [&str; 7] = ["description", "system", "load", "timeline", "until", "timeout", "expect"];

fn body(spot: Spot<'_>, folder: &Path, context: &mut Context<'_>) -> Option<Drill> {
    let mut fields = Fields::begin(spot, &BODY, context.faults)?;
    let description = fields.optional("description").and_then(|s| units::text(s, context.faults));
    let system = fields.required("system", context.faults);
    if let (Some(spot), Some(why)) = (system, context.system_fault) {
        let hint = "`system` is the path of a spec, from the folder of this file";
        context.faults.error(spot, why, hint);
    }
    let system = system.and_then(|s| units::text(s, context.faults));
    let load = fields.optional("load").map_or(Some(LoadSpec::default()), |s| load(s, context));
    let timeline = fields.required("timeline", context.faults).and_then(|s| timeline(s, context));
    let until = fields.required("until", context.faults).and_then(|s| until(s, context));
    let timeout = fields.optional("timeout").map_or(Some(TIMEOUT), |s| units::duration(s, context.faults));
    let expect = fields.optional("expect").map_or(Some(Expect::default()), |s| expect(s, context));
    Some(Drill {
        name: String::new(),
        description: description.unwrap_or_default().trim().replace('\n', " "),
        system: folder.join(system?),
        load: load?,
        timeline: timeline?,
        until: until?,
        timeout: timeout?,
        expect: expect?,
    })
}

fn load(spot: Spot<'_>, context: &mut Context<'_>) -> Option<LoadSpec> {
    let default = LoadSpec::default();
    let mut fields = Fields::begin(spot, &["rate", "writes", "users"], context.faults)?;
    let rate = fields.optional("rate").map_or(Some(default.rate), |s| units::rate(s, context.faults));
    let writes =
        fields.optional("writes").map_or(Some(default.writes), |s| units::percent(s, context.faults));
    let users = fields.optional("users").map_or(Some(default.users), |s| {
        let users = units::count(s, context.faults)?;
        usize::try_from(users).ok().filter(|n| (1..=USERS_MAX).contains(n)).or_else(|| {
            context.faults.error(s, format!("a population has 1 to {USERS_MAX} users"), "");
            None
        })
    });
    Some(LoadSpec { rate: rate?, writes: writes?, users: users? })
}

fn timeline(spot: Spot<'_>, context: &mut Context<'_>) -> Option<Vec<Timed>> {
    let Some(items) = spot.items() else {
        let message = format!("expected a list of faults, found {}", spot.found());
        context.faults.error(
            spot,
            message,
            "write `- at: 10s` and under it what happens, such as `kill: us-east-1`",
        );
        return None;
    };
    let mut list: Vec<Timed> = items.into_iter().filter_map(|item| timed(item, context)).collect();
    list.sort_by_key(|t| t.at);
    Some(list)
}

/// The verbs of a timeline, of which each entry has one.
const VERBS: [&str; 8] = ["kill", "freeze", "restore", "partition", "isolate", "slow", "heal", "switchover"];
const ENTRY: [&str; 14] = [
    "switchover",
    "at",
    "part",
    "oneWay",
    "rtt",
    "loss",
    "bandwidth",
    "kill",
    "freeze",
    "restore",
    "partition",
    "isolate",
    "slow",
    "heal",
];

fn timed(spot: Spot<'_>, context: &mut Context<'_>) -> Option<Timed> {
    let mut fields = Fields::begin(spot, &ENTRY, context.faults)?;
    let at = fields.required("at", context.faults).and_then(|s| units::duration(s, context.faults));
    let verbs: Vec<&str> = VERBS.into_iter().filter(|verb| fields.has(verb)).collect();
    let [verb] = verbs.as_slice() else {
        if verbs.is_empty() && fields.misspelt() {
            return None; // That was told, and it was probably the verb.
        }
        let suggestion = format!("each entry has exactly one of: {}", VERBS.join(", "));
        context.faults.error(spot, format!("{} things happen in this entry", verbs.len()), suggestion);
        return None;
    };
    let fault = fault(verb, &mut fields, context);
    fields.refuse_unused(&format!("`{verb}`"), context.faults);
    Some(Timed { at: at?, fault: fault? })
}

fn fault(verb: &str, fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Fault> {
    let value = fields.optional(verb)?;
    match verb {
        "kill" => Some(Fault::Kill { region: region(value, context)?, part: part(fields, context)? }),
        "freeze" => Some(Fault::Freeze { region: region(value, context)?, part: part(fields, context)? }),
        "restore" => Some(Fault::Restore { region: region(value, context)? }),
        "switchover" => Some(Fault::Switchover { to: region(value, context)? }),
        "isolate" => Some(Fault::Isolate { region: region(value, context)? }),
        "partition" => {
            let one_way = fields.optional("oneWay").map_or(Some(false), |s| units::truth(s, context.faults));
            let (from, to) = two_regions(value, context)?;
            Some(Fault::Partition { from, to, one_way: one_way? })
        }
        "slow" => slow(value, fields, context),
        _ => {
            units::word(value, Words { what: "what is healed", words: &["all"] }, context.faults)?;
            Some(Fault::Heal)
        }
    }
}

fn slow(value: Spot<'_>, fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Fault> {
    let rtt = fields.optional("rtt").map(|s| units::duration(s, context.faults));
    let loss = fields.optional("loss").map(|s| units::percent(s, context.faults));
    let bandwidth = fields.optional("bandwidth").map(|s| units::bandwidth(s, context.faults));
    let (from, to) = two_regions(value, context)?;
    if rtt.is_none() && loss.is_none() && bandwidth.is_none() {
        let suggestion = "add one or more of `rtt: 300ms`, `loss: 1%`, `bandwidth: 10MiB/s`";
        context.faults.error(value, "nothing says how slow", suggestion);
        return None;
    }
    let (rtt, loss) = (given(rtt)?, given(loss)?);
    Some(Fault::Slow { from, to, rtt, loss, bandwidth: given(bandwidth)? })
}

/// `None`: it was given and is wrong; `Some(None)`: it was not given.
#[expect(clippy::option_option, reason = "the outer one says that it could be read")]
fn given<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |value| value.map(Some))
}

/// The part, `Some(None)` for the whole region.
#[expect(
    clippy::option_option,
    reason = "the outer one says that it could be read, the inner one that it is there"
)]
fn part(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Option<FaultPart>> {
    let Some(spot) = fields.optional("part") else { return Some(None) };
    let words = Words { what: "a part", words: &["postgres", "etcd", "node", "app"] };
    let word = units::word(spot, words, context.faults)?;
    Some(FaultPart::ALL.into_iter().find(|p| p.to_string() == word))
}

fn region(spot: Spot<'_>, context: &mut Context<'_>) -> Option<RegionName> {
    let name = units::name(spot, context.faults)?;
    let Some(known) = context.regions else { return Some(name) };
    if known.contains(&name) {
        return Some(name);
    }
    let names = known.iter().map(RegionName::as_str);
    let suggestion = meridian_catalog::closest(name.as_str(), names.clone()).map_or_else(
        || format!("its regions: {}", names.collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    context.faults.error(spot, format!("the system has no region `{name}`"), suggestion);
    None
}

fn two_regions(spot: Spot<'_>, context: &mut Context<'_>) -> Option<(RegionName, RegionName)> {
    let items = spot.items().unwrap_or_default();
    let [from, to] = items.as_slice() else {
        let message = format!("expected two regions, found {}", spot.found());
        context.faults.error(spot, message, "write both in brackets: [us-east-1, eu-central-1]");
        return None;
    };
    let (a, b) = (region(*from, context), region(*to, context));
    let (a, b) = (a?, b?);
    if a == b {
        context.faults.error(*to, format!("`{b}` is on both sides"), "name two different regions");
        return None;
    }
    Some((a, b))
}

fn until(spot: Spot<'_>, context: &mut Context<'_>) -> Option<Until> {
    match spot.text() {
        Some("protected") => Some(Until::Protected),
        Some("redundant") => Some(Until::Redundant),
        _ => {
            let hint = "`protected`, `redundant`, or how long after the beginning of the load, such as `60s`";
            units::duration_or(spot, hint, context.faults).map(Until::After)
        }
    }
}

const EXPECT: [&str; 10] = [
    "rtoRead",
    "rtoWrite",
    "lostWrites",
    "rpo",
    "maxConcurrentWriters",
    "failovers",
    "writesGoOn",
    "readsGoOn",
    "failedRequests",
    "rejoined",
];

fn expect(spot: Spot<'_>, context: &mut Context<'_>) -> Option<Expect> {
    let mut fields = Fields::begin(spot, &EXPECT, context.faults)?;
    let mut time = |name: &str| fields.optional(name).map(|s| units::duration_limit(s, context.faults));
    let [rto_read, rto_write, rpo, writes_go_on, reads_go_on] =
        ["rtoRead", "rtoWrite", "rpo", "writesGoOn", "readsGoOn"].map(&mut time);
    let mut count = |name: &str| fields.optional(name).map(|s| units::count_limit(s, context.faults));
    let [lost_writes, max_concurrent_writers, failovers, failed_requests] =
        ["lostWrites", "maxConcurrentWriters", "failovers", "failedRequests"].map(&mut count);
    let rejoined = fields.optional("rejoined").map(|s| rejoined(s, context));
    Some(Expect {
        rto_read: flat(rto_read)?,
        rto_write: flat(rto_write)?,
        lost_writes: flat(lost_writes)?,
        rpo: flat(rpo)?,
        max_concurrent_writers: flat(max_concurrent_writers)?,
        failovers: flat(failovers)?,
        writes_go_on: flat(writes_go_on)?,
        reads_go_on: flat(reads_go_on)?,
        failed_requests: flat(failed_requests)?,
        rejoined: flat(rejoined)?,
    })
}

/// Absent is fine, unreadable is not.
#[expect(
    clippy::option_option,
    reason = "the outer one says that it could be read, the inner one that it is there"
)]
fn flat<T>(field: Option<At<T>>) -> Option<Option<T>> {
    field.map_or(Some(None), |read| read.map(Some))
}

fn rejoined(spot: Spot<'_>, context: &mut Context<'_>) -> Option<Rejoined> {
    let words = Words { what: "how it came back", words: &["rewound", "recloned", "any"] };
    Some(match units::word(spot, words, context.faults)? {
        "rewound" => Rejoined::Rewound,
        "recloned" => Rejoined::Recloned,
        _ => Rejoined::Any,
    })
}

/// When a drill ends at the latest if the file does not say.
const TIMEOUT: Duration = Duration::from_secs(180);
/// More users than this in one population are no laboratory any more.
const USERS_MAX: usize = 200;

#[cfg(test)]
mod tests;
