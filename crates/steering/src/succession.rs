//! From one snapshot to the next: made anew only when what it says has changed (verdicts without the ages of
//! their evidence, writers, epochs and readers), and refused when it would leave no region to send anybody to
//! (design, rule 9). The last good one stays then.

use meridian_model::health::{Health, RegionHealth, Verdict};
use meridian_model::snapshot::GroupState;
use meridian_model::{Snapshot, Timestamp};

/// What comes after a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The new snapshot; `None`: nothing has changed.
    pub snapshot: Option<Snapshot>,
    /// Why the new verdicts are not in it.
    pub refused: Option<String>,
}

/// The snapshot that follows `old` when regions and groups are held to be like this.
#[must_use]
pub fn next_snapshot(
    old: &Snapshot,
    regions: &[RegionHealth],
    groups: Vec<GroupState>,
    made_at: Timestamp,
) -> Next {
    let refused = keeps_somebody(&old.regions, regions).err();
    let regions = match refused {
        Some(_) => old.regions.clone(),
        None => regions.iter().map(without_evidence).collect(),
    };
    if regions == old.regions && groups == old.groups {
        return Next { snapshot: None, refused };
    }
    let generation = old.generation.saturating_add(1);
    let snapshot = Snapshot { generation, region: old.region.clone(), made_at, regions, groups };
    Next { snapshot: Some(snapshot), refused }
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
mod tests {
    use super::*;
    use meridian_model::Name;

    fn region(name: &str, health: Health, reason: &str) -> RegionHealth {
        RegionHealth {
            region: Name::new(name).unwrap(),
            health,
            reason: reason.to_owned(),
            parts: Vec::new(),
        }
    }

    #[test]
    fn all_regions_down_at_once_is_refused() {
        let before = [region("a", Health::Up, ""), region("b", Health::Unknown, "")];
        let after = [region("a", Health::Down, ""), region("b", Health::Down, "")];
        assert!(keeps_somebody(&before, &after).is_err());
        assert!(keeps_somebody(&after, &after).is_ok(), "nothing is lost that was there");
        assert!(keeps_somebody(&before, &before[..1]).is_ok());
    }

    #[test]
    fn evidence_does_not_make_a_snapshot_new() {
        let one = without_evidence(&region("a", Health::Up, "3 of 3 say up, 12 ms ago"));
        let two = without_evidence(&region("a", Health::Up, "3 of 3 say up, 13 ms ago"));
        assert_eq!(one, two);
    }
}
