//! The linter of a finished list of steps: what must hold whoever has made it.
//!
//! Nothing here knows how lists are made. Each rule reads the whole list by itself and names what
//! contradicts it; `spec` shows it at the step's place, and tests hold every plan against it.

use std::collections::{BTreeMap, BTreeSet};

use meridian_model::Name;
use meridian_model::plan::{OnFailure, Task, Work};
use meridian_model::run::StepKind;

use crate::finding::{Finding, Subject};

/// All that is wrong with a list of steps of one form; empty when a run may be made of it.
#[must_use]
pub fn lint(works: &[Work]) -> Vec<Finding> {
    let list = List::of(works);
    let rules: [fn(&List<'_>) -> Vec<Finding>; 9] =
        [names, graph, machines_own, reign, pause, compute_and_traffic, approvals, conditions, times];
    rules.iter().flat_map(|rule| rule(&list)).collect()
}

/// A list, with all that each step waits for.
struct List<'w> {
    works: &'w [Work],
    /// Directly or through others.
    before: BTreeMap<&'w Name, BTreeSet<&'w Name>>,
}

impl<'w> List<'w> {
    fn of(works: &'w [Work]) -> Self {
        let mut before: BTreeMap<&Name, BTreeSet<&Name>> = BTreeMap::new();
        for work in works {
            // What stands later is no order: told by `graph`.
            let known = work.after.iter().filter(|name| before.contains_key(name));
            let all = known.flat_map(|n| before.get(n).into_iter().flatten().copied().chain([n])).collect();
            before.insert(&work.name, all);
        }
        Self { works, before }
    }

    fn of_kind(&self, kind: StepKind) -> impl Iterator<Item = &'w Work> {
        self.works.iter().filter(move |w| w.task.kind() == kind)
    }

    fn first(&self, kind: StepKind) -> Option<&'w Work> {
        self.of_kind(kind).next()
    }

    fn waits(&self, work: &Work, on: &Work) -> bool {
        self.before.get(&work.name).is_some_and(|names| names.contains(&on.name))
    }

    /// Tells that `work` must wait for `on`, and does not.
    fn must_wait(&self, work: &Work, on: &Work, code: &'static str, why: &str) -> Option<Finding> {
        (!self.waits(work, on)).then(|| {
            let message = format!("{why}: step `{}` does not wait for `{}`", work.name, on.name);
            error(code, work, message)
                .suggest(format!("write `after: [{}]`, or let it follow a step that waits for it", on.name))
        })
    }
}

fn error(code: &'static str, work: &Work, message: String) -> Finding {
    Finding::error(code, Subject::Step(work.name.clone()), message)
}

/// Every step has a name of its own.
fn names(list: &List<'_>) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let twice = list.works.iter().filter(|w| !seen.insert(&w.name));
    twice
        .map(|w| {
            error("step-name", w, format!("two steps are named `{}`", w.name))
                .suggest("each needs a name of its own")
        })
        .collect()
}

/// Each step stands after those that it waits for, and all of them are there: so there is no cycle.
fn graph(list: &List<'_>) -> Vec<Finding> {
    let stands = |name: &Name| list.works.iter().position(|w| &w.name == name);
    let all = list.works.iter().enumerate().flat_map(|(at, w)| w.after.iter().map(move |name| (at, w, name)));
    let wrong = all.filter_map(|(at, work, name)| {
        let message = match stands(name) {
            Some(before) if before < at => return None,
            Some(_) => format!("step `{}` waits for `{name}`, which stands after it", work.name),
            None => format!("step `{}` waits for `{name}`, and there is no such step", work.name),
        };
        Some(error("step-order", work, message).suggest("each step stands after those that it waits for"))
    });
    wrong.collect()
}

/// What the machine does by itself is there once, and is never passed over.
fn machines_own(list: &List<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for kind in [StepKind::Demote, StepKind::Fence, StepKind::Promote, StepKind::Repoint, StepKind::Protect] {
        let steps: Vec<&Work> = list.of_kind(kind).collect();
        if let ([], true) = (steps.as_slice(), kind != StepKind::Demote) {
            found.push(Finding::error(
                "step-missing",
                Subject::Steps,
                format!("there is no step that does `{kind}`"),
            ));
        }
        found.extend(steps.iter().skip(1).map(|w| error("step-twice", w, format!("`{kind}` is done twice"))));
        let passed_over = steps.iter().filter(|w| w.on_failure == OnFailure::Continue);
        found.extend(passed_over.map(|w| {
            let message =
                format!("a failure of step `{}` would be passed over, and the rest rests on it", w.name);
            error("step-passed-over", w, message).suggest("remove `onFailure: continue`")
        }));
    }
    found
}

/// One reign ends before the next begins; the rest follows; the end of all is that the group is protected.
fn reign(list: &List<'_>) -> Vec<Finding> {
    let [demote, fence, promote, repoint, protect] =
        [StepKind::Demote, StepKind::Fence, StepKind::Promote, StepKind::Repoint, StepKind::Protect]
            .map(|k| list.first(k));
    let pair = |work: Option<&Work>, on: Option<&Work>, why| list.must_wait(work?, on?, "reign", why);
    let mut found: Vec<Finding> = [
        pair(fence, demote, "the old writer is fenced before it was asked to stop"),
        pair(promote, fence, "two writers would be possible"),
        pair(repoint, promote, "standbys would follow a writer that there is not yet"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let last = |protect: &Work| {
        let others = list.works.iter().filter(|w| w.name != protect.name);
        let why = "the run would end before its steps";
        others.filter_map(|w| list.must_wait(protect, w, "protect-last", why)).collect::<Vec<_>>()
    };
    found.extend(protect.map(last).into_iter().flatten());
    found
}

/// From the demotion to the promotion nobody can write: nothing else holds the promotion up then.
fn pause(list: &List<'_>) -> Vec<Finding> {
    let (Some(demote), Some(promote)) = (list.first(StepKind::Demote), list.first(StepKind::Promote)) else {
        return Vec::new();
    };
    let holds_up =
        |w: &&Work| !w.task.kind().machines_own() && list.waits(promote, w) && !list.waits(demote, w);
    let held = list.works.iter().filter(holds_up);
    held.map(|w| {
        let message = format!(
            "step `{}` would hold all writes: the promotion waits for it, the demotion does not",
            w.name
        );
        error("write-pause", w, message)
            .suggest(format!("let `{}` wait for it too, or let it come after the promotion", demote.name))
    })
    .collect()
}

/// Database, then compute, then traffic.
fn compute_and_traffic(list: &List<'_>) -> Vec<Finding> {
    let promote: Vec<&Work> = list.of_kind(StepKind::Promote).collect();
    let compute: Vec<&Work> = list.of_kind(StepKind::Scale).collect();
    let traffic = list.of_kind(StepKind::Shift).chain(list.of_kind(StepKind::Dns));
    let mut found = Vec::new();
    let mut tell = |work: &Work, on: &[&Work], code, why| {
        found.extend(on.iter().filter_map(|on| list.must_wait(work, on, code, why)));
    };
    for work in &compute {
        tell(work, &promote, "database-first", "compute would come before its database");
    }
    // Who waits for compute waits for its database too.
    for work in traffic {
        match compute.as_slice() {
            [] => tell(work, &promote, "database-first", "traffic would come before its database"),
            compute => {
                tell(work, compute, "compute-first", "traffic would come before the compute that serves it")
            }
        }
    }
    found
}

/// A person is asked before the promotion or after it, not beside it: then it would hold nothing.
fn approvals(list: &List<'_>) -> Vec<Finding> {
    let Some(promote) = list.first(StepKind::Promote) else { return Vec::new() };
    let beside =
        list.of_kind(StepKind::Approve).filter(|w| !list.waits(w, promote) && !list.waits(promote, w));
    beside
        .map(|w| {
            let message = format!(
                "the approval `{}` holds up nothing: it is neither before the promotion nor after it",
                w.name
            );
            error("approval", w, message)
                .suggest(format!("let `{}` wait for it, or let it wait for `{}`", promote.name, promote.name))
        })
        .collect()
}

/// Conditions are asked by the node that carries a step out; what the machine does by itself has none.
fn conditions(list: &List<'_>) -> Vec<Finding> {
    let by_itself =
        |kind: StepKind| kind.machines_own() || matches!(kind, StepKind::Wait | StepKind::Approve);
    let with = |w: &&Work| !w.before.is_empty() || !w.afterwards.is_empty();
    let wrong = list.works.iter().filter(|w| by_itself(w.task.kind())).filter(with);
    wrong
        .map(|w| {
            let kind = w.task.kind();
            let message =
                format!("step `{}` has conditions, which nobody asks of a step that does `{kind}`", w.name);
            error("step-conditions", w, message).suggest("put a `verify` step before it or after it")
        })
        .collect()
}

/// A step can end within its time.
fn times(list: &List<'_>) -> Vec<Finding> {
    let needs = |w: &Work| match w.task {
        Task::Wait { for_ms } => for_ms.saturating_add(1),
        _ => 1,
    };
    let short = list.works.iter().filter(|w| w.timeout_ms < needs(w));
    short
        .map(|w| {
            error("step-timeout", w, format!("step `{}` can never end within its timeout", w.name))
                .suggest("make `timeout` longer, or leave it out")
        })
        .collect()
}

#[cfg(test)]
mod tests;
