//! The rules on the way to a failover: each says yes with its evidence, or no with its evidence.
//!
//! The same functions decide and explain, so an explanation can never differ from the decision.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::time::Duration;

use meridian_model::Moment;
use meridian_model::database::Replication;
use meridian_model::group::{DatabaseRole, GroupRecord, WalPosition};
use meridian_model::health::Health;
use meridian_model::name::RegionName;

use super::Machine;
use super::facts::out_of_reach;
use crate::explain::{Explanation, Rule, RuleState};
use crate::limits::{CONFIRM_EARLY, SEAL_WAIT};
use crate::table::State;

/// A rule's no.
#[derive(Debug, Clone)]
pub(super) struct Blocked {
    pub(super) evidence: Cow<'static, str>,
    /// When the answer may change by time alone, and what happens then.
    pub(super) until: Option<(Moment, &'static str)>,
}

/// Yes or no, with the evidence.
pub(super) type Ruling = Result<String, Blocked>;
type Judge = fn(&Machine, &GroupRecord, Moment) -> Ruling;

/// Why a standby wakes up when nothing happens.
const LEASE_EXPIRES: &str = "the holder's lease expires";

/// What must hold before a member cuts itself off from the holder.
const SEAL_RULES: [(Rule, Judge); 9] = [
    (Rule::CoordinationReachable, Machine::coordination_reachable),
    (Rule::SameTerms, Machine::same_terms),
    (Rule::LeaseExpired, Machine::lease_expired),
    (Rule::HolderDown, Machine::holder_down),
    (Rule::NoPromise, Machine::no_promise),
    (Rule::Successor, Machine::successor_has_time),
    (Rule::FlapWindow, Machine::flap_window),
    (Rule::Maintenance, Machine::no_maintenance),
    (Rule::Approved, Machine::is_approved),
];

/// What must hold before a member takes what was handed to it.
const HANDOVER_RULES: [(Rule, Judge); 4] = [
    (Rule::CoordinationReachable, Machine::coordination_reachable),
    (Rule::SameTerms, Machine::same_terms),
    (Rule::LeaseExpired, Machine::lease_expired),
    (Rule::NoPromise, Machine::no_promise),
];

/// What must hold besides before a sealed member claims the next epoch.
const CLAIM_RULES: [(Rule, Judge); 3] = [
    (Rule::Sealed, Machine::is_sealed),
    (Rule::ProofOfData, Machine::proof_of_data),
    (Rule::MostAdvanced, Machine::most_advanced),
];

impl Machine {
    /// Why this member acts or does not act.
    #[must_use]
    pub fn explain(&self, now: Moment) -> Explanation {
        let Some(record) = &self.facts.record else {
            return self.explanation(now, Vec::new());
        };
        let rules = SEAL_RULES.iter().chain(&CLAIM_RULES).map(|(rule, judge)| {
            let (allows, evidence) = match judge(self, record, now) {
                Ok(evidence) => (true, evidence),
                Err(blocked) => (false, blocked.evidence.into_owned()),
            };
            RuleState { rule: *rule, allows, evidence }
        });
        let rules = rules.chain(self.explain_order(now));
        self.explanation(now, rules.collect())
    }

    fn explanation(&self, now: Moment, rules: Vec<RuleState>) -> Explanation {
        let would_act = !rules.is_empty() && rules.iter().all(|r| r.allows);
        let blocked = rules.iter().find(|r| !r.allows).map(|r| r.evidence.clone());
        Explanation { state: self.state, doing: self.doing(now, blocked), would_act, rules }
    }

    pub(super) fn may_seal(&self, now: Moment) -> Result<(), Blocked> {
        // By far the most frequent answer, at every event of a standby: known without a word of evidence.
        if let Some(end) = self.facts.record.as_ref().and_then(|record| self.runs_until(record, now)) {
            return Err(Blocked { evidence: Cow::Borrowed(""), until: Some((end, LEASE_EXPIRES)) });
        }
        self.judge(&SEAL_RULES, now)
    }

    pub(super) fn may_claim(&self, now: Moment) -> Result<(), Blocked> {
        self.judge(&SEAL_RULES, now)?;
        self.judge(&CLAIM_RULES, now)
    }

    /// The holder has handed over to this member, and nothing speaks against taking it.
    pub(super) fn may_take_over(&self, now: Moment) -> Result<(), Blocked> {
        self.in_time_to_take(now)?;
        self.judge(&HANDOVER_RULES, now)
    }

    fn judge(&self, rules: &[(Rule, Judge)], now: Moment) -> Result<(), Blocked> {
        let record = self.facts.record.as_ref().ok_or_else(|| no("there is no record"))?;
        rules.iter().try_for_each(|(_, judge)| judge(self, record, now).map(drop))
    }

    // === the rules ===

    fn coordination_reachable(&self, _: &GroupRecord, _: Moment) -> Ruling {
        self.coordination_answers()
    }

    pub(super) fn coordination_answers(&self) -> Ruling {
        match &self.facts.vanished {
            Some(why) => Err(no(why.clone())),
            None if self.facts.coordination => Ok("etcd answers".to_owned()),
            None => Err(no("etcd cannot be reached from here")),
        }
    }

    /// The holder acknowledged by its own spec; a proof by another one would prove nothing.
    fn same_terms(&self, record: &GroupRecord, _: Moment) -> Ruling {
        let Some(there) = &record.terms else { return Ok("the record names no terms".to_owned()) };
        let holder = &record.holder;
        if there.members != self.config.members {
            return Err(no(format!("the spec of {holder} has other members than the spec here")));
        }
        // How many acknowledge stands in the record.
        if there.acknowledgers.is_some() != self.acknowledgers().is_some() {
            return Err(no(format!("the spec of {holder} has another `replication` than the spec here")));
        }
        Ok(format!("the spec of {holder} has the same members and mode of replication"))
    }

    /// For how long a renewal of this record is good: by the spec of the holder or the one here,
    /// whichever is longer.
    pub(super) fn lease_ttl(&self, record: &GroupRecord) -> Duration {
        let told = record.terms.as_ref().map(|terms| Duration::from_millis(terms.lease_ttl_ms));
        told.unwrap_or_default().max(self.config.timers.lease_ttl)
    }

    /// When the lease of this record expires, if that is still to come.
    fn runs_until(&self, record: &GroupRecord, now: Moment) -> Option<Moment> {
        let end = self.facts.learned_at + self.lease_ttl(record);
        (!record.released && now < end).then_some(end)
    }

    fn lease_expired(&self, record: &GroupRecord, now: Moment) -> Ruling {
        let (holder, age) = (&record.holder, now.since(self.facts.learned_at));
        if record.epoch < self.memory.epoch {
            return Err(no(format!(
                "epoch {} was heard of, etcd still shows {}",
                self.memory.epoch, record.epoch
            )));
        }
        if record.released {
            return Ok(format!("{holder} has given the lease up"));
        }
        if let Some(end) = self.runs_until(record, now) {
            let left = end.since(now);
            let text = format!("the lease of {holder} was renewed {} ago, {} left", secs(age), secs(left));
            return Err(Blocked { evidence: text.into(), until: Some((end, LEASE_EXPIRES)) });
        }
        let end = self.facts.learned_at + self.lease_ttl(record);
        if self.facts.confirmed.is_none_or(|asked| asked + CONFIRM_EARLY < end) || self.lease.stale.is_some()
        {
            return Err(no(format!(
                "no renewal was seen for {}; etcd is asked whether that is so",
                secs(age)
            )));
        }
        Ok(format!("{holder} has not renewed for {}", secs(age)))
    }

    fn holder_down(&self, record: &GroupRecord, now: Moment) -> Ruling {
        if record.released {
            return Ok(format!("{} has given the lease up", record.holder));
        }
        let health = self.facts.health(&record.holder, now, self.config.timers.observation_ttl);
        let text = format!("{} is {health}: {}", record.holder, self.facts.verdict(&record.holder));
        if health == Health::Down || self.silent_and_unreachable(record, now) {
            Ok(text)
        } else {
            Err(no(text))
        }
    }

    /// The same two kinds of evidence as a region's verdict (a majority of vantage points, and its own
    /// silence), with the lease as the silence: a holder that lives and reaches etcd renews several times a
    /// second, so a lease that ran out says as much as a report that did, and says it sooner when a report
    /// was held up by the election that the holder's loss itself has caused.
    fn silent_and_unreachable(&self, record: &GroupRecord, now: Moment) -> bool {
        let known = now.since(self.facts.regions_at) <= self.config.timers.observation_ttl;
        let seen = self.facts.regions.iter().find(|r| r.region == record.holder);
        known && seen.is_some_and(out_of_reach) && self.lease_expired(record, now).is_ok()
    }

    /// A promise binds to the holder of its epoch; one that has given the lease up needs it no more.
    fn no_promise(&self, record: &GroupRecord, now: Moment) -> Ruling {
        let to_this = self.memory.promise.as_ref().is_some_and(|p| p.epoch == record.epoch);
        if record.released && to_this {
            return Ok(format!("{} has given up what it was promised", record.holder));
        }
        let until = self.facts.promised_until;
        if now >= until {
            return Ok("nothing is promised to the holder".to_owned());
        }
        let text = format!("promised to the holder for {} more", secs(until.since(now)));
        Err(Blocked { evidence: text.into(), until: Some((until, "a promise ends")) })
    }

    /// Counted by this clock from when the failover was seen here, or by the wall clock when that is
    /// longer ago; a clock that jumps can only shorten the window, never make two writers.
    fn flap_window(&self, record: &GroupRecord, now: Moment) -> Ruling {
        let window = self.config.timers.flap_window;
        let Some((at, seen)) = self.facts.flap_seen.filter(|(at, _)| Some(*at) == record.last_failover_at)
        else {
            return Ok("no failover has acted yet".to_owned());
        };
        let by_wall = u64::try_from(self.at.wall.0.saturating_sub(at.0)).unwrap_or(0);
        let ago = now.since(seen).max(Duration::from_millis(by_wall));
        if ago >= window {
            return Ok(format!("the last failover was {} ago", secs(ago)));
        }
        if let Some(consent) = self.consent(record.epoch) {
            return Ok(format!("the last failover was {} ago, but {} agrees", secs(ago), consent.by));
        }
        let text = format!(
            "the last failover was only {} ago: the next is held back for another {} unless a person agrees",
            secs(ago),
            secs(window - ago)
        );
        Err(Blocked { evidence: text.into(), until: Some((now + (window - ago), "the flap window ends")) })
    }

    fn is_sealed(&self, record: &GroupRecord, _: Moment) -> Ruling {
        let here = matches!(self.state, State::Sealed | State::Claiming);
        match (self.driver.final_position, self.memory.sealed == Some(record.epoch) && here) {
            (Some(at), true) => {
                Ok(format!("receives nothing from {} any more, at {}", record.holder, place(at)))
            }
            _ => Err(no(format!("still a standby of {}", record.holder))),
        }
    }

    fn proof_of_data(&self, record: &GroupRecord, _: Moment) -> Ruling {
        if let Some(consent) = self.consent(record.epoch).filter(|c| c.accept_data_loss) {
            return Ok(format!("{} accepts the loss of data, for this epoch", consent.by));
        }
        let here = self.position_here(record);
        if here.timeline < record.wal.timeline {
            let text = format!(
                "the log here ({}) is not of {}'s timeline ({})",
                place(here),
                record.holder,
                place(record.wal)
            );
            return Err(no(text));
        }
        match self.config.replication {
            Replication::Quorum { .. } => self.quorum_proof(record, here),
            Replication::Async => self.lag_proof(record, here),
        }
    }

    fn lag_proof(&self, record: &GroupRecord, here: WalPosition) -> Ruling {
        let (rpo, holder) = (self.config.rpo, &record.holder);
        match self.lag_of(record, here) {
            Some(lag) if lag <= rpo => Ok(format!(
                "at most the last {} of {holder} are missing ({} of {}), {} may be lost",
                secs(lag),
                place(here),
                place(record.wal),
                secs(rpo)
            )),
            Some(lag) => Err(no(format!(
                "the last {} of {holder} may be missing and only {} may be lost: needs --accept-data-loss",
                secs(lag),
                secs(rpo)
            ))),
            None => Err(no("lags more than is remembered here: needs --accept-data-loss")),
        }
    }

    fn most_advanced(&self, record: &GroupRecord, now: Moment) -> Ruling {
        if self.config.replication == Replication::Async
            && let Some(late) = self.unsealed(record, now)
        {
            let end = self.since + SEAL_WAIT;
            if now < end {
                let text = format!("waits {} for the position of {late}", secs(end.since(now)));
                return Err(Blocked {
                    evidence: text.into(),
                    until: Some((end, "positions are waited for no longer")),
                });
            }
        }
        let ttl = self.config.timers.observation_ttl;
        let gone = |region: &RegionName| {
            *region != self.config.me
                && (self.facts.health(region, now, ttl) == Health::Down
                    || self.facts.is_silent(region, now, ttl))
        };
        let order = |region: &RegionName| self.config.members.iter().position(|m| m == region);
        let sealed = self.sealed(record);
        let living = sealed.iter().filter(|(region, _)| !gone(region));
        match living.max_by_key(|(region, at)| (*at, Reverse(order(region)))) {
            Some((best, at)) if *best == self.config.me => {
                Ok(format!("no sealed member is further than {}", place(*at)))
            }
            Some((best, at)) => Err(Blocked {
                evidence: format!("{best} is further ({}) and should claim", place(*at)).into(),
                until: Some((now + ttl, "whether the most advanced member still lives")),
            }),
            None => Err(no("nobody is sealed")),
        }
    }

    // === what the rules look at ===

    /// Where the log here ends: for good, if this member is sealed against the record's epoch; a seal of an earlier
    /// epoch says nothing any more.
    pub(super) fn position_here(&self, record: &GroupRecord) -> WalPosition {
        let sealed = self.memory.sealed == Some(record.epoch);
        self.driver.final_position.filter(|_| sealed).unwrap_or(self.facts.position)
    }

    /// Standbys with a final position for the record's epoch, this one included.
    pub(super) fn sealed(&self, record: &GroupRecord) -> Vec<(RegionName, WalPosition)> {
        let others = self.facts.members.values().filter(|m| {
            m.report.sealed == Some(record.epoch)
                && m.report.region != record.holder
                && self.config.members.contains(&m.report.region)
        });
        let others = others.map(|m| (m.report.region.clone(), m.report.database.received));
        let sealed_here = self.memory.sealed == Some(record.epoch);
        let here = self.driver.final_position.filter(|_| sealed_here).map(|at| (self.config.me.clone(), at));
        others.chain(here).collect()
    }

    /// A living standby that has not sealed itself yet.
    fn unsealed(&self, record: &GroupRecord, now: Moment) -> Option<RegionName> {
        let ttl = self.config.timers.observation_ttl;
        let late = self.others.iter().filter(|m| **m != record.holder).find(|m| {
            self.facts.health(m, now, ttl) != Health::Down
                && !self.facts.is_silent(m, now, ttl)
                && self.facts.members.get(*m).is_some_and(|seen| {
                    seen.report.database.role == DatabaseRole::Standby
                        && seen.report.sealed != Some(record.epoch)
                })
        });
        late.cloned()
    }

    /// A member has sealed itself for our reign: it can only come back under a higher epoch.
    pub(super) fn someone_is_sealed(&self) -> bool {
        let Some(reign) = &self.lease.reign else { return false };
        self.facts.members.values().any(|m| m.report.sealed == Some(reign.epoch))
    }
}

pub(super) fn no(evidence: impl Into<Cow<'static, str>>) -> Blocked {
    Blocked { evidence: evidence.into(), until: None }
}

/// A duration for people.
pub(super) fn secs(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// A position for people.
pub(super) fn place(at: WalPosition) -> String {
    format!("timeline {} at {}", at.timeline, at.lsn)
}
