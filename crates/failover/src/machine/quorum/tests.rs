//! The promise of a record, checked over all quorums of four standbys.

use super::*;

const NAMES: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

fn set(bits: u32) -> BTreeSet<RegionName> {
    let chosen = NAMES.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
    chosen.map(|(_, name)| RegionName::new(name).unwrap()).collect()
}

/// Every quorum among four standbys.
fn all() -> Vec<Quorum> {
    let of = |bits: u32| (0..=bits.count_ones()).map(move |w| (w, bits));
    let quorum = |(acknowledgers, bits)| Quorum { acknowledgers, candidates: set(bits) };
    (0..16).flat_map(of).map(quorum).collect()
}

/// Whoever has a write: it was acknowledged by this.
fn satisfied(quorum: &Quorum, having: &BTreeSet<RegionName>) -> bool {
    quorum.candidates.intersection(having).count() >= quorum.acknowledgers as usize
}

#[test]
fn what_a_covered_setting_acknowledges_keeps_the_record_s_promise() {
    let mut covered = 0;
    for (record, setting) in all().iter().flat_map(|r| all().into_iter().map(move |s| (r.clone(), s))) {
        if covers(&record, &setting) {
            covered += 1;
            let mut acknowledged = (0..16).map(set).filter(|having| satisfied(&setting, having));
            assert!(acknowledged.all(|having| satisfied(&record, &having)), "{record:?}");
        }
    }
    assert!(covered > 100, "{covered}");
}

#[test]
fn a_join_promises_no_more_than_either_and_covers_what_both_covered() {
    for (one, other) in all().iter().flat_map(|a| all().into_iter().map(move |b| (a.clone(), b))) {
        let both = join(&one, &other);
        assert!(covers(&both, &one) && covers(&both, &other), "{one:?} {other:?}");
        let mut havings = (0..16).map(set).filter(|having| satisfied(&one, having));
        assert!(havings.all(|having| satisfied(&both, &having)), "{one:?} {other:?}");
    }
}

/// The rule of a claim, over all who may have a write: the claimant has it, and so has the old holder.
#[test]
fn a_claim_keeps_the_promise() {
    let holder = RegionName::new("omega").unwrap();
    for (quorum, claimant) in all().iter().flat_map(|q| NAMES.map(|n| (q.clone(), n))) {
        let claimant = RegionName::new(claimant).unwrap();
        for having in (0..16).map(set).filter(|having| satisfied(&quorum, having)) {
            let mut after = quorum.clone();
            after.candidates.insert(holder.clone());
            after.candidates.remove(&claimant);
            let mut having = having.clone();
            having.extend([holder.clone(), claimant.clone()]);
            assert!(satisfied(&after, &having), "{quorum:?} by {claimant}");
        }
    }
}
