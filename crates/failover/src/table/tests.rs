//! The table is whole: every state can be reached, no row is there twice.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_state_is_listed_and_can_be_reached() {
    let mut reached = BTreeSet::from([State::Starting]);
    loop {
        let more: Vec<State> = TABLE.iter().filter(|r| reached.contains(&r.from)).map(|r| r.to).collect();
        let before = reached.len();
        reached.extend(more);
        if reached.len() == before {
            break;
        }
    }
    assert_eq!(reached, State::ALL.into_iter().collect());
}

#[test]
fn only_a_witness_stays_where_it_is() {
    for state in State::ALL {
        let leaves = TABLE.iter().any(|r| r.from == state && r.to != state);
        assert_eq!(leaves, state != State::Idle, "{state}");
    }
}

#[test]
fn no_row_twice_and_every_row_has_a_sentence() {
    let rows: BTreeSet<_> = TABLE.iter().map(|r| (r.from, r.trigger, r.to)).collect();
    assert_eq!(rows.len(), TABLE.len());
    for row in TABLE {
        assert!(row.action.len() > 8 && !row.action.ends_with('.'), "{row:?}");
        assert_ne!(row.from, row.to);
    }
}

#[test]
fn the_way_to_write_leads_through_a_claim() {
    for row in TABLE.iter().filter(|r| r.to == State::Promoting) {
        assert_eq!(row.trigger, Trigger::ClaimWon, "{row:?}");
    }
    for row in TABLE.iter().filter(|r| r.to == State::Claiming) {
        let ways = [(State::Sealed, "claim_rules"), (State::TakingOver, "replayed_beyond")];
        assert!(ways.contains(&(row.from, row.guard)), "{row:?}");
    }
}

#[test]
fn whoever_holds_can_be_fenced_and_deposed() {
    for state in State::ALL.into_iter().filter(|s| s.holds()) {
        for trigger in [Trigger::LeaseLapsed, Trigger::Deposed] {
            assert!(row(state, trigger, State::Stopped).is_some(), "{state} has no way out by {trigger}");
        }
    }
}
