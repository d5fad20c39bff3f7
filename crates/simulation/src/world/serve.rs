//! How a machine is served: every event that it gets is one step, and every command that it gives is carried
//! out here, in order. A new kind of command is met by this one `match`.

use meridian_failover::{At, Command, Event, Outcome, State};
use meridian_model::group::{Announcement, GroupRecord, HoldId, Promise};
use meridian_model::run::{Run, Step, StepKind};
use meridian_model::{Epoch, Moment, Name};

use super::etcd::Request;
use super::node::Gate;
use super::{Act, World};
use crate::schedule::{MS, SECOND, Us};
use crate::shape::{index, region, word};

/// What nodes tell each other directly.
#[derive(Debug, Clone)]
pub(super) enum Peer {
    /// A renewal is about to be sent.
    Announce(Announcement),
    /// A promise is asked for.
    Ask { life: u32, promise: Promise, sent_at: Moment },
    /// And answered.
    Answer { life: u32, epoch: Epoch, sent_at: Moment, granted: bool },
    /// The gateway is to hold new transactions until then; `None`: no longer.
    Hold { hold: HoldId, until: Option<Us> },
    /// It holds, and so many are still under way.
    Held { hold: HoldId, busy: u32 },
}

/// How long a step of a run takes, at most, when nothing is wrong.
const STEP_TAKES: Us = 500 * MS;
/// A step that cannot be done is given up after this long.
const STEP_WITHIN: Us = 5 * SECOND;
/// The longest that a message between nodes takes when nothing is wrong.
const MESSAGE_TAKES: Us = 120 * MS;

impl World {
    /// One event, and what follows from it at once.
    pub(super) fn turn(&mut self, i: usize, event: Event) {
        let mut next = self.step(i, event);
        while let Some(event) = next {
            next = self.step(i, event);
        }
        let wake = self.nodes[i].machine.as_ref().and_then(|m| m.wake_at());
        self.wake_at(i, wake.map(|(at, _)| at));
        self.show(i);
    }

    /// One step of the machine. Gives an event back when the rest of its commands must not be carried out.
    fn step(&mut self, i: usize, event: Event) -> Option<Event> {
        let at = At { now: self.local(i), wall: self.nodes[i].clock.wall(self.now) };
        if self.story.is_some() {
            self.tell_event(i, &event);
        }
        let machine = self.nodes[i].machine.as_mut()?;
        let followed = machine.state() == State::Following;
        let commands = (self.serve)(machine, event, at);
        let (epoch, wake) = (machine.epoch(), machine.wake_at());
        if followed && machine.state() == State::Sealing {
            self.cuts_itself_off(i);
        }
        if let Some((wake, why)) = wake.filter(|(wake, _)| *wake <= at.now) {
            self.watcher
                .machine_fault(format!("{} wants to wake up at {wake:?}, which is past: {why}", word(i)));
        }
        self.watcher.epoch_of(i, self.nodes[i].life, epoch, self.now);
        for command in commands {
            if let Some(event) = self.carry_out(i, command) {
                return Some(event);
            }
        }
        None
    }

    fn carry_out(&mut self, i: usize, command: Command) -> Option<Event> {
        match command {
            Command::Swap(swap) => self.send(i, Request::Swap(swap, self.now)),
            Command::ReadRecord { asked } => self.send(i, Request::Read { asked }),
            Command::Journal { attempt, run } => self.send(i, Request::Journal { attempt, run }),
            Command::Report(report) => self.send(i, Request::Member(report)),
            Command::Announce(announcement) => {
                for to in self.other_members(i) {
                    self.post(i, to, Peer::Announce(announcement.clone()));
                }
            }
            Command::AskPromise { to, promise, sent_at } => {
                let life = self.nodes[i].life;
                self.post(i, index(&to), Peer::Ask { life, promise, sent_at });
            }
            Command::AnswerPromise { ask, granted, reason } => {
                self.say(|_| format!("{}: promises: {granted}, {reason}", word(i)));
                if let Some((to, life, epoch, sent_at)) = self.asks.remove(&ask) {
                    self.post(i, to, Peer::Answer { life, epoch, sent_at, granted });
                }
            }
            Command::Remember(memory) => {
                if self.harm.disk_full[i] {
                    return Some(Event::NotRemembered { reason: "the disk is full".to_owned() });
                }
                self.nodes[i].disk = Some(memory);
            }
            Command::OpenWrites { epoch, until } => {
                let opened =
                    self.nodes[i].gateway.is_none_or(|gate| gate.epoch != epoch) || !self.gateway_open(i);
                self.nodes[i].gateway = Some(Gate { epoch, until });
                self.nodes[i].db.epoch = epoch;
                if opened {
                    self.say(|_| format!("{}: its gateway takes writes in epoch {epoch}", word(i)));
                    self.watcher.opened(i, epoch, self.now);
                    self.watcher_looks(i);
                }
            }
            Command::CloseWrites { reason } => {
                self.say(|_| format!("{}: its gateway takes no writes: {reason}", word(i)));
                self.nodes[i].gateway = None;
                self.watcher_looks(i);
            }
            Command::DatabaseFence { at } => self.arm(i, at),
            Command::Database { id, action } => self.ask_database(i, id, action),
            Command::Step { step, run } => self.begin_step(i, step, &run),
            // What it still says is not listened to.
            Command::EndStep { .. } => {}
            Command::Hold { hold, until, .. } => {
                let until = self.nodes[i].clock.when(until);
                self.ask_to_hold(i, hold, Some(until));
            }
            Command::Unhold { hold } => self.ask_to_hold(i, hold, None),
            // A write that is under way here goes on until the database stops; safety does not rest on it.
            Command::CutSessions => {}
            Command::ProlongOrder(order) => self.send(i, Request::Mark(order)),
            Command::EndOrder(order) => {
                self.say(|_| format!("{}: order {} ends: {:?}", word(i), order.id, order.state));
                self.send(i, Request::Mark(order));
            }
            Command::Log { text, .. } => self.log(i, &text),
        }
        None
    }

    /// A step of a run that is the node's to carry out.
    fn begin_step(&mut self, i: usize, step: Name, run: &Run) {
        let kind = run.step(&step).map(Step::kind);
        let holder = self.etcd.record.as_ref().map(|(record, _)| index(&record.holder));
        self.watcher.step(i, holder, run.epoch, self.etcd.epoch);
        let done = match kind {
            Some(StepKind::Shift) => self.nodes[i].sight.writer() == Some(&run.to),
            Some(StepKind::Verify) => self.gateway_open(i) && self.nodes[i].db.is_primary(),
            _ => true,
        };
        let unlucky = self.draws.steps.percent(self.harm.etcd_trouble / 2);
        let (wait, event) = if done && !unlucky {
            let takes = self.draws.steps.between(5 * MS, STEP_TAKES);
            (takes, Event::StepDone { run: run.id.clone(), step, detail: "done".to_owned() })
        } else {
            (
                STEP_WITHIN,
                Event::StepFailed { run: run.id.clone(), step, reason: "not within 5 s".to_owned() },
            )
        };
        let life = self.nodes[i].life;
        self.after(wait, Act::Deliver(i, life, Box::new(event)));
    }

    fn log(&mut self, i: usize, text: &str) {
        if let Some((from, rest)) = text.split_once(" -> ") {
            let to = rest.split(';').next().unwrap_or_default();
            self.moves.iter_mut().for_each(|moves| {
                moves.insert(format!("{from} -> {to}"));
            });
        }
        self.say(|_| format!("{}: {text}", word(i)));
    }

    // === messages between nodes ===

    /// Sends a message: some come late, some twice, some never.
    pub(super) fn post(&mut self, from: usize, to: usize, message: Peer) {
        let trouble = self.harm.message_trouble;
        let draws = &mut self.draws.messages;
        let lost = draws.percent(1 + trouble / 2);
        let again = draws.percent(1 + trouble / 4).then(|| draws.between(MS, 8 * SECOND));
        let late = draws.percent(trouble / 2);
        let takes = draws.between(MS, if late { 5 * SECOND } else { MESSAGE_TAKES });
        let copies = [(!lost).then_some(takes), again];
        for takes in copies.into_iter().flatten() {
            self.after(takes, Act::Message { from, to, message: Box::new(message.clone()) });
        }
    }

    /// It arrives, if the line works.
    pub(super) fn message(&mut self, from: usize, to: usize, message: Peer) {
        if !self.connected(from, to) || self.nodes[to].machine.is_none() {
            return;
        }
        let event = match message {
            Peer::Announce(announcement) => Event::Announced(announcement),
            Peer::Hold { hold, until } => return self.hold(from, to, hold, until),
            Peer::Held { hold, busy } => Event::Held { from: region(from), hold, busy },
            Peer::Ask { life, promise, sent_at } => {
                self.next_ask += 1;
                self.asks.insert(self.next_ask, (from, life, promise.epoch, sent_at));
                Event::PromiseAsked { ask: self.next_ask, promise }
            }
            Peer::Answer { life, epoch, sent_at, granted } => {
                if self.nodes[to].life != life {
                    return;
                }
                Event::PromiseAnswer { from: region(from), epoch, sent_at, granted }
            }
        };
        self.deliver(to, event);
    }

    // === what is shown of it ===

    /// After a turn: the state of the group for the snapshot, when it may have changed.
    fn show(&mut self, i: usize) {
        let Some(machine) = self.nodes[i].machine.as_ref() else { return };
        let record = machine.record();
        let key = (machine.state(), machine.epoch(), record.map(|r| (index(&r.holder), r.released)));
        if self.nodes[i].sight.shown != Some(key) {
            self.nodes[i].sight.shown = Some(key);
            self.publish(i);
        }
    }

    fn tell_event(&mut self, i: usize, event: &Event) {
        let text = match event {
            Event::Tick | Event::Regions(_) | Event::Member(_) | Event::Database(_) | Event::Announced(_) => {
                return;
            }
            Event::Record { record: Some(record), .. } => {
                let machine = self.nodes[i].machine.as_ref();
                let known = machine.and_then(|machine| machine.record());
                let same = |r: &&GroupRecord| {
                    (r.epoch, r.released, &r.holder) == (record.epoch, record.released, &record.holder)
                };
                if known.filter(same).is_some() {
                    return;
                }
                let gives = if record.released { "has given up" } else { "holds" };
                format!("hears that {} {gives} epoch {}", record.holder, record.epoch)
            }
            Event::Swapped { outcome: Outcome::Done(_), .. } | Event::Journalled { .. } => return,
            Event::Finished { .. } | Event::Coordination { .. } => return,
            Event::PromiseAsked { promise, .. } => {
                format!("is asked for a promise by {} for epoch {}", promise.holder, promise.epoch)
            }
            Event::PromiseAnswer { from, granted, .. } => format!("{from} promises: {granted}"),
            Event::Started { memory, .. } => format!("remembers {memory:?}"),
            Event::Run(run) => format!("hears of run {}", run.id),
            Event::Swapped { attempt, outcome } => format!("attempt {attempt}: {outcome:?}"),
            other => format!("{other:?}").chars().take(160).collect(),
        };
        self.say(|_| format!("{}:   {text}", word(i)));
    }
}

/// What the data planes see change.
pub(super) type Shown = (State, Epoch, Option<(usize, bool)>);
