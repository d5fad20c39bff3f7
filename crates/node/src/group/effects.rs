//! The commands of a group that run beside its loop: each a task that ends in an event, or in nothing.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use meridian_actuators::DatabaseActuator;
use meridian_coordination::asks::Asks;
use meridian_coordination::{Commit, Compare, StoreError, Txn, encode, txns};
use meridian_failover::{Command, Config, Event, Expect, Outcome, Purpose, Swap};
use meridian_model::group::{DatabaseRole, GroupRecord, Promise};
use meridian_model::run::Run;
use meridian_model::{Moment, RegionName};
use meridian_telemetry::clock;
use tokio::sync::mpsc;

use super::{STATUS_EVERY, Tools};
use crate::control::PromiseAnswer;
use crate::peer::{Question, ask};

/// How often the slot from which lost transactions are decoded is moved on.
const LEDGER_EVERY: Duration = Duration::from_secs(1);
/// How long a peer may think about a promise: well under the time that the gateway fence leaves.
const PROMISE_WITHIN: Duration = Duration::from_millis(1_000);

/// Starts `command` as a task of its own.
pub(super) fn spawn(command: Command, tools: Arc<Tools>, config: Config, events: mpsc::Sender<Event>) {
    tokio::spawn(async move {
        let event = match command {
            Command::Swap(swap) => Some(self::swap(&tools, *swap).await),
            Command::ReadRecord { asked } => read_record(&tools, &config, asked).await,
            Command::Journal { attempt, run } => Some(journal(&tools, attempt, &run).await),
            Command::Report(report) => {
                let key = tools.keys.member(&config.group, &report.region);
                let _ = tools.store.commit(txns::publish(key, encode(&report))).await;
                None
            }
            Command::AskPromise { to, promise, sent_at } => ask_promise(&tools, to, &promise, sent_at).await,
            Command::EndOrder(order) | Command::ProlongOrder(order) => {
                let asks = Asks::new(Arc::clone(&tools.store), tools.keys.clone());
                if let Err(error) = asks.mark(&order).await {
                    tracing::warn!(order = %order.id, %error, "what became of the order could not be written down");
                }
                None
            }
            _ => None,
        };
        if let Some(event) = event {
            let _ = events.send(event).await;
        }
    });
}

async fn swap(tools: &Tools, swap: Swap) -> Event {
    let (keys, record, run) = (&tools.keys, &swap.record, swap.run.as_ref());
    let txn = match (swap.purpose, &swap.expect) {
        (Purpose::Renew | Purpose::Release, Expect::Revision(seen)) => txns::renew(keys, *seen, record),
        (_, Expect::Revision(seen)) => txns::claim(keys, Some(*seen), record, run),
        (_, Expect::Told(told, _)) => txns::take_over(keys, told, record, run),
        (_, Expect::Absent) => txns::claim(keys, None, record, run),
    };
    Event::Swapped { attempt: swap.attempt, outcome: outcome(tools.store.commit(txn).await) }
}

async fn read_record(tools: &Tools, config: &Config, asked: Moment) -> Option<Event> {
    let key = tools.keys.record(&config.group);
    let listing = tools.store.list(&key).await.ok()?;
    let entry = listing.items.iter().find(|entry| entry.key == key);
    let (record, revision) = match entry {
        Some(entry) => {
            let record: GroupRecord = meridian_coordination::decode(entry)
                .map_err(|error| tracing::error!(%error, "the record cannot be read"))
                .ok()?;
            (Some(record), entry.revision)
        }
        None => (None, listing.revision),
    };
    Some(Event::Record { record, revision, asked: Some(asked) })
}

async fn journal(tools: &Tools, attempt: u64, run: &Run) -> Event {
    let txn = Txn {
        compare: vec![Compare::Value(tools.keys.epoch(&run.group), encode(&run.epoch))],
        put: vec![(tools.keys.run(&run.id), encode(run))],
        delete: Vec::new(),
    };
    Event::Journalled { attempt, outcome: outcome(tools.store.commit(txn).await) }
}

fn outcome(result: Result<Commit, StoreError>) -> Outcome {
    match result {
        Ok(Commit::Done { revision }) => Outcome::Done(revision),
        Ok(Commit::Lost) => Outcome::Lost,
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}

async fn ask_promise(tools: &Tools, to: RegionName, promise: &Promise, sent_at: Moment) -> Option<Event> {
    let address = *tools.peers.get(&to)?;
    let body = serde_json::to_vec(promise).ok()?;
    let question = Question { method: Method::POST, path: "/v1/promise", body };
    let answer = ask(address, &tools.secret, question, PROMISE_WITHIN).await;
    let answer: PromiseAnswer = match answer {
        Ok((StatusCode::OK, body)) => serde_json::from_slice(&body).ok()?,
        Ok((status, _)) => {
            tracing::debug!(%to, %status, "no promise");
            return None;
        }
        Err(error) => {
            tracing::debug!(%to, %error, "no promise");
            return None;
        }
    };
    Some(Event::PromiseAnswer { from: to, epoch: promise.epoch, sent_at, granted: answer.granted })
}

/// Nobody waits for it: without its slot a loss is listed instead of decoded.
fn advance_ledger(database: Arc<dyn DatabaseActuator>) {
    tokio::spawn(async move {
        if let Err(error) = database.advance_ledger_slot().await {
            tracing::debug!(%error, "the slot from which a loss would be decoded was not moved on");
        }
    });
}

/// Tells the loop how the local database is: regularly, and at once when its process ends.
pub(super) async fn watch_database(database: Arc<dyn DatabaseActuator>, events: mpsc::Sender<Event>) {
    let mut exits = database.exits();
    let mut ledger = clock::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(STATUS_EVERY) => {}
            changed = exits.changed() => {
                if changed.is_err() {
                    return;
                }
                if let Some(exit) = exits.borrow_and_update().as_ref() {
                    tracing::warn!(fenced = exit.fenced, detail = %exit.detail, "PostgreSQL has ended");
                }
            }
        }
        let status = database.status().await;
        if status.role == DatabaseRole::Primary && clock::now().since(ledger) >= LEDGER_EVERY {
            ledger = clock::now();
            advance_ledger(Arc::clone(&database));
        }
        if events.send(Event::Database(status)).await.is_err() {
            return;
        }
    }
}
