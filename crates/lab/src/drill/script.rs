//! Plays the timeline and decides when the drill is over.

use std::time::Duration;

use meridian_model::run::RunKind;
use meridian_model::{Moment, RegionName};
use meridian_telemetry::clock;

use super::acting::{self, Killed};
use super::file::{Drill, Timed, Until, What, When};
use super::observe::Seen;
use super::stage::Stage;
use super::{DrillError, Tell};
use crate::faults::{Fault, FaultRecord};
use crate::measure::ClockPair;
use crate::regions::Lab;

/// How often it looks whether the drill is over.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often it says how it goes.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How long the load goes on after the end, so that there is an afterwards to measure.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// How long after the last entry redundancy is not yet believed: what nodes last said of themselves
/// may be from before it.
const SETTLE: Duration = Duration::from_secs(3);

/// What was played.
pub(super) struct Played {
    /// The faults, as carried out.
    pub(super) faults: Vec<FaultRecord>,
    /// The writer was to move, on purpose.
    pub(super) moves: Vec<Wanted>,
    /// How the killing between the steps of a run went, if that was wanted.
    pub(super) killed: Option<Killed>,
    /// What the drill waited for came before its time ran out.
    pub(super) reached: bool,
}

/// A move of the writer that a person or the schedule wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) to: RegionName,
    /// When it was ordered, or its hour came.
    pub(super) at: Moment,
    pub(super) by_schedule: bool,
}

/// Plays the whole timeline, then waits for the end.
pub(super) async fn play(
    lab: &Lab,
    drill: &Drill,
    stage: &Stage,
    tell: Tell<'_>,
) -> Result<Played, DrillError> {
    let start = stage.load.started_at;
    let mut player = Player {
        lab,
        drill,
        stage,
        ticker: Ticker { start, last_told: start, tell },
        last: start,
        played: Played { faults: Vec::new(), moves: Vec::new(), killed: None, reached: false },
    };
    let mut in_time = true;
    for entry in &drill.timeline {
        in_time = player.wait(entry.when).await;
        if !in_time {
            break;
        }
        player.carry_out(entry).await?;
    }
    player.played.reached = in_time && player.wait_until(Player::over).await;
    let end = if player.played.reached { "the end is reached" } else { "the time is up" };
    tell(&format!("{:6.1} s  {end}", since(start)));
    player.ticker.until(clock::now() + AFTERWARDS, stage).await;
    Ok(player.played)
}

/// A drill being played.
struct Player<'a> {
    lab: &'a Lab,
    drill: &'a Drill,
    stage: &'a Stage,
    ticker: Ticker<'a>,
    /// When the last entry had been carried out.
    last: Moment,
    played: Played,
}

impl Player<'_> {
    /// Waits for an entry; false when the time of the whole drill is up first.
    async fn wait(&mut self, when: When) -> bool {
        let moment = match when {
            When::At(at) => self.ticker.start + at,
            When::After(after) => self.last + after,
            When::AfterRedundant => return self.wait_until(Player::redundant).await,
        };
        self.ticker.until(moment, self.stage).await;
        true
    }

    /// Waits until that holds; false when the time of the whole drill is up first.
    async fn wait_until(&mut self, holds: impl Fn(&Self) -> bool) -> bool {
        let deadline = self.ticker.start + self.drill.timeout;
        while !holds(self) {
            if clock::now() >= deadline {
                return false;
            }
            self.ticker.until(clock::now() + LOOK_EVERY, self.stage).await;
        }
        true
    }

    async fn carry_out(&mut self, entry: &Timed) -> Result<(), DrillError> {
        let at = clock::now();
        match &entry.what {
            What::Fault(fault) => {
                let record = self.lab.fault(fault.clone()).await?;
                let home = || Some(self.lab.system().home(self.lab.system().databases.first()?)?.clone());
                let to = match fault {
                    Fault::Switchover { to } => Some(to.clone()),
                    Fault::Failback => home(),
                    _ => None,
                };
                self.played.moves.extend(to.map(|to| Wanted { to, at: record.at, by_schedule: false }));
                self.say(&record.fault.to_string(), &record.detail);
                self.played.faults.push(record);
            }
            What::Turn(to) => {
                self.say(&format!("the turn of {to}"), "its hour in the schedule has come");
                self.played.moves.push(Wanted { to: to.clone(), at, by_schedule: true });
            }
            What::KillActing => {
                let until = self.ticker.start + self.drill.timeout;
                let killed = acting::kill_between_steps(self.lab, self.stage.clock, until).await?;
                self.say("killing between steps", &killed.to_string());
                self.played.faults.extend(killed.faults.iter().cloned());
                self.played.killed = Some(killed);
            }
        }
        self.last = clock::now();
        Ok(())
    }

    fn say(&self, what: &str, detail: &str) {
        (self.ticker.tell)(&format!("{:6.1} s  {what}: {detail}", since(self.ticker.start)));
    }

    fn over(&self) -> bool {
        match self.drill.until {
            Until::After(time) => clock::now().since(self.ticker.start) >= time,
            Until::Protected => self.look(|seen| self.moved(seen) && protected(seen, self.drill)),
            Until::Redundant => self.redundant(),
        }
    }

    /// Everybody streams, since after the last entry, every wanted move has ended, and no run is open.
    fn redundant(&self) -> bool {
        let settled = clock::now().since(self.last) > SETTLE;
        settled && self.look(|seen| self.moved(seen) && run_over(seen, self.drill) && seen.redundant_now())
    }

    fn moved(&self, seen: &Seen) -> bool {
        self.played.moves.iter().all(|wanted| carried_out(wanted, seen, self.stage.clock))
    }

    fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        self.stage.observer.look(at)
    }
}

/// A switchover there was decided since, and has come to its end.
fn carried_out(wanted: &Wanted, seen: &Seen, clock: ClockPair) -> bool {
    let since = clock.wall(wanted.at);
    seen.runs.values().any(|run| {
        run.kind == RunKind::Switchover
            && !run.prepares()
            && run.to == wanted.to
            && run.decided_at >= since
            && run.finished()
            && run.aborted.is_none()
    })
}

/// The failover ended. A drill that expects none is protected when it is redundant.
fn protected(seen: &Seen, drill: &Drill) -> bool {
    match seen.run_since_failover() {
        Some(run) => run.finished(),
        None => drill.expect.failovers == Some(0) && seen.redundant_now(),
    }
}

/// No run is open, and the failover that the drill expects has been.
fn run_over(seen: &Seen, drill: &Drill) -> bool {
    match seen.run_since_failover() {
        Some(run) => run.finished(),
        None => drill.expect.failovers.is_none_or(|wanted| wanted == 0),
    }
}

fn since(start: Moment) -> f64 {
    clock::now().since(start).as_secs_f64()
}

/// Waits, and says how it goes meanwhile.
struct Ticker<'a> {
    start: Moment,
    last_told: Moment,
    tell: Tell<'a>,
}

impl Ticker<'_> {
    async fn until(&mut self, moment: Moment, stage: &Stage) {
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
                (self.tell)(&format!(
                    "{now:6.1} s  {all} requests, {failed} failed, {writes} writes acknowledged"
                ));
            }
        }
    }
}

/// The fault breaks something; the others mend, or move the writer on purpose.
pub(super) fn breaks(fault: &Fault) -> bool {
    !matches!(fault, Fault::Restore { .. } | Fault::Heal | Fault::Switchover { .. } | Fault::Failback)
}

#[cfg(test)]
mod tests {
    use meridian_model::run::{Run, Step, StepKind, StepState};
    use meridian_model::{Epoch, Name, Timestamp};

    use super::*;

    fn run(to: &str, decided_at: i64, state: StepState) -> Run {
        Run {
            steps: vec![Step::plain(StepKind::Protect, state).unwrap()],
            ..Run::begin(
                Name::new("orders-2-switchover").unwrap(),
                Name::new("orders").unwrap(),
                RunKind::Switchover,
                Epoch(2),
                Name::new(to).unwrap(),
                Timestamp(decided_at),
            )
        }
    }

    #[test]
    fn a_move_is_over_when_its_own_run_has_ended() {
        let done = StepState::Done { since: Timestamp(0), at: Timestamp(0), detail: String::new() };
        let clock = ClockPair { at: Moment::from_millis(1_000), wall: Timestamp(5_000) };
        let wanted =
            Wanted { to: Name::new("us").unwrap(), at: Moment::from_millis(2_000), by_schedule: false };
        let over = |run: Run| {
            let mut seen = Seen::default();
            seen.runs.insert(run.id.clone(), run);
            carried_out(&wanted, &seen, clock)
        };
        assert!(over(run("us", 6_000, done.clone())));
        assert!(!over(run("us", 5_999, done.clone())), "an earlier one");
        assert!(!over(run("eu", 6_000, done.clone())), "elsewhere");
        assert!(!over(run("us", 6_000, StepState::Pending)), "not finished");
        assert!(!over(Run { aborted: Some("no".to_owned()), ..run("us", 6_000, done.clone()) }));
        assert!(!over(Run { kind: RunKind::Failover, ..run("us", 6_000, done) }));
    }
}
