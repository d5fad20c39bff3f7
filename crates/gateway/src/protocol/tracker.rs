//! What a session has set up at its server, learned from what passes, so that another server can be
//! brought into the same state.
//!
//! Kept are the settings (`SET`, `RESET`: the last for each), the named prepared statements of the protocol,
//! and the parameters that the client was told. Whatever else lives in a session leaves a [`Mark`], and
//! while there is one the session cannot be moved. `DISCARD ALL`, which pools send between
//! two users, takes nearly all of them away.
//!
//! Each message of the client that changes something is remembered until the server answers it: nothing
//! counts before its answer, and settings made in a transaction count when that is committed. Everything is
//! bounded ([`KEPT_MAX`], [`ASKED_MAX`]); beyond that, or when answers come that nobody asked for, the
//! tracker gives up for good and forgets what it had. An idle session without settings or statements owns
//! no memory here but the parameters.

mod asked;
mod parameters;
mod told;

use std::collections::{BTreeMap, VecDeque};

use asked::{Asked, ENTRY, Named, Query, weight};
use parameters::Parameters;
use told::{Told, told_by};

use super::login::Login;
use super::look::{Does, Look, Mark, Marks, SESSION_AUTHORIZATION};
use super::message::{message, until_zero};

/// Bytes of settings and statements that are kept for one session.
pub const KEPT_MAX: usize = 256 << 10;
/// Messages of the client that await their answer.
pub const ASKED_MAX: usize = 4_096;

/// Follows one session.
#[derive(Debug, Default)]
pub struct Tracker {
    /// In the order in which they were last set.
    settings: Vec<Setting>,
    /// The bodies of their Parse messages.
    statements: BTreeMap<Box<[u8]>, Box<[u8]>>,
    told: Parameters,
    marks: Marks,
    asked: VecDeque<Asked>,
    /// Statements (`""`: the unnamed one) that are not plain.
    looks: BTreeMap<Box<[u8]>, Look>,
    /// The same of what the unnamed portal runs.
    portal: Option<Box<Look>>,
    /// What statements of the open transaction did.
    open: Vec<Does>,
    /// Some of that may have been undone.
    doubtful: bool,
    /// The server reported an error since the last ReadyForQuery.
    failed: bool,
    /// Bytes that are kept; never less than there are.
    kept: usize,
    /// The server asked for SCRAM.
    scram: bool,
    /// Nothing is followed any more.
    given_up: bool,
}

#[derive(Debug)]
struct Setting {
    key: Box<[u8]>,
    text: Box<[u8]>,
}

/// What brings a new server into the state of the old one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Messages for the server.
    pub bytes: Vec<u8>,
    /// How many times it says ReadyForQuery in answer.
    pub readies: usize,
}

impl Tracker {
    /// Why the session cannot be moved, if it cannot.
    #[must_use]
    pub fn hindrance(&self) -> Option<Mark> {
        self.marks.first()
    }

    /// A message of the client passes. Of a long one (not `whole`) the body is only the beginning.
    pub fn client_said(&mut self, tag: u8, body: &[u8], whole: bool) {
        if self.given_up {
            return;
        }
        match tag {
            b'Q' => self.query(body, whole),
            b'P' => self.parse(body, whole),
            b'B' => self.bind(body),
            b'E' => self.execute(body),
            b'C' => {
                let name: Option<Box<[u8]>> = body.strip_prefix(b"S").map(|name| until_zero(name).into());
                if let Some(name) = &name {
                    self.looks.remove(name);
                    self.keep(name.len());
                }
                self.ask(Asked::Close(name));
            }
            b'S' => self.ask(Asked::Sync),
            b'F' => self.ask(Asked::Call),
            // The server ignored the Sync that came with the COPY; another follows.
            b'c' | b'f' if matches!(self.asked.back(), Some(Asked::Sync)) => drop(self.asked.pop_back()),
            _ => {}
        }
    }

    /// The server asked for SCRAM when the session began: the next one will too.
    #[must_use]
    pub const fn asked_for_scram(&self) -> bool {
        self.scram
    }

    /// A message of the server passes.
    pub fn server_said(&mut self, tag: u8, body: &[u8]) {
        self.scram |= tag == b'R' && Login::is_offer(body);
        if self.given_up {
            return;
        }
        match tag {
            b'C' => self.completed(until_zero(body)),
            b'1' => match self.asked.pop_front() {
                Some(Asked::Parse(Some(named))) => drop(self.statements.insert(named.name, named.body)),
                Some(Asked::Parse(None)) => {}
                _ => self.give_up(Mark::Unread),
            },
            b'3' => match self.asked.pop_front() {
                Some(Asked::Close(Some(name))) => drop(self.statements.remove(&name)),
                Some(Asked::Close(None)) => {}
                _ => self.give_up(Mark::Unread),
            },
            b's' => drop(self.executed()),
            b'I' if !matches!(self.asked.front(), Some(Asked::Query(_))) => drop(self.executed()),
            b'E' => self.failed = true,
            b'Z' => self.ready(body == b"I"),
            b'S' => self.parameter(body),
            _ => {}
        }
    }

    /// The client was told something else than this ParameterStatus, or nothing.
    #[must_use]
    pub fn is_news(&self, parameter: &[u8]) -> bool {
        self.told.is_news(parameter)
    }

    /// What sets all up again.
    #[must_use]
    pub fn replay(&self) -> Replay {
        let mut replay = Replay { bytes: Vec::new(), readies: self.settings.len() };
        for setting in &self.settings {
            message(&mut replay.bytes, b'Q', &[&setting.text, b"\0"]);
        }
        for body in self.statements.values() {
            message(&mut replay.bytes, b'P', &[body]);
        }
        if !self.statements.is_empty() {
            message(&mut replay.bytes, b'S', &[]);
            replay.readies += 1;
        }
        replay
    }

    // === What the client asks ===

    fn query(&mut self, body: &[u8], whole: bool) {
        let look = Look::at(if whole { until_zero(body) } else { body }, whole);
        self.marks.add(look.marks);
        let query = (!look.does.is_empty() || !whole).then(|| {
            self.keep(weight(&look.does));
            Box::new(Query { does: look.does.into_iter(), whole, completed: 0 })
        });
        self.ask(Asked::Query(query));
    }

    fn parse(&mut self, body: &[u8], whole: bool) {
        let name = until_zero(body);
        let text = body.get(name.len() + 1..).unwrap_or_default();
        let look = Look::at(if whole { until_zero(text) } else { text }, whole);
        self.looks.remove(name);
        if !look.is_plain() && self.keep(weight(&look.does) + name.len() + ENTRY) {
            self.looks.insert(name.into(), look);
        }
        if name.is_empty() {
            self.ask(Asked::Parse(None));
        } else if !whole {
            self.give_up(Mark::TooMuch);
        } else if self.keep(name.len() + body.len() + ENTRY) {
            self.ask(Asked::Parse(Some(Box::new(Named { name: name.into(), body: body.into() }))));
        }
    }

    fn bind(&mut self, body: &[u8]) {
        if self.looks.is_empty() && self.portal.is_none() {
            return;
        }
        let portal = until_zero(body);
        let statement = until_zero(body.get(portal.len() + 1..).unwrap_or_default());
        let look = self.looks.get(statement).cloned();
        if portal.is_empty() {
            self.portal = look.map(Box::new);
        } else if look.is_some() {
            // Nobody fetches from a SET.
            self.marks.add(Marks::of(Mark::Unread));
        }
    }

    fn execute(&mut self, body: &[u8]) {
        let look = self.portal.clone().filter(|_| until_zero(body).is_empty());
        if let Some(look) = &look {
            self.marks.add(look.marks);
            self.keep(weight(&look.does));
        }
        self.ask(Asked::Execute(look));
    }

    fn ask(&mut self, asked: Asked) {
        if self.given_up {
            return;
        }
        if self.asked.len() >= ASKED_MAX {
            return self.give_up(Mark::TooMuch);
        }
        self.asked.push_back(asked);
    }

    // === What the server answers ===

    fn executed(&mut self) -> Does {
        match self.asked.pop_front() {
            Some(Asked::Execute(None)) => Does::Nothing,
            Some(Asked::Execute(Some(look))) => look.does.into_iter().next().unwrap_or_default(),
            _ => {
                self.give_up(Mark::Unread);
                Does::Nothing
            }
        }
    }

    fn completed(&mut self, tag: &[u8]) {
        let does = match self.asked.front_mut() {
            Some(Asked::Query(None)) => Does::Nothing,
            Some(Asked::Query(Some(query))) => {
                query.completed += 1;
                if !query.whole && query.completed > 1 {
                    self.marks.add(Marks::of(Mark::Long));
                }
                query.does.next().unwrap_or_default()
            }
            _ => self.executed(),
        };
        self.apply(does, tag);
    }

    /// A statement completed with that tag.
    fn apply(&mut self, does: Does, tag: &[u8]) {
        match (tag, does) {
            (b"SET", Does::SetLocal) => {}
            (b"SET" | b"RESET", does @ (Does::Set { .. } | Does::ResetAll)) => self.undecided(does),
            (b"COMMIT", _) => self.commit(),
            (b"ROLLBACK", Does::RollbackTo) => self.doubtful |= !self.open.is_empty(),
            (b"ROLLBACK", _) => self.roll_back(),
            (b"DISCARD ALL", _) => self.discard(),
            (b"DEALLOCATE ALL", _) => {
                self.statements.clear();
                self.looks.clear();
                self.marks.remove(Marks::of(Mark::Prepare));
            }
            (b"DEALLOCATE", Does::Deallocate(name)) => {
                self.statements.remove(&name);
                self.looks.remove(&name);
            }
            (_, does @ Does::Clear(_)) => self.undecided(does),
            (tag, _) => match told_by(tag) {
                Told::Nothing => {}
                Told::Leaves(mark) => self.marks.add(Marks::of(mark)),
                Told::Clears(mark) => self.undecided(Does::Clear(Marks::of(mark))),
            },
        }
    }

    /// It counts when the transaction is committed.
    fn undecided(&mut self, does: Does) {
        if self.keep(weight(std::slice::from_ref(&does))) {
            self.open.push(does);
        }
    }

    /// The server awaits the next command; `outside` a transaction, or in one.
    fn ready(&mut self, outside: bool) {
        // Nothing was asked: it is the end of the login.
        while let Some(asked) = self.asked.pop_front() {
            match asked {
                Asked::Sync | Asked::Query(_) | Asked::Call => break,
                // Skipped by the server because of an error before it.
                _ if self.failed => {}
                _ => return self.give_up(Mark::Unread),
            }
        }
        if self.asked.is_empty() {
            self.asked = VecDeque::new();
        }
        match (outside, self.failed) {
            (true, false) => self.commit(),
            (true, true) => self.roll_back(),
            (false, failed) => self.doubtful |= failed && !self.open.is_empty(),
        }
        self.failed = false;
    }

    fn commit(&mut self) {
        if std::mem::take(&mut self.doubtful) && !self.open.is_empty() {
            self.marks.add(Marks::of(Mark::Savepoint));
        }
        for does in std::mem::take(&mut self.open) {
            match does {
                Does::Set { key, text } => {
                    self.settings.retain(|s| s.key != key);
                    self.settings.push(Setting { key, text });
                }
                Does::ResetAll => self.settings.retain(|s| NOT_RESET.contains(&&*s.key)),
                Does::Clear(marks) => self.marks.remove(marks),
                _ => {}
            }
        }
    }

    fn roll_back(&mut self) {
        self.open = Vec::new();
        self.doubtful = false;
    }

    fn discard(&mut self) {
        self.settings = Vec::new();
        self.statements.clear();
        self.looks.clear();
        let mut lasting = Marks::of(Mark::Load);
        lasting.add(Marks::of(Mark::Unread));
        self.marks.keep(lasting);
        self.kept = self.weight();
    }

    fn parameter(&mut self, body: &[u8]) {
        // The look at texts rests on it.
        if body.strip_prefix(b"standard_conforming_strings\0").is_some_and(|value| value != b"on\0") {
            self.marks.add(Marks::of(Mark::Unread));
        }
        if !self.told.note(body) {
            self.give_up(Mark::TooMuch);
        }
    }

    // === Bounds ===

    /// So many bytes more are kept; false: that is too much. What was dropped is noticed only when the
    /// bound seems reached.
    fn keep(&mut self, bytes: usize) -> bool {
        self.kept = self.kept.saturating_add(bytes);
        if self.kept > KEPT_MAX {
            self.kept = self.weight().saturating_add(bytes);
            // A margin, so that this is not counted again for each further message.
            if self.kept > KEPT_MAX / 4 * 3 {
                self.give_up(Mark::TooMuch);
            }
        }
        !self.given_up
    }

    fn weight(&self) -> usize {
        let settings = self.settings.iter().map(|s| s.key.len() + s.text.len() + ENTRY);
        let statements = self.statements.iter().map(|(name, body)| name.len() + body.len() + ENTRY);
        let looks = self.looks.iter().map(|(name, look)| name.len() + weight(&look.does) + ENTRY);
        let asked = self.asked.iter().map(Asked::weight);
        settings.chain(statements).chain(looks).chain(asked).sum::<usize>() + weight(&self.open)
    }

    fn give_up(&mut self, why: Mark) {
        let mut marks = self.marks;
        marks.add(Marks::of(why));
        *self = Self { marks, given_up: true, ..Self::default() };
    }
}

/// Who one is, is not among what `RESET ALL` resets.
const NOT_RESET: [&[u8]; 2] = [b"role", SESSION_AUTHORIZATION];

#[cfg(test)]
mod tests;
