//! One step: what it does, and how.

use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_model::Name;
use meridian_model::database::Database;
use meridian_model::plan::{Exec, Form, OnFailure, PlannedStep, Task, Work, millis};
use meridian_model::run::StepKind;
use meridian_planner::{demotion_timeout, usual_timeout};

use super::graph::{Draft, What};
use super::{Known, meant, names_of};
use crate::form::{At, clip};
use crate::kinds::{Body, ChecksForm, ExecForm, KINDS_OF_WORK, ScaleForm, StepFields, StepForm};
use crate::meaning::World;
use crate::meaning::service::check_placeholders;
use crate::source::{Place, Problems};

/// What a step means, but for what it waits for; none where it cannot be told.
pub(super) fn draft(
    form: &At<StepForm>,
    file: usize,
    known: &Known<'_>,
    world: &mut World<'_>,
) -> Option<Draft> {
    let fields = &form.0.form;
    let kind = one_kind(form, world.problems);
    let mut maker = Maker { file, known, world };
    let what = kind.and_then(|kind| maker.what(kind.value, fields));
    let problems = &mut *world.problems;
    if let (Some(name), Some(kind)) = (&fields.name, kind) {
        not_reserved(name, kind.value, problems);
    }
    let (name, what) = (fields.name.as_ref()?, what?);
    fitting(fields, &what, problems);
    let form = match (&what, &fields.form) {
        (What::Work(work), _) if work.task == Task::Demote => Form::Graceful,
        (_, written) => written.map_or(Form::Always, |f| f.value),
    };
    Some(Draft { place: name.place, name: name.value.clone(), form, what, after: Vec::new() })
}

/// A demotion may take what the database's switchover allows.
pub(super) fn with_limits(mut steps: Vec<PlannedStep>, database: &Database) -> Vec<PlannedStep> {
    for step in steps.iter_mut().filter(|s| s.work.task == Task::Demote) {
        step.work.timeout_ms = millis(demotion_timeout(&database.switchover));
    }
    steps
}

/// A step does one thing: the field that says which.
fn one_kind(form: &At<StepForm>, problems: &mut Problems) -> Option<At<&'static str>> {
    let mut kinds = form.0.names.iter().filter_map(|name| {
        let kind = KINDS_OF_WORK.into_iter().find(|kind| *kind == name.value)?;
        Some(At { value: kind, place: name.place })
    });
    let Some(first) = kinds.next() else {
        let hint = "add what it does, such as `scaleCompute: {}`";
        nothing_of(&form.0.names, StepFields::NAMES, (form.place, "this step does nothing", hint), problems);
        return None;
    };
    if let Some(second) = kinds.next() {
        let message = format!("a step does one thing: this one has `{}` and `{}`", first.value, second.value);
        problems.error(second.place, message, "make a step of each");
        return None;
    }
    Some(first)
}

/// Tells that none of what is needed was written, unless a misspelt name was told already.
pub(super) fn nothing_of(
    names: &[At<String>],
    known: &[&str],
    told: (Place, &str, &str),
    problems: &mut Problems,
) {
    if names.iter().all(|name| known.contains(&name.value.as_str())) {
        let (place, message, hint) = told;
        problems.error(place, message, hint);
    }
}

/// The names by which every plan gets the machine's own steps are theirs.
fn not_reserved(name: &At<Name>, kind: &str, problems: &mut Problems) {
    let own = [
        ("demote", "demoteDatabase"),
        ("promote", "promoteDatabase"),
        ("fence", ""),
        ("repoint", ""),
        ("protect", ""),
    ];
    if own.iter().any(|(own, of)| *own == name.value.as_str() && *of != kind) {
        let message = format!("`{}` is the name of a step that Meridian adds to every plan", name.value);
        problems.error(name.place, message, "give this one another name");
    }
}

/// Fields that mean nothing for this kind of work, and values that contradict each other.
fn fitting(fields: &StepFields, what: &What, problems: &mut Problems) {
    let own = matches!(what, What::Work(work) if work.task.kind().machines_own());
    let part = matches!(what, What::Part(_));
    let demotes = matches!(what, What::Work(work) if work.task == Task::Demote);
    let useless = [
        ("form", fields.form.map(|f| f.place), own),
        ("timeout", fields.timeout.map(|t| t.place), part || demotes),
        ("retries", fields.retries.map(|r| r.place), own || part),
        ("before", fields.before.as_ref().map(|c| c.place), own || part),
        ("afterwards", fields.afterwards.as_ref().map(|c| c.place), own || part),
        ("onFailure", fields.on_failure.map(|o| o.place), own || part),
    ];
    for (field, place, _) in useless.into_iter().filter(|(_, _, useless)| *useless) {
        let Some(place) = place else { continue };
        let hint = match field {
            _ if part => "write it in the steps of that plan",
            "timeout" => "its limits are the database's `switchover`",
            "form" if demotes => "a demotion is part of every switchover, and of nothing else",
            "form" => "a promotion is part of every run",
            _ => {
                "Meridian does this by itself, until it has succeeded: put a `verify` step before it or after it"
            }
        };
        problems.error(place, format!("`{field}` has no use here"), hint);
    }
    if let What::Work(work) = what {
        times(fields, work, problems);
    }
}

fn times(fields: &StepFields, work: &Work, problems: &mut Problems) {
    let waits = match work.task {
        Task::Wait { for_ms } => Duration::from_millis(for_ms),
        _ => Duration::ZERO,
    };
    match fields.timeout {
        Some(written) if !whole_millis(written.value) => {
            let message = "a timeout is a number of whole milliseconds, at least one";
            problems.error(written.place, message, "such as `30s`");
        }
        Some(written) if written.value <= waits => {
            let message = "this step would end before it has waited";
            problems.error(written.place, message, "leave `timeout` out");
        }
        _ => {}
    }
    if let (None, Some(written), false) = (work.retries, fields.on_failure, work.task.kind().machines_own()) {
        let message = "`onFailure` is never reached: this step is tried until it succeeds";
        problems.error(written.place, message, "say with `retries: 3` how often it is tried again");
    }
}

/// Makes what a step does.
pub(super) struct Maker<'m, 'w> {
    pub(super) file: usize,
    pub(super) known: &'m Known<'m>,
    pub(super) world: &'m mut World<'w>,
}

impl Maker<'_, '_> {
    fn what(&mut self, kind: &str, fields: &StepFields) -> Option<What> {
        let task = match kind {
            "promoteDatabase" => fields.promote_database.map(|_| Task::Promote),
            "demoteDatabase" => fields.demote_database.map(|_| Task::Demote),
            "scaleCompute" => fields.scale_compute.as_ref().map(|f| self.scale(&f.value)),
            "shiftTraffic" => fields
                .shift_traffic
                .as_ref()
                .map(|f| Task::Shift { dial: f.value.dial, drain: f.value.drain.unwrap_or(false) }),
            "updateDns" => fields.update_dns.map(|_| Task::Dns),
            "verify" => fields.verify.as_ref().map(|f| Task::Verify { checks: self.verified(f) }),
            "wait" => fields.wait.and_then(|w| wait(w, self.world.problems)),
            "approve" => fields.approve.as_ref().map(|question| self.approve(question)),
            "notify" => fields.notify.as_ref().and_then(|f| self.notify(f)),
            "exec" => fields.exec.as_ref().and_then(|f| self.exec(&f.value)).map(Task::Exec),
            _ => return fields.run_plan.clone().map(What::Part),
        }?;
        Some(What::Work(Box::new(self.work(task, fields))))
    }

    /// Its name is a placeholder: the step's own is put in with what it waits for.
    fn work(&mut self, task: Task, fields: &StepFields) -> Work {
        let checks = |form: &Option<At<ChecksForm>>, maker: &mut Self| {
            form.as_ref().map(|f| maker.checks(&f.value)).unwrap_or_default()
        };
        let retries = fields.retries.map_or(usual_retries(&task), |r| r.value.0);
        let usual = if task.kind() == StepKind::Notify { OnFailure::Continue } else { OnFailure::Pause };
        Work {
            name: task.kind().into(),
            after: Vec::new(),
            timeout_ms: millis(fields.timeout.map_or_else(|| usual_timeout(&task), |t| t.value)),
            task,
            retries,
            before: checks(&fields.before, self),
            afterwards: checks(&fields.afterwards, self),
            // Without an end to the attempts there is no failure for good.
            on_failure: retries.map_or(OnFailure::Pause, |_| fields.on_failure.map_or(usual, |o| o.value)),
        }
    }

    fn scale(&mut self, form: &ScaleForm) -> Task {
        let services = self.known.services;
        let of = form.service.as_ref();
        if let Some(name) = of {
            let names = names_of(self.known.resources, |b| matches!(b, Body::Service(_)));
            let service = services.iter().find(|s| s.name == name.value);
            if !names.contains(&&name.value) {
                let hint = meant("services", &name.value, &names);
                self.world.problems.absent(name.place, format!("there is no service `{}`", name.value), hint);
            } else if self.world.all_named
                && service.is_some_and(|s| s.backends.iter().all(|b| b.compute.is_none()))
            {
                let message = format!("somebody else runs the instances of service `{}`", name.value);
                self.world.problems.error(
                    name.place,
                    message,
                    "give it `compute`, or scale it by an `exec` step",
                );
            }
        }
        if let Some(wanted) = form.instances {
            let meant = services.iter().filter(|s| of.is_none_or(|name| name.value == s.name));
            let mut backends =
                meant.flat_map(|s| s.backends.iter().filter(|b| b.compute.is_some()).map(move |b| (s, b)));
            let too_few = |places: usize| places < usize::try_from(wanted.value.0).unwrap_or(usize::MAX);
            if let Some((service, backend)) = backends.find(|(_, b)| too_few(b.endpoints.len())) {
                let (room, region) = (backend.endpoints.len(), &backend.region);
                let message = format!("service `{}` has room for {room} in {region}", service.name);
                let hint = "give each instance an address (`endpoints`, or a larger `compute.instances`), or run fewer";
                self.world.problems.error(wanted.place, message, hint);
            }
        }
        Task::Scale { service: of.map(|n| n.value.clone()), instances: form.instances.map(|i| i.value.0) }
    }

    fn approve(&mut self, question: &At<String>) -> Task {
        self.text(
            question,
            "a person is asked something",
            "such as `approve: \"Fail {group} over to {to}?\"`",
        );
        Task::Approve { question: question.value.clone() }
    }

    /// A text for people: not empty, and with known placeholders.
    pub(super) fn text(&mut self, text: &At<String>, message: &str, hint: &str) {
        if text.value.trim().is_empty() {
            self.world.problems.error(text.place, message, hint);
        }
        check_placeholders(text, &PLACEHOLDERS, self.world.problems);
    }

    pub(super) fn path(&self, written: &Path) -> PathBuf {
        self.world.path(self.file, written)
    }

    fn exec(&mut self, form: &ExecForm) -> Option<Exec> {
        let command = form.command.as_ref()?;
        let problems = &mut *self.world.problems;
        match command.value.first() {
            None => problems.error(
                command.place,
                "the command names no program",
                "such as `[/usr/local/bin/told, \"yes\"]`",
            ),
            Some(program) if !program.value.starts_with('/') => {
                let message = format!("`{}` is no absolute path", clip(&program.value));
                let hint = "write the program from the root on: which one is run must not depend on where the node was started";
                problems.error(program.place, message, hint);
            }
            Some(_) => {}
        }
        if let Some(word) = command.value.iter().find(|word| word.value.contains('\0')) {
            problems.error(word.place, "no command can hold a NUL", "remove it");
        }
        for env in [&form.env, &form.env_files].into_iter().flatten() {
            environment(env, problems);
        }
        let (open, files) = (given(form.env.as_ref()), given(form.env_files.as_ref()));
        if let Some((name, env)) = twice(open, form.env_files.as_ref()) {
            let message = format!("`{}` is in `env` and in `envFiles`", clip(name));
            problems.error(env, message, "remove one of them");
        }
        let kept = form.output_max.map_or(OUTPUT_USUAL, |bytes| bytes.value.0);
        if let Some(written) = form.output_max.filter(|bytes| bytes.value.0 > OUTPUT_MAX) {
            problems.error(written.place, "so much output is not kept", "write at most `256KiB`");
        }
        Some(Exec {
            command: command.value.iter().map(|word| word.value.clone()).collect(),
            env: open.to_vec(),
            env_files: files.iter().map(|(name, file)| (name.clone(), self.path(Path::new(file)))).collect(),
            directory: form.directory.as_ref().map(|path| self.path(path)),
            output_max: u32::try_from(kept).unwrap_or(u32::MAX),
        })
    }
}

fn wait(written: At<Duration>, problems: &mut Problems) -> Option<Task> {
    if !whole_millis(written.value) {
        let hint = "such as `10s`";
        problems.error(written.place, "a wait is a number of whole milliseconds, at least one", hint);
        return None;
    }
    Some(Task::Wait { for_ms: millis(written.value) })
}

/// Runs count in milliseconds.
fn whole_millis(duration: Duration) -> bool {
    !duration.is_zero() && duration.subsec_nanos().is_multiple_of(1_000_000)
}

fn given(env: Option<&At<Vec<(String, String)>>>) -> &[(String, String)] {
    env.map(|env| env.value.as_slice()).unwrap_or_default()
}

/// A name that stands in both, and where the other one is.
fn twice<'f>(
    open: &[(String, String)],
    files: Option<&'f At<Vec<(String, String)>>>,
) -> Option<(&'f str, Place)> {
    let files = files?;
    let both = |(name, _): &&(String, String)| open.iter().any(|(other, _)| other == name);
    files.value.iter().find(both).map(|(name, _)| (name.as_str(), files.place))
}

/// Names that programs can read, and none of those that Meridian sets itself.
fn environment(env: &At<Vec<(String, String)>>, problems: &mut Problems) {
    for (name, value) in &env.value {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let fits = name.bytes().all(inner) && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        if !fits || value.contains('\0') {
            let message = format!("`{}` is no name of an environment variable with its value", clip(name));
            problems.error(env.place, message, "letters, digits and `_`, and no NUL in the value");
        } else if name.starts_with("MERIDIAN_") {
            problems.error(
                env.place,
                format!("`{}` is set by Meridian itself", clip(name)),
                "give it another name",
            );
        }
    }
}

/// A program of somebody else may not bear to be run twice, and a person is asked once.
fn usual_retries(task: &Task) -> Option<u32> {
    match task.kind() {
        StepKind::Exec | StepKind::Approve | StepKind::Wait => Some(0),
        StepKind::Notify => Some(2),
        _ => None,
    }
}

const PLACEHOLDERS: [&str; 6] = ["run", "group", "from", "to", "epoch", "cause"];
const OUTPUT_USUAL: u64 = 64 << 10;
/// A hundred of them are kept on each node.
const OUTPUT_MAX: u64 = 256 << 10;
