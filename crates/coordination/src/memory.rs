//! The twin of etcd in memory, for tests: the same promises, and faults on demand.
//!
//! One [`Memory`] is one client. [`Memory::another`] gives a second client of the same data with faults
//! of its own, so that a test can cut off one node and not the others. All waiting is by tokio's clock:
//! with paused time nothing takes long.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::etcd::Timeouts;
use crate::store::{
    Attempt, BoxFuture, Change, Commit, Compare, LISTING_MAX, Listing, Operation, Store, StoreError, Txn,
    Versioned, WATCH_QUEUE,
};

/// One client of a store in memory. Clones are the same client.
#[derive(Clone)]
pub struct Memory {
    data: Arc<Data>,
    faults: Arc<watch::Sender<Faults>>,
}

/// What goes wrong between one client and the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Nothing gets through: calls fail at their deadline, watches become stale.
    pub unreachable: bool,
    /// Each call takes this long to arrive. Beyond the deadline it fails, and is carried out late.
    pub delay: Duration,
    /// Calls are carried out, but their answers are lost: they fail at their deadline.
    pub lose_answers: bool,
}

struct Data {
    state: Mutex<State>,
    revision: watch::Sender<i64>,
}

#[derive(Default)]
struct State {
    revision: i64,
    entries: BTreeMap<String, Versioned>,
    history: VecDeque<Event>,
    compacted: i64,
}

#[derive(Clone)]
struct Event {
    revision: i64,
    change: Change,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// A client of an empty store.
    #[must_use]
    pub fn new() -> Self {
        let state = Mutex::new(State { revision: 1, ..State::default() });
        Self::of(Arc::new(Data { state, revision: watch::Sender::new(1) }))
    }

    /// Another client of the same store, without faults.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::of(Arc::clone(&self.data))
    }

    fn of(data: Arc<Data>) -> Self {
        Self { data, faults: Arc::new(watch::Sender::new(Faults::default())) }
    }

    /// Sets what goes wrong for this client from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }

    /// Forgets all history, as etcd's compaction does: a watch that was behind begins anew.
    pub fn compact(&self) {
        let mut state = self.data.lock();
        state.compacted = state.revision;
        state.history.clear();
    }

    async fn reach(&self, operation: Operation, subject: &str) -> Result<Faults, StoreError> {
        let faults = *self.faults.borrow();
        let deadline = Timeouts::default().call;
        if faults.unreachable || faults.delay >= deadline {
            sleep(deadline).await;
            return Err(unanswered(operation, subject));
        }
        sleep(faults.delay).await;
        Ok(faults)
    }

    async fn commit_with_faults(&self, txn: Txn) -> Result<Commit, StoreError> {
        let subject = txn.subject();
        let faults = *self.faults.borrow();
        if !faults.unreachable && faults.delay >= Timeouts::default().call {
            let (data, txn) = (Arc::clone(&self.data), txn.clone());
            tokio::spawn(async move {
                sleep(faults.delay).await;
                data.apply(&txn)
            });
        }
        let faults = self.reach(Operation::Commit, &subject).await?;
        let commit = self.data.apply(&txn);
        if faults.lose_answers {
            sleep(Timeouts::default().call.saturating_sub(faults.delay)).await;
            return Err(unanswered(Operation::Commit, &subject));
        }
        Ok(commit)
    }

    async fn follow(self, prefix: String, to: mpsc::Sender<Change>) {
        tokio::select! {
            () = to.closed() => {}
            _ = self.follow_until_gone(&prefix, &to) => {}
        }
    }

    /// Ends with `None` when the receiver is gone.
    async fn follow_until_gone(&self, prefix: &str, to: &mpsc::Sender<Change>) -> Option<()> {
        let mut faults = self.faults.subscribe();
        let mut revisions = self.data.revision.subscribe();
        let mut tick = interval(Timeouts::default().check_every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = 0;
        loop {
            if faults.borrow_and_update().unreachable {
                let reason = "the store in memory is cut off".to_owned();
                to.send(Change::Stale { reason }).await.ok()?;
                faults.wait_for(|f| !f.unreachable).await.ok()?;
            }
            let now = *revisions.borrow_and_update();
            for change in self.data.since(told, prefix) {
                to.send(change).await.ok()?;
            }
            told = now.max(told);
            tokio::select! {
                changed = revisions.changed() => changed.ok()?,
                changed = faults.changed() => changed.ok()?,
                _ = tick.tick() => to.send(Change::Alive { revision: told }).await.ok()?,
            }
        }
    }
}

impl Store for Memory {
    fn list(&self, prefix: &str) -> BoxFuture<'_, Result<Listing, StoreError>> {
        let prefix = prefix.to_owned();
        Box::pin(async move {
            let faults = self.reach(Operation::List, &prefix).await?;
            if faults.lose_answers {
                sleep(Timeouts::default().call).await;
                return Err(unanswered(Operation::List, &prefix));
            }
            Ok(self.data.list(&prefix))
        })
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Commit, StoreError>> {
        Box::pin(async move {
            txn.check()?;
            self.commit_with_faults(txn).await
        })
    }

    fn watch(&self, prefix: &str) -> mpsc::Receiver<Change> {
        let (to, changes) = mpsc::channel(WATCH_QUEUE);
        tokio::spawn(self.clone().follow(prefix.to_owned(), to));
        changes
    }
}

impl Data {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self, prefix: &str) -> Listing {
        self.lock().list(prefix)
    }

    /// Changes after revision `told`; all anew when they are not in the history any more.
    fn since(&self, told: i64, prefix: &str) -> Vec<Change> {
        let state = self.lock();
        if told == 0 || told < state.compacted {
            return vec![Change::Reset(state.list(prefix))];
        }
        let newer = state.history.iter().filter(|e| e.revision > told && e.key().starts_with(prefix));
        newer.map(|e| e.change.clone()).collect()
    }

    fn apply(&self, txn: &Txn) -> Commit {
        let mut state = self.lock();
        if !txn.compare.iter().all(|c| state.holds(c)) {
            return Commit::Lost;
        }
        let present = |key: &String| state.entries.contains_key(key);
        if !txn.put.is_empty() || txn.delete.iter().any(present) {
            state.write(txn);
        }
        let revision = state.revision;
        drop(state);
        self.revision.send_if_modified(|r| std::mem::replace(r, revision.max(*r)) < revision);
        Commit::Done { revision }
    }
}

impl State {
    fn list(&self, prefix: &str) -> Listing {
        let from = self.entries.range(prefix.to_owned()..);
        let items = from.map(|(_, entry)| entry).take_while(|e| e.key.starts_with(prefix));
        Listing { revision: self.revision, items: items.take(LISTING_MAX).cloned().collect() }
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Absent(key) => !self.entries.contains_key(key),
            Compare::Revision(key, revision) => {
                self.entries.get(key).is_some_and(|e| e.revision == *revision)
            }
            Compare::Value(key, value) => self.entries.get(key).is_some_and(|e| &e.value == value),
        }
    }

    fn write(&mut self, txn: &Txn) {
        self.revision += 1;
        let revision = self.revision;
        for (key, value) in &txn.put {
            let entry = Versioned { key: key.clone(), value: value.clone(), revision };
            self.entries.insert(key.clone(), entry.clone());
            self.history.push_back(Event { revision, change: Change::Put(entry) });
        }
        for key in &txn.delete {
            if self.entries.remove(key).is_some() {
                let change = Change::Delete { key: key.clone(), revision };
                self.history.push_back(Event { revision, change });
            }
        }
        while self.history.len() > HISTORY_MAX {
            self.compacted = self.history.pop_front().map_or(self.compacted, |e| e.revision);
        }
    }
}

impl Event {
    fn key(&self) -> &str {
        match &self.change {
            Change::Put(entry) => &entry.key,
            Change::Delete { key, .. } => key,
            _ => "",
        }
    }
}

fn unanswered(operation: Operation, subject: &str) -> StoreError {
    let attempt = Attempt { endpoint: "memory".to_owned(), outcome: "nothing".to_owned() };
    StoreError {
        operation,
        subject: subject.to_owned(),
        attempts: vec![attempt],
        took: Timeouts::default().call,
        advice: "This is an injected fault",
    }
}

/// Changes that a watch may be behind before it begins anew.
const HISTORY_MAX: usize = 10_000;
