//! What a group does, told to telemetry: seen from the events that go into the machine and the commands
//! that come out of it, so that the machine need not know that anybody listens.

use std::collections::HashMap;
use std::time::Duration;

use meridian_failover::{Command, DatabaseAction, Event, Machine, Outcome, Purpose, State, Swap};
use meridian_model::group::{DatabaseRole, DatabaseStatus, Promise, Quorum};
use meridian_model::run::{Run, Step, StepKind, StepState};
use meridian_model::{Epoch, GroupName, Moment, Name, RegionName};
use meridian_telemetry::events::{
    DatabaseFenced, DatabaseRestarted, EpochClaimed, EpochObserved, FenceReason, LeaseRenewalFailed,
    LeaseRenewed, PromiseAnswered, QuorumChanged, ReplicationMeasured, RpoWatched, RunEnded, RunFinished,
    StepFinished, StepStarted, WaitExplained, WritesClosed, WritesOpened,
};
use meridian_telemetry::{Metrics, spans};
use tracing::Span;

/// Compare-and-sets and promises whose end is awaited; older ones are forgotten.
const AWAITED_MAX: usize = 64;

/// Remembers what has begun, to tell how it ended.
pub(super) struct Teller {
    group: GroupName,
    me: RegionName,
    regions: Vec<RegionName>,
    metrics: Metrics,
    swaps: HashMap<u64, (Swap, Moment)>,
    asked: HashMap<u64, Promise>,
    /// Writes are open until then.
    open_until: Option<Moment>,
    /// The number of the running stop or restart of the database, and since when.
    stopping: Option<(u64, Moment)>,
    restarting: Option<u64>,
    restarts: u32,
    seen: Option<(Epoch, Option<RegionName>)>,
    waits: Option<String>,
    quorum: Option<Quorum>,
    breach: bool,
    run: Option<Told>,
}

/// A run of this node as it was last told, with its open spans.
struct Told {
    run: Run,
    span: Span,
    steps: Vec<(Name, Span)>,
}

impl Teller {
    pub(super) fn new(group: GroupName, me: RegionName, regions: Vec<RegionName>, metrics: Metrics) -> Self {
        Self {
            group,
            me,
            regions,
            metrics,
            swaps: HashMap::new(),
            asked: HashMap::new(),
            open_until: None,
            stopping: None,
            restarting: None,
            restarts: 0,
            seen: None,
            waits: None,
            quorum: None,
            breach: false,
            run: None,
        }
    }

    /// One step of the machine: what went in, what came out, and how it stands now.
    pub(super) fn turn(&mut self, event: &Event, commands: &[Command], machine: &Machine, now: Moment) {
        self.heard(event, machine, now);
        let by_promise = if let Event::PromiseAnswer { sent_at, .. } = event { Some(*sent_at) } else { None };
        for command in commands {
            self.ordered(command, by_promise, machine, now);
        }
        self.follow_run(machine);
        self.who_writes(machine, now);
        self.who_acknowledges(machine);
        self.why_not(machine, now);
    }

    /// The node stops, and with it the writing.
    pub(super) fn shutdown(&mut self, machine: &Machine) {
        if self.open_until.take().is_some() {
            let (group, epoch) = (&self.group, machine.epoch());
            WritesClosed { group, epoch, reason: FenceReason::Shutdown }.emit(&self.metrics);
        }
    }

    // === what went in ===

    fn heard(&mut self, event: &Event, machine: &Machine, now: Moment) {
        match event {
            Event::Swapped { attempt, outcome } => self.swapped(*attempt, outcome, now),
            Event::PromiseAsked { ask, promise } => keep(&mut self.asked, *ask, promise.clone()),
            Event::Finished { id, result } => self.finished(*id, result.as_ref().err(), machine, now),
            Event::StepFailed { step, reason, .. } => self.step_failed(step, reason),
            Event::Database(status) => self.replication(status, machine),
            _ => {}
        }
    }

    fn swapped(&mut self, attempt: u64, outcome: &Outcome, now: Moment) {
        let Some((swap, sent)) = self.swaps.remove(&attempt) else { return };
        let (group, epoch) = (&self.group, swap.record.epoch);
        let remaining = self.open_until.map_or(Duration::ZERO, |until| until.since(now));
        match (swap.purpose, outcome) {
            (Purpose::Renew, Outcome::Done(_)) => {
                LeaseRenewed { group, epoch, took: now.since(sent), by_promises: false }.emit(&self.metrics);
            }
            (Purpose::Renew, Outcome::Lost) => {
                let reason = "the record was changed by somebody else, or by an earlier attempt";
                LeaseRenewalFailed { group, epoch, lost: true, reason, remaining }.emit(&self.metrics);
            }
            (Purpose::Renew, Outcome::Unknown(reason)) => {
                LeaseRenewalFailed { group, epoch, lost: false, reason, remaining }.emit(&self.metrics);
            }
            (Purpose::Claim, Outcome::Done(_)) => {
                if let Some(run) = &swap.run {
                    EpochClaimed { group, epoch, kind: run.kind, run: &run.id, cause: &run.cause }
                        .emit(&self.metrics);
                }
            }
            _ => {}
        }
    }

    fn finished(&mut self, id: u64, failure: Option<&String>, machine: &Machine, now: Moment) {
        if let Some((stop, since)) = self.stopping
            && stop == id
        {
            self.stopping = None;
            let (group, epoch, took) = (&self.group, machine.epoch(), now.since(since));
            DatabaseFenced { group, epoch, reason: reason(machine.state()), took }.emit(&self.metrics);
        }
        if self.restarting == Some(id) {
            self.restarting = None;
            self.restarts += 1;
            let reason = failure.map_or("its process had ended", String::as_str);
            DatabaseRestarted { group: &self.group, attempt: self.restarts, reason }.emit(&self.metrics);
        }
    }

    fn step_failed(&self, step: &Name, reason: &str) {
        let Some(Told { run, .. }) = &self.run else { return };
        let Some(step) = run.step(step).map(Step::kind) else { return };
        let (group, outcome) = (&self.group, Err(reason));
        StepFinished { group, run: &run.id, epoch: run.epoch, step, took: Duration::ZERO, outcome }
            .emit(&self.metrics);
    }

    fn replication(&self, status: &DatabaseStatus, machine: &Machine) {
        if status.role == DatabaseRole::Primary {
            for standby in &status.standbys {
                let lag_bytes = status.received.lsn.0.saturating_sub(standby.flushed.0);
                let (group, standby) = (&self.group, &standby.region);
                ReplicationMeasured { group, standby, lag_bytes, lag: None }.emit(&self.metrics);
            }
        }
        if let (DatabaseRole::Standby, Some(lag), Some(record)) =
            (status.role, status.replay_lag_ms, machine.record())
        {
            let lag_bytes = record.wal.lsn.0.saturating_sub(status.received.lsn.0);
            let (group, standby, lag) = (&self.group, &self.me, Some(Duration::from_millis(lag)));
            ReplicationMeasured { group, standby, lag_bytes, lag }.emit(&self.metrics);
        }
    }

    // === what came out ===

    fn ordered(&mut self, command: &Command, by_promise: Option<Moment>, machine: &Machine, now: Moment) {
        let group = &self.group;
        match command {
            Command::Swap(swap) => keep(&mut self.swaps, swap.attempt, ((**swap).clone(), now)),
            Command::OpenWrites { epoch, until } => {
                if let Some(sent) = by_promise {
                    LeaseRenewed { group, epoch: *epoch, took: now.since(sent), by_promises: true }
                        .emit(&self.metrics);
                }
                if self.open_until.replace(*until).is_none() {
                    WritesOpened { group, epoch: *epoch }.emit(&self.metrics);
                }
            }
            Command::CloseWrites { .. } => {
                self.open_until = None;
                let (epoch, reason) = (machine.epoch(), reason(machine.state()));
                WritesClosed { group, epoch, reason }.emit(&self.metrics);
            }
            Command::AnswerPromise { ask, granted, reason } => {
                if let Some(Promise { holder, epoch, .. }) = self.asked.remove(ask) {
                    let refused = (!granted).then_some(reason.as_str());
                    PromiseAnswered { group, holder: &holder, epoch, refused }.emit(&self.metrics);
                }
            }
            Command::Database { id, action: DatabaseAction::Stop } => self.stopping = Some((*id, now)),
            Command::Database { id, action: DatabaseAction::StartPrimary { .. } }
                if machine.state() == State::Restarting =>
            {
                self.restarting = Some(*id);
            }
            _ => {}
        }
    }

    // === how it stands ===

    /// Tells of every step of this node's run that has begun or ended since the last time: of the run that made its
    /// reign, and later of the one that prepares a switchover.
    fn follow_run(&mut self, machine: &Machine) {
        let made = || machine.run().filter(|run| run.to == self.me);
        let Some(run) = machine.preparation().or_else(made) else {
            self.run = None;
            return;
        };
        let same = self.run.as_ref().is_some_and(|told| told.run.id == run.id);
        if !same {
            // One that is over takes no more time.
            let span = match run.finished() {
                true => Span::none(),
                false => spans::run(&run.id, &self.group, run.kind, run.epoch),
            };
            // The run of an earlier life of this node, or one that has just been made: nothing was told.
            let fresh = !run.of_kind(StepKind::Promote).is_some_and(Step::done);
            let mut told = run.clone();
            if fresh {
                told.steps.iter_mut().for_each(|s| s.state = StepState::Pending);
            }
            self.run = Some(Told { run: told, span, steps: Vec::new() });
        }
        let Some(told) = self.run.as_mut().filter(|told| told.run != *run) else { return };
        for (old, new) in told.run.steps.iter().zip(&run.steps) {
            let (group, id, epoch, step) = (&self.group, &run.id, run.epoch, new.kind());
            let begins = old.state == StepState::Pending && new.state != StepState::Pending;
            if begins {
                let span = told.span.in_scope(|| spans::step(id, group, step));
                told.steps.push((new.work.name.clone(), span));
                StepStarted { group, run: id, epoch, step }.emit(&self.metrics);
            }
            if let StepState::Done { since, at, detail } = &new.state
                && !matches!(old.state, StepState::Done { .. })
            {
                told.steps.retain(|(name, _)| *name != new.work.name);
                let took = Duration::from_millis(u64::try_from(at.0.saturating_sub(since.0)).unwrap_or(0));
                StepFinished { group, run: id, epoch, step, took, outcome: Ok(detail) }.emit(&self.metrics);
            }
        }
        if let (Some(reason), None) = (&run.aborted, &told.run.aborted) {
            let (group, id, epoch) = (&self.group, &run.id, run.epoch);
            RunEnded { group, run: id, epoch, reason }.emit();
            told.span = Span::none();
        } else if run.prepares() && run.finished() {
            // The switchover is the next reign's run: nothing is protected by this one.
            told.span = Span::none();
        } else if run.finished() && !told.run.finished() {
            let last = run.steps.iter().filter_map(|s| match s.state {
                StepState::Done { at, .. } => Some(at.0),
                _ => None,
            });
            let took = last.max().unwrap_or_default().saturating_sub(run.decided_at.0);
            let took = Duration::from_millis(u64::try_from(took).unwrap_or(0));
            let (group, id, kind, epoch) = (&self.group, &run.id, run.kind, run.epoch);
            RunFinished { group, run: id, kind, epoch, took }.emit(&self.metrics);
            told.span = Span::none();
        }
        told.run = run.clone();
    }

    fn who_writes(&mut self, machine: &Machine, now: Moment) {
        let state = machine.group_state(now);
        let seen = (state.epoch, state.writer);
        if self.seen.as_ref() != Some(&seen) {
            let (group, regions, epoch) = (&self.group, self.regions.as_slice(), seen.0);
            EpochObserved { group, epoch, writer: seen.1.as_ref(), regions }.emit(&self.metrics);
            self.seen = Some(seen);
        }
    }

    /// Whose acknowledgements the record counts, and whether the RPO is kept.
    fn who_acknowledges(&mut self, machine: &Machine) {
        let group = &self.group;
        let quorum = machine.record().and_then(|record| record.quorum.as_ref());
        if let Some(Quorum { acknowledgers, candidates }) =
            quorum.filter(|q| self.quorum.as_ref() != Some(*q))
        {
            QuorumChanged { group, acknowledgers: *acknowledgers, candidates }.emit(&self.metrics);
            self.quorum = quorum.cloned();
        }
        let breach = machine.rpo_breach();
        if breach.is_some() != self.breach {
            self.breach = breach.is_some();
            let breach = breach.map(|breach| (breach.reason.as_str(), breach.on));
            RpoWatched { group, breach }.emit(&self.metrics);
        }
    }

    /// Why there is no failover although the writer is not well: told when the rule is another.
    fn why_not(&mut self, machine: &Machine, now: Moment) {
        let expired = machine.group_state(now).writer.is_none();
        let waits = matches!(machine.state(), State::Following | State::Sealing | State::Sealed) && expired;
        if !waits {
            self.waits = None;
            return;
        }
        let explanation = machine.explain(now);
        let Some(rule) = explanation.rules.iter().find(|rule| !rule.allows) else { return };
        let name = format!("{:?}", rule.rule);
        if self.waits.as_ref() != Some(&name) {
            WaitExplained { group: &self.group, rule: &name, evidence: &rule.evidence }.emit(&self.metrics);
            self.waits = Some(name);
        }
    }
}

/// Why writes are closed or the database is stopped, by the state that it led to.
fn reason(state: State) -> FenceReason {
    match state {
        State::Restarting => FenceReason::DatabaseFailed,
        State::Releasing | State::Released => FenceReason::Released,
        State::Starting | State::Following | State::Rejoining | State::Cloning => FenceReason::NewerEpoch,
        _ => FenceReason::RightExpired,
    }
}

fn keep<T>(map: &mut HashMap<u64, T>, key: u64, value: T) {
    if map.len() >= AWAITED_MAX
        && let Some(oldest) = map.keys().min().copied()
    {
        map.remove(&oldest);
    }
    map.insert(key, value);
}

#[cfg(test)]
mod tests;
