//! A person turns the dial of a region, or clears it.

use std::sync::PoisonError;

use http::StatusCode;
use hyper::body::Incoming;
use meridian_model::RegionName;
use meridian_model::order::Word;
use meridian_model::topology::{Dial, Role};
use meridian_model::traffic::{Turn, TurnedDial};
use meridian_telemetry::clock;
use serde::{Deserialize, Serialize};

use super::asks::told;
use super::{Answer, Control, asked, text};

/// The dial of a region is to be turned, or to be the spec's again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DialAsked {
    /// Whose dial.
    pub region: RegionName,
    /// To what; none: nobody's turn counts any more, a run's neither.
    pub turn: Option<Turn>,
    /// Who asks.
    pub by: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Answers with what was turned, or with nothing after a clearing.
pub(super) async fn turn(body: Incoming, control: &Control) -> Answer {
    let asked_for: DialAsked = match asked(body, "dial").await {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let DialAsked { region, turn, by, reason } = asked_for;
    let Some(turn) = turn else {
        let groups: Vec<_> = control.groups.iter().map(|(name, ..)| name.clone()).collect();
        return told(control.asks.clear(&region, &groups).await.map(|()| None::<TurnedDial>));
    };
    let dial = TurnedDial { region, turn, run: None, word: Word { by, at: clock::wall(), reason } };
    match refusal(control, &dial) {
        Some(why) => text(StatusCode::CONFLICT, &format!("{why}\n")),
        None => told(control.asks.turn(&dial).await.map(|()| Some(dial))),
    }
}

/// Why it cannot be turned so.
fn refusal(control: &Control, dial: &TurnedDial) -> Option<String> {
    let region = &dial.region;
    match control.system.region(region).map(|r| (r.role, r.dial)) {
        None => return Some(format!("the spec has no region {region}")),
        Some((Role::Witness, _)) => return Some(format!("{region} is a witness and takes no traffic")),
        Some((_, Dial::Forbid)) => {
            return Some(format!("the spec forbids {region}, and nobody lifts that while the system runs"));
        }
        Some(_) => {}
    }
    let known = control.board.knowledge.lock().unwrap_or_else(PoisonError::into_inner).dials();
    let Some(all) = known else { return Some("this node has not heard from etcd yet".to_owned()) };
    // Every node would hold it back, so the person is told now.
    control.board.views.borrow().refuses(&all, std::slice::from_ref(dial))
}
