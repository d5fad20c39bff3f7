//! `RecoveryPlan` as it is written.

use std::path::PathBuf;
use std::time::Duration;

use meridian_model::plan::{Form as RunForm, OnFailure};
use meridian_model::{Name, Share};
use serde_json::{Value, json};

use super::word_or;
use crate::form::{At, AtLeastOne, Bytes, Form, Url, Written, form, words, wrong};
use crate::source::Problems;
use crate::tree::{Data, Node};

form! {
    /// What is done when the writer's region is lost, or the writer moves. A database for which none is
    /// written has a sound default: fence, promote, scale, shift traffic, DNS, verify, protect.
    pub(crate) struct PlanForm {
        /// The database that it recovers. Left out in a part: a plan that others run by `runPlan`.
        optional database "database": At<Name>,
        /// What begins a run by itself; a person always can. Default: `[regionDown]`.
        optional triggers "triggers": At<Vec<At<TriggerForm>>>,
        /// What is done. A step without `after` waits for the one before it in the list, so a plain list is
        /// done one after the other. Before `promoteDatabase` the old writer is demoted (when it lives) and
        /// fenced, after it the other standbys follow, and the run ends when the database is protected again.
        required steps "steps": At<Vec<At<StepForm>>>,
    }
}

/// `regionDown`, or a mapping.
#[derive(Debug, Clone)]
pub(crate) enum TriggerForm {
    RegionDown,
    Alert(Box<AlertForm>),
    /// What has been told to be wrong.
    Told,
}

/// The failover rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RegionDown;

words!(RegionDown: "a trigger" {
    "regionDown" => RegionDown,
});

form! {
    /// What begins a run, at length.
    pub(crate) struct TriggerMap {
        /// An alert by webhook, in Alertmanager's format.
        required alert "alert": AlertForm,
    }
}

form! {
    /// An alert by webhook, in Alertmanager's format.
    pub(crate) struct AlertForm {
        /// Its `alertname`.
        required name "name": At<String>,
        /// Labels that it must carry.
        optional labels "labels": Vec<(String, String)>,
        /// Where the writer goes. Default: the best region that may take it.
        optional to "to": At<Name>,
    }
}

impl Form for TriggerForm {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        let word = |node: &Node, problems: &mut Problems| {
            RegionDown::parse(node, problems).map(|_| Self::RegionDown)
        };
        let map = |node: &Node, problems: &mut Problems| {
            let alert = TriggerMap::parse(node, problems)?.alert;
            Some(alert.map_or(Self::Told, |alert| Self::Alert(Box::new(alert))))
        };
        word_or(node, "`regionDown` or a mapping with `alert`", word, map, problems)
    }
    fn schema() -> Value {
        json!({ "anyOf": [RegionDown::schema(), TriggerMap::schema()] })
    }
}

/// A step, with the names of its fields.
#[derive(Debug, Clone)]
pub(crate) struct StepForm(pub(crate) Written<StepFields>);

form! {
    /// One action. It names one kind of work: promoteDatabase, demoteDatabase, scaleCompute, shiftTraffic,
    /// updateDns, verify, wait, approve, notify, exec or runPlan.
    pub(crate) struct StepFields {
        /// Its name, unique in the plan.
        required name "name": At<Name>,
        /// The database takes writes in its new region. Once in every plan.
        optional promote_database "promoteDatabase": At<NoSettings>,
        /// The old writer holds new transactions, ends the running ones and stops; in a switchover only. Done
        /// just before promoteDatabase where it is not written.
        optional demote_database "demoteDatabase": At<NoSettings>,
        /// The new region gets the compute of a primary.
        optional scale_compute "scaleCompute": At<ScaleForm>,
        /// Traffic goes to the new region.
        optional shift_traffic "shiftTraffic": At<ShiftForm>,
        /// The name server answers by the new state.
        optional update_dns "updateDns": At<NoSettings>,
        /// Checks, all of which must hold; `{}`: a write and a read through the gateway.
        optional verify "verify": ChecksForm,
        /// Nothing, for so long.
        optional wait "wait": At<Duration>,
        /// A person is asked this, and agrees by `meridian run approve`.
        optional approve "approve": At<String>,
        /// Somebody is told.
        optional notify "notify": At<Written<NotifyForm>>,
        /// A program is run on the acting node.
        optional exec "exec": At<ExecForm>,
        /// The steps of that plan, a part without a `database`; their names get this step's name before them.
        optional run_plan "runPlan": At<Name>,
        /// The steps that must be over before. Default: the one before it in the list; `[]`: none.
        optional after "after": At<Vec<At<Name>>>,
        /// `graceful`: only when the old writer takes part (a switchover); `ungraceful`: only when it is lost
        /// (a failover). Default: `always`.
        optional form "form": At<RunForm>,
        /// How long one attempt may take. Default: by the kind of work; of `approve` 24h.
        optional timeout "timeout": At<Duration>,
        /// How often it is tried again: a number, or `unlimited`. Default: 0 for exec, approve and wait, 2 for
        /// notify, `unlimited` for the rest.
        optional retries "retries": At<RetryCount>,
        /// Checks that must hold before it begins.
        optional before "before": At<ChecksForm>,
        /// Checks that must hold when it has ended, or it counts as failed.
        optional afterwards "afterwards": At<ChecksForm>,
        /// When all attempts have failed: `pause` (a person resumes or aborts the run), `continue` or `abort`.
        /// Default: `continue` for notify, `pause` for the rest.
        optional on_failure "onFailure": At<OnFailure>,
    }
}

/// The fields of a step that say what it does.
pub(crate) const KINDS_OF_WORK: [&str; 11] = [
    "promoteDatabase",
    "demoteDatabase",
    "scaleCompute",
    "shiftTraffic",
    "updateDns",
    "verify",
    "wait",
    "approve",
    "notify",
    "exec",
    "runPlan",
];

impl Form for StepForm {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        Written::parse(node, problems).map(Self)
    }
    fn schema() -> Value {
        let mut schema = StepFields::schema();
        if let Some(schema) = schema.as_object_mut() {
            let one = KINDS_OF_WORK.map(|kind| json!({ "required": [kind] }));
            schema.insert("oneOf".to_owned(), Value::from(one.to_vec()));
        }
        schema
    }
}

words!(RunForm: "`always`, `graceful` or `ungraceful`" {
    "always" => RunForm::Always,
    "graceful" => RunForm::Graceful,
    "ungraceful" => RunForm::Ungraceful,
});

words!(OnFailure: "`pause`, `continue` or `abort`" {
    "pause" => OnFailure::Pause,
    "continue" => OnFailure::Continue,
    "abort" => OnFailure::Abort,
});

/// Work that is not set up here: written as `{}`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoSettings;

impl Form for NoSettings {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.data {
            Data::Map(entries) if entries.is_empty() => Some(Self),
            _ => wrong(node, "`{}`", "there is nothing to set here: write `{}`", problems),
        }
    }
    fn schema() -> Value {
        json!({ "type": "object", "additionalProperties": false })
    }
}

/// A number, or no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryCount(pub(crate) Option<u32>);

impl Form for RetryCount {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.data {
            Data::Scalar(text) if text == "unlimited" => Some(Self(None)),
            Data::Scalar(text) if text.parse::<u32>().is_ok() => {
                u32::parse(node, problems).map(|n| Self(Some(n)))
            }
            _ => wrong(node, "a number or `unlimited`", "such as `3`", problems),
        }
    }
    fn schema() -> Value {
        json!({ "anyOf": [u32::schema(), { "const": "unlimited" }] })
    }
}

form! {
    /// How much compute the new region gets.
    pub(crate) struct ScaleForm {
        /// Of that service. Default: of all.
        optional service "service": At<Name>,
        /// So many instances. Default: as many as the service wants where the writer is.
        optional instances "instances": At<AtLeastOne>,
    }
}

form! {
    /// How traffic goes to the new region.
    pub(crate) struct ShiftForm {
        /// The share of arriving traffic that the new region takes, until another run begins or a person clears
        /// it (`meridian dial`). Default: as it is.
        optional dial "dial": Share,
        /// The old region is drained, for as long: it takes traffic only when nothing else is left. Default:
        /// false: it stays as it is.
        optional drain "drain": bool,
    }
}

form! {
    /// What must hold, asked of the running system; all that is named.
    pub(crate) struct CheckForm {
        /// A statement through the gateway of the acting region, as the application's user.
        optional sql "sql": SqlForm,
        /// A GET.
        optional http "http": HttpForm,
        /// An instant query to Prometheus.
        optional promql "promql": PromqlForm,
    }
}

/// One mapping of checks, or a list of them.
#[derive(Debug, Clone)]
pub(crate) struct ChecksForm(pub(crate) Vec<At<Written<CheckForm>>>);

impl Form for ChecksForm {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.data {
            Data::Map(_) => At::parse(node, problems).map(|check| Self(vec![check])),
            Data::List(_) => Vec::parse(node, problems).map(Self),
            _ => {
                wrong(node, "checks", "such as `[{ http: { url: \"http://10.1.0.10/health\" } }]`", problems)
            }
        }
    }
    fn schema() -> Value {
        json!({ "anyOf": [CheckForm::schema(), Vec::<CheckForm>::schema()] })
    }
}

/// A statement, or a mapping.
#[derive(Debug, Clone)]
pub(crate) struct SqlForm {
    pub(crate) statement: Option<At<String>>,
    pub(crate) write: bool,
    pub(crate) expect: Option<String>,
}

form! {
    /// A statement, at length.
    pub(crate) struct SqlMap {
        /// One statement.
        required statement "statement": At<String>,
        /// Through the write port. Default: through the read port.
        optional write "write": bool,
        /// What the first column of the first row must be, as text. Default: it need only succeed.
        optional expect "expect": String,
    }
}

impl Form for SqlForm {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        let word = |node: &Node, problems: &mut Problems| {
            Some(Self { statement: Some(At::parse(node, problems)?), write: false, expect: None })
        };
        let map = |node: &Node, problems: &mut Problems| {
            let map = SqlMap::parse(node, problems)?;
            Some(Self { statement: map.statement, write: map.write.unwrap_or(false), expect: map.expect })
        };
        word_or(node, "a statement or a mapping", word, map, problems)
    }
    fn schema() -> Value {
        json!({ "anyOf": [String::schema(), SqlMap::schema()] })
    }
}

form! {
    /// A GET.
    pub(crate) struct HttpForm {
        /// An http:// URL.
        required url "url": At<Url>,
        /// The status that is wanted. Default: 200.
        optional status "status": At<u32>,
        /// What the body must contain.
        optional contains "contains": String,
    }
}

form! {
    /// An instant query to Prometheus: it holds when its result is not empty and every value is not zero.
    pub(crate) struct PromqlForm {
        /// The base URL of Prometheus.
        required url "url": At<Url>,
        /// The query.
        required query "query": At<String>,
    }
}

form! {
    /// Who is told what: one of webhook, slack and pagerduty.
    pub(crate) struct NotifyForm {
        /// A JSON object with every fact of the run, by POST.
        optional webhook "webhook": At<Written<UrlForm>>,
        /// Slack's incoming webhook.
        optional slack "slack": At<Written<UrlForm>>,
        /// PagerDuty's Events API v2.
        optional pagerduty "pagerduty": At<PagerdutyForm>,
        /// What. `{run}`, `{group}`, `{from}`, `{to}`, `{epoch}` and `{cause}` are filled in.
        required text "text": At<String>,
    }
}

form! {
    /// Where to: a URL, or the file that holds it when it is a secret.
    pub(crate) struct UrlForm {
        /// The URL, if it is no secret.
        optional url "url": At<Url>,
        /// A file of every node with the URL.
        optional url_file "urlFile": PathBuf,
    }
}

form! {
    /// PagerDuty's Events API v2.
    pub(crate) struct PagerdutyForm {
        /// Where to. Default: PagerDuty's public endpoint.
        optional url "url": At<Url>,
        /// A file of every node with the routing key.
        required routing_key_file "routingKeyFile": PathBuf,
    }
}

form! {
    /// A program that is run on the acting node.
    pub(crate) struct ExecForm {
        /// The program, by its absolute path, and its arguments. No shell reads them.
        required command "command": At<Vec<At<String>>>,
        /// Its environment besides PATH and what Meridian tells it: `MERIDIAN_RUN`, `MERIDIAN_GROUP`,
        /// `MERIDIAN_FROM`, `MERIDIAN_TO`, `MERIDIAN_EPOCH` and `MERIDIAN_STEP`.
        optional env "env": At<Vec<(String, String)>>,
        /// Secrets in its environment: each name with the file of the acting node that holds the value. In what the
        /// program says, and in errors and reports, `***` stands for them.
        optional env_files "envFiles": At<Vec<(String, String)>>,
        /// Where it runs. Default: the node's dataDir.
        optional directory "directory": PathBuf,
        /// How much of its output is kept, from the end. Default: 64KiB; at most 256KiB.
        optional output_max "outputMax": At<Bytes>,
    }
}
