//! The loops of one region: observe, decide, commit, execute.
//!
//! [`observe`](Observer::run) turns what etcd and the probes say into verdicts and events; the loop of
//! each data group ([`crate::group`]) decides, commits and executes; [`publish`] swaps the snapshot
//! that the data planes answer from. Each loop wakes by a nudge or a timer and looks at the whole state
//! again, so that the way taken after a crash is the way taken every second.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meridian_coordination::keys::Keys;
use meridian_coordination::store::Change;
use meridian_coordination::{Journal, Store, encode, txns};
use meridian_failover::Event;
use meridian_health::Received;
use meridian_model::health::{Health, RegionHealth, Report};
use meridian_model::snapshot::GroupState;
use meridian_model::{GroupName, Moment, RegionName, Timers};
use meridian_telemetry::events::{ClockOdd, PartVerdictChanged, RegionVerdictChanged, SnapshotPublished};
use meridian_telemetry::{Metrics, clock};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, watch};

use crate::knowledge::{Knowledge, Learned};
use crate::publish::Publisher;
use crate::status::CoordinationStatus;

/// How often verdicts are looked at again without news: what has expired must be noticed.
const JUDGE_EVERY: Duration = Duration::from_millis(250);
/// Etcd counts as reachable for so long after its last sign; the watch gives one about twice a second.
const ALIVE_FOR: Duration = Duration::from_millis(1_500);

/// The way into the loop of one data group. It never waits: a loop that is not served would otherwise
/// stop the observer, and with it all other groups. Events that found no room are not sent one by one
/// later; what they have told is told anew, whole, when there is room.
pub(crate) struct Inbox {
    pub(crate) group: GroupName,
    events: mpsc::Sender<Event>,
    /// Something did not find room: nothing more is sent but everything.
    behind: bool,
}

/// Sees what etcd and the probes say, judges, and tells the groups.
pub(crate) struct Observer {
    pub(crate) here: RegionName,
    pub(crate) regions: Vec<RegionName>,
    pub(crate) timers: Timers,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Keys,
    pub(crate) knowledge: Arc<Mutex<Knowledge>>,
    pub(crate) groups: Vec<Inbox>,
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
        self.tell(&Event::Coordination { reachable: false });
        loop {
            let mut round = false;
            tokio::select! {
                () = crate::stopped(&mut shutdown) => return,
                Some(change) = changes.recv() => self.learn(change, &mut alive),
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
            self.reachable(reachable);
            self.judge(own.as_ref(), reachable, round);
            self.catch_up(reachable);
        }
    }

    fn learn(&mut self, change: Change, alive: &mut Option<Moment>) {
        let now = clock::now();
        let learned = self.knowledge.lock().unwrap_or_else(PoisonError::into_inner).apply(change, now);
        let mut finished = BTreeSet::new();
        for learned in learned {
            if let Learned::Stale(reason) = learned {
                tracing::warn!(%reason, "etcd is out of reach");
                *alive = None;
                self.coordination.send_modify(|c| c.detail = reason);
                continue;
            }
            if let Learned::Run(run) = &learned
                && run.finished()
            {
                finished.insert(run.group.clone());
            }
            if learned == Learned::Dials {
                self.nudge.notify_one();
            }
            if let Some((group, event)) = event_of(learned) {
                let concerned =
                    self.groups.iter_mut().filter(|i| group.as_ref().is_none_or(|g| *g == i.group));
                concerned.for_each(|inbox| inbox.tell(event.clone()));
            }
            *alive = Some(now);
        }
        finished.iter().for_each(|group| self.prune_after(group));
    }

    /// Removes old runs of the journal, if the newest one of the group is finished and is this node's;
    /// nobody waits for that, and the next run tries again.
    fn prune_after(&self, group: &GroupName) {
        let runs = self.knowledge.lock().unwrap_or_else(PoisonError::into_inner).runs(group);
        if !runs.first().is_some_and(|newest| newest.finished() && newest.to == self.here) {
            return;
        }
        let journal = Journal::new(Arc::clone(&self.store), self.keys.clone());
        let group = group.clone();
        tokio::spawn(async move {
            match journal.prune(&group).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(%group, removed, "old runs were removed from the journal"),
                Err(error) => tracing::debug!(%group, %error, "old runs were not removed from the journal"),
            }
        });
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

    fn reachable(&mut self, reachable: bool) {
        let changed = self
            .coordination
            .send_if_modified(|c| std::mem::replace(&mut c.reachable, reachable) != reachable);
        if changed {
            if reachable {
                self.coordination.send_modify(|c| "it answers".clone_into(&mut c.detail));
            }
            tracing::info!(reachable, "etcd");
            self.tell(&Event::Coordination { reachable });
        }
    }

    fn judge(&mut self, own: Option<&Received>, reachable: bool, round: bool) {
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
        let new = Arc::new(new);
        self.verdicts.send_replace(Arc::clone(&new));
        if changed {
            self.nudge.notify_one();
        }
        if changed || round {
            self.tell(&Event::Regions(new));
        }
    }

    fn tell(&mut self, event: &Event) {
        self.groups.iter_mut().for_each(|inbox| inbox.tell(event.clone()));
    }

    /// Tells everything to the groups that have missed something, once they have room for it.
    fn catch_up(&mut self, reachable: bool) {
        for inbox in self.groups.iter_mut().filter(|inbox| inbox.behind) {
            let known = self.knowledge.lock().unwrap_or_else(PoisonError::into_inner).relearn(&inbox.group);
            let known = known.into_iter().filter_map(event_of).map(|(_, event)| event);
            let mut everything = vec![Event::Coordination { reachable }];
            everything.extend(known);
            everything.push(Event::Regions(Arc::clone(&self.verdicts.borrow())));
            inbox.tell_anew(everything);
        }
    }
}

// === impl Inbox ===

impl Inbox {
    /// Leads to the loop that takes these events.
    pub(crate) fn new(group: GroupName, events: mpsc::Sender<Event>) -> Self {
        Self { group, events, behind: false }
    }

    fn tell(&mut self, event: Event) {
        // A loop that has ended needs nothing any more.
        if !self.behind && matches!(self.events.try_send(event), Err(TrySendError::Full(_))) {
            tracing::warn!(group = %self.group, "the loop of this data group does not keep up");
            self.behind = true;
        }
    }

    fn tell_anew(&mut self, everything: Vec<Event>) {
        if self.events.capacity() < everything.len() {
            return;
        }
        tracing::info!(group = %self.group, "the loop of this data group is told everything anew");
        self.behind = false;
        everything.into_iter().for_each(|event| self.tell(event));
    }
}

/// What a group, or every group, is told of something that was learnt.
fn event_of(learned: Learned) -> Option<(Option<GroupName>, Event)> {
    match learned {
        Learned::Record(group, record, revision) => {
            Some((Some(group), Event::Record { record, revision, asked: None }))
        }
        Learned::Member(group, report) => Some((Some(group), Event::Member(report))),
        Learned::Run(run) => Some((Some(run.group.clone()), Event::Run(Arc::new(run)))),
        Learned::Order(group, order) => Some((Some(group), Event::Ordered(order))),
        Learned::Words(words) => Some((None, Event::Words(words))),
        Learned::Maintenance(maintenance) => Some((None, Event::Maintenance(maintenance))),
        Learned::Dials | Learned::Reports | Learned::Alive | Learned::Stale(_) => None,
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

/// What a snapshot is made from.
pub(crate) struct Sources {
    pub(crate) verdicts: watch::Receiver<Arc<Vec<RegionHealth>>>,
    pub(crate) groups: Vec<watch::Receiver<GroupState>>,
    pub(crate) knowledge: Arc<Mutex<Knowledge>>,
}

/// Publishes a snapshot whenever something that data planes act on has changed.
pub(crate) async fn publish(
    mut publisher: Publisher,
    nudge: Arc<Notify>,
    sources: Sources,
    metrics: Metrics,
) {
    loop {
        nudge.notified().await;
        let regions = Arc::clone(&sources.verdicts.borrow());
        if regions.is_empty() {
            continue;
        }
        let states = sources.groups.iter().map(|state| state.borrow().clone()).collect();
        let dials = sources.knowledge.lock().unwrap_or_else(PoisonError::into_inner).dials();
        if let Some(generation) = publisher.publish(&regions, states, dials.as_deref()) {
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

#[cfg(test)]
mod tests;
