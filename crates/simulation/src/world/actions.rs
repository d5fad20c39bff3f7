//! What machines ask of their databases: one action at a time, in order, and in all the ways in which it can
//! end.

use std::collections::VecDeque;

use meridian_failover::{Completed, DatabaseAction, Event};
use meridian_model::group::{DatabaseRole, Quorum, WalPosition};
use meridian_model::{Epoch, Lsn};

use super::harm::Ill;
use super::wal::Log;
use super::{Act, World};
use crate::schedule::{MS, SECOND, Us};
use crate::shape::{index, word};

/// The actions of one node.
#[derive(Debug, Clone, Default)]
pub(super) struct Actions {
    running: Option<Running>,
    waiting: VecDeque<(u64, DatabaseAction)>,
    /// Rises with each action that begins or is broken off.
    number: u32,
}

#[derive(Debug, Clone)]
struct Running {
    id: u64,
    action: DatabaseAction,
    ill: Option<Ill>,
    began: Us,
    /// It has ended while the region slept.
    overdue: bool,
}

impl Actions {
    pub(super) fn clear(&mut self) {
        self.running = None;
        self.waiting.clear();
        self.number += 1;
    }
}

/// How long actions take, from and to: stopping, copying, anything else.
const STOP: (Us, Us) = (5 * MS, 400 * MS);
const COPY: (Us, Us) = (200 * MS, 2 * SECOND);
const OTHER: (Us, Us) = (20 * MS, 400 * MS);
/// An action that hangs is given up after this long.
const HANGS: (Us, Us) = (3 * SECOND, 12 * SECOND);
/// One that comes late takes so many times as long.
const LATE: Us = 12;

impl World {
    /// The machine asks for an action; a stop goes before what runs.
    pub(super) fn ask_database(&mut self, i: usize, id: u64, action: DatabaseAction) {
        if action == DatabaseAction::Stop {
            self.nodes[i].actions.clear();
        }
        self.nodes[i].actions.waiting.push_back((id, action));
        self.next_action(i);
    }

    fn next_action(&mut self, i: usize) {
        if self.nodes[i].actions.running.is_some() {
            return;
        }
        let Some((id, action)) = self.nodes[i].actions.waiting.pop_front() else { return };
        let ill = self.harm.actions[i];
        let draws = &mut self.draws.actuators;
        let (low, high) = match action {
            DatabaseAction::Stop => STOP,
            DatabaseAction::Clone { .. } | DatabaseAction::Rejoin { .. } => COPY,
            _ => OTHER,
        };
        let takes = match ill {
            Some(Ill::Hangs) => draws.between(HANGS.0, HANGS.1),
            Some(Ill::Late) => draws.between(low, high) * LATE,
            _ => draws.between(low, high),
        };
        let began = self.now;
        let actions = &mut self.nodes[i].actions;
        actions.number += 1;
        actions.running = Some(Running { id, action, ill, began, overdue: false });
        let number = actions.number;
        self.after(takes, Act::ActionEnds(i, number));
    }

    pub(super) fn action_ends(&mut self, i: usize, number: u32) {
        let asleep = self.harm.asleep[i] || self.harm.process_asleep[i];
        let actions = &mut self.nodes[i].actions;
        if actions.number != number {
            return;
        }
        if asleep {
            actions.running.iter_mut().for_each(|running| running.overdue = true);
            return;
        }
        let Some(Running { id, action, ill, began, .. }) = actions.running.take() else { return };
        if let Some(wait) = self.waits_on(i, &action, began).filter(|_| ill.is_none()) {
            self.nodes[i].actions.running = Some(Running { id, action, ill, began, overdue: false });
            return self.after(wait, Act::ActionEnds(i, number));
        }
        let result = match ill {
            Some(Ill::Fails) => Err("bad luck".to_owned()),
            Some(Ill::Hangs) => Err("it did not end in time".to_owned()),
            Some(Ill::Silent) => {
                let _ = self.carry_out_action(i, &action);
                Err("the answer got lost".to_owned())
            }
            Some(Ill::Late) | None => self.carry_out_action(i, &action),
        };
        self.say(|_| match &result {
            Ok(_) => format!("{}: {} done", word(i), action.word()),
            Err(reason) => format!("{}: {} failed: {reason}", word(i), action.word()),
        });
        let mut status = self.status(i);
        if let Ok(Some(end)) = &result {
            status.received = WalPosition { timeline: end.timeline, lsn: Lsn(end.len) };
        }
        let result = result.map(|_| Completed { status, detail: String::new() });
        self.deliver(i, Event::Finished { id, result });
        self.next_action(i);
    }

    /// The region is awake again.
    pub(super) fn actions_go_on(&mut self, i: usize) {
        let actions = &self.nodes[i].actions;
        if actions.running.as_ref().is_some_and(|running| running.overdue) {
            let number = actions.number;
            self.after(MS, Act::ActionEnds(i, number));
        }
    }

    /// The watchdog breaks off what runs.
    pub(super) fn break_off_actions(&mut self, i: usize) {
        let actions = &mut self.nodes[i].actions;
        let running = actions.running.take();
        let waiting = std::mem::take(&mut actions.waiting);
        actions.number += 1;
        let ids = running.map(|running| running.id).into_iter().chain(waiting.into_iter().map(|(id, _)| id));
        for id in ids {
            let result = Err("broken off by the database fence".to_owned());
            self.deliver(i, Event::Finished { id, result });
        }
    }

    /// Gives where the log ended, if it was stopped in good order.
    fn carry_out_action(&mut self, i: usize, action: &DatabaseAction) -> Result<Option<Log>, String> {
        let mut end = None;
        match action {
            DatabaseAction::Stop => self.stop_database(i),
            DatabaseAction::Initialise => self.initialise(i),
            DatabaseAction::StartPrimary { epoch, quorum } => {
                self.start_primary(i, *epoch, quorum.as_ref())?
            }
            DatabaseAction::Promote { epoch, quorum } => self.promote(i, *epoch, quorum.as_ref())?,
            DatabaseAction::SetQuorum(quorum) => {
                let primary = self.nodes[i].db.is_primary();
                primary.then_some(()).ok_or_else(|| "it is no primary".to_owned())?;
                self.nodes[i].db.set_quorum(Some(quorum));
                self.commit_pending(i);
            }
            // Who asks to write still may; safety does not rest on it.
            DatabaseAction::SetReadOnly(_) => {}
            DatabaseAction::Follow { upstream, .. } => self.follow(i, index(upstream))?,
            DatabaseAction::Seal => self.seal(i)?,
            DatabaseAction::Clone { source } => {
                let log = self.source(i, index(source))?;
                let db = &mut self.nodes[i].db;
                if db.role == DatabaseRole::Absent {
                    db.role = DatabaseRole::Stopped;
                    db.copy_of(log);
                }
            }
            DatabaseAction::Rejoin { source, .. } => {
                let log = self.source(i, index(source))?;
                if self.nodes[i].db.is_primary() {
                    self.watcher.machine_fault(format!("{} rejoins while it runs as a primary", word(i)));
                }
                self.stop_database(i);
                let db = &mut self.nodes[i].db;
                db.role = DatabaseRole::Stopped;
                db.copy_of(log);
                db.upstream = None;
            }
            DatabaseAction::PrepareHandover { to } => {
                let streams = self.nodes[index(to)].db.streams_from() == Some(i);
                streams
                    .then_some(())
                    .ok_or_else(|| format!("{} does not stream from here", word(index(to))))?;
            }
            DatabaseAction::CatchUp { to, .. } => self.streams_to(i, index(to))?,
            DatabaseAction::StopInOrder { .. } => end = Some(self.stop_in_order(i)?),
            DatabaseAction::Replay { .. } => self.replayed(i, action)?,
        }
        Ok(end)
    }

    fn initialise(&mut self, i: usize) {
        if self.nodes[i].db.role == DatabaseRole::Absent {
            let log = self.wal.plant();
            let db = &mut self.nodes[i].db;
            db.log = log;
            db.role = DatabaseRole::Stopped;
            db.primary_dir = true;
        }
    }

    /// The actuator starts nothing that takes writes unless a fence is armed.
    fn fence_is_armed(&self, i: usize) -> Result<(), String> {
        let armed = self.nodes[i].fence.due.is_some_and(|fence| fence > self.local(i));
        armed.then_some(()).ok_or_else(|| "no fence is armed".to_owned())
    }

    fn start_primary(&mut self, i: usize, epoch: Epoch, quorum: Option<&Quorum>) -> Result<(), String> {
        self.fence_is_armed(i)?;
        let db = &mut self.nodes[i].db;
        if db.role == DatabaseRole::Absent {
            return Err("there is no database".to_owned());
        }
        db.set_quorum(quorum);
        if db.is_primary() {
            self.commit_pending(i);
            return Ok(());
        }
        let db = &self.nodes[i].db;
        if db.primary_dir {
            self.nodes[i].db.log.len += 1;
        } else {
            // A standby's directory started as a primary forks without a new timeline.
            let log = db.log;
            self.nodes[i].db.log = self.wal.fork(log, log.timeline);
        }
        self.primary_begins(i, epoch);
        Ok(())
    }

    fn promote(&mut self, i: usize, epoch: Epoch, quorum: Option<&Quorum>) -> Result<(), String> {
        self.fence_is_armed(i)?;
        let db = &mut self.nodes[i].db;
        match db.role {
            DatabaseRole::Primary => {
                db.set_quorum(quorum);
                self.commit_pending(i);
                Ok(())
            }
            DatabaseRole::Standby => {
                db.set_quorum(quorum);
                let log = db.log;
                self.nodes[i].db.log = self.wal.fork(log, log.timeline + 1);
                self.primary_begins(i, epoch);
                Ok(())
            }
            role => Err(format!("cannot promote a database that is {role:?}")),
        }
    }

    fn follow(&mut self, i: usize, upstream: usize) -> Result<(), String> {
        let db = &mut self.nodes[i].db;
        if matches!(db.role, DatabaseRole::Primary | DatabaseRole::Absent) {
            return Err(format!("cannot follow: it is {:?}", db.role));
        }
        db.role = DatabaseRole::Standby;
        db.upstream = Some(upstream);
        let had_led = std::mem::take(&mut db.primary_dir);
        self.watcher.follows(i, had_led);
        self.connects(i);
        Ok(())
    }

    fn seal(&mut self, i: usize) -> Result<(), String> {
        let db = &mut self.nodes[i].db;
        if matches!(db.role, DatabaseRole::Primary | DatabaseRole::Absent) {
            return Err(format!("cannot seal: it is {:?}", db.role));
        }
        db.role = DatabaseRole::Standby;
        db.upstream = None;
        db.disconnect();
        Ok(())
    }

    /// What can be copied from a member: only a primary that answers.
    fn source(&self, i: usize, from: usize) -> Result<Log, String> {
        let answers = !self.harm.asleep[from] && self.connected(i, from);
        let primary = answers && self.nodes[from].db.is_primary();
        primary.then(|| self.nodes[from].db.log).ok_or_else(|| "the source does not answer".to_owned())
    }
}
