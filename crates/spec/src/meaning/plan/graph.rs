//! The steps of a plan as a graph: names, what waits for what, and parts that are inlined.

use meridian_catalog::closest;
use meridian_model::Name;
use meridian_model::plan::{Form, PlannedStep, Work};
use meridian_model::run::StepKind;

use super::Drawn;
use crate::form::At;
use crate::kinds::StepForm;
use crate::meaning::twice;
use crate::source::{Place, Problems};

/// A step as far as it is understood.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// Where its name is written.
    pub(super) place: Place,
    pub(super) name: Name,
    pub(super) form: Form,
    pub(super) what: What,
    /// The steps of its plan that it waits for.
    pub(super) after: Vec<Name>,
}

/// What a step does.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// Something; its name and what it waits for are put in at the end.
    Work(Box<Work>),
    /// The steps of that plan.
    Part(At<Name>),
}

impl Draft {
    /// The plan that it runs, if that is what it does.
    pub(super) fn part(&self) -> Option<&At<Name>> {
        match &self.what {
            What::Work(_) => None,
            What::Part(name) => Some(name),
        }
    }

    /// The kind of what it does itself.
    pub(super) fn kind(&self) -> Option<StepKind> {
        match &self.what {
            What::Work(work) => Some(work.task.kind()),
            What::Part(_) => None,
        }
    }

    /// The finished step; none for a part.
    pub(super) fn step(&self) -> Option<PlannedStep> {
        let What::Work(work) = &self.what else { return None };
        let work = Work { name: self.name.clone(), after: self.after.clone(), ..(**work).clone() };
        Some(PlannedStep { form: self.form, work })
    }
}

/// All steps of a plan; none, told, when there are too many.
pub(super) fn few_enough<'f>(
    steps: &'f [At<StepForm>],
    place: Place,
    problems: &mut Problems,
) -> &'f [At<StepForm>] {
    if steps.len() > STEPS_MAX {
        problems.error(place, format!("this plan has more than {STEPS_MAX} steps"), SHORTER);
        return &[];
    }
    steps
}

/// The steps with what each waits for: as written, else the one before it. Tells names that are used
/// twice, waits for what is not there, and waits that go round in a ring.
pub(super) fn connected(
    forms: &[At<StepForm>],
    drafts: Vec<Option<Draft>>,
    problems: &mut Problems,
) -> Vec<Draft> {
    let names: Vec<&At<Name>> = forms.iter().filter_map(|f| f.0.form.name.as_ref()).collect();
    for (at, name) in names.iter().enumerate() {
        if let Some(first) = names.iter().take(at).find(|n| n.value == name.value) {
            twice("the step", &name.value, name.place, first.place, problems);
        }
    }
    let mut connected: Vec<Draft> = Vec::new();
    let mut before: Option<Name> = None;
    for (form, draft) in forms.iter().zip(drafts) {
        let after = match &form.0.form.after {
            Some(written) => {
                written.value.iter().for_each(|a| is_there(a, &names, problems));
                written.value.iter().map(|a| a.value.clone()).collect()
            }
            None => before.iter().cloned().collect(),
        };
        before = form.0.form.name.as_ref().map(|n| n.value.clone()).or(before);
        connected.extend(draft.map(|draft| Draft { after, ..draft }));
    }
    if let Some(ring) = ring(&connected) {
        let place = connected.iter().find(|d| Some(&&d.name) == ring.first()).map(|d| d.place);
        let path: Vec<&str> = ring.iter().map(|n| n.as_str()).collect();
        let message = format!("these steps wait for each other: {}", path.join(" → "));
        problems.error(place.unwrap_or_default(), message, "take one of them out of an `after`");
    }
    connected
}

fn is_there(after: &At<Name>, names: &[&At<Name>], problems: &mut Problems) {
    if names.iter().any(|n| n.value == after.value) {
        return;
    }
    let all = || names.iter().map(|n| n.value.as_str());
    let hint = match closest(after.value.as_str(), all()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("steps of this plan: {}", all().take(NAMED_MAX).collect::<Vec<_>>().join(", ")),
    };
    problems.error(after.place, format!("there is no step `{}`", after.value), hint);
}

/// A ring of waits, its first step again at the end.
fn ring(drafts: &[Draft]) -> Option<Vec<&Name>> {
    let edges: Vec<(&Name, Vec<&Name>)> =
        drafts.iter().map(|d| (&d.name, d.after.iter().collect())).collect();
    ring_of(&edges)
}

/// Tells plans that run each other.
pub(super) fn rings_of_parts(drawn: &[Drawn<'_>], problems: &mut Problems) -> bool {
    let parts =
        |plan: &'_ Drawn<'_>| plan.drafts.iter().filter_map(|d| d.part().cloned()).collect::<Vec<_>>();
    let all: Vec<(&Name, Vec<At<Name>>)> = drawn.iter().map(|p| (&p.name.value, parts(p))).collect();
    let edges: Vec<(&Name, Vec<&Name>)> =
        all.iter().map(|(name, parts)| (*name, parts.iter().map(|p| &p.value).collect())).collect();
    let Some(ring) = ring_of(&edges) else { return false };
    let next = |name: &Name, to: &Name| {
        let parts =
            all.iter().find(|(n, _)| *n == name).map(|(_, parts)| parts.as_slice()).unwrap_or_default();
        parts.iter().find(|p| &p.value == to).map(|p| p.place)
    };
    let place = ring.first().zip(ring.get(1)).and_then(|(from, to)| next(from, to)).unwrap_or_default();
    let path: Vec<&str> = ring.iter().map(|n| n.as_str()).collect();
    problems.error(
        place,
        format!("these plans run each other: {}", path.join(" → ")),
        "take one of them out",
    );
    true
}

/// A way that comes back to where it began, along these edges: walked without recursion, every node once.
fn ring_of<'n>(edges: &[(&'n Name, Vec<&'n Name>)]) -> Option<Vec<&'n Name>> {
    let onward =
        |name: &Name| edges.iter().find(|(n, _)| *n == name).map(|(_, to)| to.as_slice()).unwrap_or_default();
    let mut done: Vec<&Name> = Vec::new();
    for (start, _) in edges {
        let mut way: Vec<(&'n Name, usize)> = vec![(*start, 0)];
        while let Some((name, tried)) = way.last_mut() {
            let next = onward(name).get(*tried).copied();
            *tried += 1;
            match next {
                None => done.extend(way.pop().map(|(name, _)| name)),
                Some(next) if done.contains(&next) => {}
                Some(next) => {
                    if let Some(from) = way.iter().position(|(n, _)| *n == next) {
                        return Some(way.iter().skip(from).map(|(n, _)| *n).chain([next]).collect());
                    }
                    way.push((next, 0));
                }
            }
        }
    }
    None
}

/// The steps of a plan with those of its parts in their places; none where one of them is not sound.
/// Parts do not run each other in a ring: that was told before.
pub(super) fn inlined(number: usize, drawn: &[Drawn<'_>], problems: &mut Problems) -> Option<Vec<Draft>> {
    let plan = drawn.get(number)?;
    let mut left = STEPS_MAX + 1;
    let steps = unfolded(plan, drawn, &mut left, problems)?;
    if left == 0 {
        let message = format!("with its parts, this plan has more than {STEPS_MAX} steps");
        problems.error(plan.name.place, message, SHORTER);
        return None;
    }
    for (at, step) in steps.iter().enumerate() {
        if let Some(first) = steps.iter().take(at).find(|s| s.name == step.name) {
            twice("the step", &step.name, step.place, first.place, problems);
            return None;
        }
    }
    Some(steps)
}

fn unfolded(
    plan: &Drawn<'_>,
    drawn: &[Drawn<'_>],
    left: &mut usize,
    problems: &mut Problems,
) -> Option<Vec<Draft>> {
    if !plan.sound {
        return None;
    }
    let mut steps: Vec<Draft> = Vec::new();
    // What it means to wait for a part: to wait for its last steps.
    let mut ends_of: Vec<(&Name, Vec<Name>)> = Vec::new();
    for draft in &plan.drafts {
        *left = left.saturating_sub(1);
        if *left == 0 {
            break;
        }
        let Some(part) = draft.part() else {
            steps.push(draft.clone());
            continue;
        };
        let part = drawn.iter().find(|p| p.name.value == part.value)?;
        let mut inner = unfolded(part, drawn, left, problems)?;
        for step in &mut inner {
            *step = inside(draft, step, plan, problems)?;
        }
        let waited_for = |name: &Name| inner.iter().any(|d| d.after.contains(name));
        let ends = inner.iter().map(|d| &d.name).filter(|n| !waited_for(n)).cloned().collect();
        ends_of.push((&draft.name, ends));
        steps.extend(inner);
    }
    for step in &mut steps {
        let meant = |name: &Name| match ends_of.iter().find(|(part, _)| *part == name) {
            Some((_, ends)) => ends.clone(),
            None => vec![name.clone()],
        };
        step.after = step.after.iter().flat_map(meant).collect();
    }
    Some(steps)
}

/// A step of a part as one of the plan that runs it: with that step's name before its own, and waiting
/// for what that waits for.
fn inside(outer: &Draft, inner: &Draft, plan: &Drawn<'_>, problems: &mut Problems) -> Option<Draft> {
    let named = |name: &Name| {
        let long = format!("{}-{name}", outer.name);
        Name::new(&long).map_err(|error| error.to_string())
    };
    let place = outer.place;
    let mut fails = |message: String, hint: &str| problems.error(place, message, hint);
    let name = match named(&inner.name) {
        Ok(name) => name,
        Err(message) => {
            fails(message, "steps of a part get this step's name before their own: make one of them shorter");
            return None;
        }
    };
    if let Some(other) = plan.drafts.iter().find(|d| d.name == name) {
        twice("the step", &name, other.place, inner.place, problems);
        return None;
    }
    let form = match (outer.form, inner.form) {
        (Form::Always, form) | (form, Form::Always) => form,
        (outer, inner) if outer == inner => inner,
        _ => {
            let message = format!(
                "step `{}` of this part would never be done: the one form excludes the other",
                inner.name
            );
            fails(message, "leave `form` out here, or there");
            return None;
        }
    };
    let after = match inner.after.is_empty() {
        true => outer.after.clone(),
        false => inner.after.iter().filter_map(|a| named(a).ok()).collect(),
    };
    Some(Draft { place: inner.place, name, form, what: inner.what.clone(), after })
}

/// Steps of a plan: more than a person can follow, and a run is one value in etcd.
const STEPS_MAX: usize = 100;
const SHORTER: &str = "a person must be able to follow it: make it shorter";
/// Steps that a hint lists.
const NAMED_MAX: usize = 20;
