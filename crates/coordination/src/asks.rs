//! What people ask for, put where whoever carries it out sees it: orders, words to runs, maintenance, dials.
//!
//! Each is one key, changed by compare-and-set against what was read just before: two people who ask at the
//! same time do not undo each other, the second is told so.

use std::sync::Arc;

use meridian_model::group::GroupRecord;
use meridian_model::order::{Maintenance, Order, OrderState, RunWords, Wish, Word};
use meridian_model::run::{Run, StepKind, StepState};
use meridian_model::{GroupName, Name, RunId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{DecodeError, decode, encode};
use crate::keys::Keys;
use crate::store::{Commit, Compare, Store, StoreError, Txn};

mod dials;

/// How often the state of an order is written when something else comes in between.
const MARKS_MAX: u32 = 3;

/// Takes what people ask for.
#[derive(Clone)]
pub struct Asks {
    store: Arc<dyn Store>,
    keys: Keys,
}

/// Why something asked for was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It makes no sense now.
    #[error("{0}")]
    Refused(String),
    /// Somebody else asked for something at the same moment.
    #[error("somebody else asked for something at the same moment: look, and ask again")]
    Raced,
    /// Etcd did not answer: whether it was taken is unknown. Asking again is harmless.
    #[error(transparent)]
    Unknown(#[from] StoreError),
    /// What stands there cannot be read.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
}

/// An order that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// As it stands now.
    #[serde(flatten)]
    pub order: Order,
    /// The one that stood there before, which nobody had carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<Order>,
}

/// What a person says to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Say {
    /// Begin nothing new.
    Pause,
    /// Go on, and try again what has failed.
    Resume,
    /// End it.
    Abort,
    /// Agree to that step.
    Approve(Name),
}

impl Asks {
    /// Those of one system.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, keys: Keys) -> Self {
        Self { store, keys }
    }

    /// Puts an order to a group, in its present reign. A failover that is ordered takes the place of one that asks no
    /// more than it does: a failover is begun by the claim of the next epoch, with which this one's place is gone, so as
    /// long as the older order stands nobody has carried it out, and whoever is about to finds the same consent.
    ///
    /// # Errors
    /// [`AskError::Refused`] when there is no reign yet, or another order stands.
    pub async fn order(
        &self,
        group: &GroupName,
        wish: Wish,
        word: Word,
        lasts_ms: i64,
    ) -> Result<Taken, AskError> {
        let (record, _) = self.read::<GroupRecord>(&self.keys.record(group)).await?;
        let record = record.ok_or_else(|| refused(format!("{group} has never had a writer")))?;
        let key = self.keys.order(group);
        let (before, revision) = self.read::<Order>(&key).await?;
        let instead_of = before.filter(|order| order.stands(record.epoch, word.at));
        if let Some(other) = instead_of.as_ref().filter(|other| !covers(&wish, &other.wish)) {
            return Err(refused(still_stands(other, word.at)));
        }
        let id = format!("{}-{}", record.epoch, word.at.0.unsigned_abs());
        let order = Order {
            id: Name::new(&id).map_err(|e| refused(e.to_string()))?,
            group: group.clone(),
            wish,
            epoch: record.epoch,
            by: word.by,
            expires_at: Timestamp(word.at.0.saturating_add(lasts_ms)),
            at: word.at,
            state: OrderState::Open,
        };
        if instead_of.as_ref().is_some_and(|other| other.id == order.id) {
            return Err(AskError::Raced);
        }
        // The order before may have been carried out between the two reads: then this one is for no reign.
        let reign = Compare::Value(self.keys.epoch(group), encode(&record.epoch));
        let compare = vec![reign, unchanged(&key, revision)];
        self.commit(Txn { compare, put: vec![(key, encode(&order))], delete: Vec::new() }).await?;
        Ok(Taken { order, instead_of })
    }

    /// Says what became of an order, or until when it lasts, if it is still the one that stands there and open.
    ///
    /// # Errors
    /// [`AskError`]; a newer order is left alone, and so is one that has ended.
    pub async fn mark(&self, order: &Order) -> Result<(), AskError> {
        let key = self.keys.order(&order.group);
        for _ in 0..MARKS_MAX {
            let (before, revision) = self.read::<Order>(&key).await?;
            if before.is_none_or(|before| before.id != order.id || before.state != OrderState::Open) {
                return Ok(());
            }
            // The writer's own word about how long it lasts may come in between.
            match self.write(key.clone(), encode(order), revision).await {
                Err(AskError::Raced) => {}
                done => return done,
            }
        }
        Err(AskError::Raced)
    }

    /// Says something to a run.
    ///
    /// # Errors
    /// [`AskError::Refused`] when there is no such run, it or its reign is over, or it waits for nothing of the kind.
    pub async fn say(&self, run: &RunId, say: Say, word: Word) -> Result<RunWords, AskError> {
        let (found, _) = self.read::<Run>(&self.keys.run(run)).await?;
        let found = found.ok_or_else(|| refused(format!("there is no run {run}")))?;
        if found.finished() {
            return Err(refused(format!("run {run} is over")));
        }
        let (record, _) = self.read::<GroupRecord>(&self.keys.record(&found.group)).await?;
        if let Some(record) = record.filter(|record| found.ended_before(record.epoch)) {
            let (old, new) = (found.epoch, record.epoch);
            return Err(refused(format!("run {run} ended with epoch {old}, and now it is epoch {new}")));
        }
        let key = self.keys.words(run);
        let (words, revision) = self.read::<RunWords>(&key).await?;
        let mut words = words.unwrap_or_else(|| RunWords::none(run.clone()));
        match say {
            Say::Pause => words.paused = Some(word),
            Say::Resume => {
                words.paused = None;
                words.resumed = words.resumed.max(found.resumed).saturating_add(1);
            }
            Say::Abort => words.aborted = Some(word),
            Say::Approve(step) => {
                approvable(&found, &step)?;
                words.approved.retain(|(name, _)| *name != step);
                words.approved.push((step, word));
            }
        }
        // Its reign may have ended since the record was read: then nobody would hear the word.
        let reign = Compare::Value(self.keys.epoch(&found.group), encode(&found.epoch));
        let compare = vec![reign, unchanged(&key, revision)];
        self.commit(Txn { compare, put: vec![(key, encode(&words))], delete: Vec::new() }).await?;
        Ok(words)
    }

    /// Begins maintenance, or ends it.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn maintain(&self, maintenance: Option<&Maintenance>) -> Result<(), AskError> {
        let key = self.keys.maintenance();
        let (_, revision) = self.read::<Maintenance>(&key).await?;
        match (maintenance, revision) {
            (Some(maintenance), _) => self.write(key, encode(maintenance), revision).await,
            (None, None) => Err(refused("there is no maintenance".to_owned())),
            (None, Some(_)) => {
                let txn = Txn { delete: vec![key], ..Txn::default() };
                self.store.commit(txn).await?;
                Ok(())
            }
        }
    }

    /// A value and its revision, as they stand now.
    async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<(Option<T>, Option<i64>), AskError> {
        let listing = self.store.list(key).await?;
        let Some(entry) = listing.items.iter().find(|entry| entry.key == key) else {
            return Ok((None, None));
        };
        Ok((Some(decode(entry)?), Some(entry.revision)))
    }

    async fn write(&self, key: String, value: Vec<u8>, seen: Option<i64>) -> Result<(), AskError> {
        let compare = vec![unchanged(&key, seen)];
        self.commit(Txn { compare, put: vec![(key, value)], delete: Vec::new() }).await
    }

    async fn commit(&self, txn: Txn) -> Result<(), AskError> {
        match self.store.commit(txn).await? {
            Commit::Done { .. } => Ok(()),
            Commit::Lost => Err(AskError::Raced),
        }
    }
}

fn unchanged(key: &str, seen: Option<i64>) -> Compare {
    match seen {
        Some(revision) => Compare::Revision(key.to_owned(), revision),
        None => Compare::Absent(key.to_owned()),
    }
}

/// Whoever acts on the older wish finds in the newer one all that it may do.
fn covers(newer: &Wish, older: &Wish) -> bool {
    match (newer, older) {
        (Wish::Failover { accept_data_loss: newer }, Wish::Failover { accept_data_loss: older }) => {
            *newer || !*older
        }
        _ => false,
    }
}

fn still_stands(order: &Order, now: Timestamp) -> String {
    let wish = match &order.wish {
        Wish::Switchover { to } => format!("switchover to {to}"),
        Wish::Failover { accept_data_loss: false } => "failover".to_owned(),
        Wish::Failover { accept_data_loss: true } => "failover --accept-data-loss".to_owned(),
    };
    let left = order.expires_at.0.saturating_sub(now.0).max(0) / 1_000 + 1;
    format!(
        "order {} of {} ({wish}) still stands: it ends when it was carried out or refused, or in {left} s if nobody has \
         begun it; ask again then",
        order.id, order.by
    )
}

fn approvable(run: &Run, step: &Name) -> Result<(), AskError> {
    let waits = |s: &&meridian_model::run::Step| {
        s.kind() == StepKind::Approve && matches!(s.state, StepState::Pending | StepState::Running { .. })
    };
    if run.step(step).filter(waits).is_some() {
        return Ok(());
    }
    let names: Vec<&str> = run.steps.iter().filter(waits).map(|s| s.work.name.as_str()).collect();
    let waiting = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    Err(refused(format!("run {} waits for no approval of `{step}`; it waits for {waiting}", run.id)))
}

fn refused(why: String) -> AskError {
    AskError::Refused(why)
}
