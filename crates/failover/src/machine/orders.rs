//! What is to be done now, derived from where the machine stands. The order matters: fences before
//! anything, memory before what rests on it.

use meridian_model::group::{Announcement, DatabaseRole, GroupRecord, Promise, Quorum, Terms};
use meridian_model::order::Handover;
use meridian_model::run::{RunKind, StepKind};
use meridian_model::{Epoch, Moment, Timestamp};

use super::Machine;
use super::runner::promoted;
use crate::command::{Command, DatabaseAction, Expect, Purpose, Swap};
use crate::lease::Attempt;
use crate::limits::{CONFIRM_EARLY, READ_AGAIN, RUN_WAIT, SWAP_PATIENCE};
use crate::table::State;
use meridian_model::run::Run;

/// What a compare-and-set is to write.
struct Wish {
    purpose: Purpose,
    epoch: Epoch,
    released: bool,
    handover: Option<Handover>,
    run: Option<Run>,
}

/// The fences as the runtime was last told.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    gateway: Option<(Epoch, Moment)>,
    database: Option<Moment>,
}

impl Machine {
    /// Everything that is to be done now, in order.
    pub(super) fn give_orders(&mut self) -> Vec<Command> {
        let mut out = Vec::new();
        if !self.facts.started {
            return std::mem::take(&mut self.logs);
        }
        self.fences(&mut out);
        let keepable = self.keep_again.is_none_or(|at| self.due(at, "memory is written again"));
        let action = if keepable || self.wants_stop() { self.drive() } else { None };
        let stop = matches!(action, Some(Command::Database { action: DatabaseAction::Stop, .. }));
        let (stop, action) = if stop { (action, None) } else { (None, action) };
        out.extend(stop);
        out.extend(self.hold());
        out.extend(self.block());
        self.swap(&mut out);
        out.extend(self.read());
        self.ask_promises(&mut out);
        out.extend(self.report());
        out.extend(self.run_orders());
        out.extend(self.end_steps());
        out.extend(self.end_order_again());
        out.append(&mut self.asides);
        out.append(&mut self.logs);
        let mut answers = std::mem::take(&mut self.answers);
        if keepable {
            out.extend(self.remember());
            out.append(&mut answers);
            out.extend(action);
        }
        out
    }

    // === fences ===

    fn fences(&mut self, out: &mut Vec<Command>) {
        let timers = self.config.timers;
        let base = self.base().filter(|_| self.state.holds());
        let epoch = self.lease.reign.as_ref().map_or(Epoch::NONE, |r| r.epoch);
        let gateway = base.filter(|_| self.state.serves()).map(|base| (epoch, base + timers.gateway_fence));
        if gateway != self.shown.gateway {
            out.push(match gateway {
                Some((epoch, until)) => Command::OpenWrites { epoch, until },
                None => Command::CloseWrites { reason: self.doing(self.at.now, None) },
            });
            // Clients elsewhere wait for this word.
            let opens = self.shown.gateway.is_none();
            out.extend(self.facts.record.as_ref().filter(|_| opens).and_then(|record| self.announce(record)));
            self.shown.gateway = gateway;
        }
        // While it is being stopped the last fence stays armed.
        let stopping = matches!(self.state, State::Stopped | State::Releasing) && !self.driver.stopped;
        let database = base.map(|base| base + timers.database_fence);
        if database != self.shown.database && !stopping {
            out.push(Command::DatabaseFence { at: database });
            self.shown.database = database;
        }
    }

    // === the record ===

    /// An attempt without an answer is not waited for any longer.
    pub(super) fn expire_attempt(&mut self) {
        let Some(sent) = self.lease.pending.as_ref().map(|p| p.sent_at) else { return };
        if self.due(sent + SWAP_PATIENCE, "an attempt is not waited for any longer") {
            self.lease.set_aside();
            self.facts.read_wanted |= !self.state.holds();
        }
    }

    /// The next compare-and-set of the record: one at a time, and none against a record known to be old.
    fn swap(&mut self, out: &mut Vec<Command>) {
        if self.lease.pending.is_some() || self.lease.stale.is_some() || self.facts.vanished.is_some() {
            return;
        }
        let Some(wish) = self.wish() else { return };
        let revision = self.facts.revision;
        let expect = match (&self.facts.record, &self.facts.shown) {
            (Some(told), Some(_)) => Expect::Told(Box::new(told.clone()), revision),
            (Some(_), None) => Expect::Revision(revision),
            (None, _) => Expect::Absent,
        };
        let record = self.next_record(&wish);
        self.lease.says_made = record.made;
        let number = self.lease.number();
        let (purpose, run) = (wish.purpose, wish.run);
        let attempt = Attempt {
            number,
            purpose,
            expect: expect.clone(),
            record: record.clone(),
            run: run.clone(),
            sent_at: self.at.now,
        };
        self.lease.sent(attempt);
        if purpose == Purpose::Renew || record.handover.is_some() {
            out.extend(self.announce(&record));
        }
        out.push(Command::Swap(Box::new(Swap { attempt: number, purpose, expect, record, run })));
    }

    fn announce(&self, record: &GroupRecord) -> Option<Command> {
        let (group, holder) = (record.group.clone(), record.holder.clone());
        let (epoch, renewal, writes) = (record.epoch, record.renewal, self.state.serves());
        let hands_over = record.handover.is_some().then(|| Box::new(record.clone()));
        let announcement = Announcement { group, holder, epoch, renewal, writes, hands_over };
        (!self.others.is_empty()).then_some(Command::Announce(announcement))
    }

    fn wish(&mut self) -> Option<Wish> {
        // Asked at every event: whoever only follows wants nothing.
        if matches!(self.state, State::Following | State::Idle) {
            return None;
        }
        if self.state == State::Claiming && self.lease.claimed {
            return None;
        }
        if self.state == State::HandingOver && self.lease_lasts() {
            return None;
        }
        // A database that was just made is told of at once: until then it must not be started.
        let known = !self.nothing_was_made() || self.facts.database.role == DatabaseRole::Absent;
        if let Some(last) = self.lease.last_sent
            && (known || self.lease.says_made)
            && !self.due(last + self.config.timers.renew_every, "a renewal")
        {
            return None;
        }
        let current = self.facts.record.clone();
        match (self.state, current) {
            (State::Bootstrapping, None) => Some(self.first_claim()),
            (State::Claiming, Some(record)) => {
                let run = match record.handover.as_ref().filter(|_| self.handed_to_me(&record)) {
                    Some(token) => self.switchover_run(&record, token),
                    None => self.failover_run(&record),
                };
                Some(Wish::claim(record.epoch.next(), run))
            }
            (State::Resuming, Some(record)) => self.resume_wish(&record),
            (State::Leading | State::WritesClosed, Some(record)) if self.someone_is_sealed() => {
                Some(self.raise(&record))
            }
            (state, Some(record)) if state.holds() => Some(Wish::renew(record.epoch)),
            (State::Releasing, Some(record)) if self.driver.stopped => {
                let (epoch, handover) = (record.epoch, self.handing.token());
                Some(Wish { purpose: Purpose::Release, epoch, released: true, handover, run: None })
            }
            _ => None,
        }
    }

    /// A stop in order is short: a renewal beside it would only make the release wait for its answer.
    fn lease_lasts(&mut self) -> bool {
        let Some(base) = self.base() else { return false };
        !self.due(base + self.config.timers.gateway_fence / 2, "a renewal while handing over")
    }

    fn first_claim(&self) -> Wish {
        let cause = "the group has never had a writer".to_owned();
        let run = self.new_run(RunKind::Start, Epoch(1), cause, "nobody wrote before".to_owned());
        Wish::claim(Epoch(1), run)
    }

    /// After a restart: an unfinished promotion goes on in its epoch, anything else begins a new one.
    fn resume_wish(&mut self, record: &GroupRecord) -> Option<Wish> {
        if !self.earlier_life_is_over() {
            return None;
        }
        let run = self.run().cloned();
        if let Some(run) = &run
            && run.epoch == record.epoch
            && run.aborted.is_none()
            && !promoted(run)
        {
            return Some(Wish { run: Some(run.clone()), ..Wish::renew(record.epoch) });
        }
        if record.run.is_some()
            && run.is_none()
            && !self.due(self.since + RUN_WAIT, "the run has not been seen")
        {
            return None;
        }
        let epoch = record.epoch;
        let cause = format!("{} is back and still holds epoch {epoch}", self.config.me);
        let fence = format!("epoch {epoch} was its own: its database was stopped, its gateway closed");
        Some(Wish::claim(epoch.next(), self.new_run(RunKind::Resume, epoch.next(), cause, fence)))
    }

    /// A new epoch in place: a member has sealed itself against this one and may come back only so.
    fn raise(&self, record: &GroupRecord) -> Wish {
        let epoch = record.epoch;
        let cause = format!("a member sealed itself against epoch {epoch}, whose writer is well");
        let fence = format!("{} held the lease all the time", self.config.me);
        let mut run = self.new_run(RunKind::Resume, epoch.next(), cause, fence);
        if let Some(step) = run.steps.iter_mut().find(|s| s.kind() == StepKind::Promote) {
            let (since, at) = (self.at.wall, self.at.wall);
            step.state =
                meridian_model::run::StepState::Done { since, at, detail: "it never stopped".to_owned() };
        }
        Wish::claim(epoch.next(), run)
    }

    fn next_record(&mut self, wish: &Wish) -> GroupRecord {
        let old = self.facts.record.as_ref();
        let renewal = self.lease.renewal(old.map_or(0, |r| r.renewal), self.memory.starts);
        let ours = old.and_then(|r| r.run.clone());
        let known = old.map(|r| r.wal).unwrap_or_default();
        // Whoever takes over has just looked at its log. A holder that begins anew has not opened its own yet: it is
        // as far as it was when it last led, or at least as far as was told.
        let takes_over = wish.purpose == Purpose::Claim && old.is_none_or(|r| r.holder != self.config.me);
        let led = self.facts.led_at != Moment::ZERO;
        let told = if takes_over || led { self.facts.position } else { known };
        let wal = wish.handover.as_ref().map_or(told, |token| token.end);
        let quorum = self.quorum_to_record(wish.purpose);
        GroupRecord {
            group: self.config.group.clone(),
            epoch: wish.epoch,
            holder: self.config.me.clone(),
            renewal,
            released: wish.released,
            wal: if takes_over { wal } else { wal.max(known) },
            wal_age_ms: if takes_over { 0 } else { self.wal_age() },
            terms: Some(self.terms(quorum.as_ref())),
            quorum,
            renewed_at: self.at.wall,
            made: old.is_some_and(|r| r.made) || self.facts.database.role != DatabaseRole::Absent,
            run: wish.run.as_ref().map(|r| r.id.clone()).or(ours),
            last_failover_at: self.last_failover().or(old.and_then(|r| r.last_failover_at)),
            handover: wish.handover.clone(),
        }
    }

    /// How old the position is that is told, in milliseconds. Of the position that an earlier life has told nobody
    /// knows, who has only started, for how long that life went on writing.
    fn wal_age(&self) -> u64 {
        let age = self.at.now.since(self.facts.led_at).as_millis();
        if self.facts.led_at == Moment::ZERO { u64::MAX } else { u64::try_from(age).unwrap_or(u64::MAX) }
    }

    /// What this node was told. A member of an older version does not know the quorum of a record: it claims only
    /// when the number here is its own spec's, so this is never more than that quorum promises.
    fn terms(&self, quorum: Option<&Quorum>) -> Terms {
        let promised = |spec: u32| quorum.map_or(spec, |quorum| quorum.acknowledgers.min(spec));
        let acknowledgers = self.acknowledgers().map(promised);
        let lease_ttl_ms = u64::try_from(self.config.timers.lease_ttl.as_millis()).unwrap_or(u64::MAX);
        Terms { lease_ttl_ms, members: self.config.members.clone(), acknowledgers }
    }

    /// A failover counts for the flap window from when its promotion was commanded.
    fn last_failover(&self) -> Option<Timestamp> {
        let run = self.runner.current.as_ref().filter(|_| self.runner.acted)?;
        (run.kind == RunKind::Failover).then_some(run.decided_at)
    }

    /// A linearizable look at the record, when the watch alone must not be believed.
    fn read(&mut self) -> Option<Command> {
        if !(self.facts.read_wanted || self.lease.stale.is_some() || self.must_confirm()) {
            return None;
        }
        if let Some(asked) = self.facts.read_asked
            && !self.due(asked + READ_AGAIN, "the record is read again")
        {
            return None;
        }
        self.facts.read_asked = Some(self.at.now);
        Some(Command::ReadRecord { asked: self.at.now })
    }

    /// Expiry is near, and whether the watch still brings news is worth a question.
    fn must_confirm(&mut self) -> bool {
        let waits = matches!(self.state, State::Following | State::Sealing | State::Sealed);
        let lives = self.facts.record.as_ref().is_some_and(|r| !r.released);
        if !waits || !lives || !self.facts.coordination {
            return false;
        }
        let ttl = self.facts.record.as_ref().map(|r| self.lease_ttl(r));
        let end = self.facts.learned_at + ttl.unwrap_or(self.config.timers.lease_ttl);
        let early = Moment::from_nanos(end.as_nanos()) - CONFIRM_EARLY;
        if self.facts.confirmed.is_some_and(|asked| asked >= early) {
            return false;
        }
        self.due(early, "the record is read before it expires")
    }

    // === promises ===

    /// Renewals have been missing for two periods: the others are asked directly.
    fn ask_promises(&mut self, out: &mut Vec<Command>) {
        if !self.state.holds() || self.deposed() {
            return;
        }
        let every = self.config.timers.renew_every;
        let Some((epoch, acked, asked)) = self.lease.reign.as_ref().map(|r| (r.epoch, r.acked, r.asked))
        else {
            return;
        };
        if self.others.is_empty() || !self.due(acked + every * 2, "promises are asked for") {
            return;
        }
        if let Some(asked) = asked
            && !self.due(asked + every, "promises are asked for again")
        {
            return;
        }
        let now = self.at.now;
        if let Some(reign) = &mut self.lease.reign {
            reign.asked = Some(now);
        }
        let for_ms = u64::try_from(self.config.timers.lease_ttl.as_millis()).unwrap_or(u64::MAX);
        let (group, holder) = (self.config.group.clone(), self.config.me.clone());
        let promise = Promise { group, epoch, holder, for_ms };
        out.extend(self.others.iter().map(|to| Command::AskPromise {
            to: to.clone(),
            promise: promise.clone(),
            sent_at: now,
        }));
    }

    // === memory ===

    fn remember(&mut self) -> Option<Command> {
        if self.kept.as_ref() == Some(&self.memory) && self.keep_again.is_none() {
            return None;
        }
        self.keep_again = None;
        self.kept = Some(self.memory.clone());
        Some(Command::Remember(self.memory.clone()))
    }
}

impl Wish {
    fn claim(epoch: Epoch, run: Run) -> Self {
        Self { purpose: Purpose::Claim, epoch, released: false, handover: None, run: Some(run) }
    }

    fn renew(epoch: Epoch) -> Self {
        Self { purpose: Purpose::Renew, epoch, released: false, handover: None, run: None }
    }
}
