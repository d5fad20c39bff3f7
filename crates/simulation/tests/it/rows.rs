//! Every row of the transition table is walked: by storms, or by hand where one exact order of events is
//! needed. The walks by hand are those of `failover`'s own tests.

use std::collections::BTreeSet;

use meridian_failover::TABLE;
use meridian_simulation::run::{Stage, moves};
use meridian_simulation::{Schedule, Shape};

#[expect(dead_code, reason = "the desk has more than the walks need")]
#[path = "../../../failover/tests/it/desk.rs"]
pub(crate) mod desk;
#[path = "../../../failover/tests/it/names.rs"]
pub(crate) mod names;
#[path = "../../../failover/tests/it/walks.rs"]
pub(crate) mod walks;

#[test]
fn every_row_of_the_table_is_walked() {
    let mut stage = Stage::default();
    let mut walked: BTreeSet<String> = walks::walked();
    for seed in 5_000..5_300 {
        walked.extend(moves(&Schedule::new(seed, &Shape::ALL), &mut stage));
    }
    let rows = TABLE.iter().map(|row| format!("{} -> {}: {}", row.from, row.to, row.trigger));
    let missing: Vec<String> = rows.filter(|row| !walked.contains(row)).collect();
    assert!(missing.is_empty(), "never walked: {missing:#?}");
}
