//! What the local database says, and how its actions ended.

use meridian_model::group::{DatabaseRole, DatabaseStatus, WalPosition};

use super::Machine;
use crate::command::{DatabaseAction as Action, Level};
use crate::event::Completed;
use crate::table::State;

impl Machine {
    pub(super) fn heard_database(&mut self, status: DatabaseStatus) {
        let ended = status.role == DatabaseRole::Stopped && self.facts.database.role != DatabaseRole::Stopped;
        self.facts.set_database(status, self.at.now);
        self.watch_standbys();
        self.watch_objective();
        self.see_what_is_wanted();
        match self.state {
            state if ended && (state.serves() || state == State::WritesClosed) => self.crashed(),
            State::Promoting if ended => self.driver.lost_starts += 1,
            _ => {}
        }
    }

    pub(super) fn crashed(&mut self) {
        self.facts.crashes.push_back(self.at.now);
        while self.facts.crashes.len() > crate::limits::CRASHES_MAX + 1 {
            self.facts.crashes.pop_front();
        }
    }

    pub(super) fn finished(&mut self, id: u64, result: Result<Completed, String>) {
        let action = match self.driver.running.take() {
            Some((running, action)) if running == id => action,
            other => {
                self.driver.running = other;
                return;
            }
        };
        match result {
            Ok(done) => self.action_done(action, done),
            Err(reason) => {
                self.driver.failed(self.at.now);
                self.driver.lost_starts += 1;
                self.log(Level::Warn, format!("to {} the database failed: {reason}", action.word()));
                // Whose acknowledgements count is neither a start nor a part of a switchover.
                let beside = matches!(action, Action::SetQuorum(_) | Action::SetReadOnly(_));
                if self.state == State::Restarting && !beside {
                    self.crashed();
                }
                if matches!(action, Action::Rejoin { .. }) {
                    self.driver.last_rejoin = Some(self.at.now);
                }
                if let Some(hand) = &mut self.handing.now
                    && !beside
                {
                    hand.failed = Some(format!("could not {}: {reason}", action.word()));
                }
            }
        }
    }

    fn action_done(&mut self, action: Action, done: Completed) {
        if action == Action::Seal && !tells_its_position(&done.status) {
            // A position that is too low would be taken for proof that nothing more is there.
            self.facts.set_database(done.status, self.at.now);
            self.driver.failed(self.at.now);
            return self.log(Level::Warn, "the sealed database does not tell its position yet".to_owned());
        }
        self.driver.fresh();
        self.quorum_in_force(&action, &done.status);
        self.facts.set_database(done.status, self.at.now);
        if !done.detail.is_empty() {
            self.log(Level::Info, format!("to {}: {}", action.word(), done.detail));
        }
        let now = self.at.now;
        match action {
            Action::Initialise => self.driver.start_as_primary = true,
            Action::Stop => {
                self.driver.stopped = true;
                self.driver.followed = None;
            }
            Action::StartPrimary { .. } | Action::Promote { .. } => {
                self.driver.start_as_primary = true;
                self.breach.started();
                self.facts.database.role = DatabaseRole::Primary;
                self.database_leads();
            }
            Action::Follow { upstream, epoch } => {
                self.driver.followed = Some((upstream, epoch, now));
                self.driver.sealed = false;
            }
            Action::Clone { .. } => self.database_copied(),
            Action::Rejoin { .. } => {
                self.driver.last_rejoin = Some(now);
                self.database_copied();
            }
            Action::PrepareHandover { .. } | Action::CatchUp { .. } | Action::StopInOrder { .. } => {
                self.handed_on(&action);
            }
            Action::Replay { .. } => self.driver.replayed = true,
            Action::SetQuorum(_) => {}
            Action::SetReadOnly(on) => self.breach.is_set(on),
            Action::Seal => {
                self.driver.sealed = true;
                self.driver.final_position = Some(self.facts.database.received);
                self.driver.followed = None;
            }
        }
    }

    pub(super) fn not_remembered(&mut self, reason: String) {
        self.log(Level::Warn, format!("cannot keep what must survive a restart: {reason}"));
        self.kept = None;
        self.keep_again = Some(self.at.now + crate::limits::STEP_AGAIN);
        if self.driver.running.as_ref().is_some_and(|(_, action)| *action != Action::Stop) {
            self.driver.failed(self.at.now);
        }
    }
}

/// It runs as a standby and says how far its log goes.
fn tells_its_position(status: &DatabaseStatus) -> bool {
    status.role == DatabaseRole::Standby && status.received != WalPosition::default()
}
