//! Residency policies: their globs must mean something.

use meridian_catalog::{closest, regions};
use meridian_model::policy::{Audit, DataResidencyPolicy, Encryption};

use super::World;
use super::glob::matches;
use crate::form::{At, clip};
use crate::kinds::{Body, Keys, PolicyForm, Resource, Switch, Want};

/// What a policy means; none if the resource is something else.
pub(super) fn policy(resource: &Resource, world: &mut World<'_>) -> Option<DataResidencyPolicy> {
    let Body::Policy(Some(form)) = &resource.body else { return None };
    let name = &resource.name;
    for glob in form.allowed.iter().chain(&form.blocked).flat_map(|g| &g.value) {
        means_something(glob, world);
    }
    leaves_something(form, world);
    let texts = |globs: &Option<At<Vec<At<String>>>>| {
        globs.iter().flat_map(|g| &g.value).map(|g| g.value.clone()).collect()
    };
    Some(DataResidencyPolicy {
        name: name.value.clone(),
        data_classes: form.data_classes.as_ref().map(|c| c.value.clone()).unwrap_or_default(),
        allowed_regions: texts(&form.allowed),
        blocked_regions: texts(&form.blocked),
        encryption: encryption(form),
        audit: audit(form),
    })
}

/// A glob matches a region of the topology or of any cloud; else it is a typing error.
fn means_something(glob: &At<String>, world: &mut World<'_>) {
    let here = world.regions.iter().any(|r| matches(&glob.value, r.name.as_str()));
    if here || !world.all_named || regions().any(|r| matches(&glob.value, r.name)) {
        return;
    }
    let names = world.regions.iter().map(|r| r.name.as_str()).chain(regions().map(|r| r.name));
    let hint = match closest(&glob.value, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "a region's name, with `*` for any characters: `eu-*`".to_owned(),
    };
    world.problems.error(glob.place, format!("`{}` matches no region", clip(&glob.value)), hint);
}

/// Some region of the topology is allowed and not blocked; else no data of these classes can be kept.
fn leaves_something(form: &PolicyForm, world: &mut World<'_>) {
    let Some(allowed) = &form.allowed else { return };
    let any = |globs: &[At<String>], region: &str| globs.iter().any(|g| matches(&g.value, region));
    let blocked = form.blocked.as_ref().map(|b| b.value.as_slice()).unwrap_or_default();
    let lawful = |name: &str| any(&allowed.value, name) && !any(blocked, name);
    let some = world.regions.iter().any(|r| lawful(r.name.as_str()));
    if !some && !world.regions.is_empty() {
        let message = "no region of this topology may hold this data";
        let hint = "allow one of its regions, or expect every write of these classes to be refused";
        world.problems.warning(allowed.place, message, hint);
    }
}

fn encryption(form: &PolicyForm) -> Encryption {
    let form = form.encryption.as_ref();
    Encryption {
        at_rest_required: form.and_then(|f| f.at_rest) == Some(Want::Required),
        in_transit_required: form.and_then(|f| f.in_transit) == Some(Want::Required),
        customer_managed_keys: form.and_then(|f| f.keys) == Some(Keys::Customer),
    }
}

fn audit(form: &PolicyForm) -> Audit {
    let form = form.audit.as_ref();
    Audit {
        access_logging: form.and_then(|f| f.access_logging) == Some(Switch::Enabled),
        retention_days: form.and_then(|f| f.retention_days).unwrap_or(0),
    }
}
