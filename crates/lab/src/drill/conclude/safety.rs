//! What must never happen, looked for in what was seen. One violation fails the drill, whatever its
//! file expects.

use meridian_model::run::{Run, RunKind};

use super::{Evidence, seconds, world};

/// Every violation, one sentence each.
pub(super) fn violations(evidence: &Evidence<'_>, runs: &[Run]) -> Vec<String> {
    let mut list = two_writers(evidence);
    list.extend(late_acknowledgements(evidence, runs));
    let laws = meridian_invariants::all(&world::world(evidence, runs));
    list.extend(laws.into_iter().map(|broken| format!("{}: {}", broken.invariant, broken.evidence)));
    list.extend(evidence.seen.seen.done_again.iter().cloned());
    list.extend(two_primaries_at_the_end(evidence));
    list
}

fn two_writers(evidence: &Evidence<'_>) -> Vec<String> {
    let reigns = &evidence.seen.witnessed.reigns;
    let most = reigns.max_concurrent();
    if most <= 1 {
        return Vec::new();
    }
    let start = evidence.seen.clock.at;
    let told: Vec<String> = reigns
        .in_order()
        .iter()
        .map(|r| {
            let (from, to) = (seconds(start, r.first), seconds(start, r.last));
            format!("{} on timeline {} from {from:.3} s to {to:.3} s", r.region, r.timeline)
        })
        .collect();
    vec![format!("{most} databases took writes at one instant: {}", told.join(", "))]
}

/// An old writer that still acknowledged after the new epoch had begun.
fn late_acknowledgements(evidence: &Evidence<'_>, runs: &[Run]) -> Vec<String> {
    let clock = evidence.seen.clock;
    let mut list = Vec::new();
    for run in runs.iter().filter(|r| r.kind == RunKind::Failover) {
        let Some(from) = run.from.as_ref().filter(|from| **from != run.to) else { continue };
        let decided = clock.moment(run.decided_at);
        let reigns = evidence.seen.witnessed.reigns.in_order();
        for late in reigns.iter().filter(|r| r.region == *from && r.first < decided && r.last > decided) {
            let by = seconds(decided, late.last);
            list.push(format!(
                "{from} acknowledged a write to a direct client {by:.3} s after epoch {} had begun",
                run.epoch
            ));
        }
    }
    list
}

fn two_primaries_at_the_end(evidence: &Evidence<'_>) -> Vec<String> {
    let primaries = &evidence.seen.rows.primaries;
    if primaries.len() <= 1 {
        return Vec::new();
    }
    let names: Vec<&str> = primaries.iter().map(|p| p.as_str()).collect();
    vec![format!("at the end {} all called themselves primary", names.join(" and "))]
}
