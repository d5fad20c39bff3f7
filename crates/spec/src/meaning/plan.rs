//! Recovery plans: one for each database, with its parts inlined; derived where none is written.
//!
//! What is wrong with a single step is told by `step`, what is wrong with their graph by `graph`. The order
//! in which a database, its compute and its traffic come is judged by the planner's linter, on the very
//! lists that runs are made of, and shown at the place of the step.

mod checks;
mod graph;
mod notify;
mod secret;
mod step;

use meridian_catalog::closest;
use meridian_model::database::Database;
use meridian_model::plan::{PlannedStep, RecoveryPlan, Trigger};
use meridian_model::run::StepKind;
use meridian_model::service::Service;
use meridian_model::{Name, System};
use meridian_planner::{Finding, Subject, complete, derive, freeze, lint};

use super::World;
use crate::diagnostic::Severity;
use crate::form::At;
use crate::kinds::{AlertForm, Body, PlanForm, Resource, TriggerForm};
use crate::source::{Place, Problem, Problems};
use graph::Draft;

/// What a plan may name.
struct Known<'a> {
    resources: &'a [Resource],
    services: &'a [Service],
    databases: &'a [Database],
}

/// A plan, its steps understood one by one.
struct Drawn<'r> {
    name: &'r At<Name>,
    form: &'r PlanForm,
    drafts: Vec<Draft>,
    /// Nothing is wrong with its own steps and their order.
    sound: bool,
}

/// One plan for each database of the system: as written, else derived.
pub(super) fn one_each(written: Vec<RecoveryPlan>, system: &System) -> Vec<RecoveryPlan> {
    let of = |database: &Database| written.iter().find(|p| p.group == database.name).cloned();
    system.databases.iter().map(|d| of(d).unwrap_or_else(|| derive(system, d))).collect()
}

/// The plans that are written, without their parts.
pub(super) fn written(
    resources: &[Resource],
    services: &[Service],
    databases: &[Database],
    world: &mut World<'_>,
) -> Vec<RecoveryPlan> {
    let known = Known { resources, services, databases };
    let mut drawn: Vec<Drawn<'_>> = resources.iter().filter_map(|r| drawn(r, &known, world)).collect();
    parts(&drawn, &known, world.problems);
    no_two(&drawn, &known, world.problems);
    if graph::rings_of_parts(&drawn, world.problems) {
        drawn.iter_mut().for_each(|plan| plan.sound = false);
    }
    (0..drawn.len()).filter_map(|number| whole(number, &drawn, &known, world)).collect()
}

fn drawn<'r>(resource: &'r Resource, known: &Known<'_>, world: &mut World<'_>) -> Option<Drawn<'r>> {
    let Body::Plan(Some(form)) = &resource.body else { return None };
    let (name, file) = (&resource.name, resource.place.file);
    world.places.insert(Subject::Plan(name.value.clone()), name.place);
    let before = world.problems.errors();
    let steps = form.steps.as_ref().map(|s| s.value.as_slice()).unwrap_or_default();
    let steps = graph::few_enough(steps, name.place, world.problems);
    let drafts: Vec<Option<Draft>> = steps.iter().map(|s| step::draft(s, file, known, world)).collect();
    let all = drafts.iter().all(Option::is_some);
    let drafts = graph::connected(steps, drafts, world.problems);
    let sound = all && world.problems.errors() == before && form.steps.is_some();
    Some(Drawn { name, form, drafts, sound })
}

/// A plan is for a database, or a part that others run; never both, and never neither.
fn parts(drawn: &[Drawn<'_>], known: &Known<'_>, problems: &mut Problems) {
    let named: Vec<&At<Name>> = drawn.iter().flat_map(|plan| &plan.drafts).filter_map(Draft::part).collect();
    let whole = |name: &Name| drawn.iter().any(|p| &p.name.value == name && p.form.database.is_some());
    for part in &named {
        let name = &part.value;
        if whole(name) {
            let message = format!("plan `{name}` is a database's own, and no part of others");
            problems.error(part.place, message, "move what is common into a plan without `database`");
        } else if !names_of(known.resources, |b| matches!(b, Body::Plan(_))).contains(&name) {
            let hint = match closest(name.as_str(), drawn.iter().map(|p| p.name.value.as_str())) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add one document with `kind: RecoveryPlan` of that name".to_owned(),
            };
            problems.absent(part.place, format!("there is no plan `{name}`"), hint);
        }
    }
    for plan in drawn.iter().filter(|p| p.form.database.is_none()) {
        if !named.iter().any(|part| part.value == plan.name.value) {
            let hint = "add `database:`, or run it in another plan by `runPlan`";
            problems.absent(plan.name.place, "nothing runs this plan", hint);
        }
        if let Some(triggers) = &plan.form.triggers {
            let message = "a part of other plans has no triggers";
            problems.error(triggers.place, message, "write them in the plan that has the `database`");
        }
    }
}

/// The database is there, no other plan is for it, and the plan is not called as another database.
fn no_two(drawn: &[Drawn<'_>], known: &Known<'_>, problems: &mut Problems) {
    let names = names_of(known.resources, |b| matches!(b, Body::Database(_)));
    let mut seen: Vec<&At<Name>> = Vec::new();
    for (plan, database) in drawn.iter().filter_map(|p| Some((p.name, p.form.database.as_ref()?))) {
        let name = &database.value;
        if plan.value != *name && names.contains(&&plan.value) {
            let message = format!("`{}` is another database than the one that this plan is for", plan.value);
            let hint = "a plan that is derived is called as its database: give this one another name";
            problems.error(plan.place, message, hint);
        }
        if let Some(first) = seen.iter().find(|d| d.value == *name) {
            let message = format!(
                "a second plan for database `{name}`; the first is in {}",
                problems.line(first.place, database.place)
            );
            problems.error(
                database.place,
                message,
                "a database has one plan: move what is new into the first",
            );
        } else if !names.contains(&name) {
            problems.absent(
                database.place,
                format!("there is no database `{name}`"),
                meant("databases", name, &names),
            );
        }
        seen.push(database);
    }
}

fn names_of(resources: &[Resource], kind: fn(&Body) -> bool) -> Vec<&Name> {
    resources.iter().filter(|r| kind(&r.body)).map(|r| &r.name.value).collect()
}

/// A hint with the name that was probably meant, else with all there are.
fn meant(what: &str, name: &Name, there_are: &[&Name]) -> String {
    let names: Vec<&str> = there_are.iter().map(|n| n.as_str()).collect();
    match closest(name.as_str(), names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => format!("this spec has no {what}"),
        None => format!("{what} of this spec: {}", names.join(", ")),
    }
}

/// The plan of a database with all its parts; none for a part, or where something is wrong.
fn whole(
    number: usize,
    drawn: &[Drawn<'_>],
    known: &Known<'_>,
    world: &mut World<'_>,
) -> Option<RecoveryPlan> {
    let plan = drawn.get(number)?;
    let written = plan.form.database.as_ref()?;
    let database = known.databases.iter().find(|d| d.name == written.value);
    let triggers = triggers(plan, database, world);
    let database = database?;
    let inlined = graph::inlined(number, drawn, world.problems)?;
    one_promotion(plan, &inlined, world.problems)?;
    let steps: Vec<PlannedStep> = inlined.iter().filter_map(Draft::step).collect();
    let steps = complete(step::with_limits(steps, database), &database.switchover);
    let group = database.name.clone();
    let made = RecoveryPlan { name: plan.name.value.clone(), group, triggers, steps };
    judge(&made, plan, &inlined, world.problems);
    Some(made)
}

/// Every plan promotes its database, and once.
fn one_promotion(plan: &Drawn<'_>, inlined: &[Draft], problems: &mut Problems) -> Option<()> {
    let of = |kind| inlined.iter().filter(move |d| d.kind() == Some(kind));
    if of(StepKind::Promote).next().is_none() {
        let hint = "add a step such as `- { name: database, promoteDatabase: {} }`";
        problems.error(plan.name.place, "this plan does not promote its database", hint);
        return None;
    }
    let kinds = [(StepKind::Promote, "promoteDatabase"), (StepKind::Demote, "demoteDatabase")];
    for (mut steps, word) in kinds.map(|(kind, word)| (of(kind), word)) {
        if let (Some(first), Some(more)) = (steps.next(), steps.next()) {
            let message = match first.place == more.place {
                true => format!("a part with `{word}` is run twice"),
                false => {
                    format!("`{word}` is done twice, first in {}", problems.line(first.place, more.place))
                }
            };
            problems.error(more.place, message, "a plan does it once, its parts included");
            return None;
        }
    }
    Some(())
}

/// The linter's findings about the lists that runs of this plan would be made of, each told once.
fn judge(made: &RecoveryPlan, plan: &Drawn<'_>, inlined: &[Draft], problems: &mut Problems) {
    let mut found: Vec<Finding> = Vec::new();
    for finding in [false, true].into_iter().flat_map(|graceful| lint(&freeze(made, graceful))) {
        if !found.contains(&finding) {
            found.push(finding);
        }
    }
    let promotion = inlined.iter().find(|d| d.kind() == Some(StepKind::Promote)).map(|d| d.place);
    let place = |subject: &Subject| match subject {
        Subject::Step(name) => inlined.iter().find(|d| &d.name == name).map(|d| d.place),
        _ => None,
    };
    for finding in found {
        let written = place(&finding.subject);
        // The fence is written by nobody: what it does not wait for, the promotion does not.
        let message = match (written, finding.code) {
            (None, "reign") => "the promotion does not wait for the demotion".to_owned(),
            _ => finding.message,
        };
        problems.push(Problem {
            severity: Severity::Error,
            place: written.or(promotion).unwrap_or(plan.name.place),
            message,
            details: finding.details,
            suggestion: Some(finding.suggestion).filter(|hint| !hint.is_empty()),
        });
    }
}

fn triggers(plan: &Drawn<'_>, database: Option<&Database>, world: &mut World<'_>) -> Vec<Trigger> {
    let Some(written) = &plan.form.triggers else { return vec![Trigger::RegionDown] };
    let mut made: Vec<(Place, Trigger)> = Vec::new();
    for form in &written.value {
        let trigger = match &form.value {
            TriggerForm::RegionDown => Some(Trigger::RegionDown),
            TriggerForm::Alert(alert) => self::alert(alert, database, world),
            TriggerForm::Told => None,
        };
        let Some(trigger) = trigger else { continue };
        if let Some((first, _)) = made.iter().find(|(_, t)| *t == trigger) {
            let message =
                format!("this trigger is listed twice, first in {}", world.line(*first, form.place));
            world.problems.error(form.place, message, "each may be listed once");
        }
        made.push((form.place, trigger));
    }
    made.into_iter().map(|(_, trigger)| trigger).collect()
}

fn alert(form: &AlertForm, database: Option<&Database>, world: &mut World<'_>) -> Option<Trigger> {
    let name = form.name.as_ref();
    if let Some(empty) = name.filter(|n| n.value.is_empty()) {
        world.problems.error(empty.place, "an alert has a name", "its `alertname`, such as `CheckoutErrors`");
    }
    let to = form.to.as_ref().and_then(|to| Some((to, world.data_region(to)?)));
    if let (Some((to, region)), Some(database)) = (&to, database)
        && database.member(&region.name).is_none()
    {
        let message = format!("database `{}` has no member in `{}`", database.name, to.value);
        world.problems.error(to.place, message, "name a region that has one, or leave `to` out");
    }
    Some(Trigger::Alert {
        name: name?.value.clone(),
        labels: form.labels.clone().unwrap_or_default(),
        to: to.map(|(_, region)| region.name),
    })
}
