//! Events become facts. Nothing is decided here but what is too old to be believed.

use std::sync::Arc;
use std::time::Duration;

use meridian_model::group::{DatabaseRole, DatabaseStatus, GroupRecord, MemberReport, Promise};
use meridian_model::health::{Health, RegionHealth};
use meridian_model::name::RegionName;
use meridian_model::{Epoch, Moment};

use super::Machine;
use super::facts::{FirstDown, MemberSeen, out_of_reach};
use crate::command::{Command, Level, Purpose};
use crate::event::{Event, Memory, Outcome, PromiseKept};
use crate::lease::{Attempt, Reign};
use crate::table::State;

/// A record that is older than what was heard of, or gone, is told when it has been so for that long.
const VANISHED_TOLD_AFTER: Duration = Duration::from_secs(2);

impl Machine {
    /// Takes an event in.
    pub(super) fn take_in(&mut self, event: Event) {
        match event {
            Event::Started { database, memory } => self.started(database, memory),
            Event::Tick => {}
            Event::Coordination { reachable } => self.facts.hear_of_coordination(reachable, self.at.now),
            Event::Record { record, revision, asked } => self.heard_record(record, revision, asked),
            Event::Member(report) => self.heard_member(report),
            Event::Run(run) => self.runner.saw(run),
            Event::Regions(regions) => self.heard_regions(regions),
            Event::Swapped { attempt, outcome } => self.swapped(attempt, &outcome),
            Event::Journalled { attempt, outcome } => self.journalled(attempt, &outcome),
            Event::Announced(a) if a.group == self.config.group => {
                self.facts.heard_of(a, self.at.now);
            }
            Event::Announced(_) => {}
            Event::PromiseAsked { ask, promise } => self.asked_for_promise(ask, promise),
            Event::PromiseAnswer { from, epoch, sent_at, granted } => {
                self.promised(from, epoch, sent_at, granted);
            }
            Event::Database(status) => self.heard_database(status),
            Event::Finished { id, result } => self.finished(id, result),
            Event::NotRemembered { reason } => self.not_remembered(reason),
            Event::StepDone { run, step, detail } => self.step_done(&run, &step, detail),
            Event::StepFailed { run, step, reason } => self.step_failed(&run, &step, &reason),
            Event::Held { from, hold, busy } => self.held(from, hold, busy),
            Event::Ordered(order) => self.ordered(order),
            Event::Words(words) => self.runner.heard(words),
            Event::Maintenance(maintenance) => self.facts.maintenance = maintenance,
            Event::StepDown { reason } => {
                self.log(Level::Warn, format!("asked to step down: {reason}"));
                self.facts.step_down = true;
            }
        }
    }

    fn started(&mut self, database: DatabaseStatus, memory: Option<Memory>) {
        let unknown = memory.is_none() && database.role != DatabaseRole::Absent;
        self.kept.clone_from(&memory);
        self.memory = memory.unwrap_or_default();
        self.memory.starts = self.memory.starts.wrapping_add(1);
        self.facts.own_epoch =
            (self.memory.holder.as_ref() == Some(&self.config.me)).then_some(self.memory.epoch);
        // Data without a memory may have been a primary's.
        self.memory.must_rejoin |= unknown;
        if let Some(promise) = &self.memory.promise {
            let length = Duration::from_millis(promise.for_ms);
            self.facts.promised_until = self.at.now + length + self.config.timers.drift();
        }
        self.facts.set_database(database, self.at.now);
        self.facts.started = true;
    }

    // === the record ===

    fn heard_record(&mut self, record: Option<GroupRecord>, revision: i64, asked: Option<Moment>) {
        // Only a read that was sent after the last news can show that etcd went back in time.
        let fresh = asked.is_some_and(|asked| asked >= self.facts.news_at);
        if asked.is_some() {
            self.facts.read_wanted = false;
        }
        if revision < self.facts.revision && !fresh {
            self.facts.read_wanted |= record.is_none();
            return;
        }
        match record {
            Some(record) if record.epoch < self.memory.epoch => {
                let (old, new) = (record.epoch, self.memory.epoch);
                self.vanished(format!("etcd has epoch {old} although epoch {new} was seen"));
            }
            Some(record) => self.learn(record, revision, asked),
            None if self.memory.epoch > Epoch::NONE => {
                self.vanished(format!("etcd has no record although epoch {} was seen", self.memory.epoch));
            }
            None => {}
        }
        self.facts.silence =
            self.facts.silence.filter(|silence| asked.is_none_or(|asked| asked < silence.end));
        self.facts.record_known = true;
    }

    fn vanished(&mut self, why: String) {
        if self.facts.vanished.is_none() {
            self.facts.vanished_untold = Some(self.at.now);
        }
        self.lease.stale = None;
        self.facts.vanished = Some(why);
    }

    /// What etcd showed may be a moment behind a claim that was heard of from its holder: only what stays so is told.
    pub(super) fn tell_vanished(&mut self) {
        let Some(since) = self.facts.vanished_untold else { return };
        if let Some(why) = &self.facts.vanished
            && self.at.now.since(since) >= VANISHED_TOLD_AFTER
        {
            let text = format!("{why}: was it wiped or restored? A person must look");
            self.facts.vanished_untold = None;
            self.log(Level::Warn, text);
        }
    }

    /// Believes a record: from the watch, from a read, or because our own write of it was acknowledged.
    fn learn(&mut self, record: GroupRecord, revision: i64, asked: Option<Moment>) {
        self.facts.vanished = None;
        self.facts.vanished_untold = None;
        if self.lease.stale.is_some_and(|stale| stale != revision) {
            self.lease.stale = None;
        }
        if revision == self.facts.revision && self.facts.record.is_some() {
            self.facts.confirmed = self.facts.confirmed.max(asked);
            // The compare that failed was not for another record.
            if asked.is_some() {
                self.lease.stale = None;
            }
            return;
        }
        self.note_change(&record);
        if record.holder == self.config.me
            && let Some(attempt) = self.lease.recognise(&record)
        {
            self.won(attempt);
        }
        // The holder's right to write is counted from before it announced a renewal.
        let announced = self.facts.announced_at(&record);
        let learned_at = announced.unwrap_or(self.at.now);
        // After a gap nobody knows how long ago this was written, so it does not say how far the holder is now.
        let current = !std::mem::take(&mut self.facts.missed_news) || announced.is_some();
        if current && record.wal_age_ms < u64::MAX {
            let told_at = self.facts.not_later(learned_at);
            self.facts.saw_wal(record.wal, told_at - Duration::from_millis(record.wal_age_ms));
        }
        self.facts.news_at = self.at.now;
        self.facts.revision = revision;
        self.facts.learned_at = learned_at;
        self.facts.confirmed = None;
        self.facts.record = Some(record);
        self.facts.shown = None;
        self.facts.record_known = true;
    }

    /// What a record says that the last one did not.
    fn note_change(&mut self, new: &GroupRecord) {
        let old = self.facts.record.as_ref();
        let new_holder = old.is_none_or(|old| old.holder != new.holder);
        if new_holder {
            self.facts.holder_down = None;
        }
        if new_holder || old.is_none_or(|old| old.epoch != new.epoch) {
            // The winner's log ended there when it won; more of the same timeline here is not its.
            let here = self.facts.position;
            let known = old.is_some() && new.wal.timeline == here.timeline;
            self.facts.diverged |= new_holder && known && here.lsn > new.wal.lsn;
            self.facts.wal_seen.clear();
        }
        if let Some(at) = new.last_failover_at
            && self.facts.flap_seen.is_none_or(|(seen, _)| seen != at)
        {
            self.facts.flap_seen = Some((at, self.at.now));
        }
        self.memory.epoch = self.memory.epoch.max(new.epoch);
        self.memory.holder = Some(new.holder.clone());
    }

    /// One of our own attempts is in etcd: the right to write counts from when it was sent.
    fn won(&mut self, attempt: Attempt) {
        if !self.may_use(&attempt) {
            return;
        }
        let epoch = attempt.record.epoch;
        self.facts.own_epoch = Some(epoch);
        match &mut self.lease.reign {
            Some(reign) if reign.epoch == epoch => reign.acked = reign.acked.max(attempt.sent_at),
            reign => {
                let (acked, promises) = (attempt.sent_at, std::collections::BTreeMap::new());
                *reign = Some(Reign { epoch, acked, promises, asked: None });
            }
        }
        if let Some(run) = attempt.run {
            self.runner.begin(run, self.at.now);
        }
    }

    /// A write of ours that came through late is a right only where it was wanted; elsewhere the record
    /// merely says that it is ours, and the right is won anew.
    fn may_use(&self, attempt: &Attempt) -> bool {
        match (attempt.purpose, self.state) {
            (Purpose::Renew, State::Resuming) => attempt.run.is_some(),
            (Purpose::Claim, State::Sealed | State::Claiming | State::Bootstrapping | State::Resuming) => {
                true
            }
            (Purpose::Renew | Purpose::Claim, state) => state.holds(),
            (Purpose::Release, _) => false,
        }
    }

    fn swapped(&mut self, number: u64, outcome: &Outcome) {
        if let Some((record, revision)) = self.lease.settle(number, outcome)
            && revision > self.facts.revision
            && record.epoch >= self.memory.epoch
        {
            self.learn(record, revision, None);
        }
        if self.lease.stale.is_some_and(|stale| stale < self.facts.revision) {
            self.lease.stale = None;
        }
        self.facts.read_wanted |= matches!(outcome, Outcome::Unknown(_)) && !self.state.holds();
    }

    // === others ===

    fn heard_member(&mut self, report: MemberReport) {
        if report.region == self.config.me {
            return;
        }
        let well = report.database.streaming || report.database.role == DatabaseRole::Primary;
        let before = self.facts.members.get(&report.region).and_then(|m| m.well_at);
        let well_at = if well { Some(self.at.now) } else { before };
        let seen = MemberSeen { at: self.at.now, well_at, report };
        self.facts.members.insert(seen.report.region.clone(), seen);
    }

    fn heard_regions(&mut self, regions: Arc<Vec<RegionHealth>>) {
        self.facts.regions = regions;
        self.facts.regions_at = self.at.now;
        let Some(holder) = self.facts.record.as_ref().map(|r| r.holder.clone()) else { return };
        let lost = |r: &RegionHealth| r.health == Health::Down || out_of_reach(r);
        let seen = self.facts.regions.iter().find(|r| r.region == holder);
        if seen.is_some_and(lost) {
            if self.facts.holder_down.is_none() {
                let verdict = self.facts.verdict(&holder);
                self.facts.holder_down = Some(FirstDown { at: self.at.now, wall: self.at.wall, verdict });
            }
            return;
        }
        // A verdict flickers while reports come late. Only a sign of life ends what was seen first.
        let up = seen.is_some_and(|r| r.health == Health::Up);
        let renewed_at = self.facts.learned_at;
        self.facts.holder_down.take_if(|down| up || renewed_at > down.at);
    }

    /// Someone who cannot renew asks that nobody takes over.
    fn asked_for_promise(&mut self, ask: u64, promise: Promise) {
        let (granted, reason) = match self.refusal(&promise) {
            Some(reason) => (false, reason),
            None => {
                let length = Duration::from_millis(promise.for_ms);
                let until = self.at.now + length + self.config.timers.drift();
                self.facts.promised_until = self.facts.promised_until.max(until);
                self.facts.promised_at = self.at.now;
                self.memory.epoch = self.memory.epoch.max(promise.epoch);
                let (holder, epoch, for_ms) = (promise.holder, promise.epoch, promise.for_ms);
                self.memory.promise = Some(PromiseKept { holder, epoch, for_ms });
                (true, format!("for {for_ms} ms"))
            }
        };
        self.answers.push(Command::AnswerPromise { ask, granted, reason });
    }

    /// Why a promise cannot be given.
    fn refusal(&self, promise: &Promise) -> Option<String> {
        let longest = self.config.timers.lease_ttl.saturating_mul(2).as_millis();
        let other = self
            .facts
            .record
            .as_ref()
            .filter(|r| r.epoch == promise.epoch && r.holder != promise.holder)
            .map(|r| r.holder.clone());
        let taking_over = self.state.holds() || matches!(self.state, State::Claiming | State::Bootstrapping);
        if !self.facts.started {
            Some("this member has only just started".to_owned())
        } else if promise.group != self.config.group {
            Some(format!("this is a member of {}", self.config.group))
        } else if promise.epoch < self.memory.epoch {
            Some(format!("epoch {} has begun", self.memory.epoch))
        } else if let Some(other) = other {
            Some(format!("{other} holds epoch {}", promise.epoch))
        } else if self.memory.sealed.is_some_and(|sealed| sealed >= promise.epoch) {
            Some(format!("sealed for epoch {}", promise.epoch))
        } else if taking_over {
            Some(format!("this member is {}", self.state))
        } else if u128::from(promise.for_ms) > longest {
            Some(format!("at most {longest} ms are promised"))
        } else {
            None
        }
    }

    fn promised(&mut self, from: RegionName, epoch: Epoch, sent_at: Moment, granted: bool) {
        match &mut self.lease.reign {
            Some(reign) if granted && reign.epoch == epoch && sent_at <= self.at.now => {
                let last = reign.promises.entry(from).or_insert(sent_at);
                *last = (*last).max(sent_at);
            }
            Some(reign) if !granted && reign.epoch == epoch => {
                self.log(Level::Warn, format!("{from} gives no promise for epoch {epoch}"));
            }
            _ => {}
        }
    }
}
