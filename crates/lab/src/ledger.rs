//! The ledger: what clients were told was committed, compared with what the databases hold.
//!
//! Loss is counted, not inferred from lag: every acknowledged id is looked up in the rows that the new
//! writer really has, and in the rows of every other member too, so that it can also be said where a
//! lost row still lies.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;

use meridian_model::{Moment, RegionName};

/// The database server that committed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Server {
    /// Its own address.
    pub address: SocketAddr,
    /// The timeline it wrote on.
    pub timeline: u32,
}

/// An acknowledged write: a promise that must be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The id that the client made.
    pub id: String,
    /// The population, by its place in the plan.
    pub population: u16,
    /// When it was first sent.
    pub sent_at: Moment,
    /// When the client was told.
    pub acknowledged_at: Moment,
    /// Who committed it, if the answer said so.
    pub by: Option<Server>,
}

/// How a write ended that was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WriteOutcome {
    /// The client was told that nothing was written.
    Refused,
    /// The client does not know.
    Unknown,
}

/// A write without an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unacknowledged {
    /// The id that the client made.
    pub id: String,
    /// The population, by its place in the plan.
    pub population: u16,
    /// When it was first sent.
    pub sent_at: Moment,
    /// When the client gave up.
    pub ended_at: Moment,
    /// What the client knows.
    pub outcome: WriteOutcome,
}

/// All writes of a drill, by what clients were told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// In the order of their acknowledgements.
    pub acknowledged: Vec<Ack>,
    /// The others.
    pub unacknowledged: Vec<Unacknowledged>,
}

/// The ids that one member's database holds.
#[derive(Debug, Clone, Default)]
pub struct MemberRows {
    /// Whose.
    pub region: Option<RegionName>,
    /// Every order id of this drill.
    pub ids: HashSet<String>,
}

/// An acknowledged write that the writer does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The promise that was broken.
    pub ack: Ack,
    /// Members that still have the row.
    pub still_on: Vec<RegionName>,
}

/// The ledger against the rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// Acknowledged and not there, in the order of their acknowledgements.
    pub lost: Vec<Lost>,
    /// Never acknowledged, outcome unknown to the client, and there: harmless.
    pub survived_unknown: Vec<String>,
    /// Refused to the client, and there all the same: a lie of another kind.
    pub survived_refused: Vec<String>,
    /// Acknowledged ids that a member other than the writer lacks, by member.
    pub missing_on: BTreeMap<RegionName, u64>,
}

impl Ledger {
    /// Compares what clients were told with the rows of the writer and of the other members.
    #[must_use]
    pub fn diff(&self, writer: &MemberRows, others: &[MemberRows]) -> Diff {
        let gone = self.acknowledged.iter().filter(|ack| !writer.ids.contains(&ack.id));
        let lost = gone.map(|ack| Lost { ack: ack.clone(), still_on: holders(&ack.id, others) }).collect();
        let mut diff = Diff { lost, ..Diff::default() };
        for write in self.unacknowledged.iter().filter(|w| writer.ids.contains(&w.id)) {
            match write.outcome {
                WriteOutcome::Unknown => diff.survived_unknown.push(write.id.clone()),
                WriteOutcome::Refused => diff.survived_refused.push(write.id.clone()),
            }
        }
        for member in others {
            let Some(region) = &member.region else { continue };
            let missing = self.acknowledged.iter().filter(|ack| !member.ids.contains(&ack.id)).count();
            diff.missing_on.insert(region.clone(), u64::try_from(missing).unwrap_or(u64::MAX));
        }
        diff
    }
}

fn holders(id: &str, members: &[MemberRows]) -> Vec<RegionName> {
    members.iter().filter(|m| m.ids.contains(id)).filter_map(|m| m.region.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(id: &str, at: u64) -> Ack {
        Ack {
            id: id.to_owned(),
            population: 0,
            sent_at: Moment::from_millis(at - 1),
            acknowledged_at: Moment::from_millis(at),
            by: None,
        }
    }

    fn open(id: &str, outcome: WriteOutcome) -> Unacknowledged {
        let at = Moment::from_millis(5);
        Unacknowledged { id: id.to_owned(), population: 0, sent_at: at, ended_at: at, outcome }
    }

    fn rows(region: &str, ids: &[&str]) -> MemberRows {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        MemberRows { region: RegionName::new(region).ok(), ids }
    }

    #[test]
    fn counts_exactly_what_is_gone_and_says_where_it_still_lies() {
        let ledger = Ledger {
            acknowledged: vec![ack("a", 10), ack("b", 20), ack("c", 30)],
            unacknowledged: vec![
                open("d", WriteOutcome::Unknown),
                open("e", WriteOutcome::Unknown),
                open("f", WriteOutcome::Refused),
            ],
        };
        let diff = ledger
            .diff(&rows("eu", &["a", "c", "d", "f"]), &[rows("us", &["a", "b"]), rows("ap", &["a", "c"])]);
        let lost: Vec<_> = diff.lost.iter().map(|l| l.ack.id.as_str()).collect();
        assert_eq!(lost, ["b"]);
        assert_eq!(diff.lost[0].still_on, [RegionName::new("us").unwrap()]);
        assert_eq!(diff.survived_unknown, ["d"]);
        assert_eq!(diff.survived_refused, ["f"]);
        let missing: Vec<_> = diff.missing_on.into_iter().map(|(r, n)| (r.to_string(), n)).collect();
        assert_eq!(missing, [("ap".to_owned(), 1), ("us".to_owned(), 1)]);
    }

    #[test]
    fn nothing_lost_when_all_is_there() {
        let ledger = Ledger { acknowledged: vec![ack("a", 10)], unacknowledged: Vec::new() };
        assert_eq!(ledger.diff(&rows("eu", &["a", "stranger"]), &[]), Diff::default());
    }

    #[test]
    fn an_empty_database_has_lost_everything() {
        let ledger = Ledger { acknowledged: vec![ack("a", 10), ack("b", 20)], unacknowledged: Vec::new() };
        assert_eq!(ledger.diff(&rows("eu", &[]), &[]).lost.len(), 2);
    }
}
