//! Where everything is kept in etcd.
//!
//! ```text
//! /meridian/{system}/groups/{group}/record            GroupRecord: lease and epoch, by compare-and-set
//! /meridian/{system}/groups/{group}/epoch             Epoch alone: changes only when a reign begins
//! /meridian/{system}/groups/{group}/members/{region}  MemberReport
//! /meridian/{system}/reports/{region}                 health Report of one vantage point
//! /meridian/{system}/facts/{region}                   RegionFacts: what checks of a live system rest on
//! /meridian/{system}/groups/{group}/order             Order: what a person wants of it
//! /meridian/{system}/groups/{group}/rehearsal         Rehearsal: the last one, or the one under way
//! /meridian/{system}/runs/{run}                       Run: the journal
//! /meridian/{system}/words/{run}                      RunWords: what persons have said to a run
//! /meridian/{system}/maintenance                      Maintenance: nothing begins by itself
//! /meridian/{system}/dials                            [TurnedDial]: what persons have turned
//! /meridian/{system}/groups/{group}/dials             [TurnedDial]: what the group's last run has turned
//! ```
//!
//! The epoch stands apart from the record, because the record changes with each renewal: a step of a
//! run compares the epoch's value, and is not disturbed by renewals.

use meridian_model::{GroupName, Name, RegionName, RunId};

/// The keys of one system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    prefix: String,
}

/// What a key of this system stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A group's `GroupRecord`.
    Record(GroupName),
    /// A group's `Epoch`.
    Epoch(GroupName),
    /// The `MemberReport` of one member of a group.
    Member(GroupName, RegionName),
    /// The health `Report` of one vantage point.
    Report(RegionName),
    /// A `Run`.
    Run(RunId),
    /// The `RegionFacts` of one region.
    Facts(RegionName),
    /// The `Order` of a group.
    Order(GroupName),
    /// The `Rehearsal` of a group.
    Rehearsal(GroupName),
    /// The `RunWords` of a run.
    Words(RunId),
    /// The `Maintenance` of the system.
    Maintenance,
    /// The dials that persons have turned.
    Dials,
    /// The dials that the last run of a group has turned.
    GroupDials(GroupName),
}

impl Keys {
    /// The keys of the system of that name.
    #[must_use]
    pub fn new(system: &Name) -> Self {
        Self { prefix: format!("/meridian/{system}/") }
    }

    /// What all keys begin with; ends with `/`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Lease and epoch of a group.
    #[must_use]
    pub fn record(&self, group: &GroupName) -> String {
        format!("{}groups/{group}/record", self.prefix)
    }

    /// The epoch of a group alone.
    #[must_use]
    pub fn epoch(&self, group: &GroupName) -> String {
        format!("{}groups/{group}/epoch", self.prefix)
    }

    /// What a member tells its group.
    #[must_use]
    pub fn member(&self, group: &GroupName, region: &RegionName) -> String {
        format!("{}groups/{group}/members/{region}", self.prefix)
    }

    /// What a vantage point tells of everybody's health.
    #[must_use]
    pub fn report(&self, region: &RegionName) -> String {
        format!("{}reports/{region}", self.prefix)
    }

    /// What a region's node has looked up at home.
    #[must_use]
    pub fn facts(&self, region: &RegionName) -> String {
        format!("{}facts/{region}", self.prefix)
    }

    /// A run of the journal.
    #[must_use]
    pub fn run(&self, id: &RunId) -> String {
        format!("{}runs/{id}", self.prefix)
    }

    /// What a person wants of a group.
    #[must_use]
    pub fn order(&self, group: &GroupName) -> String {
        format!("{}groups/{group}/order", self.prefix)
    }

    /// The last rehearsal of a group.
    #[must_use]
    pub fn rehearsal(&self, group: &GroupName) -> String {
        format!("{}groups/{group}/rehearsal", self.prefix)
    }

    /// What persons have said to a run.
    #[must_use]
    pub fn words(&self, id: &RunId) -> String {
        format!("{}words/{id}", self.prefix)
    }

    /// Whether nothing may begin by itself.
    #[must_use]
    pub fn maintenance(&self) -> String {
        format!("{}maintenance", self.prefix)
    }

    /// The dials that persons have turned.
    #[must_use]
    pub fn dials(&self) -> String {
        format!("{}dials", self.prefix)
    }

    /// The dials that the last run of a group has turned.
    #[must_use]
    pub fn group_dials(&self, group: &GroupName) -> String {
        format!("{}groups/{group}/dials", self.prefix)
    }

    /// What the keys of all runs begin with.
    #[must_use]
    pub fn runs(&self) -> String {
        format!("{}runs/", self.prefix)
    }

    /// What `key` stands for; `None` for a key of another system or of a newer version.
    #[must_use]
    pub fn parse(&self, key: &str) -> Option<Key> {
        let name = |text: &str| Name::new(text).ok();
        let key = key.strip_prefix(&self.prefix)?;
        match key {
            "maintenance" => return Some(Key::Maintenance),
            "dials" => return Some(Key::Dials),
            _ => {}
        }
        let mut parts = key.split('/');
        let parsed = match (parts.next()?, parts.next()?, parts.next(), parts.next()) {
            ("groups", group, Some("record"), None) => Key::Record(name(group)?),
            ("groups", group, Some("epoch"), None) => Key::Epoch(name(group)?),
            ("groups", group, Some("members"), Some(region)) => Key::Member(name(group)?, name(region)?),
            ("reports", region, None, None) => Key::Report(name(region)?),
            ("facts", region, None, None) => Key::Facts(name(region)?),
            ("groups", group, Some("order"), None) => Key::Order(name(group)?),
            ("groups", group, Some("dials"), None) => Key::GroupDials(name(group)?),
            ("groups", group, Some("rehearsal"), None) => Key::Rehearsal(name(group)?),
            ("runs", id, None, None) => Key::Run(name(id)?),
            ("words", id, None, None) => Key::Words(name(id)?),
            _ => return None,
        };
        parts.next().is_none().then_some(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_parsed_back() {
        let name = |t: &str| Name::new(t).unwrap();
        let keys = Keys::new(&name("shop"));
        let (orders, eu) = (name("orders"), name("eu-central-1"));
        for (text, key) in [
            (keys.record(&orders), Key::Record(orders.clone())),
            (keys.epoch(&orders), Key::Epoch(orders.clone())),
            (keys.member(&orders, &eu), Key::Member(orders.clone(), eu.clone())),
            (keys.report(&eu), Key::Report(eu.clone())),
            (keys.run(&orders), Key::Run(orders.clone())),
            (keys.facts(&eu), Key::Facts(eu.clone())),
            (keys.order(&orders), Key::Order(orders.clone())),
            (keys.rehearsal(&orders), Key::Rehearsal(orders.clone())),
            (keys.words(&orders), Key::Words(orders.clone())),
            (keys.maintenance(), Key::Maintenance),
            (keys.dials(), Key::Dials),
            (keys.group_dials(&orders), Key::GroupDials(orders.clone())),
        ] {
            assert_eq!(keys.parse(&text), Some(key), "{text}");
        }
        assert!(keys.run(&orders).starts_with(&keys.runs()));
    }

    #[test]
    fn strange_keys_stand_for_nothing() {
        let keys = Keys::new(&Name::new("shop").unwrap());
        for text in [
            "",
            "/",
            "/meridian/shop",
            "/meridian/shop/",
            "/meridian/other/runs/a",
            "/meridian/shop/runs/",
            "/meridian/shop/runs/A",
            "/meridian/shop/runs/a/b",
            "/meridian/shop/groups/g",
            "/meridian/shop/groups/g/members/r/x",
            "/meridian/shop/groups/g/record/x",
            "/meridian/shop/maintenance/x",
            "/meridian/shop/dials/x",
            "/meridian/shop/groups/g/dials/x",
            "/meridian/shop/future/x",
        ] {
            assert_eq!(keys.parse(text), None, "{text}");
        }
    }
}
