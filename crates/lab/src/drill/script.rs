//! Plays the timeline and decides when the drill is over.

use std::time::Duration;

use meridian_model::Moment;
use meridian_telemetry::clock;

use super::file::{Drill, Until};
use super::observe::Seen;
use super::stage::Stage;
use super::{DrillError, Tell};
use crate::faults::{Fault, FaultRecord};
use crate::regions::Lab;

/// How often it looks whether the drill is over.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often it says how it goes.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How long the load goes on after the end, so that there is an afterwards to measure.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// What was played.
pub(super) struct Played {
    /// The faults, as carried out.
    pub(super) faults: Vec<FaultRecord>,
    /// What the drill waited for came before its time ran out.
    pub(super) reached: bool,
}

/// Plays the whole timeline, then waits for the end.
pub(super) async fn play(
    lab: &Lab,
    drill: &Drill,
    stage: &Stage,
    tell: Tell<'_>,
) -> Result<Played, DrillError> {
    let start = stage.load.started_at;
    let mut ticker = Ticker { start, last_told: start };
    let mut faults = Vec::new();
    for timed in &drill.timeline {
        ticker.until(start + timed.at, stage, tell).await;
        let record = lab.fault(timed.fault.clone()).await?;
        tell(&format!("{:6.1} s  {}: {}", since(start), record.fault, record.detail));
        faults.push(record);
    }
    let deadline = start + drill.timeout;
    while !over(drill, stage, &faults, start) && clock::now() < deadline {
        ticker.until(clock::now() + LOOK_EVERY, stage, tell).await;
    }
    let reached = over(drill, stage, &faults, start);
    tell(&format!(
        "{:6.1} s  {}",
        since(start),
        if reached { "the end is reached" } else { "the time is up" }
    ));
    ticker.until(clock::now() + AFTERWARDS, stage, tell).await;
    Ok(Played { faults, reached })
}

fn over(drill: &Drill, stage: &Stage, faults: &[FaultRecord], start: Moment) -> bool {
    let last = faults.last().map_or(start, |f| f.done_at);
    match drill.until {
        Until::After(time) => clock::now().since(start) >= time,
        Until::Protected => stage.observer.look(|seen| protected(seen, drill)),
        Until::Redundant => stage.observer.look(|seen| redundant(seen, drill, last)),
    }
}

/// The failover ended. A drill that expects none is protected when it is redundant.
fn protected(seen: &Seen, drill: &Drill) -> bool {
    match seen.run_since_failover() {
        Some(run) => run.finished(),
        None => drill.expect.failovers == Some(0) && seen.redundant_now(),
    }
}

/// Everybody streams again, since after the last entry of the timeline, and no run is open.
fn redundant(seen: &Seen, drill: &Drill, last: Moment) -> bool {
    let settled = clock::now().since(last) > SETTLE;
    let run_over = match seen.run_since_failover() {
        Some(run) => run.finished(),
        None => drill.expect.failovers.is_none_or(|wanted| wanted == 0),
    };
    settled && run_over && seen.redundant_now()
}

/// How long after the last entry redundancy is not yet believed: what nodes last said of themselves
/// may be from before it.
const SETTLE: Duration = Duration::from_secs(3);

fn since(start: Moment) -> f64 {
    clock::now().since(start).as_secs_f64()
}

/// Waits, and says how it goes meanwhile.
struct Ticker {
    start: Moment,
    last_told: Moment,
}

impl Ticker {
    async fn until(&mut self, moment: Moment, stage: &Stage, tell: Tell<'_>) {
        loop {
            let left = moment.since(clock::now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
            if clock::now().since(self.last_told) >= TELL_EVERY {
                self.last_told = clock::now();
                let p = stage.load.progress();
                let (all, failed, writes) = (p.requests, p.failed, p.acknowledged);
                let now = since(self.start);
                tell(&format!("{now:6.1} s  {all} requests, {failed} failed, {writes} writes acknowledged"));
            }
        }
    }
}

/// The fault breaks something; the others mend.
pub(super) fn breaks(fault: &Fault) -> bool {
    !matches!(fault, Fault::Restore { .. } | Fault::Heal | Fault::Switchover { .. })
}
