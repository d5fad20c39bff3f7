//! What is seen of runs: their journal, and which of their steps begin.

use meridian_invariants::{self as laws, StepSeen, World as Seen};
use meridian_model::Epoch;
use meridian_model::run::{Run, RunKind, Step, StepKind, StepState};

use super::Watcher;
use crate::shape::region;

impl Watcher {
    /// A run was written.
    pub(crate) fn journalled(&mut self, run: &Run) {
        let prepared = self.prepared.clone().filter(|p| run.takes_over.as_ref() == Some(&p.id));
        let runs = prepared.into_iter().chain([run.clone()]).collect();
        let mut seen = Seen { runs, ..Seen::default() };
        self.ask(laws::run_in_order::check, &seen);
        self.remember_preparation(run);
        // An older entry that comes late is written over again by its owner: what came to its end, did.
        if !self.runs.get(&run.epoch).is_some_and(Run::finished) {
            self.runs.extend(seen.runs.pop().map(|run| (run.epoch, run)));
        }
    }

    /// An entry that comes late does not undo what was done.
    fn remember_preparation(&mut self, run: &Run) {
        let promotes = |s: &Step| matches!(s.state, StepState::Running { .. } | StepState::Done { .. });
        if run.kind != RunKind::Switchover || run.of_kind(StepKind::Promote).is_some_and(promotes) {
            return;
        }
        let over = |run: &Run| run.steps.iter().filter(|s| s.over()).count();
        let older = self.prepared.as_ref().is_none_or(|p| p.id != run.id || over(p) <= over(run));
        if older {
            self.prepared = Some(run.clone());
        }
    }

    /// A step of a run of that epoch begins, while that one is current.
    pub(crate) fn step(&mut self, i: usize, holder: Option<usize>, epoch: Epoch, current: Epoch) {
        if epoch != current {
            let step = StepSeen { by: region(i), epoch, current, holder: holder.map(region) };
            self.ask(laws::step_in_epoch::check, &Seen { steps: vec![step], ..Seen::default() });
        }
    }
}
