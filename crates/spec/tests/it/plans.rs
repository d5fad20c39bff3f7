//! Plans at random: what is in order is accepted, read back equal, and frozen to lists in which the linter
//! finds nothing; what is not in order is refused.

use std::collections::BTreeSet;
use std::path::PathBuf;

use meridian_model::Name;
use meridian_model::database::SwitchoverLimits;
use meridian_model::plan::{
    Check, Exec, Form, Notify, OnFailure, PlannedStep, RecoveryPlan, Secretive, Task, Trigger, Work,
};
use meridian_model::run::StepKind;
use meridian_planner::{complete, freeze, lint};
use meridian_spec::{SourceFile, inspect, write};
use proptest::prelude::*;
use proptest::sample::Index;

use super::roundtrip::{name, path, share};

/// A step of a sketch: what, how, and which of those before it it waits for.
pub(crate) type Sketched = (PlannedStep, Vec<Index>);

fn check() -> impl Strategy<Value = Check> {
    let word = || proptest::option::of("\\PC{0,8}");
    prop_oneof![
        ("\\PC{0,9}x", any::<bool>(), word()).prop_map(|(statement, write, expect)| Check::Sql {
            statement,
            write,
            expect
        }),
        (100..600_u16, word()).prop_map(|(status, contains)| Check::Http {
            url: "http://shop.internal:8080/health?deep=yes".to_owned(),
            status,
            contains
        }),
        "\\PC{0,9}x".prop_map(|query| Check::Promql { url: "https://[fd00::1]:9090".to_owned(), query }),
    ]
}

fn checks() -> impl Strategy<Value = Vec<Check>> {
    proptest::collection::vec(check(), 0..3)
}

fn notify() -> impl Strategy<Value = Notify> {
    let url = || {
        prop_oneof![
            path().prop_map(Secretive::File),
            Just(Secretive::Open("http://deploys.internal/moved".to_owned()))
        ]
    };
    prop_oneof![
        url().prop_map(|url| Notify::Webhook { url }),
        url().prop_map(|url| Notify::Slack { url }),
        path().prop_map(|routing_key_file| Notify::Pagerduty {
            url: Secretive::Open("https://events.pagerduty.com/v2/enqueue".to_owned()),
            routing_key_file
        }),
    ]
}

fn exec() -> impl Strategy<Value = Exec> {
    let words = proptest::collection::vec("\\PC{0,8}", 0..3);
    let env = proptest::collection::btree_map("[A-L_][A-Z_0-9]{0,6}", "\\PC{0,8}", 0..3);
    let files = proptest::collection::btree_map("[N-Z][A-Z_0-9]{0,6}", path(), 0..2);
    ("/[a-z ]{1,8}", words, env, files, proptest::option::of(path()), 0..=262_144_u32).prop_map(
        |(program, words, env, files, directory, output_max)| Exec {
            command: [program].into_iter().chain(words).collect(),
            env: env.into_iter().collect(),
            env_files: files.into_iter().collect(),
            directory,
            output_max,
        },
    )
}

fn task() -> impl Strategy<Value = Task> {
    let service = proptest::option::of(Just(name("s", 0)));
    prop_oneof![
        (service, proptest::option::of(1..=4_u32))
            .prop_map(|(service, instances)| Task::Scale { service, instances }),
        (proptest::option::of(share()), any::<bool>()).prop_map(|(dial, drain)| Task::Shift { dial, drain }),
        Just(Task::Dns),
        checks().prop_map(|checks| Task::Verify { checks }),
        (1..9_000_u64).prop_map(|for_ms| Task::Wait { for_ms }),
        "[^{]{0,9}x".prop_map(|question| Task::Approve { question }),
        (notify(), "\\{run\\} [^{]{0,9}").prop_map(|(to, text)| Task::Notify { to, text }),
        exec().prop_map(Task::Exec),
    ]
}

fn step() -> impl Strategy<Value = Sketched> {
    let form = prop_oneof![3 => Just(Form::Always), 1 => Just(Form::Graceful), 1 => Just(Form::Ungraceful)];
    let on = prop_oneof![Just(OnFailure::Pause), Just(OnFailure::Continue), Just(OnFailure::Abort)];
    let knobs = (form, 9_000..90_000_u64, proptest::option::of(any::<u32>()), on);
    let waits = proptest::collection::vec(any::<Index>(), 0..3);
    (task(), knobs, checks(), checks(), waits).prop_map(
        |(task, (form, timeout_ms, retries, on_failure), before, afterwards, waits)| {
            // Without an end to the attempts there is no failure for good.
            let on_failure = retries.map_or(OnFailure::Pause, |_| on_failure);
            // Nobody asks conditions of what the machine does by itself.
            let by_itself = matches!(task, Task::Wait { .. } | Task::Approve { .. });
            let (before, afterwards) =
                if by_itself { (Vec::new(), Vec::new()) } else { (before, afterwards) };
            let work = Work {
                name: name("s", 0),
                task,
                after: Vec::new(),
                timeout_ms,
                retries,
                before,
                afterwards,
                on_failure,
            };
            (PlannedStep { form, work }, waits)
        },
    )
}

fn promotion(timeout_ms: u64) -> PlannedStep {
    let work = Work {
        name: name("promotion", 0),
        task: Task::Promote,
        after: Vec::new(),
        timeout_ms,
        retries: None,
        before: Vec::new(),
        afterwards: Vec::new(),
        on_failure: OnFailure::Pause,
    };
    PlannedStep { form: Form::Always, work }
}

/// Steps, the promotion somewhere among them, each waiting for some of those before it.
pub(crate) fn any_steps() -> impl Strategy<Value = Vec<PlannedStep>> {
    let waits = proptest::collection::vec(any::<Index>(), 0..3);
    (proptest::collection::vec(step(), 0..7), any::<Index>(), waits, 1..90_000_u64).prop_map(
        |(mut sketch, at, waits, timeout)| {
            sketch.insert(at.index(sketch.len() + 1), (promotion(timeout), waits));
            connected(sketch)
        },
    )
}

fn connected(sketch: Vec<Sketched>) -> Vec<PlannedStep> {
    let mut steps: Vec<PlannedStep> = Vec::new();
    for (number, (mut step, waits)) in sketch.into_iter().enumerate() {
        step.work.name = name("step", number);
        let on: BTreeSet<Name> =
            waits.iter().filter(|_| number > 0).map(|w| steps[w.index(number)].work.name.clone()).collect();
        step.work.after = on.into_iter().collect();
        steps.push(step);
    }
    steps
}

/// The steps with waits added until the order holds: what comes after the promotion waits for it, traffic
/// for all compute, and what cannot come before it does not.
pub(crate) fn in_order(mut steps: Vec<PlannedStep>) -> Vec<PlannedStep> {
    let promotion = steps.iter().position(|s| s.work.task == Task::Promote).expect("one");
    let moved = steps.remove(promotion);
    let early = |t: &Task| !matches!(t, Task::Scale { .. } | Task::Shift { .. } | Task::Dns);
    let rank = |at: usize, s: &PlannedStep| match s.work.task {
        _ if early(&s.work.task) && at < promotion => 0,
        Task::Scale { .. } => 1,
        _ => 2,
    };
    let mut ranked: Vec<(usize, PlannedStep)> =
        steps.into_iter().enumerate().map(|(at, s)| (rank(at, &s), s)).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let names = |rank: usize| -> Vec<Name> {
        ranked.iter().filter(|(r, _)| *r == rank).map(|(_, s)| s.work.name.clone()).collect()
    };
    let (before, compute) = (names(0), names(1));
    let mut made: Vec<PlannedStep> = Vec::new();
    for (rank, mut step) in ranked.iter().cloned() {
        let earlier: BTreeSet<&Name> = made.iter().map(|s| &s.work.name).collect();
        step.work.after.retain(|a| earlier.contains(a));
        match rank {
            0 => {}
            1 => step.work.after.push(moved.work.name.clone()),
            _ => step.work.after.extend(compute.iter().cloned().chain([moved.work.name.clone()])),
        }
        let mut seen = BTreeSet::new();
        step.work.after.retain(|a| seen.insert(a.clone()));
        made.push(step);
    }
    let work = Work { after: before, ..moved.work };
    made.push(PlannedStep { work, ..moved });
    made
}

pub(crate) fn triggers() -> impl Strategy<Value = Vec<Trigger>> {
    let labels = proptest::collection::btree_map("\\PC{1,8}", "\\PC{0,8}", 0..3);
    let alert = ("\\PC{1,9}", labels, proptest::option::of(Just(name("r", 0))));
    (any::<bool>(), proptest::option::of(alert)).prop_map(|(region_down, alert)| {
        let alert =
            alert.map(|(name, labels, to)| Trigger::Alert { name, labels: labels.into_iter().collect(), to });
        region_down.then_some(Trigger::RegionDown).into_iter().chain(alert).collect()
    })
}

/// The plan of the database `db-0`, made whole.
pub(crate) fn plan(
    steps: Vec<PlannedStep>,
    triggers: Vec<Trigger>,
    limits: &SwitchoverLimits,
) -> RecoveryPlan {
    RecoveryPlan { name: name("plan", 0), group: name("db", 0), triggers, steps: complete(steps, limits) }
}

/// All that each step waits for, by walking.
fn behind<'s>(steps: &'s [PlannedStep], of: &'s Name) -> BTreeSet<&'s Name> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![of]);
    while let Some(name) = open.pop() {
        for waits in steps.iter().filter(|s| &s.work.name == name).flat_map(|s| &s.work.after) {
            if seen.insert(waits) {
                open.push(waits);
            }
        }
    }
    seen
}

/// The order in the issue's words, by a look at every pair: knows nothing of linter and planner.
fn order_holds(steps: &[PlannedStep]) -> bool {
    let is = |s: &PlannedStep, kinds: &[StepKind]| kinds.contains(&s.work.task.kind());
    let pairs = || steps.iter().flat_map(|a| steps.iter().map(move |b| (a, b)));
    let waits = |a: &PlannedStep, b: &PlannedStep| behind(steps, &a.work.name).contains(&b.work.name);
    let graceful = |s: &PlannedStep, form| s.form == Form::Always || s.form == form;
    let together = |a: &PlannedStep, b: &PlannedStep| {
        [Form::Graceful, Form::Ungraceful].into_iter().any(|form| graceful(a, form) && graceful(b, form))
    };
    pairs().filter(|(a, b)| together(a, b)).all(|(a, b)| {
        let compute = is(a, &[StepKind::Scale]) && is(b, &[StepKind::Promote]);
        let traffic =
            is(a, &[StepKind::Shift, StepKind::Dns]) && is(b, &[StepKind::Promote, StepKind::Scale]);
        let approval = is(a, &[StepKind::Approve]) && is(b, &[StepKind::Promote]);
        (!(compute || traffic) || waits(a, b)) && (!approval || waits(a, b) || waits(b, a))
    })
}

/// A system with the database `db-0` and the service `s-0`, of four addresses in each region.
const BASE: &str = r#"
apiVersion: meridian.dev/v1alpha1
kind: Topology
metadata: { name: base }
spec:
  pattern: active-passive
  objectives: { rto: 60s, rpo: 5s }
  regions:
    - { name: r-0, provider: aws, role: primary, jurisdiction: us, location: { latitude: 0, longitude: 0 } }
    - { name: r-1, provider: aws, jurisdiction: us, location: { latitude: 0, longitude: 9 } }
    - { name: r-2, provider: aws, jurisdiction: us, location: { latitude: 9, longitude: 0 } }
  users: [{ continent: europe, share: 100% }]
---
apiVersion: meridian.dev/v1alpha1
kind: Service
metadata: { name: s-0 }
spec: { hosts: [shop.example.com], compute: { command: [shop], instances: { primary: 4 } } }
---
apiVersion: meridian.dev/v1alpha1
kind: Database
metadata: { name: db-0 }
spec: {}
"#;

fn source(text: &str) -> SourceFile {
    SourceFile { name: "spec.yaml".to_owned(), text: text.to_owned() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_accepted_when_the_order_holds_and_only_then(steps in any_steps(), repair in any::<bool>()) {
        let mut system = inspect(&[source(BASE)]).system.expect("sound");
        let steps = if repair { in_order(steps) } else { steps };
        let holds = order_holds(&steps);
        prop_assert!(holds || !repair, "the test itself");
        system.plans = vec![plan(steps, Vec::new(), &SwitchoverLimits::default())];
        let inspection = inspect(&[source(&write(&system))]);
        let told: String = inspection.diagnostics.iter().map(ToString::to_string).collect();
        prop_assert_eq!(inspection.system.is_some(), holds, "{}", told);
        for plan in inspection.system.iter().flat_map(|s| &s.plans) {
            for graceful in [false, true] {
                prop_assert_eq!(lint(&freeze(plan, graceful)), vec![]);
            }
        }
    }
}

/// The names of the steps of a run of the one plan of that spec, with what each waits for.
fn run_of(text: &str, graceful: bool) -> Vec<String> {
    let inspection = inspect(&[source(&format!("{BASE}---{text}"))]);
    let told: String = inspection.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(told, "");
    let plans = inspection.system.expect("sound").plans;
    let waits = |w: &Work| w.after.iter().map(Name::as_str).collect::<Vec<_>>().join("+");
    freeze(&plans[0], graceful).iter().map(|w| format!("{}<{}", w.name, waits(w))).collect()
}

#[test]
fn a_plain_list_is_done_one_after_the_other() {
    let text = "
apiVersion: meridian.dev/v1alpha1
kind: RecoveryPlan
metadata: { name: plain }
spec:
  database: db-0
  steps:
    - { name: a, wait: 1s }
    - { name: b, promoteDatabase: {} }
    - { name: c, scaleCompute: {} }
    - { name: d, exec: { command: [/x] }, after: [] }
    - { name: e, wait: 1s }
";
    let expected = ["a<", "fence<a", "b<fence", "repoint<b", "c<b", "d<", "e<d", "protect<repoint+c+e"];
    assert_eq!(run_of(text, false), expected);
}

#[test]
fn parts_are_inlined_where_they_are_run() {
    let text = "
apiVersion: meridian.dev/v1alpha1
kind: RecoveryPlan
metadata: { name: whole }
spec:
  database: db-0
  steps:
    - { name: before, runPlan: tell, form: graceful }
    - { name: database, promoteDatabase: {} }
    - { name: after, runPlan: both }
    - { name: end, wait: 1s }
---
apiVersion: meridian.dev/v1alpha1
kind: RecoveryPlan
metadata: { name: tell }
spec:
  steps:
    - { name: one, wait: 1s }
    - { name: two, wait: 1s, after: [] }
---
apiVersion: meridian.dev/v1alpha1
kind: RecoveryPlan
metadata: { name: both }
spec:
  steps:
    - { name: x, runPlan: tell }
    - { name: y, wait: 1s }
";
    let switchover = [
        "before-one<",
        "before-two<",
        "demote<before-one+before-two",
        "fence<demote",
        "database<fence",
        "repoint<database",
        "after-x-one<database",
        "after-x-two<database",
        "after-y<after-x-one+after-x-two",
        "end<after-y",
        "protect<repoint+end",
    ];
    assert_eq!(run_of(text, true), switchover);
    let failover = run_of(text, false);
    assert_eq!(failover[..2], ["fence<", "database<fence"], "parts of the other form are left out");
}

#[test]
fn names_of_inlined_steps_do_not_meet_others() {
    let text = "
apiVersion: meridian.dev/v1alpha1
kind: RecoveryPlan
metadata: { name: whole }
spec:
  database: db-0
  steps:
    - { name: database, promoteDatabase: {} }
    - { name: x, runPlan: part }
    - { name: x-y, wait: 1s }
---
apiVersion: meridian.dev/v1alpha1
kind: RecoveryPlan
metadata: { name: part }
spec: { steps: [{ name: y, wait: 1s }] }
";
    let told = inspect(&[source(&format!("{BASE}---{text}"))]).diagnostics;
    assert!(told.iter().any(|d| d.message.contains("the step `x-y` is used twice")), "{told:?}");
}

#[test]
fn a_plan_that_unfolds_without_end_is_refused() {
    let mut text = String::from(
        "
apiVersion: meridian.dev/v1alpha1
kind: RecoveryPlan
metadata: { name: whole }
spec:
  database: db-0
  steps: [{ name: database, promoteDatabase: {} }, { name: x, runPlan: part-0 }]
",
    );
    for level in 0..20 {
        let next = level + 1;
        text += &format!(
            "---
apiVersion: meridian.dev/v1alpha1
kind: RecoveryPlan
metadata: {{ name: part-{level} }}
spec: {{ steps: [{{ name: a, runPlan: part-{next} }}, {{ name: b, runPlan: part-{next} }}] }}
"
        );
    }
    text += "---
apiVersion: meridian.dev/v1alpha1
kind: RecoveryPlan
metadata: { name: part-20 }
spec: { steps: [{ name: end, wait: 1s }] }
";
    let told = inspect(&[source(&format!("{BASE}---{text}"))]).diagnostics;
    assert!(told.iter().any(|d| d.message.contains("more than 100 steps")), "{told:?}");
}

#[test]
fn paths_of_a_plan_begin_at_the_folder_of_its_file() {
    let text = "
apiVersion: meridian.dev/v1alpha1
kind: RecoveryPlan
metadata: { name: plan }
spec:
  database: db-0
  steps:
    - { name: tell, notify: { slack: { urlFile: secrets/slack }, text: hi } }
    - { name: database, promoteDatabase: {} }
";
    let file = SourceFile { name: "etc/plan.yaml".to_owned(), text: text.to_owned() };
    let system = inspect(&[source(BASE), file]).system.expect("sound");
    let slack = Notify::Slack { url: Secretive::File(PathBuf::from("etc/secrets/slack")) };
    assert!(matches!(&system.plans[0].steps[0].work.task, Task::Notify { to, .. } if *to == slack));
}
