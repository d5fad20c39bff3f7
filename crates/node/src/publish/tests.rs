//! A snapshot is swapped only when it says something new, and never empties every answer.

use super::*;
use meridian_model::Name;

fn region(name: &str, health: Health, reason: &str) -> RegionHealth {
    RegionHealth { region: Name::new(name).unwrap(), health, reason: reason.to_owned(), parts: Vec::new() }
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
