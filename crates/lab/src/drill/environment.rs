//! Where a drill was measured: what a reader must know to compare two reports.

use meridian_model::System;

use super::file::Drill;
use crate::plan::fingerprint;
use crate::report::NamedFact;

/// Names and values, in the order in which they are shown.
pub(super) fn describe(drill: &Drill, system: &System, more: Vec<NamedFact>) -> Vec<NamedFact> {
    let build = if cfg!(debug_assertions) { "debug build" } else { "release build" };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let replication = system.databases.first().map_or_else(String::new, |d| format!("{:?}", d.replication));
    let (rate, writes) = (drill.load.rate, drill.load.writes * 100.0);
    let mut list = vec![
        NamedFact::of("meridian", format!("{}, {build}", env!("CARGO_PKG_VERSION"))),
        NamedFact::of("machine", format!("{cores} cores, {} of memory", memory())),
        NamedFact::of("kernel", kernel()),
        NamedFact::of("spec", format!("{}, fingerprint {}", drill.system.display(), fingerprint(system))),
        NamedFact::of("replication", replication.to_lowercase()),
        NamedFact::of("timers", timers(system)),
        NamedFact::of(
            "load",
            format!("{rate} requests/s, {writes} % writes, {} users per population", drill.load.users),
        ),
    ];
    list.extend(more);
    list
}

fn timers(system: &System) -> String {
    let t = &system.topology.timers;
    format!(
        "lease {:?}, renewed every {:?}, gateway fence {:?}, database fence {:?}, probe every {:?}, down after {}",
        t.lease_ttl, t.renew_every, t.gateway_fence, t.database_fence, t.probe_every, t.down_after
    )
}

fn memory() -> String {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or_else(|| "unknown size".to_owned(), |kib| format!("{} GiB", (kib + (1 << 19)) >> 20))
}

fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", release.trim())
}
