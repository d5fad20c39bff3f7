//! The loops of one region: observe, decide, commit, execute.
//!
//! [`observe`](Observer::run) turns what etcd and the probes say into verdicts and events; the loop of
//! each data group ([`crate::group`]) decides, commits and executes; [`publish`] swaps the snapshot
//! that the data planes answer from. Each loop wakes by a nudge or a timer and looks at the whole state
//! again, so that the way taken after a crash is the way taken every second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meridian_coordination::keys::Keys;
use meridian_coordination::store::Change;
use meridian_coordination::{Store, encode, txns};
use meridian_failover::Event;
use meridian_health::Received;
use meridian_model::health::{Health, RegionHealth, Report};
use meridian_model::snapshot::GroupState;
use meridian_model::{GroupName, Moment, RegionName, Timers};
use meridian_telemetry::events::{ClockOdd, PartVerdictChanged, RegionVerdictChanged, SnapshotPublished};
use meridian_telemetry::{Metrics, clock};
use tokio::sync::{Notify, mpsc, watch};

use crate::knowledge::{Knowledge, Learned};
use crate::publish::Publisher;
use crate::status::CoordinationStatus;

/// How often verdicts are looked at again without news: what has expired must be noticed.
const JUDGE_EVERY: Duration = Duration::from_millis(250);
/// Etcd counts as reachable for so long after its last sign; the watch gives one about twice a second.
const ALIVE_FOR: Duration = Duration::from_millis(1_500);

/// Sees what etcd and the probes say, judges, and tells the groups.
pub(crate) struct Observer {
    pub(crate) here: RegionName,
    pub(crate) regions: Vec<RegionName>,
    pub(crate) timers: Timers,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Keys,
    pub(crate) knowledge: Arc<Mutex<Knowledge>>,
    pub(crate) groups: Vec<(GroupName, mpsc::Sender<Event>)>,
    pub(crate) own: watch::Receiver<Option<Report>>,
    pub(crate) verdicts: watch::Sender<Arc<Vec<RegionHealth>>>,
    pub(crate) coordination: watch::Sender<CoordinationStatus>,
    pub(crate) nudge: Arc<Notify>,
    pub(crate) metrics: Metrics,
}

impl Observer {
    /// Observes until `shutdown`.
    pub(crate) async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut changes = self.store.watch(self.keys.prefix());
        let mut alive: Option<Moment> = None;
        let mut own: Option<Received> = None;
        let mut watch = clock::Watch::default();
        let mut tick = tokio::time::interval(JUDGE_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.tell(Event::Coordination { reachable: false }).await;
        loop {
            let mut round = false;
            tokio::select! {
                () = crate::stopped(&mut shutdown) => return,
                Some(change) = changes.recv() => self.learn(change, &mut alive).await,
                Ok(()) = self.own.changed() => {
                    own = self.share();
                    round = true;
                }
                _ = tick.tick() => {
                    for oddity in watch.look(clock::now(), clock::wall(), JUDGE_EVERY) {
                        ClockOdd(oddity).emit(&self.metrics);
                    }
                }
            }
            let reachable = alive.is_some_and(|at| clock::now().since(at) < ALIVE_FOR);
            self.reachable(reachable).await;
            self.judge(own.as_ref(), reachable, round).await;
        }
    }

    async fn learn(&self, change: Change, alive: &mut Option<Moment>) {
        let now = clock::now();
        let learned = self.knowledge.lock().unwrap_or_else(PoisonError::into_inner).apply(change, now);
        for learned in learned {
            match learned {
                Learned::Stale(reason) => {
                    tracing::warn!(%reason, "etcd is out of reach");
                    *alive = None;
                    self.coordination.send_modify(|c| c.detail = reason);
                    continue;
                }
                Learned::Record(group, record, revision) => {
                    self.tell_group(&group, Event::Record { record, revision, asked: None }).await;
                }
                Learned::Member(group, report) => self.tell_group(&group, Event::Member(report)).await,
                Learned::Run(run) => self.tell_group(&run.group.clone(), Event::Run(run)).await,
                Learned::Reports | Learned::Alive => {}
            }
            *alive = Some(now);
        }
    }

    /// Puts the own report of this round where all can see it; nobody waits for that.
    fn share(&mut self) -> Option<Received> {
        let report = self.own.borrow_and_update().clone()?;
        let txn = txns::publish(self.keys.report(&self.here), encode(&report));
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            if let Err(error) = store.commit(txn).await {
                tracing::debug!(%error, "this round's report was not shared");
            }
        });
        Some(Received { report, observed_at: clock::now() })
    }

    async fn reachable(&self, reachable: bool) {
        let changed = self
            .coordination
            .send_if_modified(|c| std::mem::replace(&mut c.reachable, reachable) != reachable);
        if changed {
            if reachable {
                self.coordination.send_modify(|c| "it answers".clone_into(&mut c.detail));
            }
            tracing::info!(reachable, "etcd");
            self.tell(Event::Coordination { reachable }).await;
        }
    }

    async fn judge(&self, own: Option<&Received>, reachable: bool, round: bool) {
        let mut reports = self.knowledge.lock().unwrap_or_else(PoisonError::into_inner).reports();
        if let Some(own) = own {
            reports.retain(|r| r.report.vantage != self.here);
            reports.push(own.clone());
        }
        let now = clock::now();
        let new =
            meridian_health::verdicts(&self.regions, &self.here, &reports, reachable, now, &self.timers);
        let changed = {
            let old = self.verdicts.borrow();
            log_changes(&old, &new, &self.metrics);
            old.len() != new.len() || old.iter().zip(&new).any(|(a, b)| healths(a) != healths(b))
        };
        self.verdicts.send_replace(Arc::new(new.clone()));
        if changed {
            self.nudge.notify_one();
        }
        if changed || round {
            self.tell(Event::Regions(new)).await;
        }
    }

    async fn tell(&self, event: Event) {
        for (_, events) in &self.groups {
            let _ = events.send(event.clone()).await;
        }
    }

    async fn tell_group(&self, group: &GroupName, event: Event) {
        if let Some((_, events)) = self.groups.iter().find(|(name, _)| name == group) {
            let _ = events.send(event).await;
        }
    }
}

fn healths(region: &RegionHealth) -> impl PartialEq {
    let parts: Vec<_> = region.parts.iter().map(|p| (p.target.part, p.health)).collect();
    (region.region.clone(), region.health, parts)
}

fn log_changes(old: &[RegionHealth], new: &[RegionHealth], metrics: &Metrics) {
    for region in new {
        let before = old.iter().find(|o| o.region == region.region).map(|o| o.health);
        for part in &region.parts {
            let known = old.iter().find(|o| o.region == region.region).map(|o| o.part(part.target.part));
            let from = known.unwrap_or_default();
            if from != part.health {
                let (target, to, reason) = (&part.target, part.health, part.reason.as_str());
                PartVerdictChanged { target, from, to, reason }.emit(metrics);
            }
        }
        if before != Some(region.health) {
            let (target, from) = (&region.region, before.unwrap_or_default());
            RegionVerdictChanged { target, from, to: region.health, reason: &region.reason }.emit(metrics);
        }
    }
}

/// Publishes a snapshot whenever something that data planes act on has changed.
pub(crate) async fn publish(
    mut publisher: Publisher,
    nudge: Arc<Notify>,
    verdicts: watch::Receiver<Arc<Vec<RegionHealth>>>,
    groups: Vec<watch::Receiver<GroupState>>,
    metrics: Metrics,
) {
    loop {
        nudge.notified().await;
        let regions = Arc::clone(&verdicts.borrow());
        if regions.is_empty() {
            continue;
        }
        let states = groups.iter().map(|state| state.borrow().clone()).collect();
        if let Some(generation) = publisher.publish(&regions, states) {
            SnapshotPublished { generation }.emit(&metrics);
        }
    }
}

/// How often the writer's region looks whether its etcd member leads.
const LEAD_EVERY: Duration = Duration::from_secs(5);

/// Keeps etcd's leader in the region of the writer. An election then only happens together with the
/// loss of the writer, where the expiry of its lease takes longer anyway; the loss of a standby region
/// never interrupts renewals. Moving it takes etcd away for a second or so, so that waits until every
/// region is up.
pub(crate) async fn lead_where_the_writer_is(
    etcd: Arc<meridian_coordination::Etcd>,
    own: String,
    views: watch::Receiver<Arc<meridian_steering::View>>,
) {
    loop {
        tokio::time::sleep(LEAD_EVERY).await;
        let view = Arc::clone(&views.borrow());
        let writes_here = view.snapshot.groups.first().is_some_and(|g| g.writer.as_ref() == Some(&view.here));
        let calm = view.snapshot.regions.iter().all(|r| r.health == Health::Up);
        if writes_here
            && calm
            && let Err(error) = etcd.move_leader_here(&own).await
        {
            tracing::debug!(%error, "etcd's leader was not moved here");
        }
    }
}
