//! The hold of a switchover, or of writes while too much of them could be lost: all gateways are asked at once, and
//! each tells how many are busy until none is.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use meridian_failover::{Config, Event};
use meridian_model::{Epoch, Moment, RegionName};
use meridian_telemetry::clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Tools;
use crate::control::asks::{HOLD, HeldAnswer, HoldAsked, TELL_BUSY, UNHOLD, held};
use crate::peer::{Question, ask};

/// How long the way to another region and back may take beside what its gateway waits.
const WAY: Duration = Duration::from_secs(2);

/// What is asked of every gateway.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) epoch: Epoch,
    pub(super) until: Moment,
    pub(super) reason: String,
}

/// Asks every gateway to hold; each answer becomes an event. The asking ends with the set.
pub(super) fn begin(
    tools: &Arc<Tools>,
    config: &Config,
    hold: Held,
    events: &mpsc::Sender<Event>,
) -> JoinSet<()> {
    let mut asking = JoinSet::new();
    tools.fence.hold(&config.group, hold.epoch, hold.until, &hold.reason);
    for region in config.gateways.iter().filter(|region| **region != config.me) {
        let told = there(Arc::clone(tools), config.clone(), region.clone(), hold.clone(), events.clone());
        asking.spawn(told);
    }
    asking.spawn(here(Arc::clone(tools), config.clone(), hold, events.clone()));
    asking
}

/// Ends the hold everywhere; where the news does not arrive it ends by itself.
pub(super) fn end(tools: &Arc<Tools>, config: &Config, epoch: Epoch) {
    tools.fence.release(&config.group);
    for region in config.gateways.iter().filter(|region| **region != config.me) {
        let (tools, config, region) = (Arc::clone(tools), config.clone(), region.clone());
        tokio::spawn(async move {
            let over = Held { epoch, until: clock::now(), reason: String::new() };
            let _ = question(&tools, &config, &region, UNHOLD, &over).await;
        });
    }
}

async fn here(tools: Arc<Tools>, config: Config, hold: Held, events: mpsc::Sender<Event>) {
    loop {
        let quiet = tokio::time::timeout(TELL_BUSY, tools.fence.quiet(&config.group)).await;
        let busy = tools.fence.busy(&config.group);
        let told = events.send(held(config.me.clone(), hold.epoch, busy)).await;
        if quiet.is_ok() || told.is_err() || clock::now() >= hold.until {
            return;
        }
    }
}

async fn there(
    tools: Arc<Tools>,
    config: Config,
    region: RegionName,
    hold: Held,
    events: mpsc::Sender<Event>,
) {
    let epoch = hold.epoch;
    while clock::now() < hold.until {
        let Some(busy) = question(&tools, &config, &region, HOLD, &hold).await else {
            tokio::time::sleep(TELL_BUSY).await;
            continue;
        };
        if events.send(Event::Held { from: region.clone(), epoch, busy }).await.is_err() || busy == 0 {
            return;
        }
    }
}

async fn question(
    tools: &Tools,
    config: &Config,
    region: &RegionName,
    path: &'static str,
    hold: &Held,
) -> Option<u32> {
    let address = *tools.peers.get(region)?;
    let for_ms = u64::try_from(hold.until.since(clock::now()).as_millis()).unwrap_or(u64::MAX);
    let (group, epoch, reason) = (config.group.clone(), hold.epoch, hold.reason.clone());
    let body = serde_json::to_vec(&HoldAsked { group, epoch, for_ms, reason }).ok()?;
    let question = Question { method: Method::POST, path, body };
    match ask(address, &tools.secret, question, TELL_BUSY + WAY).await {
        Ok((StatusCode::OK, body)) => serde_json::from_slice::<HeldAnswer>(&body).ok().map(|held| held.busy),
        Ok((status, _)) => {
            tracing::warn!(%region, %status, "the gateway there does not hold");
            None
        }
        Err(error) => {
            tracing::warn!(%region, %error, "the gateway there cannot be asked to hold");
            None
        }
    }
}
