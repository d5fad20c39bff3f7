//! The node that carries a run out is killed between every two steps of it, and started again.
//!
//! What is between two steps is read off the journal, as the acting node itself shows it: a step is done, and
//! none of those that wait for it is. Between two entries of the journal lies a round trip to another
//! region, so looking often enough is exact enough; a gap that was missed all the same comes again, because
//! a node that comes back does again what database and traffic need.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use http::Method;
use meridian_model::run::Run;
use meridian_model::{Moment, Name, RegionName, Timestamp};
use meridian_node::peer::{self, Question};
use meridian_node::secret::Secret;
use meridian_node::status::{NodeStatus, STATUS};
use meridian_telemetry::clock;

use super::DrillError;
use crate::faults::{Fault, FaultPart, FaultRecord};
use crate::measure::ClockPair;
use crate::plan::RegionAddresses;
use crate::regions::Lab;

/// How often it looks for a gap.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long a node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// The states, as nodes name them, in which a node carries its run out.
const ACTING: [&str; 2] = ["Promoting", "Leading"];

/// How it went.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Killed {
    /// Kills and starts.
    pub(super) faults: Vec<FaultRecord>,
    /// The steps after which it was killed, in the order in which that happened.
    pub(super) after: Vec<Name>,
    /// The steps after which it was not.
    pub(super) missed: Vec<Name>,
}

/// Kills until every gap of a run that was decided since the load began has been hit, or the run has
/// ended, or it is `until`.
pub(super) async fn kill_between_steps(
    lab: &Lab,
    began: ClockPair,
    until: Moment,
) -> Result<Killed, DrillError> {
    let secret = Secret::read(&lab.addresses().control_secret_file)?;
    let mut regions: Vec<_> = lab.addresses().regions.iter().collect();
    let mut killed = Killed::default();
    while clock::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(run) = acting(&regions, &secret, began.wall).await else { continue };
        // Who acts is asked first from now on: a look must be short.
        regions.sort_by_key(|region| region.region != run.to);
        let hit: BTreeSet<&Name> = killed.after.iter().collect();
        killed.missed = left(&run, &hit);
        let gap = killed.missed.iter().find(|step| is_gap(&run, step)).cloned();
        if let Some(step) = gap {
            let (region, part) = (run.to.clone(), Some(FaultPart::Node));
            killed.faults.push(lab.fault(Fault::Kill { region: region.clone(), part }).await?);
            killed.faults.push(lab.fault(Fault::Restore { region }).await?);
            killed.missed.retain(|name| *name != step);
            killed.after.push(step);
        }
        if killed.missed.is_empty() || run.finished() {
            break;
        }
    }
    Ok(killed)
}

/// The run that a node is carrying out now, or has just ended, by its own word.
async fn acting(regions: &[&RegionAddresses], secret: &Secret, since: Timestamp) -> Option<Run> {
    for region in regions {
        let question = Question { method: Method::GET, path: STATUS, body: Vec::new() };
        let Ok((_, body)) = peer::ask(region.control, secret, question, ANSWER_WITHIN).await else {
            continue;
        };
        let status = serde_json::from_slice::<NodeStatus>(&body).ok();
        if let Some(run) = status.and_then(|status| acted_on(status, since)) {
            return Some(run);
        }
    }
    None
}

/// The run of that node's own reign, if it was decided since then. What it shows right after its start may
/// be the run of the reign before, which nobody carries out any more.
fn acted_on(status: NodeStatus, since: Timestamp) -> Option<Run> {
    let here: RegionName = status.region;
    let group = status.groups.into_iter().find(|group| ACTING.contains(&group.state.as_str()))?;
    let own = |run: &Run| run.to == here && run.epoch == group.epoch && run.decided_at >= since;
    group.runs.into_iter().find(own)
}

/// The steps of a run that something waits for, but for those after which it was killed already.
fn left(run: &Run, hit: &BTreeSet<&Name>) -> Vec<Name> {
    let names = run.steps.iter().map(|step| &step.work.name);
    names.filter(|name| waiting(run, name).next().is_some() && !hit.contains(name)).cloned().collect()
}

/// The step is done, and nothing that waits for it is.
fn is_gap(run: &Run, step: &Name) -> bool {
    let done = run.step(step).is_some_and(meridian_model::run::Step::done);
    done && waiting(run, step).all(|later| !later.over())
}

fn waiting<'a>(run: &'a Run, step: &'a Name) -> impl Iterator<Item = &'a meridian_model::run::Step> {
    run.steps.iter().filter(move |later| later.work.after.contains(step))
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        write!(f, "after {}", list(&self.after))?;
        if !self.missed.is_empty() {
            write!(f, "; not after {}", list(&self.missed))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use meridian_model::Epoch;
    use meridian_model::run::{RunKind, Step, StepKind, StepState};

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// fence, promote, then repoint beside scale, protect; those in `done` are done.
    fn run(done: &[StepKind]) -> Run {
        let after = |kind| match kind {
            StepKind::Promote => vec![StepKind::Fence],
            StepKind::Repoint | StepKind::Scale => vec![StepKind::Promote],
            StepKind::Protect => vec![StepKind::Repoint, StepKind::Scale],
            _ => Vec::new(),
        };
        let t = Timestamp(7);
        let step = |kind: StepKind| {
            let ended = StepState::Done { since: t, at: t, detail: String::new() };
            let state = if done.contains(&kind) { ended } else { StepState::Pending };
            let mut step = Step::plain(kind, state).unwrap();
            step.work.after = after(kind).into_iter().map(Name::from).collect();
            step
        };
        let kinds =
            [StepKind::Fence, StepKind::Promote, StepKind::Repoint, StepKind::Scale, StepKind::Protect];
        Run {
            steps: kinds.into_iter().map(step).collect(),
            ..Run::begin(
                name("orders-2-failover"),
                name("orders"),
                RunKind::Failover,
                Epoch(2),
                name("eu"),
                t,
            )
        }
    }

    #[test]
    fn every_step_but_the_last_has_a_gap_behind_it() {
        let none = BTreeSet::new();
        assert_eq!(left(&run(&[]), &none), ["fence", "promote", "repoint", "scale"].map(name));
        let (fence, scale) = (name("fence"), name("scale"));
        assert_eq!(left(&run(&[]), &BTreeSet::from([&fence, &scale])), ["promote", "repoint"].map(name));
    }

    #[test]
    fn a_gap_is_after_a_step_and_before_all_that_wait_for_it() {
        let gaps = |done: &[StepKind]| {
            let run = run(done);
            left(&run, &BTreeSet::new()).into_iter().filter(|step| is_gap(&run, step)).collect::<Vec<_>>()
        };
        use StepKind::{Fence, Promote, Protect, Repoint, Scale};
        assert!(gaps(&[]).is_empty());
        assert_eq!(gaps(&[Fence]), [name("fence")]);
        assert_eq!(gaps(&[Fence, Promote]), [name("promote")]);
        assert_eq!(gaps(&[Fence, Promote, Scale]), [name("scale")], "repoint began beside it");
        assert_eq!(gaps(&[Fence, Promote, Scale, Repoint]), ["repoint", "scale"].map(name));
        assert!(gaps(&[Fence, Promote, Scale, Repoint, Protect]).is_empty());
    }
}
