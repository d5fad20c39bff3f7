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
        let mut report = self.make_report();
        if let Some((last, at)) = self.reporter.last.clone()
            && !matters(&last, &report)
            && !self.due(at + REPORT_EVERY, "a report is due")
        {
            return None;
        }
        self.reporter.sequence += 1;
        report.sequence = self.reporter.sequence;
        self.reporter.last = Some((report.clone(), self.at.now));
        Some(Command::Report(report))
    }

    fn make_report(&self) -> MemberReport {
        let sealed = self.memory.sealed.filter(|_| matches!(self.state, State::Sealed | State::Claiming));
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

/// The others should know at once.
fn matters(last: &MemberReport, new: &MemberReport) -> bool {
    last.epoch != new.epoch
        || last.sealed != new.sealed
        || last.database.role != new.database.role
        || last.database.streaming != new.database.streaming
}
