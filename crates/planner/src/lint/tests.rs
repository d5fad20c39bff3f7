//! Each rule is broken by itself, and named.

use meridian_model::plan::Check;

use super::*;
use crate::tests::{name, sound};
use crate::{derive, freeze};

/// What is found in the derived list of a switchover after `change`.
fn found(change: impl FnOnce(&mut Vec<Work>)) -> Vec<(&'static str, String)> {
    let system = sound();
    let mut works = freeze(&derive(&system, &system.databases[0]), true);
    change(&mut works);
    let subject = |subject: Subject| match subject {
        Subject::Step(step) => step.to_string(),
        other => format!("{other:?}"),
    };
    lint(&works).into_iter().map(|f| (f.code, subject(f.subject))).collect()
}

fn codes(change: impl FnOnce(&mut Vec<Work>)) -> Vec<&'static str> {
    let mut codes: Vec<_> = found(change).into_iter().map(|(code, _)| code).collect();
    codes.dedup();
    codes
}

fn at<'w>(works: &'w mut [Work], step: &str) -> &'w mut Work {
    works.iter_mut().find(|w| w.name.as_str() == step).expect("a step of that name")
}

fn wait_for(works: &mut [Work], step: &str, on: &[&str]) {
    at(works, step).after = on.iter().map(|n| name(n)).collect();
}

/// Another step, put before the one of that name; nobody waits for it but the end.
fn put(works: &mut Vec<Work>, before: &str, new: &str, task: Task, on: &[&str]) {
    let place = works.iter().position(|w| w.name.as_str() == before).expect("a step of that name");
    let after = on.iter().map(|n| name(n)).collect();
    let mut work = Work { name: name(new), task, after, ..works[place].clone() };
    work.timeout_ms = 60_000;
    works.insert(place, work);
    at(works, "protect").after.push(name(new));
}

#[test]
fn nothing_is_found_in_the_derived_list() {
    assert_eq!(found(|_| {}), []);
}

#[test]
fn names_and_order_of_the_list() {
    assert!(codes(|w| at(w, "dns").name = name("shift")).contains(&"step-name"));
    assert_eq!(codes(|w| w.swap(4, 5)), ["step-order", "protect-last", "compute-first"]);
    assert_eq!(found(|w| at(w, "verify").after.push(name("nobody"))), [("step-order", "verify".to_owned())]);
    assert!(codes(|w| at(w, "shift").after.push(name("dns"))).contains(&"step-order"), "a cycle");
}

#[test]
fn the_machines_own_steps_are_there_once_and_never_passed_over() {
    assert!(codes(|w| w.retain(|w| w.name.as_str() != "fence")).contains(&"step-missing"));
    assert!(codes(Vec::clear).iter().all(|c| *c == "step-missing"));
    let second = |w: &mut Vec<Work>| put(w, "verify", "again", Task::Promote, &["fence"]);
    assert_eq!(found(second).first(), Some(&("step-twice", "again".to_owned())));
    for step in ["demote", "fence", "promote", "repoint", "protect"] {
        let told = found(|w| at(w, step).on_failure = OnFailure::Continue);
        assert_eq!(told, [("step-passed-over", step.to_owned())]);
    }
}

#[test]
fn one_reign_after_the_other_and_protection_last() {
    assert_eq!(found(|w| wait_for(w, "fence", &[])).first().map(|f| f.0), Some("reign"));
    assert_eq!(codes(|w| wait_for(w, "promote", &["demote"])), ["reign", "protect-last"]);
    assert_eq!(codes(|w| wait_for(w, "repoint", &["fence"])), ["reign"]);
    assert_eq!(found(|w| wait_for(w, "protect", &["verify"])), [("protect-last", "protect".to_owned())]);
}

#[test]
fn writes_are_not_held_for_anything_else() {
    let wait = || Task::Wait { for_ms: 1 };
    let between = |w: &mut Vec<Work>| {
        put(w, "promote", "breathe", wait(), &["demote"]);
        at(w, "promote").after.push(name("breathe"));
    };
    assert_eq!(found(between), [("write-pause", "breathe".to_owned())]);
    let first = |w: &mut Vec<Work>| {
        put(w, "demote", "breathe", wait(), &[]);
        at(w, "demote").after.push(name("breathe"));
    };
    assert_eq!(found(first), []);
}

#[test]
fn database_then_compute_then_traffic() {
    assert_eq!(found(|w| wait_for(w, "scale", &["fence"])), [("database-first", "scale".to_owned())]);
    let too_early = found(|w| wait_for(w, "shift", &["promote"]));
    assert!(
        ["shift", "dns"].iter().all(|s| too_early.contains(&("compute-first", (*s).to_owned()))),
        "{too_early:?}"
    );
    let without_compute = |w: &mut Vec<Work>| {
        w.retain(|w| w.name.as_str() != "scale");
        wait_for(w, "shift", &["fence"]);
    };
    assert_eq!(codes(without_compute), ["database-first"]);
    let second = |w: &mut Vec<Work>| {
        put(w, "shift", "more", Task::Scale { service: None, instances: None }, &["promote"])
    };
    assert_eq!(codes(second), ["compute-first"], "traffic waits for all compute");
}

#[test]
fn approvals_hold_something_up() {
    let approve = || Task::Approve { question: String::new() };
    assert_eq!(found(|w| put(w, "demote", "agree", approve(), &[])), [("approval", "agree".to_owned())]);
    assert_eq!(found(|w| put(w, "shift", "agree", approve(), &["promote"])), []);
}

#[test]
fn a_step_can_end_in_its_time() {
    assert_eq!(found(|w| at(w, "dns").timeout_ms = 0), [("step-timeout", "dns".to_owned())]);
    assert_eq!(
        found(|w| put(w, "verify", "long", Task::Wait { for_ms: 60_000 }, &["dns"])),
        [("step-timeout", "long".to_owned())]
    );
}

#[test]
fn conditions_are_asked_only_where_a_node_carries_the_step_out() {
    let check =
        || vec![Check::Http { url: "http://10.1.0.10/health".to_owned(), status: 200, contains: None }];
    for step in ["demote", "fence", "promote", "repoint", "protect"] {
        assert_eq!(found(|w| at(w, step).before = check()), [("step-conditions", step.to_owned())]);
        assert_eq!(found(|w| at(w, step).afterwards = check()), [("step-conditions", step.to_owned())]);
    }
    for task in [Task::Wait { for_ms: 1 }, Task::Approve { question: "now?".to_owned() }] {
        let told = found(|w| {
            put(w, "shift", "breathe", task, &["promote"]);
            at(w, "breathe").afterwards = check();
        });
        assert_eq!(told, [("step-conditions", "breathe".to_owned())]);
    }
    for step in ["scale", "shift", "dns", "verify"] {
        let asked = |w: &mut Vec<Work>| {
            let work = at(w, step);
            (work.before, work.afterwards) = (check(), check());
        };
        assert_eq!(found(asked), []);
    }
}
