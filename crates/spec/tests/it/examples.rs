//! The examples are right, and the README's says what the README says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use meridian_model::System;
use meridian_model::database::Replication;
use meridian_model::run::StepKind;
use meridian_model::topology::{Pattern, Role};
use meridian_planner::{derive, freeze, lint, predict};
use meridian_spec::{SourceFile, inspect};

fn example(name: &str) -> System {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    let text = fs::read_to_string(&path).expect("the example is there");
    let inspection = inspect(&[SourceFile { name: format!("examples/{name}"), text }]);
    let told: String = inspection.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(told, "", "{name}");
    inspection.system.expect("no errors")
}

#[test]
fn three_regions_is_the_one_of_the_readme() {
    let system = example("three-regions.yaml");
    let regions: Vec<_> = system.region_names().map(|n| n.as_str()).collect();
    assert_eq!(regions, ["us-east-1", "eu-central-1", "ap-southeast-1"]);
    let jurisdictions: Vec<_> = system.topology.regions.iter().map(|r| r.jurisdiction.as_str()).collect();
    assert_eq!(jurisdictions, ["us", "eu", "apac"]);
    let shares: Vec<_> = system.topology.users.iter().map(|u| u.share.to_string()).collect();
    assert_eq!(shares, ["40%", "35%", "25%"]);
    assert_eq!(system.topology.objectives.rto, Duration::from_secs(60));
    assert_eq!(system.topology.objectives.rpo, Duration::from_secs(5));
    let cidrs: Vec<_> =
        system.topology.regions.iter().filter_map(|r| r.cidr).map(|c| c.to_string()).collect();
    assert_eq!(cidrs, ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]);
    let [service] = system.services.as_slice() else { panic!("one service") };
    assert_eq!(
        (service.hosts.as_slice(), service.zone.as_str()),
        (["shop.example.com".to_owned()].as_slice(), "example.com")
    );
    assert!(service.backends.iter().all(|b| b.endpoints.len() == 2 && b.compute.is_some()));
    let [database] = system.databases.as_slice() else { panic!("one database") };
    assert_eq!((database.replication, database.members.len()), (Replication::Async, 3));
    assert!(system.topology.regions.iter().all(|r| !r.node.placed()), "the lab gives the addresses");
}

#[test]
fn the_quorum_example_differs_in_replication() {
    let system = example("three-regions-quorum.yaml");
    assert_eq!(system.databases[0].replication, Replication::Quorum { acknowledgers: 1 });
}

#[test]
fn the_witness_holds_nothing() {
    let system = example("two-regions-witness.yaml");
    let witness = system.topology.regions.iter().find(|r| r.role == Role::Witness).expect("a witness");
    assert!(system.databases.iter().all(|d| d.member(&witness.name).is_none()));
    assert!(system.services.iter().flat_map(|s| &s.backends).all(|b| b.region != witness.name));
}

#[test]
fn the_writer_follows_the_sun_to_three_mornings() {
    let system = example("follow-the-sun.yaml");
    assert_eq!(system.topology.pattern, Pattern::FollowTheSun);
    let moves: Vec<_> =
        system.topology.schedule.iter().map(|m| (m.region.as_str(), m.at.to_string())).collect();
    let morning = "08:00".to_owned();
    assert_eq!(
        moves,
        [("ap-northeast-1", morning.clone()), ("eu-central-1", morning.clone()), ("us-east-1", morning)]
    );
    assert_eq!(system.topology.schedule[1].days.len(), 5);
}

#[test]
fn the_plan_has_every_kind_of_step_and_runs_in_both_forms() {
    let system = example("recovery-plan.yaml");
    let [plan] = system.plans.as_slice() else { panic!("one plan") };
    let works = [true, false].map(|graceful| freeze(plan, graceful));
    let kinds: BTreeSet<StepKind> = works.iter().flatten().map(|w| w.task.kind()).collect();
    assert_eq!(kinds.len(), 13, "{kinds:?}");
    assert_eq!(works.each_ref().map(|w| lint(w)), [vec![], vec![]]);
    assert!(works[0].iter().any(|w| w.name.as_str() == "told-pager"), "the part is inlined");
    assert!(predict(&system, &works[1], &[]).total() < Duration::from_secs(60));
}

#[test]
fn a_database_without_a_plan_gets_the_derived_one() {
    let system = example("three-regions.yaml");
    assert_eq!(system.plans, [derive(&system, &system.databases[0])]);
}

#[test]
fn the_production_example_has_addresses_and_a_policy() {
    let system = example("production.yaml");
    assert!(system.topology.regions.iter().all(|r| r.node.placed()));
    assert_eq!(system.topology.coordination.endpoints.len(), 3);
    assert_eq!(system.policies.len(), 1);
}

/// Shares that do not add up hid a recovery that takes too long; a fault that checks could be misled by still does.
#[test]
fn a_fault_that_no_check_looks_at_hides_none_of_theirs() {
    let told = |edits: &[(&str, &str)]| {
        let text = include_str!("../../../../examples/three-regions.yaml").to_owned();
        let text = edits.iter().fold(text, |text, (from, to)| text.replace(from, to));
        let found = inspect(&[SourceFile { name: "x.yaml".to_owned(), text }]);
        assert!(found.system.is_none());
        found.diagnostics.into_iter().map(|d| d.message).collect::<Vec<_>>()
    };
    let (slow, few) = (("rto: 60s", "rto: 5s"), ("share: 40%", "share: 35%"));
    let both = told(&[slow, few]);
    assert!(both.iter().any(|m| m.contains("add up to 95%")), "{both:?}");
    assert_eq!(both.len(), told(&[slow]).len() + told(&[few]).len(), "{both:?}");
}

/// `sync` was answered by "did you mean `async`?", which is the very opposite.
#[test]
fn a_wrong_word_of_a_short_list_is_answered_by_the_list() {
    let text = include_str!("../../../../examples/three-regions.yaml");
    let text = text.replace("replication: async", "replication: sync");
    let found = inspect(&[SourceFile { name: "x.yaml".to_owned(), text }]);
    let told: Vec<_> = found.diagnostics.iter().filter_map(|d| d.suggestion.as_deref()).collect();
    assert_eq!(told, ["one of: async, quorum"]);
}
