//! Runs for people: the list, one run with its steps, and what state each is in.

use meridian_model::run::{Run, RunKind, Step, StepState};
use meridian_model::{Epoch, Name};

use super::seen::{Expected, Seen};
use super::span::{after, iso, origin, protected_again, writes_again};
use crate::table::{self, Column, one_line};

/// The list.
pub(crate) const RUNS: [Column; 7] = [
    Column("RUN", "its name, for the other commands"),
    Column("KIND", "failover, switchover, start (the first), resume (the same writer after a stop)"),
    Column("EPOCH", "the number of the reign that it made, one more with each"),
    Column("TO", "the region that became the writer"),
    Column("WRITES AGAIN", "how long clients could not write: since the old writer's last sign of life"),
    Column("PROTECTED AGAIN", "since that moment, until a further loss could be survived"),
    Column("STATE", "what it does, or how it ended"),
];

/// The steps of one.
pub(crate) const STEPS: [Column; 7] = [
    Column("STEP", "its name, for `meridian run approve`"),
    Column("BEGAN", "when; the line `times` above the table says since what"),
    Column("EXPECTED BEGIN", "when it was to begin, by earlier runs or by the spec"),
    Column("TOOK", "from its begin to its end"),
    Column("EXPECTED TIME", "how long it was to take, by earlier runs or by the spec"),
    Column("STATE", "pending, running, done, failed or skipped"),
    Column("WHAT WAS SEEN", "what its end rests on, why it failed, or what it waits for"),
];

/// What the help says from when times are counted.
pub(crate) const COUNTED: &str = "\
Times count from the last renewal of the old writer's lease that was seen; in a switchover from when new \
transactions were held; where neither is known, from the decision. `meridian run report` counts likewise.";

pub(super) fn list(runs: &[Run], epoch: Epoch) -> String {
    let row = |run: &Run| {
        let seconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |s| format!("{s:.1} s"));
        [
            run.id.to_string(),
            run.kind.to_string(),
            run.epoch.to_string(),
            run.to.to_string(),
            seconds(writes_again(run)),
            seconds(protected_again(run)),
            ended(run, epoch, runs).unwrap_or_else(|| state(run)),
        ]
    };
    table::text(&RUNS, &runs.iter().map(row).collect::<Vec<_>>(), 0)
}

/// What it does, or how it ended.
pub(crate) fn state(run: &Run) -> String {
    match (&run.aborted, &run.paused) {
        (Some(why), _) => format!("aborted: {}", one_line(why)),
        (None, Some(why)) => format!("paused: {}", one_line(why)),
        (None, None) if run.finished() && run.prepares() => format!("prepared{}", passed_over(run)),
        (None, None) if run.finished() => format!("protected again{}", passed_over(run)),
        (None, None) => {
            let running: Vec<&str> = running(run).collect();
            format!("running: {}", running.join(", "))
        }
    }
}

/// Steps that failed and did not hold the run up: said wherever it is said that all is well.
pub(crate) fn passed_over(run: &Run) -> String {
    let failed = run.steps.iter().filter_map(|step| match &step.state {
        StepState::Failed { reason, .. } => {
            Some(format!("; step {} failed: {}", step.work.name, one_line(reason)))
        }
        _ => None,
    });
    failed.collect()
}

/// A run of an earlier reign that was not finished: nobody does anything for it any more. What a preparation has done
/// counts in the switchover that takes it over.
pub(super) fn ended(run: &Run, epoch: Epoch, runs: &[Run]) -> Option<String> {
    if !run.ended_before(epoch) {
        return None;
    }
    // The same in every later reign: it was the next one that ended it.
    let epoch = run.epoch.next();
    match runs.iter().find(|later| later.takes_over.as_ref() == Some(&run.id)) {
        Some(later) if run.prepares() && later.kind == RunKind::Switchover => None,
        Some(later) => Some(format!("ended: epoch {epoch} has begun; {} takes it over", later.id)),
        None => Some(format!("ended: epoch {epoch} has begun")),
    }
}

/// The steps that are under way.
pub(crate) fn running(run: &Run) -> impl Iterator<Item = &str> {
    run.steps.iter().filter(|s| matches!(s.state, StepState::Running { .. })).map(|s| s.work.name.as_str())
}

/// A run and its steps.
pub(super) fn whole(seen: &Seen) -> String {
    let run = &seen.run;
    let from = run.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
    let (id, to, epoch, state) = (&run.id, &run.to, run.epoch, seen.state());
    let mut out = format!("RUN {id}: {}{from} to {to} in epoch {epoch}; {state}\n", run.kind);
    let mut line = |name: &str, text: &str| out.push_str(&format!("  {name:<10} {text}\n"));
    line("why", &run.cause);
    if let Some(plan) = &run.plan {
        line("plan", plan.as_str());
    }
    if let Some(before) = &run.takes_over {
        line("takes over", before.as_str());
    }
    let mut times = format!("count from {} ({})", seen.origin, iso(seen.origin_at));
    for (what, seconds) in
        [("writes again", seen.writes_again_seconds), ("protected again", seen.protected_again_seconds)]
    {
        times += &seconds.map(|s| format!("; {what} after {s:.1} s")).unwrap_or_default();
    }
    line("times", &times);
    for cost in seen.cost() {
        line("cost", &cost);
    }
    let rows: Vec<_> = run.steps.iter().map(|step| row(seen, step)).collect();
    out + &table::text(&STEPS, &rows, 2)
}

/// A step beside what was expected of it.
fn row(seen: &Seen, step: &Step) -> [String; 7] {
    let (from, _) = origin(&seen.run);
    let began = |t| format!("{:+.2} s", after(from, t));
    let took = |a, b| format!("{:.2} s", after(a, b));
    let expected = seen.expected(step.work.name.as_str());
    let stuck = expected.and_then(|e| e.stuck.clone()).unwrap_or_default();
    let none = String::new;
    let (began, took, word, detail) = match &step.state {
        StepState::Pending => (none(), none(), "pending", waits(&seen.run, &step.work.after)),
        StepState::Running { since } => (began(*since), none(), "running", stuck),
        StepState::Done { since, at, detail } => (began(*since), took(*since, *at), "done", detail.clone()),
        StepState::Failed { since, at, reason } => {
            (began(*since), took(*since, *at), "failed", reason.clone())
        }
        StepState::Skipped { at, reason } => (began(*at), none(), "skipped", reason.clone()),
    };
    let begin = |e: &Expected| format!("{:+.2} s", e.begins_seconds);
    let time = |e: &Expected| format!("{:.2} s", e.takes_seconds);
    [
        step.work.name.to_string(),
        began,
        expected.map(begin).unwrap_or_default(),
        took,
        expected.map(time).unwrap_or_default(),
        word.to_owned(),
        one_line(&detail),
    ]
}

/// What a step waits for.
fn waits(run: &Run, after: &[Name]) -> String {
    let open = after.iter().filter(|name| run.step(name).is_some_and(|s| !s.over()));
    let open: Vec<&str> = open.map(Name::as_str).collect();
    if open.is_empty() { String::new() } else { format!("after {}", open.join(", ")) }
}
