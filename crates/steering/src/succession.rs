//! From one snapshot to the next: made anew only when what it says has changed (verdicts without the ages of
//! their evidence, writers, epochs, readers and turned dials), and refused when it would call every region
//! down (design, rule 9): the last good one stays then. Dials that together would leave no region which takes
//! traffic are held back one by one, by who turned them and not by when that arrived: all nodes keep the same.

use std::collections::BTreeMap;

use meridian_model::health::{Health, RegionHealth, Verdict};
use meridian_model::snapshot::GroupState;
use meridian_model::topology::{Dial, Region, Role};
use meridian_model::traffic::TurnedDial;
use meridian_model::{RegionName, RunId, Share, Snapshot, Timestamp};

use crate::rank;
use crate::view::View;

/// What comes after a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The new snapshot; `None`: nothing has changed.
    pub snapshot: Option<Snapshot>,
    /// Why the new verdicts, or some of the dials, are not in it.
    pub refused: Option<String>,
}

impl View {
    /// The snapshot that follows this view's when regions and groups are held to be like this. `dials`: all
    /// that was turned by runs and persons; `None`: nobody knows now, and what is in force stays.
    #[must_use]
    pub fn next_snapshot(
        &self,
        regions: &[RegionHealth],
        groups: Vec<GroupState>,
        dials: Option<&[TurnedDial]>,
        made_at: Timestamp,
    ) -> Next {
        let old = &*self.snapshot;
        let emptied = keeps_somebody(&old.regions, regions).err();
        let regions = match emptied {
            Some(_) => old.regions.clone(),
            None => regions.iter().map(without_evidence).collect(),
        };
        let sorted = dials.map(|all| self.sorted(&regions, all));
        let refused = emptied.or_else(|| sorted.as_ref().and_then(Sorted::refusal));
        let dials = sorted.map_or_else(|| old.dials.clone(), |sorted| in_force(&sorted.kept));
        if regions == old.regions && groups == old.groups && dials == old.dials {
            return Next { snapshot: None, refused };
        }
        let (generation, region) = (old.generation.saturating_add(1), old.region.clone());
        let snapshot = Snapshot { generation, region, made_at, regions, groups, dials };
        Next { snapshot: Some(snapshot), refused }
    }

    /// Why `wanted` cannot be turned where `all` was turned before: these, or others that count now, would be
    /// held back.
    #[must_use]
    pub fn refuses(&self, all: &[TurnedDial], wanted: &[TurnedDial]) -> Option<String> {
        let replaced = |old: &TurnedDial| wanted.iter().any(|new| rank(new) == rank(old));
        let others = all.iter().filter(|old| !replaced(old));
        let then: Vec<TurnedDial> = others.chain(wanted).cloned().collect();
        let (regions, is_wanted) = (&self.snapshot.regions, |dial: &TurnedDial| wanted.contains(dial));
        let (before, after) = (self.sorted(regions, all).held, self.sorted(regions, &then));
        let anew = after.held.iter().any(|dial| is_wanted(dial) || !before.contains(dial));
        after.refusal().filter(|_| anew)
    }

    /// Holds back what would take away the last region which takes traffic and is not down: of several that do
    /// so together, the last by [`rank()`]. What was in force before does not matter, for it may differ from node
    /// to node. (Without word from etcd nothing is held back that was in force: a drained region serves when
    /// nothing else can.)
    fn sorted(&self, regions: &[RegionHealth], all: &[TurnedDial]) -> Sorted {
        let takes = |region: &Region, dials: &[TurnedDial]| {
            let dial = rank::dial(region, dials.iter().find(|d| d.region == region.name));
            let down = regions.iter().any(|r| r.region == region.name && r.health == Health::Down);
            let open = !matches!(dial, Dial::Forbid | Dial::Drain | Dial::Share(Share::ZERO));
            region.role != Role::Witness && open && !down
        };
        let somebody = |turned: &[TurnedDial]| {
            let dials = in_force(turned);
            self.system.topology.regions.iter().any(|region| takes(region, &dials))
        };
        if somebody(all) {
            return Sorted { kept: all.to_vec(), held: Vec::new() };
        }
        let mut ranked = all.to_vec();
        ranked.sort_by(|a, b| rank(a).cmp(&rank(b)));
        let mut sorted = Sorted { kept: Vec::new(), held: Vec::new() };
        for dial in ranked {
            let before = somebody(&sorted.kept);
            sorted.kept.push(dial);
            if before && !somebody(&sorted.kept) {
                sorted.held.extend(sorted.kept.pop());
            }
        }
        sorted
    }
}

/// What was turned, by whether it may count.
struct Sorted {
    kept: Vec<TurnedDial>,
    held: Vec<TurnedDial>,
}

impl Sorted {
    fn refusal(&self) -> Option<String> {
        let told = |dials: &[TurnedDial]| {
            let each = dials.iter().map(|d| format!("{} to {} by {}", d.region, d.turn, d.who()));
            each.collect::<Vec<_>>().join(", ")
        };
        let beside = match self.kept.as_slice() {
            [] => String::new(),
            kept => format!(" beside {}", told(kept)),
        };
        let held = told(&self.held);
        (!self.held.is_empty())
            .then(|| format!("no region that is not down would take traffic, with {held} turned{beside}"))
    }
}

/// A person's dial comes before those of runs, and these by their names.
fn rank(dial: &TurnedDial) -> (Option<&RunId>, &RegionName) {
    (dial.run.as_ref(), &dial.region)
}

/// Of all that was turned what counts, one a region: a person's word, else the least that a run asks for.
fn in_force(all: &[TurnedDial]) -> Vec<TurnedDial> {
    let order = |d: &TurnedDial| (d.run.is_some(), d.turn, d.run.clone());
    let mut by_region: BTreeMap<&RegionName, &TurnedDial> = BTreeMap::new();
    for dial in all {
        let counts = by_region.entry(&dial.region).or_insert(dial);
        if order(dial) < order(counts) {
            *counts = dial;
        }
    }
    by_region.into_values().cloned().collect()
}

/// The reason of a verdict counts its witnesses, so it may change; the ages of evidence always do.
fn without_evidence(region: &RegionHealth) -> RegionHealth {
    let bare = |verdict: &Verdict| Verdict {
        target: verdict.target.clone(),
        health: verdict.health,
        reason: verdict.health.to_string(),
        evidence: Vec::new(),
    };
    RegionHealth {
        region: region.region.clone(),
        health: region.health,
        reason: region.health.to_string(),
        parts: region.parts.iter().map(bare).collect(),
    }
}

/// Refuses a state in which every region is down when there was one that was not.
fn keeps_somebody(old: &[RegionHealth], new: &[RegionHealth]) -> Result<(), String> {
    let left = |regions: &[RegionHealth]| regions.iter().filter(|r| r.health != Health::Down).count();
    match (left(old), left(new)) {
        (before, 0) if before > 0 => {
            Err(format!("it would call all {} regions down, and no user could be sent anywhere", new.len()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
