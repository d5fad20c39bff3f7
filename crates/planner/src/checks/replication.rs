//! Replication that survives the loss of one region, and proof that promotion needs.

use meridian_model::System;
use meridian_model::database::{Database, Replication};

use crate::finding::{Finding, Subject};

pub(crate) fn check(system: &System) -> Vec<Finding> {
    let databases = system.databases.iter();
    databases.flat_map(|d| [alone(system, d), quorum(d)].into_iter().flatten()).collect()
}

fn alone(system: &System, database: &Database) -> Option<Finding> {
    (database.members.len() == 1 && system.topology.regions.len() > 1).then(|| {
        let message = format!("database {} has one member: nothing can take over", database.name);
        Finding::warning("one-member", Subject::Members(database.name.clone()), message)
            .suggest("name a second region under `members`, or leave `members` out")
    })
}

/// `R + W > N` must hold with every standby reporting after the writer's loss, and commits must go on
/// after the loss of one standby: `0 < W < N`.
fn quorum(database: &Database) -> Option<Finding> {
    let Replication::Quorum { acknowledgers } = database.replication else { return None };
    let standbys = database.members.len().saturating_sub(1);
    let subject = Subject::Replication(database.name.clone());
    let counts = vec![
        format!("N = {standbys}  standbys of database {}", database.name),
        format!("W = {acknowledgers}  of them acknowledge each commit (acknowledgers)"),
    ];
    if acknowledgers == 0 {
        let message = "no standby acknowledges a commit: R + W > N can never be proven".to_owned();
        return Some(
            Finding::error("quorum", subject, message).show(counts).suggest("write `acknowledgers: 1`"),
        );
    }
    (usize::try_from(acknowledgers).unwrap_or(usize::MAX) >= standbys).then(|| {
        let message = format!(
            "the loss of one standby stops all commits: {acknowledgers} of {standbys} must acknowledge"
        );
        let what_to_do = match standbys {
            0 | 1 => "add a member: quorum replication needs two standbys at least".to_owned(),
            n => format!("write `acknowledgers: {}` at most", n - 1),
        };
        let counts = counts.into_iter().chain(["W < N is needed".to_owned()]).collect();
        Finding::error("quorum", subject, message).show(counts).suggest(what_to_do)
    })
}
