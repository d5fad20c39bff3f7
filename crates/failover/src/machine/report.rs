//! What this member tells the group.

use meridian_model::group::{DatabaseStatus, MemberReport};
use meridian_model::{Epoch, Moment};

use super::Machine;
use crate::command::Command;
use crate::limits::REPORT_EVERY;
use crate::table::State;

/// What was told last.
#[derive(Debug, Clone, Default)]
pub(super) struct Reporter {
    sequence: u64,
    last: Option<(MemberReport, Moment)>,
}

impl Machine {
    /// A report when something that matters has changed, and once a second.
    pub(super) fn report(&mut self) -> Option<Command> {
        if !self.is_member() {
            return None;
        }
        let news = self.reporter.last.as_ref().is_none_or(|(last, _)| self.matters(last));
        let last_at = self.reporter.last.as_ref().map(|(_, at)| *at);
        if !news && last_at.is_some_and(|at| !self.due(at + REPORT_EVERY, "a report is due")) {
            return None;
        }
        let mut report = self.make_report();
        self.reporter.sequence += 1;
        report.sequence = self.reporter.sequence;
        self.reporter.last = Some((report.clone(), self.at.now));
        Some(Command::Report(report))
    }

    /// The others should know at once.
    fn matters(&self, last: &MemberReport) -> bool {
        let here = &self.facts.database;
        let cut_off = self.reported_seal().is_some() && self.driver.final_position.is_some();
        last.epoch != self.reported_epoch()
            || last.sealed != self.reported_seal()
            || last.database.role != here.role
            || last.database.streaming != (here.streaming && !cut_off)
    }

    fn reported_seal(&self) -> Option<Epoch> {
        self.memory.sealed.filter(|_| matches!(self.state, State::Sealed | State::Claiming))
    }

    fn make_report(&self) -> MemberReport {
        let sealed = self.reported_seal();
        let mut database = self.facts.database.clone();
        if let (Some(_), Some(at)) = (sealed, self.driver.final_position) {
            database = DatabaseStatus { received: at, streaming: false, ..database };
        }
        MemberReport {
            region: self.config.me.clone(),
            sequence: 0,
            epoch: self.reported_epoch(),
            sealed,
            database,
            reported_at: self.at.wall,
        }
    }

    /// The epoch that this member leads or follows.
    fn reported_epoch(&self) -> Epoch {
        let led = self.lease.reign.as_ref().filter(|_| self.state.holds()).map(|reign| reign.epoch);
        let followed = self.driver.followed.as_ref().map(|(_, epoch, _)| *epoch);
        led.or(followed).unwrap_or(Epoch::NONE)
    }
}
