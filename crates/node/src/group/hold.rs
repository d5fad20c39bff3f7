//! The hold of a switchover, or of writes while too much of them could be lost: all gateways are asked at once, and
//! each tells how many are busy until none is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use meridian_failover::{Config, Event};
use meridian_model::group::HoldId;
use meridian_model::{Moment, RegionName};
use meridian_telemetry::clock;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::Tools;
use crate::control::asks::{HOLD, HeldAnswer, HoldAsked, TELL_BUSY, UNHOLD, held};
use crate::peer::{Asker, Question};

/// How long the way to another region and back may take beside what its gateway waits.
const WAY: Duration = Duration::from_secs(2);

/// How long the local gateway waits for the others before it holds too: longer than the longest round trip between
/// two cloud regions, and a region that does not answer costs nobody a pause.
const FIRST_ANSWERS: Duration = Duration::from_millis(500);

/// Connections to the nodes of the other gateways, opened while the old writer prepares: the hold itself must not
/// wait for them.
#[derive(Default)]
pub(super) struct Warm {
    peers: HashMap<RegionName, JoinHandle<Asker>>,
    /// How long it took to connect: a round trip.
    round_trips: Arc<Mutex<HashMap<RegionName, Duration>>>,
}

impl Warm {
    /// Opens them, and waits for none.
    pub(super) fn up(tools: &Tools, config: &Config) -> Self {
        let mut warm = Self::default();
        for region in others(config) {
            let Some(address) = tools.peers.get(region) else { continue };
            let mut peer = Asker::new(*address, tools.secret.clone());
            let (began, round_trips, name) = (clock::now(), Arc::clone(&warm.round_trips), region.clone());
            let opened = tokio::spawn(async move {
                if peer.connect(WAY).await {
                    let took = clock::now().since(began);
                    round_trips.lock().unwrap_or_else(PoisonError::into_inner).insert(name, took);
                }
                peer
            });
            warm.peers.insert(region.clone(), opened);
        }
        warm
    }

    /// How much later than the furthest region each is told. What a gateway let pass before it was told, and its answer,
    /// take a round trip each, so a near one that is told later by the difference is still not the last, and its clients
    /// wait for so much less. Who is not connected is told at once.
    fn delays(&self) -> HashMap<RegionName, Duration> {
        let known = self.round_trips.lock().unwrap_or_else(PoisonError::into_inner);
        let furthest = known.values().max().copied().unwrap_or_default();
        known.iter().map(|(region, took)| (region.clone(), furthest.saturating_sub(*took))).collect()
    }
}

fn others(config: &Config) -> impl Iterator<Item = &RegionName> {
    config.gateways.iter().filter(|region| **region != config.me)
}

/// What is asked of every gateway.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) hold: HoldId,
    pub(super) until: Moment,
    /// Where the sessions will go on, if not here.
    pub(super) to: Option<RegionName>,
    /// For clients that have waited too long.
    pub(super) reason: String,
}

/// A hold, and who is asked for it.
#[derive(Clone)]
pub(super) struct Hold {
    tools: Arc<Tools>,
    config: Config,
    events: mpsc::Sender<Event>,
    asked: Asked,
}

/// Ends the hold everywhere; where the news does not arrive it ends by itself.
pub(super) fn end(tools: &Arc<Tools>, config: &Config, hold: HoldId) {
    tools.fence.release(&config.group, hold);
    for region in others(config) {
        let (tools, config, region) = (Arc::clone(tools), config.clone(), region.clone());
        tokio::spawn(async move {
            let Some(address) = tools.peers.get(&region) else { return };
            let mut peer = Asker::new(*address, tools.secret.clone());
            let asked =
                HoldAsked { group: config.group.clone(), hold, for_ms: 0, to: None, reason: String::new() };
            let _ = question(&mut peer, &region, UNHOLD, &asked).await;
        });
    }
}

impl Hold {
    pub(super) fn new(
        tools: &Arc<Tools>,
        config: &Config,
        events: &mpsc::Sender<Event>,
        asked: Asked,
    ) -> Self {
        let (tools, config, events) = (Arc::clone(tools), config.clone(), events.clone());
        Self { tools, config, events, asked }
    }

    /// Asks every gateway; each answer becomes an event. The local gateway is the last, when the others have
    /// answered, so that its clients do not wait while far regions are told. The asking ends with the set.
    pub(super) fn begin(self, warm: Warm) -> JoinSet<()> {
        let mut asking = JoinSet::new();
        let (answered, mut answers) = mpsc::channel(1);
        let most = FIRST_ANSWERS.min(self.config.switchover.drain / 2);
        let (delays, mut warm) = (warm.delays(), warm.peers);
        for region in others(&self.config) {
            let delay = delays.get(region).copied().unwrap_or_default().min(most);
            let (peer, answered, hold) = (warm.remove(region), answered.clone(), self.clone());
            let region = region.clone();
            asking.spawn(async move {
                tokio::time::sleep(delay).await;
                hold.there(region, peer, answered).await;
            });
        }
        drop(answered);
        asking.spawn(async move {
            // Ends when all have answered or have given up.
            let all = async { while answers.recv().await.is_some() {} };
            let _ = tokio::time::timeout(most, all).await;
            self.here().await;
        });
        asking
    }

    fn asked(&self) -> HoldAsked {
        let Asked { hold, until, to, reason } = self.asked.clone();
        let for_ms = u64::try_from(until.since(clock::now()).as_millis()).unwrap_or(u64::MAX);
        HoldAsked { group: self.config.group.clone(), hold, for_ms, to, reason }
    }

    async fn here(self) {
        let Self { tools, config, events, asked: Asked { hold, until, to, reason } } = self;
        if !tools.fence.hold(&config.group, hold, until, &reason) {
            return;
        }
        if let Some(successor) = to {
            tools.fence.expect(&config.group, hold, successor);
        }
        loop {
            let quiet = tokio::time::timeout(TELL_BUSY, tools.fence.quiet(&config.group)).await;
            let busy = tools.fence.busy(&config.group);
            let told = events.send(held(config.me.clone(), hold, busy)).await;
            if quiet.is_ok() || told.is_err() || clock::now() >= until {
                return;
            }
        }
    }

    /// `answered` is dropped with the first answer.
    async fn there(self, region: RegionName, warm: Option<JoinHandle<Asker>>, answered: mpsc::Sender<()>) {
        let mut answered = Some(answered);
        let Some(address) = self.tools.peers.get(&region) else { return };
        let warm = match warm {
            Some(opening) => opening.await.ok(),
            None => None,
        };
        let mut peer = warm.unwrap_or_else(|| Asker::new(*address, self.tools.secret.clone()));
        while clock::now() < self.asked.until {
            let Some(busy) = question(&mut peer, &region, HOLD, &self.asked()).await else {
                tokio::time::sleep(TELL_BUSY).await;
                continue;
            };
            answered = None;
            let told = Event::Held { from: region.clone(), hold: self.asked.hold, busy };
            if self.events.send(told).await.is_err() || busy == 0 {
                return;
            }
        }
        drop(answered);
    }
}

async fn question(
    peer: &mut Asker,
    region: &RegionName,
    path: &'static str,
    asked: &HoldAsked,
) -> Option<u32> {
    let question = Question { method: Method::POST, path, body: serde_json::to_vec(asked).ok()? };
    match peer.ask(&question, TELL_BUSY + WAY).await {
        Ok((StatusCode::OK, body)) => {
            let held = serde_json::from_slice::<HeldAnswer>(&body).ok()?;
            held.hold.is_none_or(|hold| hold == asked.hold).then_some(held.busy)
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    #[test]
    fn near_regions_are_told_later_than_the_furthest_by_the_difference() {
        assert!(Warm::default().delays().is_empty(), "nobody waits without a connection");
        let warm = Warm::default();
        let ms = Duration::from_millis;
        let known = [(name("far"), ms(215)), (name("near"), ms(90))];
        *warm.round_trips.lock().unwrap() = known.into_iter().collect();
        assert_eq!(warm.delays(), [(name("far"), ms(0)), (name("near"), ms(125))].into_iter().collect());
    }
}
