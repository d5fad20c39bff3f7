//! A switchover, from both sides: nothing is lost, and nobody waits longer than a pause.
//!
//! The old writer does what the plan wants before its demotion (`runner/early.rs`), prepares a short stop, has
//! all gateways hold new transactions, lets the running ones end while the successor catches up, stops in good order
//! (the successor gets the rest) and gives the lease to it by a token that stands in the record. It tells the successor
//! of that record directly, besides. Until the stop, calling off costs nothing: the held transactions go
//! on where they were. After it, the database is started again. The successor replays what it has
//! received beyond the place in the token, claims and promotes.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::group::{DatabaseRole, HoldId, WalPosition};
use meridian_model::health::Health;
use meridian_model::name::{RegionName, RunId};
use meridian_model::order::{Handover, Order, OrderState, Wish};
use meridian_model::run::Run;
use meridian_model::{Moment, Timestamp};

use super::Machine;
use super::closing::Ended;
use super::rules::{Ruling, no, secs};
use crate::command::{Command, DatabaseAction as Action};
use crate::explain::{Rule, RuleState};
use crate::limits::{CAUGHT_UP_LASTS, STOP_IN_ORDER};
use crate::table::{State, Trigger};

/// What the holder knows of orders, and of the one that it is carrying out.
#[derive(Debug, Clone, Default)]
pub(super) struct Handing {
    /// The order as etcd has it.
    pub(super) order: Option<Order>,
    pub(super) ended: Ended,
    /// Holds that the gateways were asked for in this life.
    pub(super) holds: u32,
    pub(super) now: Option<Hand>,
}

/// A switchover that is being carried out.
#[derive(Debug, Clone)]
pub(super) struct Hand {
    pub(super) order: Order,
    pub(super) to: RegionName,
    pub(super) prepared: bool,
    /// When the successor was last known to have everything that was written some time before.
    pub(super) caught_up: Option<Moment>,
    /// Where the shutdown checkpoint begins.
    pub(super) stopped: Option<(WalPosition, Timestamp)>,
    pub(super) failed: Option<String>,
    /// The run of what the plan wants before the demotion, and whether that is over.
    pub(super) early: Option<RunId>,
    pub(super) early_over: bool,
    pub(super) held_since: Moment,
    held_at: Timestamp,
    /// The hold that the gateways were asked for.
    pub(super) hold: Option<HoldId>,
    /// Sessions inside a transaction, by the gateway that told it in answer to this hold.
    pub(super) busy: BTreeMap<RegionName, u32>,
    /// Sessions that were cut.
    pub(super) cut: Option<u32>,
}

/// What must hold before a switchover is begun.
type Judge = fn(&Machine, &Order, Moment) -> Ruling;
const SWITCHOVER_RULES: [(Rule, Judge); 6] = [
    (Rule::OrderIsForThisReign, Machine::order_is_current),
    (Rule::CoordinationReachable, |machine, _, _| machine.coordination_answers()),
    (Rule::NoOtherRun, Machine::no_other_run),
    (Rule::FlapWindow, Machine::not_again_for_an_alert),
    (Rule::SuccessorWell, Machine::successor_well),
    (Rule::Approved, Machine::order_is_approved),
];

impl Handing {
    /// The order, if it is open and nobody has ended it here.
    fn open(&self) -> Option<&Order> {
        self.order.as_ref().filter(|o| o.state == OrderState::Open && !self.ended.contains(&o.id))
    }

    /// Where this member hands over to.
    pub(super) fn token(&self) -> Option<Handover> {
        let hand = self.now.as_ref()?;
        let (end, stopped_at) = hand.stopped?;
        Some(Handover {
            order: hand.order.id.clone(),
            by: hand.order.by.clone(),
            to: hand.to.clone(),
            end,
            held_at: hand.held_at,
            stopped_at,
            cut: hand.cut.unwrap_or(0),
            prepared: hand.early.clone(),
        })
    }
}

impl Machine {
    // === orders ===

    pub(super) fn ordered(&mut self, order: Option<Order>) {
        self.handing.order = order.filter(|o| o.group == self.config.group);
    }

    /// The rules of a switchover, for whoever asks why it does not begin.
    pub(super) fn explain_order(&self, now: Moment) -> Vec<RuleState> {
        let Some(order) = self.handing.open() else { return Vec::new() };
        if !matches!(order.wish, Wish::Switchover { .. }) || self.state != State::Leading {
            return Vec::new();
        }
        let judged = SWITCHOVER_RULES.iter().map(|(rule, judge)| {
            let (allows, evidence) = match judge(self, order, now) {
                Ok(evidence) => (true, evidence),
                Err(blocked) => (false, blocked.evidence.into_owned()),
            };
            RuleState { rule: *rule, allows, evidence }
        });
        judged.collect()
    }

    /// The writer looks whether it is to move: it begins, or the order is refused with the reason. One that is not for
    /// its reign it only ends.
    pub(super) fn consider_order(&mut self) {
        let Some(order) = self.handing.open().cloned() else { return };
        if order.epoch < self.memory.epoch {
            return self.end_void_order(&order);
        }
        let Wish::Switchover { to } = &order.wish else { return };
        let refused = SWITCHOVER_RULES.iter().find_map(|(_, judge)| judge(self, &order, self.at.now).err());
        if let Some(blocked) = refused {
            return self.end_order(&order, Some(blocked.evidence.into_owned()));
        }
        let (early, to) = (self.early_run(&order, to), to.clone());
        if early.is_some() && !self.may_prepare() {
            return;
        }
        let early = early.map(|early| self.begin_early(early));
        self.handing.now = Some(Hand {
            to,
            order,
            early_over: early.is_none(),
            early,
            prepared: false,
            caught_up: None,
            stopped: None,
            failed: None,
            held_since: self.at.now,
            held_at: self.at.wall,
            hold: None,
            busy: BTreeMap::new(),
            cut: None,
        });
        self.go(Trigger::SwitchoverOrdered, State::Preparing);
    }

    /// The writer is not handing over any more: the successor writes, or why it does not.
    pub(super) fn conclude_handing(&mut self, state: State) {
        let Some(hand) = &self.handing.now else { return };
        let record = self.facts.record.as_ref();
        let taken = record.is_some_and(|r| r.holder == hand.to && r.epoch > hand.order.epoch);
        let refused = (!taken).then(|| match record {
            Some(r) if hand.stopped.is_some() && r.epoch > hand.order.epoch => {
                format!("{} did not take over in time; {} writes in epoch {}", hand.to, r.holder, r.epoch)
            }
            _ if hand.stopped.is_some() => format!("{} did not take over in time", hand.to),
            _ => format!("the writer is {state}"),
        });
        self.end_handing(refused);
    }

    /// The switchover is over, one way or the other.
    pub(super) fn end_handing(&mut self, refused: Option<String>) {
        let Some(hand) = self.handing.now.take() else { return };
        // After a success nobody is let go: what waits at the old writer must not begin there. The gateways find the
        // new writer by its epoch, and with that the name of the successor in this hold means nothing any more.
        if let Some(hold) = hand.hold.filter(|_| refused.is_some()) {
            self.asides.push(Command::Unhold { hold });
        }
        if let Some(why) = &refused {
            self.runner.end_early(format!("the switchover was called off: {why}"), self.at.wall);
        }
        self.end_order(&hand.order, refused);
    }

    // === rules ===

    fn order_is_current(&self, order: &Order, _: Moment) -> Ruling {
        let epoch = self.memory.epoch;
        if order.epoch != epoch {
            return Err(no(format!("it was given in epoch {}, now it is {epoch}", order.epoch)));
        }
        if self.at.wall > order.expires_at {
            return Err(no("it has expired"));
        }
        Ok(format!("{} ordered it in this epoch", order.by))
    }

    fn no_other_run(&self, _: &Order, _: Moment) -> Ruling {
        match self.run().and_then(Run::unfinished) {
            Some(why) => Err(no(why)),
            None => Ok("no run is under way".to_owned()),
        }
    }

    /// An alert that goes on firing is sent again and again; the writer has moved for it already, or has tried to.
    fn not_again_for_an_alert(&self, order: &Order, _: Moment) -> Ruling {
        let last = self.runner.newest().map(|run| run.decided_at.0).filter(|_| order.by == "alert");
        let Some(last) = last else { return Ok(format!("{} may ask at any time", order.by)) };
        let ago = Duration::from_millis(u64::try_from(self.at.wall.0.saturating_sub(last)).unwrap_or(0));
        let window = self.config.timers.flap_window;
        if ago < window {
            let (ago, left) = (secs(ago), secs(window - ago));
            return Err(no(format!(
                "the last run was only {ago} ago: no alert moves the writer for another {left}"
            )));
        }
        Ok(format!("the last run was {} ago", secs(ago)))
    }

    fn order_is_approved(&self, order: &Order, _: Moment) -> Ruling {
        let by_itself = nobody_in_person(order);
        if by_itself && let Some(maintenance) = self.maintenance() {
            return Err(no(maintenance));
        }
        if by_itself && self.config.plan.approval {
            return Err(no("the plan wants a person's approval: `meridian switchover` is one"));
        }
        Ok(format!("{} ordered it", order.by))
    }

    pub(super) fn successor_well(&self, order: &Order, now: Moment) -> Ruling {
        let Wish::Switchover { to } = &order.wish else { return Err(no("it names no successor")) };
        if *to == self.config.me {
            return Err(no(format!("{to} is the writer already")));
        }
        let Some(seen) = self.facts.members.get(to).filter(|_| self.others.contains(to)) else {
            return Err(no(format!("{to} has no database of {}", self.config.group)));
        };
        let ttl = self.config.timers.observation_ttl;
        let health = self.facts.health(to, now, ttl);
        if health != Health::Up {
            return Err(no(format!("{to} is {health}: {}", self.facts.verdict(to))));
        }
        let database = &seen.report.database;
        if now.since(seen.at) > ttl || database.role != DatabaseRole::Standby || !database.streaming {
            return Err(no(format!("{to} is no standby that streams from here")));
        }
        let lag = Duration::from_millis(database.replay_lag_ms.unwrap_or(u64::MAX));
        if lag > self.config.switchover.max_lag {
            let most = secs(self.config.switchover.max_lag);
            return Err(no(format!("{to} is {} behind, at most {most} is begun with", secs(lag))));
        }
        Ok(format!("{to} is up, streams and is {} behind", secs(lag)))
    }

    // === the old writer ===

    /// One look at a switchover under way. The caller has looked at the lease and the database.
    pub(super) fn hand_over(&mut self) {
        let before_the_stop = matches!(self.state, State::Preparing | State::Draining);
        let away = self.coordination_answers().err().filter(|_| before_the_stop);
        let Some(hand) = &mut self.handing.now else {
            return self.go(Trigger::CalledOff, State::Leading);
        };
        // Without etcd the lease cannot be given to anybody, and a healthy writer goes on.
        if let Some(blocked) = away {
            hand.failed.get_or_insert_with(|| blocked.evidence.into_owned());
        }
        if let Some(reason) = hand.failed.clone() {
            return self.call_off(reason);
        }
        match self.state {
            State::Preparing if !hand.early_over => self.look_at_early_steps(),
            State::Preparing if hand.prepared => self.go(Trigger::Prepared, State::Draining),
            State::Draining => self.drain(),
            State::HandingOver if hand.stopped.is_some() => {
                self.go(Trigger::StoppedInOrder, State::Releasing);
            }
            _ => {}
        }
    }

    fn drain(&mut self) {
        if self.is_quiet() && self.has_just_caught_up() {
            self.go(Trigger::Drained, State::HandingOver);
        } else {
            self.wait_for_quiet();
        }
    }

    /// The successor lacks at most what was written in the last moments.
    fn has_just_caught_up(&self) -> bool {
        let caught_up = self.handing.now.as_ref().and_then(|hand| hand.caught_up);
        caught_up.is_some_and(|at| self.at.now < at + CAUGHT_UP_LASTS)
    }

    pub(super) fn call_off(&mut self, reason: String) {
        let to = if self.state == State::HandingOver { State::Restarting } else { State::Leading };
        self.end_handing(Some(reason));
        self.go(Trigger::CalledOff, to);
    }

    pub(super) fn begin_draining(&mut self) {
        let (now, wall) = (self.at.now, self.at.wall);
        if let Some(hand) = &mut self.handing.now {
            (hand.held_since, hand.held_at) = (now, wall);
        }
    }

    /// What the database is to do for it.
    pub(super) fn handing_goal(&self) -> Option<Action> {
        let hand = self.handing.now.as_ref().filter(|hand| hand.failed.is_none())?;
        let (to, limits) = (hand.to.clone(), self.config.switchover);
        match self.state {
            State::Preparing if hand.early_over && !hand.prepared => Some(Action::PrepareHandover { to }),
            // Beside the waiting for what is under way, and once more if that takes long: what is written in between is
            // little, and the stop waits for it.
            State::Draining
                if hand.caught_up.is_none() || (self.is_quiet() && !self.has_just_caught_up()) =>
            {
                Some(Action::CatchUp { to, within: limits.catch_up })
            }
            State::HandingOver if hand.stopped.is_none() => {
                Some(Action::StopInOrder { within: STOP_IN_ORDER })
            }
            _ => None,
        }
    }

    /// The database is ready for the next part of a switchover.
    pub(super) fn handed_on(&mut self, action: &Action) {
        let Some(hand) = &mut self.handing.now else { return };
        match action {
            // Of an earlier one, to another member, that was called off meanwhile.
            Action::PrepareHandover { to } | Action::CatchUp { to, .. } if *to != hand.to => {}
            Action::PrepareHandover { .. } => hand.prepared = true,
            Action::CatchUp { .. } => hand.caught_up = Some(self.at.now),
            // The successor proves with it that it has everything: none is no proof.
            _ if self.facts.database.received == WalPosition::default() => {
                hand.failed = Some("where its log ends after the stop is not known".to_owned());
            }
            _ => {
                hand.stopped = Some((self.facts.database.received, self.at.wall));
                self.driver.stopped = true;
                self.driver.followed = None;
            }
        }
    }
}

pub(super) fn nobody_in_person(order: &Order) -> bool {
    matches!(order.by.as_str(), "schedule" | "alert")
}
