//! What a report says: every figure is made here.

use std::time::Duration;

use meridian_lab::report::DefinitionFact;
use meridian_model::order::Wish;
use meridian_model::run::{Missing, Run, RunKind, Step, StepKind, StepState};
use meridian_model::{System, Timestamp};
use serde::Serialize;

use super::parts::{ReturnFact, RunFact};
use crate::runs::seen::{Seen, missing};
use crate::runs::span::{after, ended, iso, origin, writes_again};
use crate::runs::tell::state;

/// Everything that is known of a run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Facts {
    pub(super) system: String,
    /// Which run, and on what it rests.
    #[serde(rename = "run")]
    pub(super) head: RunFact,
    /// As it was journalled.
    #[serde(skip)]
    pub(super) run: Run,
    /// `protected again`, or what it does or ended with.
    pub(super) state: String,
    /// It reached its end, and every step of it succeeded.
    pub(super) good: bool,
    /// When this was told, ISO 8601, UTC; so are all times here.
    pub(super) told_at: String,
    /// The same since the origin.
    pub(super) now_seconds: f64,
    /// What times are counted from: the last sign that clients could write before, or the decision.
    pub(super) origin: String,
    pub(super) objectives: Objectives,
    /// How long clients could not write, as far as the system itself knows.
    pub(super) writes: Option<Figure>,
    pub(super) loss: LossFact,
    pub(super) phases: Vec<PhaseFact>,
    pub(super) steps: Vec<StepFact>,
    pub(super) people: Vec<PersonFact>,
    pub(super) warnings: Vec<String>,
    pub(super) definitions: Vec<DefinitionFact>,
}

/// What the spec demands.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Objectives {
    pub(super) rto_seconds: f64,
    pub(super) rpo_seconds: f64,
}

/// A time against its objective.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Figure {
    pub(super) seconds: f64,
    pub(super) held: bool,
}

/// What was lost.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LossFact {
    /// Counted in the log of the old writer; none: it has not been read.
    pub(super) transactions: Option<u64>,
    /// The most that could be lost, as was known when it was decided; none: not known then.
    pub(super) at_most_seconds: Option<f64>,
    /// Against the objective; none: it cannot be said yet.
    pub(super) held: Option<bool>,
    pub(super) sentences: Vec<String>,
    pub(super) losses: Vec<ReturnFact>,
}

/// One mark on the way.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PhaseFact {
    pub(super) name: String,
    pub(super) at: Option<String>,
    /// Since the origin.
    pub(super) after_seconds: Option<f64>,
    pub(super) detail: String,
    /// Against the objective, where one is about it.
    pub(super) held: Option<bool>,
}

/// One step.
#[derive(Debug, Clone, Serialize)]
pub(super) struct StepFact {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) state: String,
    pub(super) began_at: Option<String>,
    pub(super) ended_at: Option<String>,
    /// Since the origin.
    pub(super) began_after_seconds: Option<f64>,
    pub(super) took_seconds: Option<f64>,
    /// How often it was begun, as far as the journal says.
    pub(super) attempts: u32,
    pub(super) expected_after_seconds: Option<f64>,
    pub(super) expected_seconds: Option<f64>,
    pub(super) stuck: Option<String>,
    /// What was seen, or went wrong.
    pub(super) detail: String,
}

/// What a person (or a schedule, or an alert) did.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PersonFact {
    pub(super) at: Option<String>,
    pub(super) who: String,
    pub(super) what: String,
}

impl Facts {
    pub(super) fn of(system: &System, seen: &Seen) -> Self {
        let run = &seen.run;
        let objectives = Objectives {
            rto_seconds: system.topology.objectives.rto.as_secs_f64(),
            rpo_seconds: system.topology.objectives.rpo.as_secs_f64(),
        };
        let (from, origin) = origin(run);
        let writes =
            writes_again(run).map(|seconds| Figure { seconds, held: seconds <= objectives.rto_seconds });
        let loss = loss(seen, objectives);
        Self {
            system: system.topology.name.to_string(),
            state: state(run),
            good: run.finished() && run.aborted.is_none() && run.steps.iter().all(Step::done),
            told_at: iso(seen.at),
            now_seconds: after(from, seen.at),
            origin,
            objectives,
            writes,
            phases: phases(run, from, writes, system.topology.timers.flap_window),
            steps: run.steps.iter().map(|s| step(seen, s, from)).collect(),
            people: people(seen),
            warnings: warnings(seen, writes, &loss),
            loss,
            definitions: definitions(),
            head: RunFact::of(run),
            run: run.clone(),
        }
    }
}

/// A failover that was decided within that time of the detection waited for nothing but the lease and the seals.
const WAITED_MIN: f64 = 10.0;

/// What let a failover wait once the loss was detected, as far as the evidence of the decision tells.
fn waited(run: &Run, flap_window: Duration) -> String {
    let detected = run.detected_at.filter(|_| run.kind == RunKind::Failover);
    let Some((detected, long)) =
        detected.map(|at| (at, after(at, run.decided_at))).filter(|(_, long)| *long >= WAITED_MIN)
    else {
        return String::new();
    };
    let mut text = format!(", {long:.1} s after the loss was detected");
    if let Some(order) = &run.evidence.order {
        let asked = after(detected, order.at);
        if asked > 0.0 {
            text.push_str(&format!("; {} ordered it {asked:.1} s after the detection", order.by));
        }
    }
    let said = |rule: &str| run.evidence.rules.iter().find(|said| said.rule == rule);
    if let Some(flap) = said("FlapWindow") {
        text.push_str(&format!("; flap window of {} s: {}", flap_window.as_secs(), flap.evidence));
    }
    text
}

fn phases(run: &Run, origin: Timestamp, writes: Option<Figure>, flap_window: Duration) -> Vec<PhaseFact> {
    let phase = |name: &str, at: Option<Timestamp>, detail: String| PhaseFact {
        name: name.to_owned(),
        at: at.map(iso),
        after_seconds: at.map(|at| after(origin, at)),
        detail,
        held: None,
    };
    let detail = |kind: StepKind| match run.of_kind(kind).map(|s| &s.state) {
        Some(StepState::Done { detail, .. }) => detail.clone(),
        _ => String::new(),
    };
    let mut phases = Vec::new();
    match (&run.evidence.handover, run.kind) {
        (Some(token), _) => {
            phases.push(phase("transactions held", Some(token.held_at), format!("by order of {}", token.by)));
            let cut = format!("in good order; sessions that were cut: {}", token.cut);
            phases.push(phase("old writer stopped", Some(token.stopped_at), cut));
        }
        (None, RunKind::Failover) => {
            let last = run.evidence.last_renewal_at;
            phases.push(phase("last renewal", last, "by the old writer's clock".to_owned()));
            phases.push(phase("loss detected", run.detected_at, run.evidence.detected.clone()));
        }
        _ => {}
    }
    phases.push(phase(
        "decided",
        Some(run.decided_at),
        format!("epoch {} was won{}", run.epoch, waited(run, flap_window)),
    ));
    let again = phase("writes again", ended(run, StepKind::Promote), detail(StepKind::Promote));
    phases.push(PhaseFact { held: writes.map(|figure| figure.held), ..again });
    for (name, kind) in [
        ("compute scaled", StepKind::Scale),
        ("traffic shifted", StepKind::Shift),
        ("verified", StepKind::Verify),
    ] {
        if run.of_kind(kind).is_some() {
            phases.push(phase(name, ended(run, kind), detail(kind)));
        }
    }
    phases.push(phase("protected again", ended(run, StepKind::Protect), detail(StepKind::Protect)));
    phases
}

fn step(seen: &Seen, step: &Step, origin: Timestamp) -> StepFact {
    let (word, began, end, detail) = match &step.state {
        StepState::Pending => ("pending", None, None, String::new()),
        StepState::Running { since } => ("running", Some(*since), None, String::new()),
        StepState::Done { since, at, detail } => ("done", Some(*since), Some(*at), detail.clone()),
        StepState::Failed { since, at, reason } => ("failed", Some(*since), Some(*at), reason.clone()),
        StepState::Skipped { at, reason } => ("skipped", None, Some(*at), reason.clone()),
    };
    let expected = seen.expected(step.work.name.as_str());
    let ended_well = matches!(step.state, StepState::Done { .. });
    StepFact {
        name: step.work.name.to_string(),
        kind: step.kind().to_string(),
        state: word.to_owned(),
        began_at: began.map(iso),
        ended_at: end.map(iso),
        began_after_seconds: began.map(|at| after(origin, at)),
        took_seconds: began.zip(end).map(|(since, at)| after(since, at)),
        // A failed attempt is counted; the one that runs or succeeded is not among them.
        attempts: step.failures + u32::from(ended_well || matches!(step.state, StepState::Running { .. })),
        expected_after_seconds: expected.map(|e| e.begins_seconds),
        expected_seconds: expected.map(|e| e.takes_seconds),
        stuck: expected.and_then(|e| e.stuck.clone()),
        detail,
    }
}

fn loss(seen: &Seen, objectives: Objectives) -> LossFact {
    let losses = seen.losses.clone().unwrap_or_default();
    let counts: Option<Vec<u64>> = losses.iter().map(|loss| loss.transactions).collect();
    let counted = counts.filter(|counts| !counts.is_empty()).map(|counts| counts.iter().sum::<u64>());
    let replaced = seen.run.from.as_ref().is_some_and(|from| *from != seen.run.to);
    let transactions = if replaced { counted } else { Some(0) };
    let at_most_seconds = match seen.run.evidence.missing {
        Missing::Unknown => None,
        Missing::Nothing => Some(0.0),
        Missing::Last { ms } => Some(ms as f64 / 1_000.0),
    };
    let held = match (transactions, at_most_seconds) {
        (Some(0), _) => Some(true),
        (_, Some(seconds)) => Some(seconds <= objectives.rpo_seconds),
        (_, None) => None,
    };
    let mut sentences = seen.cost();
    if transactions.is_some_and(|lost| lost > 0) {
        sentences.push(format!("known when it was decided: {}", missing(seen.run.evidence.missing)));
    }
    let losses = losses.iter().map(ReturnFact::of).collect();
    LossFact { transactions, at_most_seconds, held, sentences, losses }
}

fn people(seen: &Seen) -> Vec<PersonFact> {
    let mut people = Vec::new();
    let mut did = |at: Option<Timestamp>, who: &str, what: String| {
        people.push((at, PersonFact { at: at.map(iso), who: who.to_owned(), what }));
    };
    if let Some(order) = &seen.run.evidence.order {
        let what = match &order.wish {
            Wish::Switchover { to } => format!("ordered the writer to move to {to}"),
            Wish::Failover { accept_data_loss: true } => {
                "ordered a failover and accepted the loss of data".to_owned()
            }
            Wish::Failover { accept_data_loss: false } => "ordered a failover".to_owned(),
        };
        did(Some(order.at), &order.by, format!("{what} (order {})", order.id));
    } else if let Some(token) = &seen.run.evidence.handover {
        did(None, &token.by, format!("ordered the writer to move to {} (order {})", token.to, token.order));
    }
    if let Some(words) = &seen.words {
        for (step, word) in &words.approved {
            did(Some(word.at), &word.by, with_reason(format!("agreed to step {step}"), &word.reason));
        }
        for (what, word) in [("paused it", &words.paused), ("ended it", &words.aborted)] {
            if let Some(word) = word {
                did(Some(word.at), &word.by, with_reason(what.to_owned(), &word.reason));
            }
        }
        if words.resumed > 0 {
            did(None, "", format!("let it go on: {} times", words.resumed));
        }
    }
    people.sort_by_key(|(at, _)| *at);
    people.into_iter().map(|(_, person)| person).collect()
}

fn with_reason(what: String, reason: &str) -> String {
    if reason.is_empty() { what } else { format!("{what}: {reason}") }
}

fn warnings(seen: &Seen, writes: Option<Figure>, loss: &LossFact) -> Vec<String> {
    let run = &seen.run;
    let mut all = Vec::new();
    if writes.is_some_and(|figure| !figure.held) {
        all.push("Clients could write only after the recovery time objective was over.".to_owned());
    }
    if loss.held == Some(false) {
        all.push("More may be lost than the recovery point objective allows.".to_owned());
    }
    if loss.held.is_none() {
        all.push("How much was lost is not known yet.".to_owned());
    }
    if let Some(Wish::Failover { accept_data_loss: true }) = run.evidence.order.as_ref().map(|o| &o.wish) {
        all.push("A person accepted the loss of data.".to_owned());
    }
    if let Some(cut) = run.evidence.handover.as_ref().map(|token| token.cut).filter(|cut| *cut > 0) {
        all.push(format!("{cut} sessions were cut at the deadline of the switchover."));
    }
    // A switchover goes on from what its old writer has prepared.
    if let Some(before) = run.takes_over.as_ref().filter(|_| run.kind != RunKind::Switchover) {
        all.push(format!("It took over from run {before}, whose owner was lost before its end."));
    }
    if let Some(why) = run.aborted.as_ref().or(run.paused.as_ref()) {
        all.push(format!("It did not go on by itself: {why}"));
    }
    for step in &run.steps {
        match &step.state {
            StepState::Failed { reason, .. } => {
                all.push(format!("Step {} failed: {reason}", step.work.name));
            }
            _ if step.failures > 0 => {
                all.push(format!("Step {} failed {} times before.", step.work.name, step.failures));
            }
            _ => {}
        }
    }
    all.extend(
        seen.progress.iter().filter_map(|e| Some(format!("Step {} is {}", e.step, e.stuck.as_ref()?))),
    );
    all
}

fn definitions() -> Vec<DefinitionFact> {
    let words = [
        (
            "writes again",
            "From the last moment at which the old writer certainly could write, as far as the system itself \
             knows, to the end of the promotion. After a failover the first is the last renewal of the lease that \
             was seen, by the old writer's wall clock, and the second is by the new one's: they differ by what the \
             two clocks differ. Clients may have been served a little longer, for the lease had not run out yet. \
             What users saw is measured by a drill.",
        ),
        (
            "lost",
            "Transactions that the old writer had committed and the new one never got, counted in the old \
             writer's log when it came back. Not every one of them was acknowledged to a client. Until then only \
             a bound is known: how far behind the new writer's log was, counted to the end of the old right to \
             write.",
        ),
        (
            "expected",
            "The median of earlier runs of the same step where there are any, else the spec's periods and \
             constants (`meridian plan show`).",
        ),
        (
            "loss detected",
            "The first verdict that the old writer's region is down since its last sign of life (a renewal, or a \
             verdict that it is up), as the node saw it that won. A verdict that flickers meanwhile does not move it.",
        ),
        ("stuck", "It takes longer than three of four earlier runs of that step, or than its timeout."),
        ("attempts", "How often the step was begun; a takeover by another node may have begun it once more."),
    ];
    words.map(|(word, meaning)| DefinitionFact::of(word, meaning)).to_vec()
}
