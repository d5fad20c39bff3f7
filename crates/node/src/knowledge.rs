//! What etcd has told this node, in model types: each change becomes a list of things learnt.
//!
//! Values that cannot be read are reported and passed over: one bad key must not stop a node.

use std::collections::BTreeMap;

use meridian_coordination::decode;
use meridian_coordination::journal::RUNS_KEPT;
use meridian_coordination::keys::{Key, Keys};
use meridian_coordination::store::{Change, Listing, Versioned};
use meridian_health::Received;
use meridian_model::facts::RegionFacts;
use meridian_model::group::{GroupRecord, MemberReport};
use meridian_model::health::Report;
use meridian_model::order::{Maintenance, Order, RunWords};
use meridian_model::rehearsal::Rehearsal;
use meridian_model::run::Run;
use meridian_model::traffic::TurnedDial;
use meridian_model::{GroupName, Moment, Name, RegionName, RunId};
use serde::de::DeserializeOwned;

/// Runs that people are shown, of each group.
const RUNS_SHOWN: usize = 10;

/// One thing that a change has taught.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Learned {
    /// A group's lease and epoch, as of this revision; `None`: etcd has no record.
    Record(GroupName, Option<GroupRecord>, i64),
    /// What a member says of itself.
    Member(GroupName, MemberReport),
    /// A run, new or with another step.
    Run(Run),
    /// What a person wants of a group; `None`: nothing any more.
    Order(GroupName, Option<Order>),
    /// What persons have said to a run.
    Words(RunWords),
    /// Whether nothing may begin by itself.
    Maintenance(Option<Maintenance>),
    /// Other dials than before may be turned.
    Dials,
    /// The vantage points have new reports.
    Reports,
    /// Etcd answered just now.
    Alive,
    /// What is known may be out of date.
    Stale(String),
}

/// All that is known.
pub(crate) struct Knowledge {
    keys: Keys,
    groups: Vec<GroupName>,
    reports: BTreeMap<RegionName, Received>,
    members: BTreeMap<(GroupName, RegionName), MemberReport>,
    /// The records, also those that are known not to be there, and as of which revision.
    records: BTreeMap<GroupName, (Option<GroupRecord>, i64)>,
    /// The newest [`RUNS_KEPT`] of each group.
    runs: BTreeMap<RunId, Run>,
    orders: BTreeMap<GroupName, Order>,
    words: BTreeMap<RunId, RunWords>,
    maintenance: Option<Maintenance>,
    /// The dials that persons (no group) and runs have turned; `None` until etcd has told everything once.
    dials: Option<BTreeMap<Option<GroupName>, Vec<TurnedDial>>>,
    /// What each region's node has looked up last; no reset takes it away.
    facts: BTreeMap<RegionName, RegionFacts>,
    rehearsals: BTreeMap<GroupName, Rehearsal>,
}

impl Knowledge {
    /// Nothing is known of these groups yet.
    #[must_use]
    pub(crate) fn new(system: &Name, groups: Vec<GroupName>) -> Self {
        Self {
            keys: Keys::new(system),
            groups,
            reports: BTreeMap::new(),
            members: BTreeMap::new(),
            records: BTreeMap::new(),
            runs: BTreeMap::new(),
            orders: BTreeMap::new(),
            words: BTreeMap::new(),
            maintenance: None,
            dials: None,
            facts: BTreeMap::new(),
            rehearsals: BTreeMap::new(),
        }
    }

    /// Takes one change in, seen at `now`.
    pub(crate) fn apply(&mut self, change: Change, now: Moment) -> Vec<Learned> {
        match change {
            Change::Reset(listing) => self.reset(&listing, now),
            Change::Put(entry) => self.put(&entry, now).into_iter().collect(),
            Change::Delete { key, revision } => self.delete(&key, revision).into_iter().collect(),
            Change::Alive { .. } => vec![Learned::Alive],
            Change::Stale { reason } => vec![Learned::Stale(reason)],
        }
    }

    /// What the vantage points said last, each with the moment at which it was new here.
    #[must_use]
    pub(crate) fn reports(&self) -> Vec<Received> {
        self.reports.values().cloned().collect()
    }

    /// What the members of a group say of themselves.
    #[must_use]
    pub(crate) fn members(&self, group: &GroupName) -> Vec<MemberReport> {
        self.members.iter().filter(|((g, _), _)| g == group).map(|(_, m)| m.clone()).collect()
    }

    /// The record of a group.
    #[must_use]
    pub(crate) fn record(&self, group: &GroupName) -> Option<GroupRecord> {
        self.records.get(group).and_then(|(record, _)| record.clone())
    }

    /// The last runs of a group, newest first.
    #[must_use]
    pub(crate) fn runs(&self, group: &GroupName) -> Vec<Run> {
        let mut runs: Vec<Run> = self.runs.values().filter(|r| &r.group == group).cloned().collect();
        runs.sort_by_key(|r| std::cmp::Reverse((r.epoch, r.decided_at)));
        runs.truncate(RUNS_SHOWN);
        runs
    }

    /// All that is known of a group, as if it were learnt anew.
    #[must_use]
    pub(crate) fn relearn(&self, group: &GroupName) -> Vec<Learned> {
        let record = self.records.get(group).cloned();
        let record = record.map(|(record, revision)| Learned::Record(group.clone(), record, revision));
        let members = self.members(group).into_iter().map(|m| Learned::Member(group.clone(), m));
        let runs = self.runs.values().filter(|r| &r.group == group).cloned().map(Learned::Run);
        let order = Learned::Order(group.clone(), self.order(group));
        let words = self.words.values().cloned().map(Learned::Words);
        let people = [order, Learned::Maintenance(self.maintenance.clone())].into_iter().chain(words);
        record.into_iter().chain(members).chain(runs).chain(people).collect()
    }

    /// The order of a group.
    #[must_use]
    pub(crate) fn order(&self, group: &GroupName) -> Option<Order> {
        self.orders.get(group).cloned()
    }

    /// What persons have said to these runs.
    #[must_use]
    pub(crate) fn words(&self, runs: &[Run]) -> Vec<RunWords> {
        runs.iter().filter_map(|run| self.words.get(&run.id).cloned()).collect()
    }

    /// Whether nothing may begin by itself.
    #[must_use]
    pub(crate) fn maintenance(&self) -> Option<Maintenance> {
        self.maintenance.clone()
    }

    /// All dials that were turned, whether they are in force or not; `None`: nobody knows yet.
    #[must_use]
    pub(crate) fn dials(&self) -> Option<Vec<TurnedDial>> {
        self.dials.as_ref().map(|all| all.values().flatten().cloned().collect())
    }

    /// What the nodes of all regions have looked up at home.
    #[must_use]
    pub(crate) fn facts(&self) -> Vec<RegionFacts> {
        self.facts.values().cloned().collect()
    }

    /// What this node has looked up itself, which it need not wait for etcd to hear.
    pub(crate) fn take_facts(&mut self, facts: RegionFacts) {
        self.facts.insert(facts.region.clone(), facts);
    }

    /// The last rehearsal of each group.
    #[must_use]
    pub(crate) fn rehearsals(&self) -> Vec<Rehearsal> {
        self.rehearsals.values().cloned().collect()
    }

    fn reset(&mut self, listing: &Listing, now: Moment) -> Vec<Learned> {
        // What was pruned meanwhile is not in the listing.
        self.runs.clear();
        self.orders.clear();
        self.words.clear();
        self.rehearsals.clear();
        self.maintenance = None;
        self.dials = Some(BTreeMap::new());
        let mut learned: Vec<Learned> =
            listing.items.iter().filter_map(|entry| self.put(entry, now)).collect();
        learned.push(Learned::Dials);
        if self.maintenance.is_none() {
            learned.push(Learned::Maintenance(None));
        }
        for group in self.groups.clone() {
            if !self.orders.contains_key(&group) {
                learned.push(Learned::Order(group.clone(), None));
            }
            let there = listing.items.iter().any(|entry| entry.key == self.keys.record(&group));
            if !there {
                self.records.insert(group.clone(), (None, listing.revision));
                learned.push(Learned::Record(group, None, listing.revision));
            }
        }
        learned.push(Learned::Alive);
        learned
    }

    fn put(&mut self, entry: &Versioned, now: Moment) -> Option<Learned> {
        match self.keys.parse(&entry.key)? {
            Key::Record(group) => {
                let record: GroupRecord = read(entry)?;
                self.records.insert(group.clone(), (Some(record.clone()), entry.revision));
                Some(Learned::Record(group, Some(record), entry.revision))
            }
            Key::Member(group, region) => {
                let report: MemberReport = read(entry)?;
                self.members.insert((group.clone(), region), report.clone());
                Some(Learned::Member(group, report))
            }
            Key::Report(region) => {
                let report: Report = read(entry)?;
                let known = self.reports.get(&region).is_some_and(|r| r.report == report);
                if !known {
                    self.reports.insert(region, Received { report, observed_at: now });
                }
                Some(Learned::Reports)
            }
            Key::Run(id) => {
                let run: Run = read(entry)?;
                self.runs.insert(id, run.clone());
                self.forget_old_runs(&run.group);
                Some(Learned::Run(run))
            }
            Key::Order(group) => {
                let order: Order = read(entry)?;
                self.orders.insert(group.clone(), order.clone());
                Some(Learned::Order(group, Some(order)))
            }
            Key::Words(id) => {
                let words: RunWords = read(entry)?;
                self.words.insert(id, words.clone());
                Some(Learned::Words(words))
            }
            Key::Maintenance => {
                self.maintenance = Some(read(entry)?);
                Some(Learned::Maintenance(self.maintenance.clone()))
            }
            Key::Dials => self.turned(None, read(entry)?),
            Key::GroupDials(group) => self.turned(Some(group), read(entry)?),
            Key::Facts(_) => {
                self.take_facts(read(entry)?);
                None
            }
            Key::Rehearsal(group) => {
                self.rehearsals.insert(group, read(entry)?);
                None
            }
            Key::Epoch(_) => None,
        }
    }

    fn turned(&mut self, by: Option<GroupName>, dials: Vec<TurnedDial>) -> Option<Learned> {
        self.dials.as_mut()?.insert(by, dials);
        Some(Learned::Dials)
    }

    /// What no node has pruned yet is not kept here either.
    fn forget_old_runs(&mut self, group: &GroupName) {
        let of_group = || self.runs.iter().filter(|(_, run)| &run.group == group);
        if of_group().count() > RUNS_KEPT
            && let Some(oldest) = of_group().min_by_key(|(_, run)| run.epoch).map(|(id, _)| id.clone())
        {
            self.runs.remove(&oldest);
            self.words.remove(&oldest);
        }
    }

    fn delete(&mut self, key: &str, revision: i64) -> Option<Learned> {
        match self.keys.parse(key)? {
            Key::Record(group) => {
                self.records.insert(group.clone(), (None, revision));
                Some(Learned::Record(group, None, revision))
            }
            Key::Member(group, region) => {
                self.members.remove(&(group, region));
                None
            }
            Key::Report(region) => {
                self.reports.remove(&region);
                Some(Learned::Reports)
            }
            Key::Run(id) => {
                self.runs.remove(&id);
                None
            }
            Key::Order(group) => {
                self.orders.remove(&group);
                Some(Learned::Order(group, None))
            }
            Key::Words(id) => {
                self.words.remove(&id);
                None
            }
            Key::Maintenance => {
                self.maintenance = None;
                Some(Learned::Maintenance(None))
            }
            Key::Dials => self.turned(None, Vec::new()),
            Key::GroupDials(group) => self.turned(Some(group), Vec::new()),
            Key::Facts(region) => {
                self.facts.remove(&region);
                None
            }
            Key::Rehearsal(group) => {
                self.rehearsals.remove(&group);
                None
            }
            Key::Epoch(_) => None,
        }
    }
}

fn read<T: DeserializeOwned>(entry: &Versioned) -> Option<T> {
    decode(entry).map_err(|error| tracing::error!(%error, "a value in etcd is passed over")).ok()
}

#[cfg(test)]
mod tests;
