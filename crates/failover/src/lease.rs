//! The holder's right to write, and every compare-and-set of the record that was sent for it.
//!
//! The right runs from the moment at which the last acknowledged renewal was *sent*. An attempt whose
//! answer got lost is kept, and recognised when the record shows it: epoch and `renewal` name it.

use std::collections::{BTreeMap, VecDeque};

use meridian_model::group::GroupRecord;
use meridian_model::name::RegionName;
use meridian_model::run::Run;
use meridian_model::{Epoch, Moment};

use crate::command::{Expect, Purpose};
use crate::event::Outcome;
use crate::limits::GHOSTS_MAX;

/// A reign of this member, as long as it may have the right to write.
#[derive(Debug, Clone)]
pub(crate) struct Reign {
    pub(crate) epoch: Epoch,
    /// When the last acknowledged renewal was sent.
    pub(crate) acked: Moment,
    /// By member, when the last promise that it gave was asked for.
    pub(crate) promises: BTreeMap<RegionName, Moment>,
    /// When promises were last asked for.
    pub(crate) asked: Option<Moment>,
}

impl Reign {
    /// From when the right to write is counted: the last renewal, or the last instant for which *every*
    /// other member has promised. Alone in the roster nobody can take over: always `now`.
    pub(crate) fn base(&self, others: &[RegionName], now: Moment) -> Moment {
        if others.is_empty() {
            return now;
        }
        let promised: Option<Vec<Moment>> = others.iter().map(|o| self.promises.get(o).copied()).collect();
        let promised = promised.and_then(|all| all.into_iter().min()).unwrap_or(Moment::ZERO);
        self.acked.max(promised)
    }
}

/// One compare-and-set that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) number: u64,
    pub(crate) purpose: Purpose,
    pub(crate) expect: Expect,
    pub(crate) record: GroupRecord,
    pub(crate) run: Option<Run>,
    pub(crate) sent_at: Moment,
}

/// The right to write and the attempts for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lease {
    pub(crate) reign: Option<Reign>,
    /// Sent, and the answer is awaited.
    pub(crate) pending: Option<Attempt>,
    /// Sent, and nobody knows.
    ghosts: VecDeque<Attempt>,
    /// A compare failed against this revision: the record must be read before the next attempt.
    pub(crate) stale: Option<i64>,
    pub(crate) last_sent: Option<Moment>,
    /// The record that was sent last says that the group has a database.
    pub(crate) says_made: bool,
    /// The claim of this time in `Claiming` was sent.
    pub(crate) claimed: bool,
    /// Attempts against this revision, or an earlier one, were forgotten although nobody knows of their end.
    pub(crate) forgotten: i64,
    next_number: u64,
    last_renewal: u64,
}

impl Lease {
    /// The number for the next attempt.
    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// The number for the next renewal: higher than any seen, and unlike any that an earlier life of this
    /// node may still have under way (`starts` is part of it), so that it is never taken for our own.
    pub(crate) fn renewal(&mut self, seen: u64, starts: u64) -> u64 {
        let count = (seen.max(self.last_renewal) >> 10) + 1;
        self.last_renewal = count << 10 | (starts & 0x3FF);
        self.last_renewal
    }

    /// Notes that an attempt was sent; an older one without an answer is kept aside.
    pub(crate) fn sent(&mut self, attempt: Attempt) {
        self.set_aside();
        self.last_sent = Some(attempt.sent_at);
        self.claimed = attempt.purpose == Purpose::Claim;
        self.pending = Some(attempt);
    }

    /// Gives up waiting for the pending attempt, but not recognising it.
    pub(crate) fn set_aside(&mut self) {
        self.ghosts.extend(self.pending.take());
        while self.ghosts.len() > GHOSTS_MAX {
            let oldest = self.ghosts.pop_front();
            if let Some(Expect::Revision(revision) | Expect::Told(_, revision)) =
                oldest.map(|attempt| attempt.expect)
            {
                self.forgotten = self.forgotten.max(revision);
            }
        }
    }

    /// The records that may still come to be in etcd although nobody has heard of them, where the last one that
    /// was seen has this revision: a compare with an older one fails.
    pub(crate) fn possible(&self, revision: i64) -> impl Iterator<Item = &GroupRecord> {
        let lives = move |attempt: &&Attempt| match attempt.expect {
            Expect::Revision(expected) => expected >= revision,
            // The record that it was told of may come to be at any time.
            Expect::Told(..) => true,
            Expect::Absent => false,
        };
        self.pending.iter().chain(&self.ghosts).filter(lives).map(|attempt| &attempt.record)
    }

    /// Takes in an outcome. Gives the record and revision that are now known to be in etcd.
    pub(crate) fn settle(&mut self, number: u64, outcome: &Outcome) -> Option<(GroupRecord, i64)> {
        let pending = self.pending.as_ref().is_some_and(|p| p.number == number);
        match outcome {
            Outcome::Done(revision) => {
                let ours = self.pending.iter().chain(&self.ghosts).find(|a| a.number == number)?;
                Some((ours.record.clone(), *revision))
            }
            Outcome::Lost => {
                if pending && let Some(lost) = self.pending.take() {
                    self.stale = Some(match lost.expect {
                        Expect::Revision(revision) | Expect::Told(_, revision) => revision,
                        Expect::Absent => 0,
                    });
                }
                self.ghosts.retain(|a| a.number != number);
                None
            }
            Outcome::Unknown(_) => {
                if pending {
                    self.set_aside();
                }
                None
            }
        }
    }

    /// The attempt that made this record, if it was one of ours. It and older ones are forgotten.
    pub(crate) fn recognise(&mut self, record: &GroupRecord) -> Option<Attempt> {
        let made = |a: &Attempt| a.record.epoch == record.epoch && a.record.renewal == record.renewal;
        if self.pending.as_ref().is_some_and(made) {
            self.ghosts.clear();
            return self.pending.take();
        }
        let found = self.ghosts.iter().position(made)?;
        self.ghosts.drain(..=found).next_back()
    }
}

#[cfg(test)]
mod tests {
    use meridian_model::{Name, Timestamp};

    use super::*;

    fn attempt(number: u64, revision: i64) -> Attempt {
        let name = |text: &str| Name::new(text).unwrap();
        let record = GroupRecord::begin(name("orders"), Epoch(1), name("alpha"), Timestamp(0));
        Attempt {
            number,
            purpose: Purpose::Renew,
            expect: Expect::Revision(revision),
            record: GroupRecord { renewal: number, ..record },
            run: None,
            sent_at: Moment::ZERO,
        }
    }

    /// The newer one was forgotten, came to be in etcd all the same, and the setting of PostgreSQL broke the promise
    /// of its record (the simulator's seed 399239).
    #[test]
    fn the_late_end_of_an_older_attempt_forgets_no_newer_one() {
        let mut lease = Lease::default();
        lease.sent(attempt(11, 116));
        lease.sent(attempt(12, 128));
        assert_eq!(lease.settle(11, &Outcome::Lost), None);
        assert_eq!(lease.stale, None, "nothing newer than what is awaited was read");
        let possible: Vec<u64> = lease.possible(128).map(|record| record.renewal).collect();
        assert_eq!(possible, [12], "it may still come to be");
        let made = lease.recognise(&attempt(12, 128).record).map(|attempt| attempt.number);
        assert_eq!(made, Some(12), "and is known then");
    }
}
