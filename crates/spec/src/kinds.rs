//! The kinds of resources as they are written: what every document has, and which kinds there are.

mod database;
mod plan;
mod policy;
mod service;
mod topology;

use meridian_catalog::closest;
use meridian_model::Name;
use serde_json::{Value, json};

use crate::form::{At, Form, Reader, form, object_schema, wrong};
use crate::source::{Place, Problems};
use crate::tree::{Data, Node};

pub(crate) use database::{
    DatabaseForm, GatewayForm, MemberForm, PostgresForm, ReplicationForm, ReplicationMode, SwitchoverForm,
};
pub(crate) use plan::{
    AlertForm, CheckForm, ChecksForm, ExecForm, HttpForm, KINDS_OF_WORK, NotifyForm, PagerdutyForm, PlanForm,
    PromqlForm, ScaleForm, SqlForm, StepFields, StepForm, TriggerForm, UrlForm,
};
pub(crate) use policy::{Keys, PolicyForm, Switch, Want};
pub(crate) use service::{
    BackendForm, ComputeForm, HealthCheckForm, InstancesForm, RetriesForm, ServiceForm, TlsForm,
};
pub(crate) use topology::{
    CoordinationForm, ListenForm, LocationForm, ObjectivesForm, PopulationForm, RegionForm, ScheduledForm,
    SocketForm, TimersForm, TopologyForm,
};

/// The group of our own kinds.
pub(crate) const GROUP: &str = "meridian.dev/v1alpha1";
/// The group in which policies of elsewhere come.
pub(crate) const POLICY_GROUP: &str = "policy.example.com/v1";

form! {
    /// What a resource is called.
    pub(crate) struct Metadata {
        /// Its name: a-z, 0-9 and `-`, unique among its kind.
        required name "name": At<Name>,
        /// Accepted for Kubernetes' sake; it means nothing here.
        optional _namespace "namespace": String,
        /// Free labels; they mean nothing here.
        optional _labels "labels": Vec<(String, String)>,
        /// Free annotations; they mean nothing here.
        optional _annotations "annotations": Vec<(String, String)>,
    }
}

/// A document: any resource, as written.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) place: Place,
    /// Its name; a placeholder, told as an error, if it has none that is right.
    pub(crate) name: At<Name>,
    pub(crate) body: Body,
}

/// The `spec` of a resource; none where it is missing or no mapping.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Topology(Option<Box<TopologyForm>>),
    Service(Option<Box<ServiceForm>>),
    Database(Option<Box<DatabaseForm>>),
    Policy(Option<Box<PolicyForm>>),
    Plan(Option<Box<PlanForm>>),
}

const FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
/// The kinds of resources that a spec holds.
pub const KINDS: [&str; 5] = ["Topology", "Service", "Database", "DataResidencyPolicy", "RecoveryPlan"];
/// Kinds of the design that this version does not read yet.
const LATER: [&str; 3] = ["Network", "Telemetry", "Capacity"];

/// Reads one document.
pub(crate) fn resource(node: &Node, problems: &mut Problems) -> Option<Resource> {
    let reader = Reader::begin(node, &FIELDS, problems)?;
    let group: Option<At<String>> = reader.field("apiVersion", true, problems);
    let kind: Option<At<String>> = reader.field("kind", true, problems);
    let metadata: Option<Metadata> = reader.field("metadata", true, problems);
    let kind = kind?;
    // One that is misspelt is read as what it was meant to be, so that all other faults are told too.
    let known = KINDS.into_iter().find(|k| *k == kind.value).or_else(|| unknown_kind(&kind, problems));
    if let Some(group) = group {
        check_group(&group, known, problems);
    }
    let body = match known? {
        "Topology" => Body::Topology(reader.field("spec", true, problems).map(Box::new)),
        "Service" => Body::Service(reader.field("spec", true, problems).map(Box::new)),
        "Database" => Body::Database(reader.field("spec", true, problems).map(Box::new)),
        "DataResidencyPolicy" => Body::Policy(reader.field("spec", true, problems).map(Box::new)),
        "RecoveryPlan" => Body::Plan(reader.field("spec", true, problems).map(Box::new)),
        _ => return None,
    };
    let placeholder = Name::new(&format!("unnamed-{}", kind.place.line)).ok()?;
    let unnamed = At { value: placeholder, place: kind.place };
    Some(Resource { place: kind.place, name: metadata.and_then(|m| m.name).unwrap_or(unnamed), body })
}

/// Tells that there is no such kind; gives the one that was meant, if it is spelt much like it. Without that nothing is
/// known of what its `spec` may hold.
fn unknown_kind(kind: &At<String>, problems: &mut Problems) -> Option<&'static str> {
    let word = crate::form::clip(&kind.value);
    if kind.value == "Drill" {
        let hint =
            "keep it in a file of its own: `meridian check FILE` reads it, `meridian drill run FILE` runs it";
        problems.error(kind.place, "a drill is no part of a spec", hint);
        return None;
    }
    if LATER.contains(&kind.value.as_str()) {
        let message = format!("kind `{word}` is not read by this version");
        problems.error(kind.place, message, format!("known kinds: {}", KINDS.join(", ")));
        return None;
    }
    let near = closest(&kind.value, KINDS.into_iter().chain(["Drill"]));
    let meant = KINDS.into_iter().find(|k| Some(*k) == near);
    let hint = match (near, meant) {
        (Some(near), Some(_)) => format!("did you mean `{near}`? What it holds is read as that"),
        (Some(near), None) => format!("did you mean `{near}`?"),
        (None, _) => format!("known kinds: {}", KINDS.join(", ")),
    };
    problems.error(kind.place, format!("unknown kind `{word}`"), hint);
    meant
}

/// `kind`: none that is known.
fn check_group(group: &At<String>, kind: Option<&str>, problems: &mut Problems) {
    let of_policies = kind.is_none_or(|kind| kind == "DataResidencyPolicy") && group.value == POLICY_GROUP;
    if group.value != GROUP && !of_policies {
        let word = crate::form::clip(&group.value);
        let message = match kind {
            Some(kind) => format!("kind {kind} is not in group `{word}`"),
            None => format!("unknown group `{word}`"),
        };
        problems.error(group.place, message, format!("write `{GROUP}`"));
    }
}

/// The JSON Schema of any document.
pub(crate) fn schema() -> Value {
    let kinds = [
        document("Topology", &[GROUP], TopologyForm::schema()),
        document("Service", &[GROUP], ServiceForm::schema()),
        document("Database", &[GROUP], DatabaseForm::schema()),
        document("DataResidencyPolicy", &[GROUP, POLICY_GROUP], PolicyForm::schema()),
        document("RecoveryPlan", &[GROUP], PlanForm::schema()),
    ];
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Meridian spec",
        "description": "One document of a Meridian spec.",
        "oneOf": kinds,
    })
}

fn document(kind: &'static str, groups: &[&str], spec: Value) -> Value {
    let field =
        |name, doc: &str, schema| crate::form::Field { name, required: true, doc: doc.to_owned(), schema };
    let fields = vec![
        field("apiVersion", "The group and version of the kind.", json!({ "enum": groups })),
        field("kind", "The kind of the resource.", json!({ "const": kind })),
        field("metadata", "What the resource is called.", Metadata::schema()),
        field("spec", "What is wanted.", spec),
    ];
    let mut schema = object_schema("", fields);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".to_owned(), Value::from(kind));
        schema.remove("description");
    }
    schema
}

/// Reads a form that may also be written as one word.
fn word_or<T>(
    node: &Node,
    expected: &str,
    from_text: impl FnOnce(&Node, &mut Problems) -> Option<T>,
    from_map: impl FnOnce(&Node, &mut Problems) -> Option<T>,
    problems: &mut Problems,
) -> Option<T> {
    match &node.data {
        Data::Scalar(_) => from_text(node, problems),
        Data::Map(_) => from_map(node, problems),
        Data::Nothing | Data::List(_) => wrong(node, expected, "", problems),
    }
}
