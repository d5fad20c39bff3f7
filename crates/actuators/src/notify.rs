//! Somebody is told of a run: by a webhook, in Slack, or by PagerDuty.
//!
//! A step may be done again (its answer was lost, another node took the run over). So each message says
//! which step of which run it belongs to: PagerDuty opens one incident for it, and others see it in the
//! `Idempotency-Key` header. What is sent are the facts of the run and how far its steps are, not the
//! commands, checks and files of the plan. Of the answer only the status counts, and only it is told.

use http::Method;
use meridian_model::Name;
use meridian_model::plan::Notify;
use meridian_model::run::{Run, RunKind, Step, StepState};
use serde_json::{Value, json};

use crate::error::ActuatorError;
use crate::web::{Address, Message, Web, secret};

/// Tells them; says who has taken it. Repeating it does no harm.
pub(crate) async fn tell(
    web: &Web,
    to: &Notify,
    text: &str,
    run: &Run,
    step: &Name,
) -> Result<String, ActuatorError> {
    let text = clip(&filled(text, run), TEXT_MAX);
    let (Notify::Webhook { url } | Notify::Slack { url } | Notify::Pagerduty { url, .. }) = to;
    let address = Address::of(url).await?;
    let key = format!("{}/{step}", run.id);
    let payload = match to {
        Notify::Webhook { .. } => webhook(&text, run, step),
        Notify::Slack { .. } => json!({ "text": for_slack(&text) }),
        Notify::Pagerduty { routing_key_file, .. } => {
            let routing_key = secret(routing_key_file.clone()).await?;
            pagerduty(&routing_key, &key, &text, run, step)
        }
    };
    let body = Some(("application/json", payload.to_string().into_bytes()));
    let message = Message { method: Method::POST, below: "", body, key: Some(key) };
    let answer = web.send(&address, message).await?;
    if !answer.status.is_success() {
        return Err(address.failed(format!("it answered {}", answer.status)));
    }
    Ok(format!("{} answered {}", address.label(), answer.status))
}

/// The text with its placeholders filled in. What is filled in is not looked through again.
fn filled(text: &str, run: &Run) -> String {
    let from = run.from.as_ref().map_or("nowhere", Name::as_str);
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let known = after.split_once('}').and_then(|(word, after)| {
            let value = match word {
                "run" => run.id.to_string(),
                "group" => run.group.to_string(),
                "from" => from.to_owned(),
                "to" => run.to.to_string(),
                "epoch" => run.epoch.to_string(),
                "cause" => run.cause.clone(),
                _ => return None,
            };
            Some((value, after))
        });
        match known {
            Some((value, after)) => {
                out.push_str(&value);
                rest = after;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn webhook(text: &str, run: &Run, step: &Name) -> Value {
    let mut all = facts(run, step);
    if let Some(all) = all.as_object_mut() {
        all.insert("text".to_owned(), json!(text));
        all.insert("steps".to_owned(), run.steps.iter().map(progress).collect());
    }
    all
}

fn facts(run: &Run, step: &Name) -> Value {
    json!({
        "run": run.id, "step": step, "group": run.group, "kind": run.kind, "plan": run.plan,
        "epoch": run.epoch, "from": run.from, "to": run.to, "cause": run.cause, "proof": run.proof,
        "detected_at_ms": run.detected_at, "decided_at_ms": run.decided_at, "takes_over": run.takes_over,
    })
}

fn progress(step: &Step) -> Value {
    let (state, detail) = match &step.state {
        StepState::Pending => ("pending", ""),
        StepState::Running { .. } => ("running", ""),
        StepState::Failed { reason, .. } => ("failed", reason.as_str()),
        StepState::Skipped { reason, .. } => ("skipped", reason.as_str()),
        StepState::Done { detail, .. } => ("done", detail.as_str()),
    };
    json!({
        "name": step.work.name, "kind": step.kind(), "state": state, "failures": step.failures,
        "detail": clip(detail, DETAIL_MAX),
    })
}

/// Slack takes these three characters as markup.
fn for_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn pagerduty(routing_key: &str, dedup_key: &str, text: &str, run: &Run, step: &Name) -> Value {
    let severity = if run.kind == RunKind::Failover { "critical" } else { "warning" };
    json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "payload": {
            "summary": clip(text, SUMMARY_MAX),
            "source": format!("meridian/{}", run.to),
            "severity": severity,
            "component": run.group,
            "group": run.group,
            "class": run.kind,
            "custom_details": facts(run, step),
        },
    })
}

/// At most so many characters.
fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// What a person still reads; Slack cuts at ten times as much.
const TEXT_MAX: usize = 3_000;
/// PagerDuty takes 1,024 characters.
const SUMMARY_MAX: usize = 1_000;
/// Of what was seen in one step: a plan has up to 100.
const DETAIL_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use meridian_model::{Epoch, Timestamp};

    use super::*;

    fn run() -> Run {
        let name = |text: &str| Name::new(text).unwrap();
        Run {
            from: Some(name("us-east-1")),
            cause: "{to} sees nobody".to_owned(),
            ..Run::begin(
                name("orders-7-failover"),
                name("orders"),
                RunKind::Failover,
                Epoch(7),
                name("eu-central-1"),
                Timestamp(0),
            )
        }
    }

    #[test]
    fn placeholders_are_filled_once_and_other_braces_stay() {
        let text = filled("{group} {from}>{to} e{epoch} {run}: {cause} {else} {", &run());
        assert_eq!(text, "orders us-east-1>eu-central-1 e7 orders-7-failover: {to} sees nobody {else} {");
        assert_eq!(filled("{from}", &Run { from: None, ..run() }), "nowhere");
        assert_eq!(filled("{{group}}", &run()), "{orders}");
    }

    #[test]
    fn texts_are_bounded_by_characters() {
        assert_eq!(clip("äöü", 3), "äöü");
        assert_eq!(clip("äöü", 2), "äö…");
    }
}
