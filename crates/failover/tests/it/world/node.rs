//! The loop of a node: events in, a step of its machine, commands out.

use super::*;

impl World {
    pub(super) fn loop_of(&mut self, i: usize) {
        if !self.alive(i) || self.now < self.nodes[i].stalled_until {
            return;
        }
        let mut events = std::mem::take(&mut self.nodes[i].inbox);
        let started = matches!(events.first(), Some(Event::Started { .. }));
        if self.nodes[i].wake.is_some_and(|wake| self.local(i) >= wake) && !started {
            events.insert(0, Event::Tick);
        }
        for event in events {
            self.step(i, event);
        }
    }

    pub(super) fn step(&mut self, i: usize, event: Event) {
        let at = At {
            now: self.local(i),
            wall: Timestamp(1_700_000_000_000 + self.now as i64 + self.nodes[i].wall_wrong),
        };
        if self.keep_trace
            && !matches!(event, Event::Tick | Event::Regions(_) | Event::Member(_) | Event::Database(_))
        {
            let text = format!("{event:?}");
            self.say(format!("{} <- {}", region(i), text.chars().take(300).collect::<String>()));
        }
        let Some(machine) = self.nodes[i].machine.as_mut() else { return };
        let commands = machine.step(event, at);
        if let Some((wake, why)) = machine.wake_at() {
            assert!(wake > at.now, "wakes in the past: {why}");
        }
        self.nodes[i].wake = machine.wake_at().map(|(at, _)| at);
        let mut again = Vec::new();
        for command in commands {
            if let Some(event) = self.command(i, command) {
                again.push(event);
                break;
            }
        }
        for event in again {
            self.nodes[i].inbox.insert(0, event);
        }
    }

    pub(super) fn command(&mut self, i: usize, command: Command) -> Option<Event> {
        let life = self.nodes[i].life;
        match command {
            Command::Swap(swap) => self.send_swap(i, *swap),
            Command::ReadRecord { asked } => {
                if let (Some(delay), true) = self.send(i) {
                    self.later(delay, delay, Act::Read(i, life, asked));
                }
            }
            Command::Journal { attempt, run } => match self.send(i) {
                (Some(delay), true) => self.later(delay, delay, Act::Journal(i, life, attempt, run)),
                _ => {
                    let outcome = Outcome::Unknown("timeout".into());
                    self.later(900, 1_200, Act::Deliver(i, life, Event::Journalled { attempt, outcome }));
                }
            },
            Command::Report(report) => {
                if let (Some(delay), _) = self.send(i) {
                    self.later(delay, delay, Act::Report(i, report));
                }
            }
            Command::Announce(announcement) => self.announce(i, &announcement),
            Command::AskPromise { to, promise, sent_at } => {
                let to = index(&to);
                self.later(5, 150, Act::Ask { from: i, life, to, promise, sent_at });
            }
            Command::AnswerPromise { ask, granted, reason } => {
                self.say(format!("{} promises {granted}: {reason}", region(i)));
                if let Some((to, life, epoch, sent_at)) = self.asks.remove(&ask) {
                    self.later(5, 150, Act::Answer { from: i, to, life, epoch, sent_at, granted });
                }
            }
            Command::Remember(memory) => {
                if self.nodes[i].disk_full {
                    return Some(Event::NotRemembered { reason: "the disk is full".into() });
                }
                self.nodes[i].disk = Some(memory);
            }
            Command::OpenWrites { epoch, until } => {
                assert!(epoch >= self.nodes[i].highest, "writes are opened for an old epoch");
                self.nodes[i].highest = epoch;
                self.nodes[i].gateway = Some((epoch, until));
            }
            Command::CloseWrites { .. } => self.nodes[i].gateway = None,
            Command::DatabaseFence { at } => self.nodes[i].fence = at,
            Command::Database { id, action } => {
                if action == DatabaseAction::Stop {
                    self.nodes[i].running = None;
                    self.nodes[i].waiting.clear();
                }
                self.nodes[i].waiting.push((id, action));
            }
            Command::Hold { epoch, .. } => {
                let asked = (0..self.nodes.len()).filter(|from| *from == i || self.connected(i, *from));
                for from in asked.collect::<Vec<_>>() {
                    let event = Event::Held { from: region(from), epoch, busy: 0 };
                    self.later(5, 300, Act::Deliver(i, life, event));
                }
            }
            Command::Unhold { .. } | Command::CutSessions => {}
            Command::EndOrder(order) => {
                self.say(format!("{} ends order {}: {:?}", region(i), order.id, order.state));
                self.ended.push(order);
            }
            Command::Step { step, run } => {
                let event = if self.chance.percent(self.trouble) {
                    Event::StepFailed { run: run.id, step, reason: "bad luck".into() }
                } else {
                    Event::StepDone { run: run.id, step, detail: "done".into() }
                };
                self.later(20, 500, Act::Deliver(i, life, event));
            }
            Command::Log { text, .. } => {
                if let Some((from, rest)) = text.split_once(" -> ") {
                    let to = rest.split(';').next().unwrap_or_default();
                    self.moves.insert(format!("{from} -> {to}"));
                }
                self.say(format!("{} {text}", region(i)));
            }
        }
        None
    }

    pub(super) fn announce(&mut self, from: usize, announcement: &meridian_model::group::Announcement) {
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            // Some come late, some twice, some never.
            let (first, again) = (self.chance.percent(90), self.chance.percent(10));
            for far in [first.then_some(150), again.then_some(8_000)].into_iter().flatten() {
                self.later(5, far, Act::Announce(from, to, announcement.clone()));
            }
        }
    }

    pub(super) fn send_swap(&mut self, i: usize, swap: Swap) {
        let life = self.nodes[i].life;
        let (arrives, answers) = self.send(i);
        let unknown = Event::Swapped { attempt: swap.attempt, outcome: Outcome::Unknown("timeout".into()) };
        if !answers && self.chance.percent(80) {
            self.later(900, 1_200, Act::Deliver(i, life, unknown));
        }
        if let Some(delay) = arrives {
            self.later(delay, delay, Act::Swap(i, life, swap, answers));
        }
    }
}
