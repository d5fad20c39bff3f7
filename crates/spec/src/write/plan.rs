//! A plan, written out. The steps that nobody writes are left out: reading adds the same ones again.

use std::time::Duration;

use meridian_model::Name;
use meridian_model::plan::{
    Check, Exec, Form, Notify, OnFailure, PlannedStep, RecoveryPlan, Secretive, Task, Trigger, Work,
};
use meridian_model::run::StepKind;

use super::yaml::{Yaml, list, map, number, text};
use super::{duration, path};
use crate::form::bytes_text;

pub(super) fn plan(plan: &RecoveryPlan) -> Yaml {
    let fence = plan.steps.iter().find(|s| s.work.task.kind() == StepKind::Fence);
    let steps = plan.steps.iter().filter_map(|s| step(s, fence));
    map([
        ("database", text(plan.group.as_str())),
        ("triggers", list(plan.triggers.iter().map(trigger))),
        ("steps", list(steps)),
    ])
}

fn trigger(trigger: &Trigger) -> Yaml {
    let Trigger::Alert { name, labels, to } = trigger else { return text("regionDown") };
    let to = to.as_ref().map_or(Yaml::Nothing, |to| text(to.as_str()));
    map([("alert", map([("name", text(name)), ("labels", pairs(labels)), ("to", to)]))])
}

fn pairs(pairs: &[(String, String)]) -> Yaml {
    Yaml::Map(pairs.iter().map(|(name, value)| (name.clone(), text(value))).collect())
}

/// What the promotion waits for is what its fence waits for.
fn step(step: &PlannedStep, fence: Option<&PlannedStep>) -> Option<Yaml> {
    let work = &step.work;
    let (kind, what) = task(&work.task)?;
    let own = work.task.kind().machines_own();
    let fence = fence.filter(|_| work.task == Task::Promote);
    let after = fence.map_or(&work.after, |fence| &fence.work.after);
    let timeout = match &work.task {
        Task::Demote => Yaml::Nothing,
        _ => duration(Duration::from_millis(work.timeout_ms)),
    };
    let form = match step.form {
        Form::Always => "always",
        Form::Graceful => "graceful",
        Form::Ungraceful => "ungraceful",
    };
    let unless_own = |value: Yaml| if own { Yaml::Nothing } else { value };
    Some(map([
        ("name", text(work.name.as_str())),
        (kind, what),
        ("after", list(after.iter().map(|name: &Name| text(name.as_str())))),
        ("form", unless_own(text(form))),
        ("timeout", timeout),
        ("retries", unless_own(work.retries.map_or_else(|| text("unlimited"), number))),
        ("before", unless_own(checks(&work.before))),
        ("afterwards", unless_own(checks(&work.afterwards))),
        ("onFailure", unless_own(on_failure(work))),
    ]))
}

/// Never reached, and so never written, where there is no end to the attempts.
fn on_failure(work: &Work) -> Yaml {
    match (work.retries, work.on_failure) {
        (None, _) => Yaml::Nothing,
        (Some(_), OnFailure::Pause) => text("pause"),
        (Some(_), OnFailure::Continue) => text("continue"),
        (Some(_), OnFailure::Abort) => text("abort"),
    }
}

/// The field that says what a step does; none for what nobody writes.
fn task(task: &Task) -> Option<(&'static str, Yaml)> {
    Some(match task {
        Task::Fence | Task::Repoint | Task::Protect => return None,
        Task::Demote => ("demoteDatabase", map([])),
        Task::Promote => ("promoteDatabase", map([])),
        Task::Scale { service, instances } => {
            let service = service.as_ref().map_or(Yaml::Nothing, |s| text(s.as_str()));
            (
                "scaleCompute",
                map([("service", service), ("instances", instances.map_or(Yaml::Nothing, number))]),
            )
        }
        Task::Shift { dial, drain } => {
            let dial = dial.map_or(Yaml::Nothing, |d| text(d.to_string()));
            ("shiftTraffic", map([("dial", dial), ("drain", number(drain))]))
        }
        Task::Dns => ("updateDns", map([])),
        Task::Verify { checks: all } => ("verify", checks(all)),
        Task::Wait { for_ms } => ("wait", duration(Duration::from_millis(*for_ms))),
        Task::Approve { question } => ("approve", text(question)),
        Task::Notify { to, text } => ("notify", notify(to, text)),
        Task::Exec(program) => ("exec", exec(program)),
    })
}

fn notify(to: &Notify, what: &str) -> Yaml {
    let secretive = |url: &Secretive| match url {
        Secretive::Open(url) => ("url", text(url)),
        Secretive::File(file) => ("urlFile", path(file)),
    };
    let way = match to {
        Notify::Webhook { url } => ("webhook", map([secretive(url)])),
        Notify::Slack { url } => ("slack", map([secretive(url)])),
        Notify::Pagerduty { url, routing_key_file } => {
            ("pagerduty", map([secretive(url), ("routingKeyFile", path(routing_key_file))]))
        }
    };
    map([way, ("text", text(what))])
}

fn exec(exec: &Exec) -> Yaml {
    map([
        ("command", list(exec.command.iter().map(text))),
        ("env", pairs(&exec.env)),
        (
            "envFiles",
            Yaml::Map(exec.env_files.iter().map(|(name, file)| (name.clone(), path(file))).collect()),
        ),
        ("directory", exec.directory.as_deref().map_or(Yaml::Nothing, path)),
        ("outputMax", text(bytes_text(u64::from(exec.output_max)))),
    ])
}

fn checks(checks: &[Check]) -> Yaml {
    list(checks.iter().map(check))
}

fn check(check: &Check) -> Yaml {
    let optional = |value: &Option<String>| value.as_ref().map_or(Yaml::Nothing, text);
    match check {
        Check::Sql { statement, write, expect } => {
            let sql =
                map([("statement", text(statement)), ("write", number(write)), ("expect", optional(expect))]);
            map([("sql", sql)])
        }
        Check::Http { url, status, contains } => {
            let http =
                map([("url", text(url)), ("status", number(status)), ("contains", optional(contains))]);
            map([("http", http)])
        }
        Check::Promql { url, query } => map([("promql", map([("url", text(url)), ("query", text(query))]))]),
    }
}
