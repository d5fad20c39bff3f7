//! Timelines that follow the graph, and learn from the past.

use super::*;
use crate::derive;
use crate::tests::{name, sound};

fn step<'t>(timeline: &'t Timeline, what: &str) -> &'t TimelineStep {
    timeline.steps.iter().find(|s| s.what == what).expect("a step of that name")
}

fn derived(graceful: bool) -> (System, Vec<Work>) {
    let system = sound();
    let works = freeze(&derive(&system, &system.databases[0]), graceful);
    (system, works)
}

#[test]
fn the_timeline_of_the_readme_keeps_its_objective() {
    let timeline = timeline(&sound());
    let steps: Vec<_> = timeline.steps.iter().map(|s| s.what.as_str()).collect();
    let all = [
        "detect", "lease", "decide", "fence", "promote", "repoint", "scale", "shift", "dns", "verify",
        "protect", "ttl",
    ];
    assert_eq!(steps, all);
    assert_eq!(timeline.total(), step(&timeline, "ttl").ends());
    assert!(timeline.total() < Duration::from_secs(60), "{timeline:?}");
    let writable = timeline.until_writable();
    assert!(writable < Duration::from_secs(8), "the mark of the issue: {writable:?}");
    assert_eq!(timeline.table().len(), 14, "the head, a line a step and the whole");
    assert_eq!(timeline.longest(), "ttl");
}

/// The rows were told to a hundredth of a second and did not add up to the sum; nor was it said which of them are in it.
#[test]
fn the_total_is_the_sum_of_the_steps_that_are_named_with_it() {
    for graceful in [false, true] {
        let (system, mut works) = derived(graceful);
        // Two that end at the same time, and one that users wait for after one that they do not.
        let scale = works.iter().position(|w| w.name.as_str() == "scale").unwrap();
        works[scale].after = vec![name("repoint"), name("promote")];
        let timeline = predict(&system, &works, &[]);
        let sum = timeline.sum();
        assert_eq!(sum.iter().map(|s| s.takes).sum::<Duration>(), timeline.total());
        assert_eq!(sum[0].starts, Duration::ZERO, "nothing comes before it");
        assert!(sum.windows(2).all(|pair| pair[0].ends() == pair[1].starts), "{sum:?}");
        assert!(sum.iter().any(|s| s.what == "repoint"), "scale waits for it: {sum:?}");
    }
    let timeline = timeline(&sound());
    let told = timeline.sum_text(in_seconds);
    assert!(told.starts_with("detect 4s + lease ") && told.ends_with(" + ttl 30s"), "{told}");
    assert!(!told.contains("protect") && !told.contains("fence"), "beside, or without time: {told}");
    assert!(timeline.table().last().unwrap().ends_with(&told), "{:?}", timeline.table());
}

#[test]
fn steps_begin_when_what_they_wait_for_has_ended() {
    let (system, works) = derived(false);
    let timeline = predict(&system, &works, &[]);
    let promoted = step(&timeline, "promote").ends();
    assert_eq!((step(&timeline, "repoint").starts, step(&timeline, "scale").starts), (promoted, promoted));
    assert_eq!(step(&timeline, "dns").starts, step(&timeline, "shift").ends());
    assert_eq!(
        step(&timeline, "protect").starts,
        step(&timeline, "verify").ends().max(step(&timeline, "repoint").ends())
    );
    assert_eq!(step(&timeline, "ttl").starts, step(&timeline, "dns").ends());
}

#[test]
fn a_switchover_has_nothing_to_detect_and_no_old_answers_to_wait_for() {
    let (system, works) = derived(true);
    let timeline = predict(&system, &works, &[]);
    assert_eq!(timeline.steps[0].what, "demote");
    assert_eq!(timeline.steps[0].starts, Duration::ZERO);
    assert!(timeline.steps.iter().all(|s| s.what != "ttl"));
    assert!(timeline.total() < Duration::from_secs(10), "{timeline:?}");
}

#[test]
fn earlier_runs_count_more_than_assumptions() {
    let (system, works) = derived(false);
    let took = |ms: &[u64]| ms.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
    let past = [(name("scale"), took(&[900, 700, 8000, 800])), (name("dns"), took(&[40]))];
    let timeline = predict(&system, &works, &past);
    let scale = step(&timeline, "scale");
    assert_eq!(
        (scale.takes, scale.stuck_after),
        (Duration::from_millis(900), Some(Duration::from_millis(900)))
    );
    assert_eq!(scale.why, "the median of 4 earlier runs");
    let dns = step(&timeline, "dns");
    assert_eq!(
        (dns.takes, dns.stuck_after),
        (Duration::from_millis(40), Some(Duration::from_secs(10))),
        "one run is no p75"
    );
    assert_eq!(step(&timeline, "detect").stuck_after, None);
}

#[test]
fn a_lease_that_ends_before_the_loss_is_detected_costs_nothing_more() {
    let mut system = sound();
    system.topology.timers.down_after = 60;
    assert_eq!(step(&timeline(&system), "lease").takes, Duration::ZERO);
}

#[test]
fn of_several_plans_the_slowest_is_shown() {
    let mut system = sound();
    let quick = derive(&system, &system.databases[0]);
    let mut slow = quick.clone();
    let shift = slow.steps.iter_mut().find(|s| s.work.name.as_str() == "shift").expect("a shift");
    shift.work.task = Task::Wait { for_ms: 50_000 };
    system.plans = vec![quick, slow.clone()];
    assert_eq!(timeline(&system), predict(&system, &freeze(&slow, false), &[]));
}
