//! What is derived, how a written plan is made whole, and that every plan in which the order holds
//! freezes to a list that the linter finds nothing in.

use std::collections::BTreeSet;

use meridian_model::plan::Check;
use proptest::prelude::*;

use super::*;
use crate::tests::{name, sound};
use crate::{check, lint};

fn names(works: &[Work]) -> Vec<&str> {
    works.iter().map(|w| w.name.as_str()).collect()
}

fn after<'w>(works: &'w [Work], step: &str) -> Vec<&'w str> {
    let work = works.iter().find(|w| w.name.as_str() == step).expect("a step of that name");
    work.after.iter().map(Name::as_str).collect()
}

/// A step as a user would write it.
fn written(form: Form, step_name: &str, task: Task, after: &[&str]) -> PlannedStep {
    let mut made = step(form, task, after.iter().map(|a| name(a)).collect());
    made.work.name = name(step_name);
    made
}

fn plan(steps: Vec<PlannedStep>) -> RecoveryPlan {
    let steps = complete(steps, &SwitchoverLimits::default());
    RecoveryPlan { name: name("p"), group: name("orders"), triggers: vec![Trigger::RegionDown], steps }
}

fn approve() -> Task {
    Task::Approve { question: "may I?".to_owned() }
}

fn scale() -> Task {
    Task::Scale { service: None, instances: None }
}

fn shift() -> Task {
    Task::Shift { dial: None, drain: false }
}

#[test]
fn the_derived_plan_recovers_in_order_and_beside_each_other_what_may() {
    let system = sound();
    let derived = derive(&system, &system.databases[0]);
    assert_eq!((derived.name.as_str(), derived.group.as_str()), ("orders", "orders"));
    let failover = freeze(&derived, false);
    assert_eq!(
        names(&failover),
        ["fence", "promote", "repoint", "scale", "shift", "dns", "verify", "protect"]
    );
    assert_eq!(after(&failover, "fence"), [""; 0]);
    assert_eq!(after(&failover, "promote"), ["fence"]);
    assert_eq!((after(&failover, "repoint"), after(&failover, "scale")), (vec!["promote"], vec!["promote"]));
    assert_eq!((after(&failover, "shift"), after(&failover, "dns")), (vec!["scale"], vec!["shift"]));
    assert_eq!(
        (after(&failover, "verify"), after(&failover, "protect")),
        (vec!["dns"], vec!["repoint", "verify"])
    );
    let switchover = freeze(&derived, true);
    assert_eq!(names(&switchover)[..3], ["demote", "fence", "promote"]);
    assert_eq!(after(&switchover, "fence"), ["demote"]);
    assert_eq!(lint(&failover), []);
    assert_eq!(lint(&switchover), []);
}

#[test]
fn what_has_nothing_to_do_is_left_out() {
    let mut system = sound();
    for backend in system.services.iter_mut().flat_map(|s| &mut s.backends) {
        backend.compute = None;
    }
    let steps = |system: &System| {
        let works = freeze(&derive(system, &system.databases[0]), false);
        names(&works).join(" ")
    };
    assert_eq!(steps(&system), "fence promote repoint shift dns verify protect");
    system.services.clear();
    assert_eq!(steps(&system), "fence promote repoint shift verify protect");
}

#[test]
fn the_machines_own_steps_stand_where_the_promotion_stands() {
    let steps = vec![
        written(Form::Ungraceful, "agree", approve(), &[]),
        written(Form::Always, "database", Task::Promote, &["agree"]),
        written(Form::Always, "compute", scale(), &["database"]),
        written(Form::Always, "traffic", shift(), &["compute"]),
    ];
    let plan = plan(steps);
    let failover = freeze(&plan, false);
    assert_eq!(names(&failover), ["agree", "fence", "database", "repoint", "compute", "traffic", "protect"]);
    assert_eq!(
        after(&failover, "fence"),
        ["agree"],
        "the demotion is dropped, and what it waited for is not"
    );
    let switchover = freeze(&plan, true);
    assert_eq!(names(&switchover)[..3], ["demote", "fence", "database"]);
    assert_eq!(
        (after(&switchover, "demote"), after(&switchover, "protect")),
        (vec![], vec!["repoint", "traffic"])
    );
    assert_eq!((lint(&failover), lint(&switchover)), (vec![], vec![]));
}

#[test]
fn a_written_demotion_is_the_one() {
    let steps = vec![
        written(Form::Graceful, "stop", Task::Demote, &[]),
        written(Form::Graceful, "tell", Task::Wait { for_ms: 1 }, &["stop"]),
        written(Form::Always, "start", Task::Promote, &["stop"]),
    ];
    let works = freeze(&plan(steps), true);
    assert_eq!(names(&works), ["stop", "tell", "fence", "start", "repoint", "protect"]);
    assert_eq!(lint(&works), []);
}

#[test]
fn what_is_whole_is_not_changed_and_a_cycle_is_left_to_the_linter() {
    let system = sound();
    let whole = derive(&system, &system.databases[0]).steps;
    assert_eq!(complete(whole.clone(), &SwitchoverLimits::default()), whole);
    let around =
        vec![written(Form::Always, "a", scale(), &["b"]), written(Form::Always, "b", Task::Promote, &["a"])];
    assert!(!lint(&freeze(&plan(around), false)).is_empty());
    let both_dropped = vec![
        written(Form::Graceful, "a", scale(), &["b"]),
        written(Form::Graceful, "b", scale(), &["a"]),
        written(Form::Always, "c", Task::Promote, &["a"]),
    ];
    assert_eq!(
        names(&freeze(&plan(both_dropped), false)),
        ["fence", "c", "repoint", "protect"],
        "no endless search"
    );
}

#[test]
fn a_demotion_has_the_time_that_a_switchover_allows() {
    let mut system = sound();
    system.databases[0].switchover.drain = Duration::from_secs(30);
    let works = freeze(&derive(&system, &system.databases[0]), true);
    assert_eq!(works[0].timeout_ms, 42_000);
}

#[test]
fn a_plan_that_waits_too_long_is_told_with_its_timeline() {
    let mut system = sound();
    let told = |system: &System| check(system).into_iter().map(|f| (f.code, f.subject)).collect::<Vec<_>>();
    system.plans = vec![derive(&system, &system.databases[0])];
    assert_eq!(told(&system), []);
    let wait = written(Form::Ungraceful, "breathe", Task::Wait { for_ms: 30_000 }, &[]);
    let database = written(Form::Always, "database", Task::Promote, &["breathe"]);
    let traffic = written(Form::Always, "traffic", shift(), &["database"]);
    system.plans = vec![plan(vec![wait, database, traffic])];
    assert_eq!(
        told(&system),
        [
            ("plan-rto", crate::Subject::Plan(name("p"))),
            ("gateway-wait", crate::Subject::Gateway(name("orders")))
        ]
    );
}

/// What a user may write between the promotion and the end, and before it.
fn task() -> impl Strategy<Value = Task> {
    let sql = Check::Sql { statement: "select 1".to_owned(), write: false, expect: None };
    prop_oneof![
        Just(scale()),
        Just(shift()),
        Just(Task::Dns),
        Just(Task::Verify { checks: vec![sql] }),
        Just(Task::Wait { for_ms: 10 }),
        Just(approve()),
    ]
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Always), Just(Form::Graceful), Just(Form::Ungraceful)]
}

type Sketch = Vec<(Task, Form, Vec<prop::sample::Index>)>;

fn sketch() -> impl Strategy<Value = Sketch> {
    proptest::collection::vec(
        (task(), form(), proptest::collection::vec(any::<prop::sample::Index>(), 0..4)),
        0..9,
    )
}

/// A plan of random steps in which the order holds: before the promotion only what may stand there;
/// after it compute waits for the database and traffic for compute; in any order in the list.
fn drawn(before: &Sketch, after: &Sketch, shuffle: &[usize]) -> Vec<PlannedStep> {
    let steps_of = |prefix: &str, sketch: &Sketch, root: Option<&str>| {
        let mut made: Vec<PlannedStep> = Vec::new();
        for (number, (task, form, waits)) in sketch.iter().enumerate() {
            let all: Vec<String> = made.iter().map(|s| s.work.name.to_string()).collect();
            let mut on: BTreeSet<&str> = root.into_iter().collect();
            on.extend(waits.iter().filter(|_| !all.is_empty()).map(|w| all[w.index(all.len())].as_str()));
            if matches!(task, Task::Shift { .. } | Task::Dns) {
                on.extend(
                    made.iter()
                        .filter(|s| matches!(s.work.task, Task::Scale { .. }))
                        .map(|s| s.work.name.as_str()),
                );
            }
            let on: Vec<&str> = on.into_iter().collect();
            made.push(written(*form, &format!("{prefix}{number}"), task.clone(), &on));
        }
        made
    };
    let waits = |t: &Task| matches!(t, Task::Wait { .. } | Task::Approve { .. } | Task::Verify { .. });
    let before: Sketch = before.iter().filter(|(t, ..)| waits(t)).cloned().collect();
    // Compute first, so that traffic can wait for all of it.
    let mut after = after.clone();
    after.sort_by_key(|(t, ..)| !matches!(t, Task::Scale { .. }));
    let mut steps = steps_of("b", &before, None);
    let all: Vec<String> = steps.iter().map(|s| s.work.name.to_string()).collect();
    steps.push(written(
        Form::Always,
        "database",
        Task::Promote,
        &all.iter().map(String::as_str).collect::<Vec<_>>(),
    ));
    steps.extend(steps_of("a", &after, Some("database")));
    let count = steps.len();
    for (at, to) in shuffle.iter().take(count).enumerate() {
        steps.swap(at, to % count);
    }
    steps
}

/// All that a step waits for, by walking; knows nothing of how lists are made.
fn behind<'w>(works: &'w [Work], of: &'w Name) -> BTreeSet<&'w Name> {
    let mut seen = BTreeSet::new();
    let mut open = vec![of];
    while let Some(name) = open.pop() {
        for waits in works.iter().filter(|w| &w.name == name).flat_map(|w| &w.after) {
            if seen.insert(waits) {
                open.push(waits);
            }
        }
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_in_order_freezes_to_a_list_without_findings(before in sketch(), after in sketch(), shuffle in proptest::collection::vec(0..20_usize, 0..20)) {
        let plan = plan(drawn(&before, &after, &shuffle));
        prop_assert_eq!(&complete(plan.steps.clone(), &SwitchoverLimits::default()), &plan.steps, "whole and in order");
        let whole: Vec<Work> = plan.steps.iter().map(|s| s.work.clone()).collect();
        for graceful in [false, true] {
            let frozen = freeze(&plan, graceful);
            prop_assert_eq!(lint(&frozen), vec![]);
            // What waited for what still does, also through what was dropped.
            for (a, b) in frozen.iter().flat_map(|a| frozen.iter().map(move |b| (a, b))) {
                let still = behind(&frozen, &a.name).contains(&b.name);
                prop_assert_eq!(still, behind(&whole, &a.name).contains(&b.name), "{} after {}", &a.name, &b.name);
            }
            let kinds: BTreeSet<StepKind> = frozen.iter().map(|w| w.task.kind()).collect();
            prop_assert_eq!(kinds.contains(&StepKind::Demote), graceful);
        }
    }
}
