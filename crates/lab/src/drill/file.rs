//! The drill file: faults over time, the load, when it ends, and what must hold.
//!
//! Every fault of the file is told at once, with its place, by the same reader as a spec's. Region
//! names are checked in a second reading, when the system that the file names is known.

mod fields;
mod timeline;
mod types;
mod units;

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use meridian_model::RegionName;
use meridian_spec::reading::{Faults, KINDS, Reading, Spot};
use meridian_spec::{Diagnostic, SourceFile};

use fields::Fields;
use timeline::timeline;
pub use types::{Drill, Expect, LoadSpec, Names, Rejoined, Timed, Until, What, When};
use units::{At, Words};

/// Reads a drill file. With the `names` of its system, those in it are checked too.
///
/// # Errors
/// Every fault of the file, each with its place; never empty.
pub fn read(file: SourceFile, names: Option<&Names>) -> Result<Drill, Vec<Diagnostic>> {
    read_with(file, names, None)
}

/// The system that a drill file names, whatever else is wrong with it: its names are then looked at, too.
#[must_use]
pub fn system_of(file: SourceFile) -> Option<PathBuf> {
    fn field<'n>(of: Spot<'n>, key: &str) -> Option<Spot<'n>> {
        of.fields()?.into_iter().find(|field| field.key == key).map(|field| field.value)
    }
    let path = PathBuf::from(&file.name);
    let folder = path.parent().unwrap_or(Path::new(""));
    let named = Reading::new(file).finish(|documents, _| {
        let [document] = documents else { return None };
        let system = field(field(*document, "spec")?, "system")?.text()?;
        Some(normalised(folder.join(system)))
    });
    named.ok()
}

/// The faults of a drill file whose system cannot be read, that one told where the file names it.
#[must_use]
pub fn without_system(file: SourceFile, why: &str) -> Vec<Diagnostic> {
    read_with(file, None, Some(why)).err().unwrap_or_default()
}

fn read_with(
    file: SourceFile,
    names: Option<&Names>,
    system_fault: Option<&str>,
) -> Result<Drill, Vec<Diagnostic>> {
    let path = PathBuf::from(&file.name);
    let folder = path.parent().unwrap_or(Path::new(""));
    Reading::new(file).finish(|documents, faults| match documents {
        documents if of_a_spec(documents).is_some() => {
            let file = path.display();
            let hint = format!(
                "bring the system up with `meridian lab up {file}`; a drill names its system, and `--spec` another one: \
                 `meridian drill run drills/region-loss.yaml --spec {file}`; `meridian drill run --help` lists the drills"
            );
            faults.error(of_a_spec(documents).unwrap_or(Spot::START), "this file is a spec, not a drill", hint);
            None
        }
        [document] => resource(*document, folder, &mut Context { faults, names, system_fault }),
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

/// The kind of a resource of a spec, where the file has one.
fn of_a_spec<'n>(documents: &[Spot<'n>]) -> Option<Spot<'n>> {
    let fields = documents.iter().filter_map(|document| document.fields()).flatten();
    let mut kinds = fields.filter(|field| field.key == "kind").map(|field| field.value);
    kinds.find(|kind| kind.text().is_some_and(|kind| KINDS.contains(&kind)))
}

/// The path without what `..` takes back, if it is the same file: not where a folder is a link.
fn normalised(path: PathBuf) -> PathBuf {
    let mut short = PathBuf::new();
    for part in path.components() {
        match (part, short.components().next_back()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => drop(short.pop()),
            _ => short.push(part),
        }
    }
    let place = |path: &Path| path.canonicalize().ok();
    if place(&short) == place(&path) { short } else { path }
}

/// What every part of the parser needs.
struct Context<'a> {
    faults: &'a mut Faults,
    names: Option<&'a Names>,
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
        system: normalised(folder.join(system?)),
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

/// A region of the system.
fn region(spot: Spot<'_>, context: &mut Context<'_>) -> Option<RegionName> {
    let known = context.names.map(|names| names.regions.as_slice());
    one_of(spot, known, ("the system has no region", "its regions"), context.faults)
}

/// A region that takes the writer by the schedule.
fn scheduled(spot: Spot<'_>, context: &mut Context<'_>) -> Option<RegionName> {
    let known = context.names.map(|names| names.scheduled.as_slice());
    one_of(spot, known, ("the schedule has no hour of", "it has"), context.faults)
}

fn one_of(
    spot: Spot<'_>,
    known: Option<&[RegionName]>,
    (missing, all): (&str, &str),
    faults: &mut Faults,
) -> Option<RegionName> {
    let name = units::name(spot, faults)?;
    let Some(known) = known else { return Some(name) };
    if known.contains(&name) {
        return Some(name);
    }
    let names = known.iter().map(RegionName::as_str);
    let suggestion = meridian_catalog::closest(name.as_str(), names.clone()).map_or_else(
        || format!("{all}: {}", names.collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    faults.error(spot, format!("{missing} `{name}`"), suggestion);
    None
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

const EXPECT: [&str; 13] = [
    "rtoRead",
    "rtoWrite",
    "lostWrites",
    "rpo",
    "maxConcurrentWriters",
    "failovers",
    "switchovers",
    "heldBack",
    "writer",
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
    let [lost_writes, max_concurrent_writers, failovers, switchovers, failed_requests] =
        ["lostWrites", "maxConcurrentWriters", "failovers", "switchovers", "failedRequests"].map(&mut count);
    let rejoined = fields.optional("rejoined").map(|s| rejoined(s, context));
    let held_back = fields.optional("heldBack").map(|s| {
        let words = Words { what: "what holds a failover back", words: &["flap-window"] };
        units::word(s, words, context.faults)
    });
    let writer = fields.optional("writer").map(|s| region(s, context));
    Some(Expect {
        rto_read: flat(rto_read)?,
        rto_write: flat(rto_write)?,
        lost_writes: flat(lost_writes)?,
        rpo: flat(rpo)?,
        max_concurrent_writers: flat(max_concurrent_writers)?,
        failovers: flat(failovers)?,
        switchovers: flat(switchovers)?,
        held_back: flat(held_back)?.is_some(),
        writer: flat(writer)?,
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
