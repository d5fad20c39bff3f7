//! Majorities: of etcd's members and of the vantage points that judge a region.

use meridian_model::System;

use crate::finding::{Finding, Subject};

pub(crate) fn check(system: &System) -> Vec<Finding> {
    [vantages(system), members(system)].into_iter().flatten().collect()
}

/// With two regions, the one that is left is never a majority.
fn vantages(system: &System) -> Option<Finding> {
    (system.topology.regions.len() == 2).then(|| {
        let message =
            "of two regions, the one that is left is no majority: it could never take over".to_owned();
        Finding::error("two-regions", Subject::Regions, message)
            .suggest("add a third region with `role: witness`: it votes and holds no data")
    })
}

/// The members of etcd, where the spec names them; where it does not, the lab runs one in each region.
fn members(system: &System) -> Option<Finding> {
    let count = system.topology.coordination.endpoints.len();
    let alone = system.topology.regions.len() <= 1;
    let about = Subject::Coordination;
    match count {
        0 => None,
        1 if alone => None,
        1 => Some(
            Finding::warning("etcd-votes", about, "one member of etcd is one point of failure".to_owned())
                .suggest("name three members in three failure domains, or leave `endpoints` out"),
        ),
        2 => Some(
            Finding::error(
                "etcd-votes",
                about,
                "two members of etcd are worse than one: losing either stops both".to_owned(),
            )
            .suggest("name three members in three failure domains"),
        ),
        n if n % 2 == 0 => Some(
            Finding::warning(
                "etcd-votes",
                about,
                format!("{n} members of etcd survive no more losses than {}", n - 1),
            )
            .suggest("use an odd number"),
        ),
        _ => None,
    }
}
