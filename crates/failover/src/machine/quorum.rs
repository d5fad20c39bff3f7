//! Whose acknowledgements count, and that a claimant's proof holds while members come and go.
//!
//! Two values must fit together although they cannot change at one instant: what the **record** says
//! (a claimant rests its proof on that, wherever it is) and what **PostgreSQL** is set to (a commit waits for
//! that). Both are a W and a set of candidates C, and N is the size of C.
//!
//! **The promise.** At every instant at which the record shows (W, C): each write that a client was told of is
//! in the logs of at least W members of C. A member that must first be made a copy of the holder again counts
//! as having it, for it cannot seal itself before it has. From the promise follows the rule: of R sealed
//! candidates with R + W > N one at least has the write, so the furthest log of theirs has it, and every log
//! that contains theirs. What is *not* acknowledged yet is no matter: it may be lost.
//!
//! **A record covers a setting** when its W is no greater and its C contains all candidates of the setting:
//! what the setting lets be acknowledged then keeps the record's promise (`covers`). The promise holds
//! at every instant because of two rules, which the simulator checks by `quorum_kept`:
//!
//! 1. PostgreSQL is set to T only while every record that may be in etcd, now or after an attempt without an
//!    answer, covers T.
//! 2. A record that promises more (a greater W, fewer candidates) is sent only when PostgreSQL is *known* to be
//!    set to it, and when W of its candidates have flushed the log up to a place that was written after that
//!    was in force. All that was acknowledged under an older setting lies before that place.
//!
//! So there is one way from any quorum to any other, and it can break off anywhere: first the record becomes
//! the join of both (the lesser W, all candidates), which promises less; then PostgreSQL is set; then, with the
//! proof of rule 2, the record becomes the new one. A candidate that joins, or a lesser W, is in the record
//! first; one that leaves, or a greater W, in PostgreSQL first. A holder that ends half way leaves a record that
//! covers both settings.
//!
//! **A new reign.** The claimant has every acknowledged write itself, so W of C have it but for the claimant; and
//! the old holder has it, who must be made a copy before it seals itself again. So (W, C without the claimant and
//! with the old holder) keeps the promise, and that is what a claim writes. The database starts with a setting
//! that this covers: the setting is part of the command.
//!
//! **Who is a candidate.** A standby that streams and has all that was written when it connected joins: before, it
//! would only be one more that a claimant has to hear of. One that has not streamed for `candidate_gone`, or is
//! not in the spec any more, leaves, but only while W of those that stay have streamed within that time. W is always the spec's
//! (of more candidates than the roster has there is none): where too few standbys are left, commits wait. Only with
//! `onRpoBreach: degrade` W becomes 0 then, by the same way: the record says so before the first commit that waits
//! for nobody, and from then on no claimant has a proof, until W is back. Without a person's word about the loss
//! of data nothing fails over meanwhile.
//!
//! Refused: to change W with those that are left (what is acknowledged would silently mean less), and to keep the
//! old setting beside the record (a crash between the two writes would need a repair of its own).

use std::collections::{BTreeMap, BTreeSet};

use meridian_model::database::Replication;
use meridian_model::group::{DatabaseRole, DatabaseStatus, GroupRecord, Quorum, WalPosition};
use meridian_model::name::RegionName;
use meridian_model::{Lsn, Moment};

use super::Machine;
use super::rules::{Ruling, no};
use crate::command::{DatabaseAction as Action, Purpose};

/// What a holder knows of its standbys, and what PostgreSQL was last told of them in this reign.
#[derive(Debug, Clone, Default)]
pub(super) struct Standbys {
    seen: BTreeMap<RegionName, Seen>,
    /// The setting that was commanded last; it, or the one before, is in force.
    told: Option<Quorum>,
    /// It is in force, and what was acknowledged before that is in the log up to here.
    mark: Option<Lsn>,
    /// Another quorum is wanted than the record's, by what the database told last.
    unsettled: bool,
}

/// A standby, as its primary sees it.
#[derive(Debug, Clone)]
struct Seen {
    /// When it last streamed, or when the database here became a primary.
    streamed: Moment,
    /// It has not for `candidate_gone`.
    gone: bool,
    /// How far it has flushed, as far as is known.
    flushed: Lsn,
    /// How far the log was when it connected.
    connected_at: Option<Lsn>,
    /// It has had all of that, and streams.
    caught_up: bool,
}

impl Standbys {
    /// The database is about to become a primary: nothing is known.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// It starts again in place: standbys connect anew, and have what they had.
    pub(super) fn reconnect(&mut self, now: Moment) {
        for seen in self.seen.values_mut() {
            *seen = Seen { streamed: now, gone: false, connected_at: None, caught_up: false, ..*seen };
        }
    }

    fn gone(&self, region: &RegionName) -> bool {
        self.seen.get(region).is_some_and(|seen| seen.gone)
    }

    /// How far the best standby has flushed: of those that are not gone, or of all when all are.
    pub(super) fn furthest(&self) -> Lsn {
        let here = self.seen.values().filter(|seen| !seen.gone).map(|seen| seen.flushed).max();
        here.or_else(|| self.seen.values().map(|seen| seen.flushed).max()).unwrap_or(Lsn(0))
    }

    /// How many of these have not been gone for long.
    pub(super) fn living<'a>(&self, of: impl Iterator<Item = &'a RegionName>) -> usize {
        of.filter(|region| !self.gone(region)).count()
    }

    /// How many stream and have all that was written when they connected.
    pub(super) fn all_caught_up(&self) -> usize {
        self.seen.values().filter(|seen| seen.caught_up).count()
    }

    fn caught_up(&self, region: &RegionName) -> bool {
        self.seen.get(region).is_some_and(|seen| seen.caught_up)
    }
}

/// What this setting lets be acknowledged keeps the promise of that record.
fn covers(record: &Quorum, setting: &Quorum) -> bool {
    record.acknowledgers <= setting.acknowledgers && setting.candidates.is_subset(&record.candidates)
}

/// The record that covers whatever either covers.
fn join(one: &Quorum, other: &Quorum) -> Quorum {
    Quorum {
        acknowledgers: one.acknowledgers.min(other.acknowledgers),
        candidates: one.candidates.union(&other.candidates).cloned().collect(),
    }
}

/// For people.
fn words(quorum: &Quorum) -> String {
    if quorum.acknowledgers == 0 {
        return "no standby for sure".to_owned();
    }
    let names: Vec<&str> = quorum.candidates.iter().map(RegionName::as_str).collect();
    format!("{} of {}", quorum.acknowledgers, names.join(", "))
}

impl Machine {
    /// How many standbys must have a commit, by the spec; none under asynchronous replication.
    pub(super) fn acknowledgers(&self) -> Option<u32> {
        match self.config.replication {
            Replication::Quorum { acknowledgers } => Some(acknowledgers),
            Replication::Async => None,
        }
    }

    /// What a record promises. One of an older version says how many only, and means all but the holder.
    pub(super) fn quorum_of(&self, record: &GroupRecord) -> Quorum {
        if let Some(quorum) = &record.quorum {
            return quorum.clone();
        }
        let (acknowledgers, members) = match &record.terms {
            Some(terms) => (terms.acknowledgers.unwrap_or(0), &terms.members),
            None => (self.acknowledgers().unwrap_or(0), &self.config.members),
        };
        let candidates = members.iter().filter(|m| **m != record.holder).cloned().collect();
        Quorum { acknowledgers, candidates }
    }

    // === the claimant ===

    /// R + W > N: every acknowledged write is in at least one of the R logs. Only logs that this one
    /// contains count as R: one that is further could have the write that is missing here, whatever its
    /// region's health is said to be.
    pub(super) fn quorum_proof(&self, record: &GroupRecord, here: WalPosition) -> Ruling {
        let quorum = self.quorum_of(record);
        let counts = |who: &RegionName| quorum.candidates.contains(who);
        let sealed = self.sealed(record).iter().filter(|(who, at)| counts(who) && *at <= here).count();
        let (acknowledgers, standbys) = (quorum.acknowledgers as usize, quorum.candidates.len());
        if acknowledgers == 0 {
            let text = "no standby had to acknowledge what was written last: needs --accept-data-loss";
            return Err(no(text));
        }
        let sum = format!(
            "{sealed} sealed here or behind + {acknowledgers} acknowledging, {standbys} possible standbys"
        );
        if sealed + acknowledgers > standbys {
            Ok(format!("{sum}: every acknowledged write is in the log here"))
        } else {
            let names: Vec<&str> = quorum.candidates.iter().map(RegionName::as_str).collect();
            let names = names.join(", ");
            Err(no(format!(
                "{sum} ({names}): the sum must be greater; wait for a member or --accept-data-loss"
            )))
        }
    }

    /// What the next record of this member promises.
    pub(super) fn quorum_to_record(&self, purpose: Purpose) -> Option<Quorum> {
        let spec = self.acknowledgers()?;
        let others = || self.others.iter().cloned();
        let Some(old) = &self.facts.record else {
            return Some(Quorum { acknowledgers: spec, candidates: others().collect() });
        };
        let known = self.quorum_of(old);
        match purpose {
            Purpose::Claim => {
                let mut candidates = known.candidates;
                candidates.insert(old.holder.clone());
                candidates.remove(&self.config.me);
                if candidates.len() < spec as usize {
                    candidates.extend(others());
                }
                Some(Quorum { candidates, ..known })
            }
            Purpose::Renew if self.leads_as_ever() => Some(self.next_promise(&known, spec)),
            Purpose::Renew | Purpose::Release => Some(known),
        }
    }

    /// What a database that becomes a primary is set to: no candidate but the record's, and the spec's number
    /// if that is the greater one.
    pub(super) fn starting_quorum(&self) -> Option<Quorum> {
        let spec = self.acknowledgers()?;
        let known = self.quorum_of(self.facts.record.as_ref()?);
        let all = u32::try_from(known.candidates.len()).unwrap_or(u32::MAX);
        Some(Quorum { acknowledgers: known.acknowledgers.max(spec.min(all)), ..known })
    }

    /// What a database that starts again in the same reign is set to: the same as before.
    pub(super) fn same_quorum(&self) -> Option<Quorum> {
        self.standbys.told.clone().or_else(|| self.starting_quorum())
    }

    // === the holder ===

    /// The local database has told its state.
    pub(super) fn watch_standbys(&mut self) {
        if self.facts.database.role != DatabaseRole::Primary || !self.state.holds() {
            return;
        }
        let (now, written) = (self.at.now, self.facts.database.received.lsn);
        for region in &self.others {
            let seen = self.standbys.seen.entry(region.clone()).or_insert(Seen {
                streamed: now,
                gone: false,
                flushed: Lsn(0),
                connected_at: None,
                caught_up: false,
            });
            match self.facts.database.standbys.iter().find(|s| s.region == *region) {
                Some(standby) => {
                    let from = *seen.connected_at.get_or_insert(written);
                    seen.caught_up |= standby.flushed >= from;
                    (seen.streamed, seen.gone, seen.flushed) = (now, false, standby.flushed);
                }
                None => {
                    (seen.connected_at, seen.caught_up) = (None, false);
                    seen.gone = now.since(seen.streamed) >= self.config.candidate_gone;
                }
            }
        }
    }

    /// Looked at when the database has told its state, because the machine asks itself at every event.
    pub(super) fn see_what_is_wanted(&mut self) {
        let (Some(spec), Some(record)) = (self.acknowledgers(), &self.facts.record) else { return };
        if self.state.holds() {
            let known = self.quorum_of(record);
            self.standbys.unsettled = self.wanted_quorum(&known, spec) != known;
        }
    }

    /// What is wanted in the end.
    fn wanted_quorum(&self, known: &Quorum, spec: u32) -> Quorum {
        let joined = |m: &&RegionName| known.candidates.contains(*m) || self.standbys.caught_up(m);
        let living: BTreeSet<RegionName> =
            self.others.iter().filter(joined).filter(|m| !self.standbys.gone(m)).cloned().collect();
        if self.degraded() {
            let candidates = known.candidates.union(&living).cloned().collect();
            return Quorum { acknowledgers: 0, candidates };
        }
        let mut candidates = living;
        // Who leaves must not be missed.
        if candidates.len() < spec as usize {
            candidates.extend(known.candidates.iter().cloned());
        }
        if candidates.len() < spec as usize {
            candidates.extend(self.others.iter().cloned());
        }
        let all = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
        Quorum { acknowledgers: spec.min(all), candidates }
    }

    /// The record's next promise on the way to what is wanted.
    fn next_promise(&self, known: &Quorum, spec: u32) -> Quorum {
        let wanted = self.wanted_quorum(known, spec);
        if self.proven(&wanted) { wanted } else { join(known, &wanted) }
    }

    /// PostgreSQL is set to it, and what was acknowledged before is where it must be.
    fn proven(&self, wanted: &Quorum) -> bool {
        let Some(mark) = self.standbys.mark.filter(|_| self.standbys.told.as_ref() == Some(wanted)) else {
            return false;
        };
        let have = self.facts.database.standbys.iter();
        let have = have.filter(|s| wanted.candidates.contains(&s.region) && s.flushed >= mark).count();
        have >= wanted.acknowledgers as usize
    }

    /// What PostgreSQL is to be set to, once every record that may be in etcd covers it.
    pub(super) fn quorum_goal(&self) -> Option<Action> {
        let spec = self.acknowledgers()?;
        let record = self.facts.record.as_ref()?;
        let standbys = &self.standbys;
        if !standbys.unsettled && standbys.mark.is_some() && standbys.told == record.quorum {
            return None;
        }
        let known = self.quorum_of(record);
        let wanted = self.wanted_quorum(&known, spec);
        let is_set = self.standbys.mark.is_some() && self.standbys.told.as_ref() == Some(&wanted);
        let revision = self.facts.revision;
        if is_set || !covers(&known, &wanted) || self.lease.forgotten >= revision {
            return None;
        }
        let mut possible = self.lease.possible(revision).map(|record| self.quorum_of(record));
        possible.all(|record| covers(&record, &wanted)).then_some(Action::SetQuorum(wanted))
    }

    /// This action is about to be commanded.
    pub(super) fn quorum_commanded(&mut self, action: &Action) {
        if let Some(quorum) = quorum_in(action) {
            self.standbys.told = Some(quorum.clone());
            self.standbys.mark = None;
        }
    }

    /// This action is done, with the database like that afterwards.
    pub(super) fn quorum_in_force(&mut self, action: &Action, after: &DatabaseStatus) {
        let told = self.standbys.told.as_ref();
        let tells = after.role == DatabaseRole::Primary && after.received != WalPosition::default();
        if tells && told.is_some() && quorum_in(action) == told {
            self.standbys.mark = Some(after.received.lsn);
        }
    }

    /// Whose acknowledgements count, for people.
    pub(super) fn acknowledged_by(&self) -> String {
        let (Some(spec), Some(record)) = (self.acknowledgers(), &self.facts.record) else {
            return String::new();
        };
        let known = self.quorum_of(record);
        let wanted = self.wanted_quorum(&known, spec);
        let change = if wanted == known { String::new() } else { format!(", soon in {}", words(&wanted)) };
        format!("; each commit is in {}{change}", words(&known))
    }
}

const fn quorum_in(action: &Action) -> Option<&Quorum> {
    match action {
        Action::StartPrimary { quorum, .. } | Action::Promote { quorum, .. } => quorum.as_ref(),
        Action::SetQuorum(quorum) => Some(quorum),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
