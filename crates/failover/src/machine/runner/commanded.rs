//! What the runtime is told to carry out, and what it is told to end: a step ends with its run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use meridian_model::name::{Name, RunId};
use meridian_model::run::{Step, StepState};

use super::{Act, Runner};
use crate::command::Command;
use crate::limits::STEP_GRACE;
use crate::machine::Machine;

impl Runner {
    /// The runtime carries that step out no more.
    pub(super) fn answered(&mut self, run: &RunId, step: &Name) {
        self.commanded.remove(&(run.clone(), step.clone()));
    }

    /// Steps that are being carried out though nobody wants them any more: their run was ended, or is not the
    /// current one.
    fn unwanted(&mut self) -> BTreeSet<(RunId, Name)> {
        let current = self.current.as_ref();
        let wanted = |(run, step): &(RunId, Name)| {
            let step = current.filter(|current| &current.id == run).and_then(|run| run.step(step));
            step.is_some_and(|step| matches!(step.state, StepState::Running { .. }))
        };
        self.commanded.extract_if(.., |commanded| !wanted(commanded)).collect()
    }
}

impl Machine {
    pub(super) fn command_step(&mut self, step: &Step) -> Option<Command> {
        let name = step.work.name.clone();
        let act = *self.runner.acts.get(&name)?;
        let patience = Duration::from_millis(step.work.timeout_ms) + STEP_GRACE;
        if let Some(asked) = act.asked
            && !self.due(asked + patience, "a step without an answer is asked for again")
        {
            return None;
        }
        if let Some(at) = act.again
            && !self.due(at, "a failed step is tried again")
        {
            return None;
        }
        self.runner.acts.insert(name.clone(), Act { asked: Some(self.at.now), again: None, ..act });
        let run = Arc::new(self.runner.current.clone()?);
        self.runner.commanded.insert((run.id.clone(), name.clone()));
        Some(Command::Step { step: name, run })
    }

    /// What is being carried out for nobody ends.
    pub(in crate::machine) fn end_steps(&mut self) -> Vec<Command> {
        let unwanted = self.runner.unwanted().into_iter();
        unwanted.map(|(run, step)| Command::EndStep { run, step }).collect()
    }
}
