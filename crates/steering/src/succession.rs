//! From one snapshot to the next: made anew only when what it says has changed (verdicts without the ages of
//! their evidence, writers, epochs, readers and turned dials), and refused when it would leave no region to
//! send anybody to (design, rule 9). The last good one stays then.

use std::collections::BTreeMap;

use meridian_model::health::{Health, RegionHealth, Verdict};
use meridian_model::snapshot::GroupState;
use meridian_model::topology::{Dial, Region, Role};
use meridian_model::traffic::TurnedDial;
use meridian_model::{RegionName, Share, Snapshot, Timestamp};

use crate::rank;
use crate::view::View;

/// What comes after a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The new snapshot; `None`: nothing has changed.
    pub snapshot: Option<Snapshot>,
    /// Why the new verdicts, or the new dials, are not in it.
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
        let wanted = dials.map_or_else(|| old.dials.clone(), in_force);
        let drained = self.keeps_a_taker(&regions, &wanted).err();
        let dials = if drained.is_some() { old.dials.clone() } else { wanted };
        let refused = emptied.or(drained);
        if regions == old.regions && groups == old.groups && dials == old.dials {
            return Next { snapshot: None, refused };
        }
        let (generation, region) = (old.generation.saturating_add(1), old.region.clone());
        let snapshot = Snapshot { generation, region, made_at, regions, groups, dials };
        Next { snapshot: Some(snapshot), refused }
    }

    /// Refuses dials that leave no region which takes traffic, when those in force leave one. (When one is
    /// lost later the drained ones serve: that is the emergency they are kept for.)
    fn keeps_a_taker(&self, regions: &[RegionHealth], dials: &[TurnedDial]) -> Result<(), String> {
        let takes = |region: &Region, dials: &[TurnedDial]| {
            let dial = rank::dial(region, dials.iter().find(|d| d.region == region.name));
            let down = regions.iter().any(|r| r.region == region.name && r.health == Health::Down);
            let open = !matches!(dial, Dial::Forbid | Dial::Drain | Dial::Share(Share::ZERO));
            region.role != Role::Witness && open && !down
        };
        let somebody = |dials: &[TurnedDial]| self.system.topology.regions.iter().any(|r| takes(r, dials));
        let old = self.snapshot.dials.as_slice();
        if dials == old || somebody(dials) || !somebody(old) {
            return Ok(());
        }
        let turned: Vec<String> =
            dials.iter().map(|d| format!("{} to {} by {}", d.region, d.turn, d.who())).collect();
        Err(format!("no region that is not down would take traffic, with {} turned", turned.join(", ")))
    }
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
