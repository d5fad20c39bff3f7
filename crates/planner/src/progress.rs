//! A run beside what was to be expected of it: when each step ought to begin and end, and which of those that
//! run now take longer than usual.

use std::time::Duration;

use meridian_model::run::{Run, StepKind, StepState};
use meridian_model::{Name, System, Timestamp};

use crate::timeline::{TimelineStep, predict};

/// One step of a run, expected and, while it runs, watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepProgress {
    /// Which.
    pub step: Name,
    /// When it ought to begin, in milliseconds from when the epoch was won; what the old writer does in a
    /// switchover lies before that.
    pub begins_ms: i64,
    /// How long it ought to take.
    pub takes: Duration,
    /// What that rests on.
    pub why: String,
    /// It runs, and longer than it ought to.
    pub stuck: Option<Stuck>,
}

/// A step that takes longer than it ought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuck {
    /// Three of four earlier runs of it were no slower; where there are too few of them, the timeout of one
    /// attempt.
    pub limit: Duration,
    /// The limit comes from earlier runs.
    pub from_past: bool,
    /// For how long it has run.
    pub runs_for: Duration,
}

/// Every step of `run`, in its order. `past`: what steps took in earlier runs, by their names. `now`: by the
/// clock of the node that tells of the run.
#[must_use]
pub fn progress(
    system: &System,
    run: &Run,
    past: &[(Name, Vec<Duration>)],
    now: Timestamp,
) -> Vec<StepProgress> {
    let works: Vec<_> = run.steps.iter().map(|step| step.work.clone()).collect();
    let timeline = predict(system, &works, past);
    let decided = millis(decided(&timeline.steps));
    let expected = timeline.steps.into_iter().filter(|s| s.kind.is_some());
    let watched = run.steps.iter().zip(expected).map(|(step, expected)| {
        let limit = expected.stuck_after.unwrap_or(Duration::MAX);
        let runs_for = match step.state {
            StepState::Running { since } => since_then(since, now),
            _ => Duration::ZERO,
        };
        // A person takes the time that a person takes.
        let waits_for_a_person = step.kind() == StepKind::Approve;
        let stuck = runs_for > limit && !waits_for_a_person && run.paused.is_none();
        let from_past = limit != Duration::from_millis(step.work.timeout_ms);
        StepProgress {
            step: step.work.name.clone(),
            begins_ms: millis(expected.starts).saturating_sub(decided),
            takes: expected.takes,
            why: expected.why,
            stuck: stuck.then_some(Stuck { limit, from_past, runs_for }),
        }
    });
    watched.collect()
}

/// When the epoch ought to be won: after all that comes before the run, or after the old writer has stopped.
fn decided(steps: &[TimelineStep]) -> Duration {
    let before = steps.iter().take_while(|s| s.kind.is_none());
    let demoted = steps.iter().filter(|s| s.kind == Some(StepKind::Demote));
    before.chain(demoted).map(TimelineStep::ends).max().unwrap_or_default()
}

fn since_then(since: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.0.saturating_sub(since.0)).unwrap_or(0))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use meridian_model::Epoch;
    use meridian_model::run::{RunKind, Step};

    use super::*;
    use crate::plan::freeze;
    use crate::tests::{name, sound};

    fn begun(graceful: bool) -> (System, Run) {
        let system = sound();
        let plan = crate::derive(&system, &system.databases[0]);
        let run = Run {
            steps: freeze(&plan, graceful).into_iter().map(Step::pending).collect(),
            ..Run::begin(
                name("orders-2"),
                plan.group.clone(),
                if graceful { RunKind::Switchover } else { RunKind::Failover },
                Epoch(2),
                name("eu"),
                Timestamp(1_000),
            )
        };
        (system, run)
    }

    fn running(run: &mut Run, kind: StepKind, since: i64) {
        let step = run.steps.iter_mut().find(|s| s.kind() == kind).expect("a step of that kind");
        step.state = StepState::Running { since: Timestamp(since) };
    }

    fn stuck(progress: &[StepProgress]) -> Vec<(&str, Stuck)> {
        progress.iter().filter_map(|p| Some((p.step.as_str(), p.stuck?))).collect()
    }

    #[test]
    fn times_are_told_from_the_decision_on() {
        let (system, run) = begun(false);
        let expected = progress(&system, &run, &[], Timestamp(1_000));
        let begins =
            |what: &str| expected.iter().find(|p| p.step.as_str() == what).expect("a step").begins_ms;
        assert_eq!((expected.len(), begins("fence"), begins("promote")), (run.steps.len(), 0, 0));
        assert!(begins("protect") > 0);
        let (system, run) = begun(true);
        let expected = progress(&system, &run, &[], Timestamp(1_000));
        assert_eq!(expected[0].step.as_str(), "demote");
        assert!(expected[0].begins_ms < 0, "the old writer stops before the epoch is won");
        assert_eq!(expected[0].begins_ms, -millis(expected[0].takes));
    }

    #[test]
    fn what_runs_longer_than_three_of_four_earlier_runs_is_stuck() {
        let (system, mut run) = begun(false);
        running(&mut run, StepKind::Promote, 2_000);
        let took = [100, 200, 300, 400].map(Duration::from_millis).to_vec();
        let past = [(name("promote"), took)];
        assert!(stuck(&progress(&system, &run, &past, Timestamp(2_300))).is_empty(), "as long as usual");
        let late = progress(&system, &run, &past, Timestamp(2_301));
        let [(step, stuck_for)] = stuck(&late)[..] else { panic!("{late:?}") };
        assert_eq!(
            (step, stuck_for.limit, stuck_for.from_past),
            ("promote", Duration::from_millis(300), true)
        );
        assert_eq!(stuck_for.runs_for, Duration::from_millis(301));
        run.paused = Some("ada paused it: lunch".to_owned());
        assert!(stuck(&progress(&system, &run, &past, Timestamp(9_000))).is_empty(), "it waits for a person");
    }

    #[test]
    fn without_a_past_the_timeout_counts() {
        let (system, mut run) = begun(false);
        running(&mut run, StepKind::Promote, 0);
        let timeout =
            i64::try_from(run.of_kind(StepKind::Promote).expect("it").work.timeout_ms).expect("it fits");
        assert!(stuck(&progress(&system, &run, &[], Timestamp(timeout))).is_empty());
        let late = progress(&system, &run, &[], Timestamp(timeout + 1));
        let [(_, stuck)] = stuck(&late)[..] else { panic!("{late:?}") };
        assert!(!stuck.from_past);
    }
}
