//! What people, alerts and other nodes ask over the control interface: orders, words to runs, maintenance, dials,
//! and the hold of transactions that a switchover needs, or a breach of the RPO. The forms here are what `meridian` sends.

use std::time::Duration;

use http::StatusCode;
use hyper::body::Incoming;
use meridian_coordination::asks::{AskError, Say};
use meridian_failover::Event;
use meridian_model::group::HoldId;
use meridian_model::order::{Maintenance, Wish, Word};
use meridian_model::plan::Trigger;
use meridian_model::{GroupName, Name, RegionName, RunId, Timestamp};
use meridian_telemetry::clock;
use serde::{Deserialize, Serialize};

use super::{Answer, Control, asked, json, no_group, text};
use crate::rehearse::{Refusal, RehearsalAsked};

/// Where orders go.
pub const ORDERS: &str = "/v1/orders";
/// Where words to runs go.
pub const WORDS: &str = "/v1/words";
/// Where maintenance is begun and ended.
pub const MAINTENANCE: &str = "/v1/maintenance";
/// Where Alertmanager sends its alerts.
pub const ALERTS: &str = "/v1/alerts";
/// Where dials are turned and cleared.
pub const DIALS: &str = "/v1/dials";
/// Where a writer asks another region's gateway to hold.
pub(crate) const HOLD: &str = "/v1/hold";
/// Where it ends that.
pub(crate) const UNHOLD: &str = "/v1/unhold";

/// How long an order may wait to be begun when nothing else is said.
const ORDER_LASTS: Duration = Duration::from_secs(60);
/// The longest that a hold may be asked for.
const HOLD_MAX: Duration = Duration::from_secs(120);
/// How often a gateway that is not quiet yet tells how many are busy.
pub(crate) const TELL_BUSY: Duration = Duration::from_millis(500);
/// Alerts of one message that are looked at.
const ALERTS_MAX: usize = 64;

/// An order for a data group.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderAsked {
    /// Which group.
    pub group: GroupName,
    /// What.
    pub wish: Wish,
    /// Who asks.
    pub by: String,
    /// How long it may wait to be begun, in milliseconds.
    #[serde(default)]
    pub lasts_ms: Option<u64>,
}

/// A word to a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordAsked {
    /// Which run.
    pub run: RunId,
    /// What is said.
    pub say: SayWord,
    /// With `approve`: to which step.
    #[serde(default)]
    pub step: Option<Name>,
    /// Who.
    pub by: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What can be said to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SayWord {
    /// Begin nothing new.
    Pause,
    /// Go on.
    Resume,
    /// End.
    Abort,
    /// Agree to a step.
    Approve,
}

/// Maintenance is to begin, or to end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceAsked {
    /// For so long from now, in milliseconds; none: it ends.
    pub for_ms: Option<u64>,
    /// Who.
    pub by: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Hold new transactions; the answer comes when nothing is under way, or after
/// [`TELL_BUSY`] with how many are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HoldAsked {
    pub(crate) group: GroupName,
    #[serde(flatten)]
    pub(crate) hold: HoldId,
    pub(crate) for_ms: u64,
    /// Where the held sessions will go on; none when the hold ends, or when it stays.
    #[serde(default)]
    pub(crate) to: Option<RegionName>,
    /// Why, for clients that have waited too long.
    #[serde(default)]
    pub(crate) reason: String,
}

/// How many sessions are still inside a transaction.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct HeldAnswer {
    /// To which hold that is the answer; none: it is a node's that does not say.
    #[serde(default)]
    pub(crate) hold: Option<HoldId>,
    pub(crate) busy: u32,
}

/// A message of Alertmanager, as far as it matters.
#[derive(Debug, Deserialize)]
struct AlertMessage {
    #[serde(default)]
    alerts: Vec<Alert>,
}

#[derive(Debug, Deserialize)]
struct Alert {
    status: String,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

/// What became of a message of alerts.
#[derive(Debug, Serialize)]
struct AlertsAnswer {
    orders: Vec<String>,
    refused: Vec<String>,
}

pub(super) async fn order(body: Incoming, control: &Control) -> Answer {
    let order: OrderAsked = match asked(body, "order").await {
        Ok(order) => order,
        Err(answer) => return answer,
    };
    if !control.groups.iter().any(|(name, ..)| *name == order.group) {
        return no_group();
    }
    let lasts = order.lasts_ms.map_or(ORDER_LASTS, Duration::from_millis);
    let word = word(order.by, String::new());
    told(control.asks.order(&order.group, order.wish, word, millis(lasts)).await)
}

pub(super) async fn say(body: Incoming, control: &Control) -> Answer {
    let asked_for: WordAsked = match asked(body, "word").await {
        Ok(word) => word,
        Err(answer) => return answer,
    };
    let say = match (asked_for.say, asked_for.step) {
        (SayWord::Pause, None) => Say::Pause,
        (SayWord::Resume, None) => Say::Resume,
        (SayWord::Abort, None) => Say::Abort,
        (SayWord::Approve, Some(step)) => Say::Approve(step),
        _ => return text(StatusCode::BAD_REQUEST, "`approve` names a step, and nothing else does\n"),
    };
    told(control.asks.say(&asked_for.run, say, word(asked_for.by, asked_for.reason)).await)
}

pub(super) async fn maintain(body: Incoming, control: &Control) -> Answer {
    let asked_for: MaintenanceAsked = match asked(body, "maintenance").await {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let word = word(asked_for.by, asked_for.reason);
    let until = |for_ms: u64| Timestamp(word.at.0.saturating_add(i64::try_from(for_ms).unwrap_or(i64::MAX)));
    let maintenance = asked_for.for_ms.map(|for_ms| Maintenance { until: until(for_ms), word: word.clone() });
    told(control.asks.maintain(maintenance.as_ref()).await.map(|()| maintenance))
}

pub(super) async fn rehearse(body: Incoming, control: &Control) -> Answer {
    let asked_for: RehearsalAsked = match asked(body, "rehearsal").await {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    if !control.groups.iter().any(|(name, ..)| *name == asked_for.group) {
        return no_group();
    }
    match control.rehearser.begin(asked_for).await {
        Ok(rehearsal) => json(&rehearsal),
        Err(Refusal::No(why)) => text(StatusCode::CONFLICT, &format!("{why}\n")),
        Err(Refusal::Unknown(why)) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
    }
}

pub(super) async fn hold(body: Incoming, control: &Control) -> Answer {
    let asked_for: HoldAsked = match asked(body, "hold").await {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    if !control.groups.iter().any(|(name, ..)| *name == asked_for.group) {
        return no_group();
    }
    let lasts = Duration::from_millis(asked_for.for_ms).min(HOLD_MAX);
    let (group, hold, until) = (&asked_for.group, asked_for.hold, clock::now() + lasts);
    if !control.fence.hold(group, hold, until, &asked_for.reason) {
        return text(StatusCode::CONFLICT, "this hold has been ended, or a later one has been ordered\n");
    }
    if let Some(successor) = &asked_for.to {
        control.fence.expect(group, hold, successor.clone());
    }
    json(&HeldAnswer { hold: Some(hold), busy: quiet_or_busy(control, group).await })
}

async fn quiet_or_busy(control: &Control, group: &GroupName) -> u32 {
    let _ = tokio::time::timeout(TELL_BUSY, control.fence.quiet(group)).await;
    u32::try_from(control.fence.busy(group)).unwrap_or(u32::MAX)
}

pub(super) async fn unhold(body: Incoming, control: &Control) -> Answer {
    let asked_for: HoldAsked = match asked(body, "hold").await {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    control.fence.release(&asked_for.group, asked_for.hold);
    json(&HeldAnswer { hold: Some(asked_for.hold), busy: 0 })
}

/// Each firing alert that a plan waits for becomes an order to move the writer.
pub(super) async fn alerts(body: Incoming, control: &Control) -> Answer {
    let message: AlertMessage = match asked(body, "message of Alertmanager").await {
        Ok(message) => message,
        Err(answer) => return answer,
    };
    let mut answer = AlertsAnswer { orders: Vec::new(), refused: Vec::new() };
    let firing = message.alerts.iter().filter(|a| a.status == "firing").take(ALERTS_MAX);
    for (group, to) in firing.flat_map(|alert| triggered(control, alert)) {
        let Some(to) = to.or_else(|| control.board.successor(&group)) else {
            answer.refused.push(format!("{group}: no region could take the writer"));
            continue;
        };
        let word = word("alert".to_owned(), String::new());
        match control.asks.order(&group, Wish::Switchover { to }, word, millis(ORDER_LASTS)).await {
            Ok(taken) => answer.orders.push(taken.order.id.to_string()),
            Err(error) => answer.refused.push(format!("{group}: {error}")),
        }
    }
    json(&answer)
}

/// The groups whose plan waits for such an alert, and where it wants the writer.
fn triggered(control: &Control, alert: &Alert) -> Vec<(GroupName, Option<RegionName>)> {
    let has = |key: &str, value: &str| alert.labels.get(key).is_some_and(|v| v == value);
    let fits = |trigger: &Trigger| match trigger {
        Trigger::Alert { name, labels, to } => {
            let fits = has("alertname", name) && labels.iter().all(|(key, value)| has(key, value));
            fits.then(|| to.clone())
        }
        Trigger::RegionDown => None,
    };
    let plans = control.system.plans.iter();
    plans.filter_map(|plan| Some((plan.group.clone(), plan.triggers.iter().find_map(fits)?))).collect()
}

fn word(by: String, reason: String) -> Word {
    Word { by, at: clock::wall(), reason }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn told<T: Serialize>(result: Result<T, AskError>) -> Answer {
    match result {
        Ok(value) => json(&value),
        Err(AskError::Refused(why)) => text(StatusCode::CONFLICT, &format!("{why}\n")),
        Err(error @ AskError::Raced) => text(StatusCode::CONFLICT, &format!("{error}\n")),
        Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{error}\n")),
    }
}

/// So that the loop of a group hears of what its own gateway does.
pub(crate) fn held(from: RegionName, hold: HoldId, busy: usize) -> Event {
    Event::Held { from, hold, busy: u32::try_from(busy).unwrap_or(u32::MAX) }
}
