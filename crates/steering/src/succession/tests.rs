//! What follows a snapshot, and what is refused.

use std::sync::Arc;

use meridian_model::order::Word;
use meridian_model::topology::Dial;
use meridian_model::traffic::Turn;
use proptest::prelude::*;

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
    let one = next(&view(&[], &[]), Some(&both));
    assert_eq!(one.snapshot.expect("one of them counts").dials, both[..1], "the third region is forbidden");
    assert!(
        one.refused.is_some_and(|why| why.contains("eu-central-1 to 0% by run b turned beside us-east-1"))
    );
    let lost = next(&view(&[EU], &[]), Some(&both[..1]));
    assert!(lost.snapshot.is_none() && lost.refused.is_some(), "what is down takes nothing");
    // Drained before the other one was lost: it takes traffic until that is back, and is drained again.
    let needed = next(&view(&[EU], &both[..1]), Some(&both[..1]));
    assert_eq!(needed.snapshot.expect("it takes traffic").dials, []);
    let again = next(&view(&[], &[]), Some(&both[..1]));
    assert_eq!(again.snapshot.expect("it is drained").dials, both[..1]);
    assert_eq!(next(&view(&[EU], &both[..1]), None), Next { snapshot: None, refused: None });
}

#[test]
fn who_turns_a_dial_is_told_when_it_or_another_one_would_be_held_back() {
    let (person, run) = (turned(US, Turn::Drain, None), turned(EU, Turn::Drain, Some("a")));
    let (nobody, view) = ([], view(&[], &[]));
    assert_eq!(view.refuses(&nobody, std::slice::from_ref(&run)), None);
    let drained = [person];
    assert!(view.refuses(&drained, std::slice::from_ref(&run)).is_some_and(|why| why.contains("by run a")));
    // A person outranks a run, so it is the run's that would be lifted; the person is told that as well.
    assert!(view.refuses(std::slice::from_ref(&run), &drained).is_some_and(|why| why.contains("by run a")));
    // Turned already, and held back: it is still refused. What changes nothing of that is not.
    let both = [drained[0].clone(), run.clone()];
    assert!(view.refuses(&both, &[run]).is_some());
    assert_eq!(view.refuses(&both, &[turned(AP, share(10.0), None)]), None);
    assert_eq!(view.refuses(&both, &[turned(US, share(50.0), None)]), None, "it ends the conflict");
}

/// Dials of a person and of three runs, at most one each for a region.
fn any_dials() -> impl Strategy<Value = Vec<TurnedDial>> {
    let whose = proptest::sample::subsequence((0..12_usize).collect::<Vec<_>>(), 0..=6);
    let turns = proptest::collection::vec(proptest::sample::select(vec![0, 1, 2]), 12);
    (whose, turns).prop_map(|(whose, turns)| {
        let dial = |i: usize| {
            let turn = [Turn::Drain, share(0.0), share(50.0)][turns[i]];
            turned([EU, US, AP][i % 3], turn, [None, Some("a"), Some("b"), Some("c")][i / 3])
        };
        whose.into_iter().map(dial).collect()
    })
}

proptest! {
    #[test]
    fn what_counts_does_not_depend_on_when_it_arrived(
        (all, other) in any_dials().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        lost_meanwhile in any::<bool>(),
    ) {
        let mut ends = Vec::new();
        for order in [&all, &other] {
            let mut here = view(&[], &[]);
            for count in 0..=order.len() {
                if let Some(snapshot) = next(&here, Some(&order[..count])).snapshot {
                    here = here.with_snapshot(Arc::new(snapshot));
                }
                if lost_meanwhile && count == 1 && std::ptr::eq(order, &other) {
                    let regions = view(&[EU], &[]).snapshot.regions.clone();
                    let without = here.next_snapshot(&regions, Vec::new(), Some(&order[..1]), Timestamp(9));
                    here = here.with_snapshot(Arc::new(without.snapshot.expect("a region is down")));
                    let back = view(&[], &[]).snapshot.regions.clone();
                    let with = here.next_snapshot(&back, Vec::new(), Some(&order[..1]), Timestamp(9));
                    here = here.with_snapshot(Arc::new(with.snapshot.expect("it is back")));
                }
            }
            let takes = |name: &str| {
                let turned = here.snapshot.turned(&fixture::name(name));
                turned.is_none_or(|dial| dial.turn == share(50.0))
            };
            prop_assert!(takes(US) || takes(EU), "nobody takes traffic: {:?}", here.snapshot.dials);
            ends.push(here.snapshot.dials.clone());
        }
        prop_assert_eq!(&ends[0], &ends[1]);
    }
}
