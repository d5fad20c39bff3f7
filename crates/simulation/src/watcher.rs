//! Who watches the world: writes what is seen in the words of `meridian_invariants`, and asks each law as
//! soon as something happens that could break it.
//!
//! A law is asked only about what has changed, with just as much of the past as it needs; that is what makes
//! checking after every event affordable. The first law that is broken is kept, and the world stops.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meridian_invariants::{
    self as laws, Ack, AnswerSeen, Begun, EpochSeen, Fault, FollowSeen, Law, Ledger, QuorumSeen, Repeat,
    SealSeen, SnapshotSeen, VerdictSeen, Violation, World as Seen, WriterClaim,
};
use meridian_model::group::GroupRecord;
use meridian_model::health::RegionHealth;
use meridian_model::name::RegionName;
use meridian_model::run::{Run, RunKind};
use meridian_model::{Epoch, Moment, Timers, Timestamp};

mod runs;

use crate::schedule::Us;
use crate::shape::{REGIONS_MAX, RPO, Shape, index, region};
use crate::world::wal::{Log, Told, Wal};

/// A time in which something was wrong that is a reason for a failover.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reason {
    pub(crate) from: Us,
    pub(crate) to: Us,
}

/// An epoch begins.
pub(crate) struct Claim<'w> {
    /// Whose.
    pub(crate) by: usize,
    /// The record that it replaces.
    pub(crate) old: Option<GroupRecord>,
    pub(crate) new: &'w GroupRecord,
    pub(crate) run: Option<&'w Run>,
    /// The other regions that can write at this instant.
    pub(crate) able: Vec<usize>,
    /// What was wrong with the old holder of late.
    pub(crate) reasons: Vec<Reason>,
    /// The wall clock of the claimant.
    pub(crate) wall: Timestamp,
}

/// Who watches.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    /// The first law that was broken.
    pub(crate) broken: Option<Violation>,
    /// A wall clock was wrong at some time: how long ago a failover was cannot be told from it.
    pub(crate) wall_jumped: bool,
    shape: Shape,
    flap_window: Duration,
    forbidden: Vec<RegionName>,
    seen: Seen,
    epochs: [(u32, Epoch); REGIONS_MAX],
    recorded: Option<(Epoch, usize)>,
    answers: [Option<SnapshotSeen>; REGIONS_MAX],
    /// The database that became a primary last, and its log then.
    newest: Option<Log>,
    /// Epochs whose end a person agreed to, and those with the loss of data.
    agreed: BTreeSet<Epoch>,
    given_up: BTreeSet<Epoch>,
    /// A person has accepted the loss of data for the reign that began last.
    loss_accepted: bool,
    /// The reign that began last was planned: nothing at all may be lost.
    planned: bool,
    /// The last state of every run.
    runs: BTreeMap<Epoch, Run>,
    /// What an old writer has done last before its demotion, as far as it ever was.
    prepared: Option<Run>,
}

/// Claims and first acknowledgements that are remembered: those of this many reigns.
const REMEMBERED: usize = 12;
/// So long before a lease ends etcd may be asked at the earliest (`CONFIRM_EARLY` of the machine's limits).
const CONFIRM_EARLY: Duration = Duration::from_secs(1);
/// What clocks may differ by over a flap window, as a share of it.
const WINDOW_SLACK: f64 = 0.999;

impl Watcher {
    pub(crate) fn new(shape: Shape, flap_window: Duration) -> Self {
        Self {
            broken: None,
            wall_jumped: false,
            shape,
            flap_window,
            forbidden: (0..shape.nodes()).filter(|i| shape.forbidden(*i)).map(region).collect(),
            seen: Seen::default(),
            epochs: [(0, Epoch::NONE); REGIONS_MAX],
            recorded: None,
            answers: [const { None }; REGIONS_MAX],
            newest: None,
            agreed: BTreeSet::new(),
            given_up: BTreeSet::new(),
            loss_accepted: false,
            planned: false,
            runs: BTreeMap::new(),
            prepared: None,
        }
    }

    fn ask(&mut self, law: Law, seen: &Seen) {
        if self.broken.is_none() {
            self.broken = law(seen).err();
        }
    }

    fn ask_all_seen(&mut self, law: Law) {
        if self.broken.is_none() {
            self.broken = law(&self.seen).err();
        }
    }

    /// The machine itself did what it must not.
    pub(crate) fn machine_fault(&mut self, evidence: String) {
        self.broken.get_or_insert(Violation::new("machine", evidence));
    }

    // === one writer ===

    /// A region can write: its gateway is open, or its database takes writes.
    pub(crate) fn able(&mut self, i: usize, epoch: Epoch, now: Us) {
        let (here, at) = (region(i), moment(now));
        let open = self.seen.writers.iter_mut().rev().find(|w| w.region == here && w.to == FOR_EVER);
        if let Some(open) = open {
            if open.epoch >= epoch {
                return;
            }
            open.to = at;
        }
        self.seen.writers.push(WriterClaim { region: here, epoch, from: at, to: FOR_EVER });
        if self.seen.writers.len() > REMEMBERED {
            self.seen.writers.remove(0);
        }
        self.ask_all_seen(laws::one_writer::check);
    }

    /// It cannot any more.
    pub(crate) fn unable(&mut self, i: usize, now: Us) {
        let (here, at) = (region(i), moment(now));
        let open = self.seen.writers.iter_mut().filter(|w| w.to == FOR_EVER && w.region == here);
        open.for_each(|w| w.to = at);
    }

    // === epochs ===

    /// The highest epoch that a machine has seen, after a step.
    pub(crate) fn epoch_of(&mut self, i: usize, life: u32, epoch: Epoch, now: Us) {
        if self.epochs[i] == (life, epoch) {
            return;
        }
        self.epochs[i] = (life, epoch);
        self.epoch_seen(format!("{} in its life {life}", region(i)), epoch, None, now);
    }

    /// A gateway takes writes in that epoch.
    pub(crate) fn opened(&mut self, i: usize, epoch: Epoch, now: Us) {
        self.epoch_seen(format!("the gateway of {}", region(i)), epoch, Some(region(i)), now);
    }

    /// The record was written.
    pub(crate) fn recorded(&mut self, record: &GroupRecord, now: Us) {
        let holder = index(&record.holder);
        if self.recorded != Some((record.epoch, holder)) {
            self.recorded = Some((record.epoch, holder));
            self.epoch_seen("etcd".to_owned(), record.epoch, Some(record.holder.clone()), now);
        }
    }

    fn epoch_seen(&mut self, by: String, epoch: Epoch, holder: Option<RegionName>, now: Us) {
        self.seen.epochs.push(EpochSeen { by, at: moment(now), epoch, holder });
        self.ask_all_seen(laws::epochs_rise::check);
    }

    /// etcd was wiped: it may begin anew.
    pub(crate) fn forget_records(&mut self) {
        self.recorded = None;
        self.seen.epochs.retain(|seen| seen.by != "etcd");
    }

    // === what is believed ===

    /// A node has judged all regions; the votes for each: up, down, and whether its own report is silent.
    pub(crate) fn judged(
        &mut self,
        i: usize,
        all: usize,
        regions: &[RegionHealth],
        votes: &[(usize, usize, bool)],
    ) {
        let verdict = |(seen, (up, down, silent)): (&RegionHealth, &(usize, usize, bool))| VerdictSeen {
            by: region(i),
            region: seen.region.clone(),
            health: seen.health,
            all,
            up: *up,
            down: *down,
            silent: *silent,
        };
        let verdicts = regions.iter().zip(votes).map(verdict).collect();
        self.ask(laws::dead_needs_evidence::check, &Seen { verdicts, ..Seen::default() });
    }

    /// A member cuts itself off from a holder. `unchanged_for`: so long after the renewal that it knows was sent,
    /// etcd itself still showed it that one.
    pub(crate) fn cut_off(&mut self, i: usize, holder: RegionName, unchanged_for: Option<Us>) {
        let timers = Timers::default();
        let needed = timers.lease_ttl.saturating_sub(CONFIRM_EARLY + timers.drift());
        let unchanged_for = unchanged_for.map(Duration::from_micros);
        let seals = vec![SealSeen { by: region(i), holder, unchanged_for, needed }];
        self.ask(laws::expiry_confirmed::check, &Seen { seals, ..Seen::default() });
    }

    // === claims ===

    /// A new epoch begins.
    pub(crate) fn claimed(&mut self, claim: Claim<'_>, now: Us) {
        let begun = Begun {
            epoch: claim.new.epoch,
            holder: claim.new.holder.clone(),
            able: claim.able.iter().map(|i| region(*i)).collect(),
        };
        self.ask(laws::fence_before_promote::check, &Seen { begun: vec![begun], ..Seen::default() });
        let Some(old) = &claim.old else { return };
        self.loss_accepted = self.given_up.contains(&old.epoch);
        self.planned = claim.run.is_some_and(|run| run.kind == RunKind::Switchover);
        if index(&old.holder) == claim.by {
            return;
        }
        if !old.released {
            let fault = |reason: &Reason| Fault {
                region: old.holder.clone(),
                from: moment(reason.from),
                to: Some(moment(reason.to)),
                justifies_failover: true,
            };
            let faults = Some(claim.reasons.iter().map(fault).collect());
            let failovers = vec![(moment(now), old.holder.clone())];
            self.ask(laws::no_failover_while_healthy::check, &Seen { faults, failovers, ..Seen::default() });
        }
        if claim.run.is_some_and(|run| run.kind == RunKind::Failover)
            && let Some(last) = old.last_failover_at
            && !self.wall_jumped
        {
            let after = u64::try_from(claim.wall.0 - last.0).unwrap_or(0);
            let repeat = Repeat {
                epoch: claim.new.epoch,
                after: Duration::from_millis(after),
                window: self.flap_window.mul_f64(WINDOW_SLACK),
                agreed: self.agreed.contains(&old.epoch),
            };
            self.ask(laws::flapping_held::check, &Seen { repeats: vec![repeat], ..Seen::default() });
        }
    }

    /// A person agrees that this epoch ends.
    pub(crate) fn agreed(&mut self, epoch: Epoch, accept_data_loss: bool) {
        self.agreed.insert(epoch);
        if accept_data_loss {
            self.given_up.insert(epoch);
        }
    }

    // === runs ===

    // === data ===

    /// A database becomes a primary: is all there that clients were told of?
    pub(crate) fn primary_begins(&mut self, log: Log, wal: &mut Wal) {
        self.newest = Some(log);
        if !wal.loses(log) {
            return;
        }
        let lost = wal.take_lost(log);
        if self.loss_accepted {
            return;
        }
        // Where commits may go on without acknowledgers no claimant has a proof: nothing is lost then, either.
        let nothing = self.planned || self.shape.acknowledgers() > 0;
        let timers = Timers::default();
        // Past the gateway a writer acknowledges until its database is stopped, and not until its gateway is.
        let longer = timers.old_side_stopped_after().saturating_sub(timers.gateway_fence);
        for past_gateway in [false, true] {
            let told = lost.iter().filter(|t| past_gateway || !t.past_gateway);
            let allowed = if past_gateway { RPO + longer } else { RPO };
            let acknowledged = (0..).zip(told).map(|(id, t)| (id, moment(t.when))).collect();
            let allowed_loss = if nothing { Duration::ZERO } else { allowed };
            let ledger = Some(Ledger { acknowledged, found: BTreeSet::new(), allowed_loss });
            self.ask(laws::acknowledged_kept::check, &Seen { ledger, ..Seen::default() });
        }
    }

    /// A client is told that its write is committed.
    pub(crate) fn acknowledged(&mut self, i: usize, sent: Us, told: Told, wal: &Wal) {
        let ack = Ack {
            id: wal.count,
            sent_at: moment(sent),
            acked_at: moment(told.when),
            server: Some(region(i)),
        };
        let first = self.seen.acks.last().is_none_or(|last| last.server != ack.server);
        self.seen.acks.push(ack);
        self.ask_all_seen(laws::fence_before_promote::check);
        if !first {
            self.seen.acks.pop();
        } else if self.seen.acks.len() > REMEMBERED {
            self.seen.acks.remove(0);
        }
        let kept = self
            .newest
            .is_none_or(|newest| told.branch == newest.branch || wal.holds(newest, told.branch, told.at_len));
        if !kept && self.shape.acknowledgers() > 0 && !self.loss_accepted {
            let acknowledged = vec![(wal.count, moment(told.when))];
            let ledger = Some(Ledger { acknowledged, ..Ledger::default() });
            self.ask(laws::acknowledged_kept::check, &Seen { ledger, ..Seen::default() });
        }
    }

    /// What the record says of the last acknowledged write, and which of its candidates could seal themselves
    /// without it.
    pub(crate) fn promised(&mut self, record: &GroupRecord, lacking: Vec<RegionName>) {
        let Some(quorum) = record.quorum.as_ref().filter(|_| !self.loss_accepted) else { return };
        let seen = QuorumSeen {
            epoch: record.epoch,
            acknowledgers: quorum.acknowledgers as usize,
            candidates: quorum.candidates.iter().cloned().collect(),
            lacking,
        };
        self.ask(laws::quorum_kept::check, &Seen { quorums: vec![seen], ..Seen::default() });
    }

    /// A database becomes a standby.
    pub(crate) fn follows(&mut self, i: usize, had_led: bool) {
        if had_led {
            let follows = vec![FollowSeen { region: region(i), had_led }];
            self.ask(laws::old_primary_rejoins::check, &Seen { follows, ..Seen::default() });
        }
    }

    // === answers ===

    /// A node has a new snapshot; `offered`: where it sends users now, if that may have changed.
    pub(crate) fn published(&mut self, i: usize, generation: u64, offered: Option<Vec<RegionName>>) {
        let Some(offered) = offered else { return };
        let new = SnapshotSeen { region: region(i), generation, answers: offered.len() as u32 };
        let old = self.answers[i].replace(new.clone());
        let snapshots = old.into_iter().chain([new]).collect();
        self.ask(laws::snapshot_not_emptied::check, &Seen { snapshots, ..Seen::default() });
        let answers = vec![AnswerSeen { by: region(i), offered, forbidden: self.forbidden.clone() }];
        self.ask(laws::residency_kept::check, &Seen { answers, ..Seen::default() });
    }

    // === the end ===

    /// All faults have ended, and this is what became of it.
    pub(crate) fn calm(&mut self, calm: laws::Calm) {
        let runs = self.runs.values().cloned().collect();
        let seen = Seen { calm: Some(calm), runs, ..Seen::default() };
        self.ask(laws::protected_again::check, &seen);
        self.ask(laws::run_finishes::check, &seen);
    }
}

/// An end that is not known yet.
const FOR_EVER: Moment = Moment::from_nanos(u64::MAX);

/// True time, as the laws want it: all times of one clock.
const fn moment(at: Us) -> Moment {
    Moment::from_nanos(at * 1_000)
}
