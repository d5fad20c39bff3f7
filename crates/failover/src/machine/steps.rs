//! The steps of a run that only need looking or listening: what the machine itself knows.

use std::time::Duration;

use meridian_model::group::{DatabaseRole, StandbyStatus};
use meridian_model::health::Health;
use meridian_model::name::Name;
use meridian_model::plan::Task;
use meridian_model::run::{RunKind, Step};

use super::Machine;
use super::rules::secs;
use super::runs::agreed_before;
use crate::limits::REPOINT_WAIT;

impl Machine {
    /// The steps that only need looking or listening: done, with what was seen, or not yet.
    pub(super) fn own_step(&mut self, step: &Step) -> Look {
        let done = match &step.work.task {
            Task::Demote => Some("the old writer has stopped".to_owned()),
            Task::Fence => self.runner.current.as_ref().map(|run| run.proof.clone()),
            Task::Promote => None,
            Task::Repoint => self.repointed(step),
            Task::Protect => self.protected(),
            Task::Approve { .. } => match self.approved(&step.work.name) {
                None => return self.unanswered(step),
                agreed => agreed,
            },
            Task::Wait { for_ms } => self.waited(&step.work.name, *for_ms),
            _ => return Look::Outside,
        };
        done.map_or(Look::Waits, Look::Done)
    }

    fn approved(&self, step: &Name) -> Option<String> {
        let run = self.runner.current.as_ref()?;
        // A person who orders a switchover has agreed to it by that.
        if let Some(by) = self.person_behind(&run.id) {
            return Some(format!("{by} ordered it"));
        }
        let words = self.runner.said_to(&run.id).map(|words| words.approved.as_slice()).unwrap_or_default();
        match words.iter().find(|(name, _)| name == step) {
            Some((_, word)) => Some(format!("{} agreed: {}", word.by, word.reason)),
            // The run that prepares a switchover has begun without asking.
            None if run.prepares() => None,
            None => agreed_before(run, step),
        }
    }

    /// A person is waited for as long as an attempt may take.
    fn unanswered(&mut self, step: &Step) -> Look {
        let limit = Duration::from_millis(step.work.timeout_ms);
        let since = self.runner.began(&step.work.name);
        match since.is_some_and(|since| self.due(since + limit, "an approval is waited for no longer")) {
            true => Look::Failed(format!("nobody agreed within {}", secs(limit))),
            false => Look::Waits,
        }
    }

    fn waited(&mut self, step: &Name, for_ms: u64) -> Option<String> {
        let since = self.runner.began(step)?;
        let end = since + Duration::from_millis(for_ms);
        self.due(end, "a step waits").then(|| format!("waited {for_ms} ms"))
    }

    fn repointed(&mut self, step: &Step) -> Option<String> {
        // Nobody followed anybody: the others make their copies from here, which may take long.
        if self.runner.current.as_ref().is_some_and(|run| run.kind == RunKind::Start) {
            return Some(format!(
                "a first start, nobody to repoint; to be copied to: {}",
                list(&self.others)
            ));
        }
        let (epoch, ttl, now) = (self.memory.epoch, self.config.timers.observation_ttl, self.at.now);
        let follows = |m: &Name| {
            self.facts
                .members
                .get(m)
                .is_some_and(|s| s.report.epoch == epoch && s.report.database.role == DatabaseRole::Standby)
        };
        let (there, missing): (Vec<_>, Vec<_>) = self.others.iter().cloned().partition(follows);
        let (down, late): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|m| self.facts.health(m, now, ttl) == Health::Down);
        let seen = format!("following: {}; down: {}", list(&there), list(&down));
        if late.is_empty() {
            return Some(seen);
        }
        let since = self.runner.began(&step.work.name)?;
        self.due(since + REPOINT_WAIT, "standbys that do not follow are left behind")
            .then(|| format!("{seen}; left to follow later, after {}: {}", secs(REPOINT_WAIT), list(&late)))
    }

    fn protected(&self) -> Option<String> {
        if self.others.is_empty() {
            return Some("there is no other member".to_owned());
        }
        let needed = self.acknowledgers().unwrap_or(1).max(1) as usize;
        let quorum = self.facts.record.as_ref().and_then(|record| record.quorum.as_ref());
        let counts = |region: &Name| quorum.is_none_or(|quorum| quorum.candidates.contains(region));
        let ours = |s: &&StandbyStatus| self.others.contains(&s.region) && counts(&s.region);
        let streaming: Vec<Name> =
            self.facts.database.standbys.iter().filter(ours).map(|s| s.region.clone()).collect();
        (streaming.len() >= needed).then(|| format!("streaming: {}", list(&streaming)))
    }
}

/// What the machine itself can say of a step.
pub(super) enum Look {
    Done(String),
    Waits,
    Failed(String),
    Outside,
}

fn list(names: &[Name]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}
