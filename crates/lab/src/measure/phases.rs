//! The phases of a recovery, from the fault to full redundancy, each with its time and its source.

use meridian_model::run::{Run, StepKind, StepState};
use meridian_model::{Moment, Timestamp};

use super::{ClockPair, Recovery};

/// One phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// What happened, in the words of the issue: `detected`, `first good write`.
    pub name: &'static str,
    /// When it had happened; none when it was not seen.
    pub at: Option<Moment>,
    /// What was seen, and by whom.
    pub detail: String,
}

/// What the phases are read off.
#[derive(Debug, Default)]
pub struct PhaseInput<'a> {
    /// The first fault, and what it was.
    pub fault: Option<(Moment, String)>,
    /// The run that answered it, if any.
    pub run: Option<&'a Run>,
    /// When a surviving DNS server first sent the lost region's users elsewhere, and where.
    pub dns_changed: Option<(Moment, String)>,
    /// Reads of the population that was hit hardest.
    pub reads: Recovery,
    /// Writes of the population that was hit hardest.
    pub writes: Recovery,
    /// When every member streamed again, and how the old writer came back.
    pub redundant: Option<(Moment, String)>,
}

/// The phases in the order in which a recovery is expected to go through them.
#[must_use]
pub fn phases(input: &PhaseInput<'_>, clock: ClockPair) -> Vec<Phase> {
    let run = input.run;
    let wall = |t: Option<Timestamp>| t.map(|t| clock.moment(t));
    let (fault_at, fault) = split(input.fault.as_ref());
    let (dns_at, dns) = split(input.dns_changed.as_ref());
    let (redundant_at, redundant) = split(input.redundant.as_ref());
    let mut list = vec![Phase { name: "fault", at: fault_at, detail: fault }];
    // The verdict of that moment: the one by which it was decided came later, and stands there.
    let verdict = |r: &Run| match (r.detected_at, &r.from) {
        (Some(_), Some(from)) => format!("{from}: {}", r.evidence.detected),
        (Some(_), None) => r.evidence.detected.clone(),
        (None, _) => "no verdict of a loss came before the decision".to_owned(),
    };
    list.push(Phase {
        name: "detected",
        at: wall(run.and_then(|r| r.detected_at)),
        detail: run.map(verdict).unwrap_or_default(),
    });
    let decided = |r: &Run| format!("epoch {} for {}, run {}: {}", r.epoch, r.to, r.id, r.cause);
    let decided = run.map(decided).unwrap_or_default();
    list.push(Phase { name: "decided", at: wall(run.map(|r| r.decided_at)), detail: decided });
    list.push(step("fenced", run, StepKind::Fence, clock));
    list.push(step("promoted", run, StepKind::Promote, clock));
    list.push(step("compute scaled", run, StepKind::Scale, clock));
    list.push(Phase { name: "DNS changed", at: dns_at, detail: dns });
    list.push(served("first good read", &input.reads));
    list.push(served("first good write", &input.writes));
    list.push(step("protected again", run, StepKind::Protect, clock));
    list.push(Phase { name: "redundant again", at: redundant_at, detail: redundant });
    list
}

fn split(seen: Option<&(Moment, String)>) -> (Option<Moment>, String) {
    seen.map_or((None, String::new()), |(at, what)| (Some(*at), what.clone()))
}

fn served(name: &'static str, recovery: &Recovery) -> Phase {
    let longest = recovery.before_good.longest.as_secs_f64();
    let detail = match recovery.before_good.count {
        0 => "no outage of a second or more before it".to_owned(),
        1 => format!("after an outage of {longest:.1} s"),
        n => format!("after {n} outages, the longest {longest:.1} s"),
    };
    Phase { name, at: recovery.good_at, detail }
}

/// The end of a step of the run.
fn step(name: &'static str, run: Option<&Run>, kind: StepKind, clock: ClockPair) -> Phase {
    let state = run.and_then(|r| r.of_kind(kind)).map(|s| &s.state);
    match state {
        Some(StepState::Done { at, detail, .. }) => {
            Phase { name, at: Some(clock.moment(*at)), detail: detail.clone() }
        }
        Some(StepState::Running { .. }) => Phase { name, at: None, detail: "begun, not ended".to_owned() },
        Some(StepState::Failed { reason, .. } | StepState::Skipped { reason, .. }) => {
            Phase { name, at: None, detail: reason.clone() }
        }
        Some(StepState::Pending) => Phase { name, at: None, detail: "not begun".to_owned() },
        None => Phase { name, at: None, detail: String::new() },
    }
}
