//! What follows a snapshot, and what is refused.

use std::sync::Arc;

use meridian_model::order::Word;
use meridian_model::topology::Dial;
use meridian_model::traffic::Turn;

use super::*;
use crate::fixture::{self, AP, EU, US, name};

fn region(name: &str, health: Health, reason: &str) -> RegionHealth {
    RegionHealth { region: fixture::name(name), health, reason: reason.to_owned(), parts: Vec::new() }
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

fn turned(region: &str, turn: Turn, run: Option<&str>) -> TurnedDial {
    let word = Word { by: "ana".to_owned(), at: Timestamp(1), reason: "a test".to_owned() };
    TurnedDial { region: name(region), turn, run: run.map(name), word }
}

fn share(percent: f64) -> Turn {
    Turn::Share(Share::from_percent(percent).unwrap())
}

#[test]
fn a_person_outranks_runs_and_of_these_the_lowest_counts() {
    let all = [
        turned(US, share(80.0), Some("a")),
        turned(US, share(20.0), Some("b")),
        turned(EU, Turn::Drain, Some("a")),
        turned(EU, share(50.0), None),
        turned(AP, share(10.0), Some("a")),
        turned(AP, Turn::Drain, Some("b")),
    ];
    let counts: Vec<(String, Turn)> =
        in_force(&all).into_iter().map(|d| (d.region.to_string(), d.turn)).collect();
    let wanted = [(AP, Turn::Drain), (EU, share(50.0)), (US, share(20.0))];
    assert_eq!(counts, wanted.map(|(region, turn)| (region.to_owned(), turn)));
}

/// A view of the fixture's system in which these regions are down and these dials were turned before.
fn view(down: &[&str], dials: &[TurnedDial]) -> Arc<View> {
    let mut system = fixture::system();
    system.topology.regions[2].dial = Dial::Forbid;
    let healths: Vec<_> = down.iter().map(|r| (*r, Health::Down)).collect();
    let mut snapshot = fixture::snapshot(&system, &healths);
    snapshot.regions = snapshot.regions.iter().map(without_evidence).collect();
    snapshot.dials = in_force(dials);
    View::new(Arc::new(system), name(US), Arc::new(snapshot))
}

fn next(view: &View, dials: Option<&[TurnedDial]>) -> Next {
    let (regions, groups) = (view.snapshot.regions.clone(), view.snapshot.groups.clone());
    view.next_snapshot(&regions, groups, dials, Timestamp(9))
}

#[test]
fn turned_dials_make_a_new_snapshot_and_stay_while_nobody_knows() {
    let (before, drain) = (view(&[], &[]), [turned(US, Turn::Drain, Some("a"))]);
    let after = next(&before, Some(&drain)).snapshot.expect("it says something new");
    assert_eq!(after.dials, drain);
    let after = before.with_snapshot(Arc::new(after));
    assert_eq!(next(&after, Some(&drain)), Next { snapshot: None, refused: None });
    assert_eq!(next(&after, None), Next { snapshot: None, refused: None });
    assert_eq!(next(&after, Some(&[])).snapshot.expect("it is cleared").dials, []);
}

#[test]
fn the_last_region_that_takes_traffic_is_not_drained() {
    let both = [turned(US, Turn::Drain, Some("a")), turned(EU, share(0.0), Some("b"))];
    let refused = next(&view(&[], &[]), Some(&both));
    assert_eq!(refused.snapshot, None, "the last good one stays; the third region is forbidden");
    assert!(refused.refused.is_some_and(|why| why.contains("us-east-1 to drain by run a")));
    let lost = next(&view(&[EU], &[]), Some(&both[..1]));
    assert!(lost.snapshot.is_none() && lost.refused.is_some(), "what is down takes nothing");
    // Drained before the other one was lost: the emergency that a drained region is kept for.
    let kept = next(&view(&[EU], &both[..1]), Some(&both[..1]));
    assert_eq!(kept, Next { snapshot: None, refused: None });
}
