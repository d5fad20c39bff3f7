//! The transactions that safety rests on, each built in one place.

use meridian_model::group::GroupRecord;
use meridian_model::run::{Run, RunKind};

use crate::codec::encode;
use crate::keys::Keys;
use crate::store::{Compare, Txn};

/// Begins a reign: the record, the epoch and the run appear together, if the record is still exactly
/// at revision `seen` (`None`: does not exist yet).
///
/// The run's key must be new: its name contains the epoch. What the last run has turned of dials ends here,
/// unless the same writer goes on.
#[must_use]
pub fn claim(keys: &Keys, seen: Option<i64>, record: &GroupRecord, run: Option<&Run>) -> Txn {
    let key = keys.record(&record.group);
    let unchanged = match seen {
        Some(revision) => Compare::Revision(key, revision),
        None => Compare::Absent(key),
    };
    begin_reign(keys, unchanged, record, run)
}

/// The same for a successor whom the old holder has told by which record it hands over: if that is what is there. No
/// two writes of a record are alike, for each has a `renewal` of its own, so this is as good as a revision.
#[must_use]
pub fn take_over(keys: &Keys, told: &GroupRecord, record: &GroupRecord, run: Option<&Run>) -> Txn {
    begin_reign(keys, Compare::Value(keys.record(&record.group), encode(told)), record, run)
}

fn begin_reign(keys: &Keys, unchanged: Compare, record: &GroupRecord, run: Option<&Run>) -> Txn {
    let key = keys.record(&record.group);
    let mut txn = Txn {
        compare: vec![unchanged],
        put: vec![(key, encode(record)), (keys.epoch(&record.group), encode(&record.epoch))],
        delete: Vec::new(),
    };
    if let Some(run) = run {
        let key = keys.run(&run.id);
        txn.compare.push(Compare::Absent(key.clone()));
        txn.put.push((key, encode(run)));
        if run.kind != RunKind::Resume {
            txn.delete.push(keys.group_dials(&record.group));
        }
    }
    txn
}

/// Renews (or releases) a lease: replaces the record that was written at revision `seen`.
#[must_use]
pub fn renew(keys: &Keys, seen: i64, record: &GroupRecord) -> Txn {
    let key = keys.record(&record.group);
    Txn {
        compare: vec![Compare::Revision(key.clone(), seen)],
        put: vec![(key, encode(record))],
        delete: Vec::new(),
    }
}

/// Replaces what only one node writes (its reports): no condition. An old value may overwrite a newer
/// one when its answer was lost; so readers go by the sequence number inside.
#[must_use]
pub fn publish(key: String, value: Vec<u8>) -> Txn {
    Txn { compare: Vec::new(), put: vec![(key, value)], delete: Vec::new() }
}
