//! Following a prefix for good: through lost members, lost leaders, compaction and partitions.
//!
//! A watch that hears nothing looks exactly like a watch of which nothing is left. So every
//! [`super::Timeouts::check_every`] two proofs are asked for on the connection of the watch: a
//! linearizable read (the member has a leader and is up to date) and a sign of life of the stream
//! itself. If either does not come, the watch is stale, and goes on at the first member that answers, from the
//! revision where it stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use etcd_client::{Client, EventType, GetOptions, WatchOptions, WatchResponse, WatchStream};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use meridian_model::Moment;
use meridian_telemetry::clock;
use meridian_telemetry::events::{WatchAlive, WatchStale};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use super::call::{describe, read_revision};
use super::{ANSWER_MAX, Inner, LIMIT, listing, versioned};
use crate::store::{Change, Listing};

/// Follows until the receiver is gone.
pub(super) async fn follow(inner: Arc<Inner>, prefix: String, to: mpsc::Sender<Change>) {
    let gone = to.clone();
    let mut follower = Follower { inner, prefix, to, position: None, told: Told::Nothing };
    tokio::select! {
        () = gone.closed() => {}
        () = follower.run() => {}
    }
}

struct Follower {
    inner: Arc<Inner>,
    prefix: String,
    to: mpsc::Sender<Change>,
    /// The next revision to hear of; none: begin with a listing.
    position: Option<i64>,
    told: Told,
}

/// What the receiver knows of the watch itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Alive,
    Stale,
}

/// Why one connection ended.
enum End {
    /// The receiver is gone.
    Gone,
    /// Try another member.
    Broken(String),
    /// A better member is back: go there, nothing is wrong.
    Moved,
    /// What is known does not lead on: begin with a listing, here and now.
    Anew,
}

impl From<etcd_client::Error> for End {
    fn from(error: etcd_client::Error) -> Self {
        Self::Broken(describe(&error))
    }
}

impl Follower {
    async fn run(&mut self) {
        let mut failures: u32 = 0;
        let Some(mut index) = self.inner.order().first().copied() else { return };
        loop {
            match self.session(index).await {
                End::Gone => return,
                End::Moved => {
                    failures = 0;
                    index = self.inner.order().first().copied().unwrap_or(index);
                }
                End::Anew => self.position = None,
                End::Broken(reason) => {
                    failures = if self.told == Told::Alive { 0 } else { failures.saturating_add(1) };
                    if self.tell_stale(index, reason).await.is_err() {
                        return;
                    }
                    sleep(pause(failures)).await;
                    index = self.first_alive(index).await;
                }
            }
        }
    }

    /// The first member that answers. All are asked at once, again and again: a member without a leader is
    /// silent, and so is a lost one, and none of them may keep the others waiting. The one that has just
    /// failed is asked last.
    async fn first_alive(&self, failed: usize) -> usize {
        let ask = |index: usize| async move {
            if index == failed {
                sleep(PAUSE_LAST).await;
            }
            while self.is_alive(index).await.is_err() {
                sleep(PAUSE_FIRST).await;
            }
            index
        };
        let mut all: FuturesUnordered<_> = self.inner.order().into_iter().map(ask).collect();
        all.next().await.unwrap_or(failed)
    }

    async fn is_alive(&self, index: usize) -> Result<(), End> {
        let Some(member) = self.inner.members.get(index) else { return std::future::pending().await };
        let client = member.fresh().await?;
        within(self.inner.timeouts.check, "a linearizable read", read_revision(&client)).await.map(drop)
    }

    /// Once, until it is alive again.
    async fn tell_stale(&mut self, index: usize, reason: String) -> Result<(), End> {
        if self.told == Told::Stale {
            return Ok(());
        }
        let endpoint = self.inner.members.get(index).map_or("", |m| m.endpoint());
        WatchStale { endpoint, reason: &reason }.emit(&self.inner.metrics);
        self.told = Told::Stale;
        self.send(Change::Stale { reason: format!("{endpoint}: {reason}") }).await
    }

    async fn send(&self, change: Change) -> Result<(), End> {
        self.to.send(change).await.map_err(|_| End::Gone)
    }

    /// One connection to one member, until it ends.
    async fn session(&mut self, index: usize) -> End {
        let result = self.connect_and_read(index).await;
        result.err().unwrap_or(End::Moved)
    }

    async fn connect_and_read(&mut self, index: usize) -> Result<(), End> {
        let inner = Arc::clone(&self.inner);
        let Some(member) = inner.members.get(index) else { return Ok(()) };
        let client = member.fresh().await?;
        if self.position.is_none() {
            let listing = within(inner.timeouts.call, "listing", list(&client, &self.prefix)).await?;
            self.position = Some(listing.revision + 1);
            self.send(Change::Reset(listing)).await?;
        }
        let start = self.position.unwrap_or_default();
        let options = WatchOptions::new().with_prefix().with_start_revision(start);
        let mut watch_client = client.watch_client().max_decoding_message_size(ANSWER_MAX);
        let open = watch_client.watch(self.prefix.clone(), Some(options));
        let stream = within(inner.timeouts.call, "opening the watch", open).await?;
        self.read(index, &client, stream).await
    }

    async fn read(&mut self, index: usize, client: &Client, mut stream: WatchStream) -> Result<(), End> {
        let mut ticks = self.ticks();
        let mut heard = clock::now();
        // At most one; it runs beside the stream, so that changes never wait for its round trips.
        let mut proof = FuturesUnordered::new();
        loop {
            tokio::select! {
                message = stream.message() => {
                    heard = clock::now();
                    match message? {
                        Some(message) => self.take(&message).await?,
                        None => return Err(End::Broken("the member ended the watch".to_owned())),
                    }
                }
                Some((asked_at, revision)) = proof.next(), if !proof.is_empty() => {
                    self.proven(index, asked_at, revision?).await?;
                }
                _ = ticks.tick() => {
                    if self.inner.preferred.load(Ordering::Relaxed) < index {
                        return Err(End::Moved);
                    }
                    self.ask_sign_of_life(&mut stream, heard).await?;
                    if proof.is_empty() {
                        let (limit, asked_at) = (self.inner.timeouts.check, self.position.unwrap_or_default());
                        let read = within(limit, "a linearizable read", read_revision(client));
                        proof.push(async move { (asked_at, read.await) });
                    }
                }
            }
        }
    }

    fn ticks(&self) -> Interval {
        let mut ticks = interval(self.inner.timeouts.check_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }

    /// The stream itself must answer too: to this, or with changes.
    async fn ask_sign_of_life(&self, stream: &mut WatchStream, heard: Moment) -> Result<(), End> {
        let limits = self.inner.timeouts;
        let silent = clock::now().since(heard);
        if silent > limits.check_every + limits.check {
            return Err(End::Broken(format!("the watch gave no sign of life for {silent:?}")));
        }
        within(limits.check, "asking for a sign of life", stream.request_progress()).await
    }

    /// The member answered a linearizable read: it is up to date, and so is the watch. `asked_at` is
    /// the position when it was asked: what came meanwhile may be newer than the read.
    async fn proven(&mut self, index: usize, asked_at: i64, revision: i64) -> Result<(), End> {
        if revision + 1 < asked_at {
            return Err(End::Anew); // Etcd was set up anew: what we know is of another life.
        }
        if self.told != Told::Alive {
            self.told = Told::Alive;
            self.inner.prefer(index);
            let endpoint = self.inner.members.get(index).map_or("", |m| m.endpoint());
            WatchAlive { endpoint, revision }.emit(&self.inner.metrics);
        }
        self.send(Change::Alive { revision }).await
    }

    async fn take(&mut self, message: &WatchResponse) -> Result<(), End> {
        if message.compact_revision() > 0 {
            return Err(End::Anew); // The history that was missed is compacted.
        }
        if message.canceled() {
            return Err(End::Broken(format!("the member cancelled the watch: {}", message.cancel_reason())));
        }
        for event in message.events() {
            let Some(entry) = event.kv() else { continue };
            let (entry, kind) = (versioned(entry), event.event_type());
            let revision = entry.revision;
            self.send(match kind {
                EventType::Put => Change::Put(entry),
                EventType::Delete => Change::Delete { key: entry.key, revision },
            })
            .await?;
            self.position = self.position.max(Some(revision + 1));
        }
        Ok(())
    }
}

async fn list(client: &Client, prefix: &str) -> Result<Listing, etcd_client::Error> {
    let options = GetOptions::new().with_prefix().with_limit(LIMIT);
    let mut kv = client.kv_client().max_decoding_message_size(ANSWER_MAX);
    listing(kv.get(prefix, Some(options)).await?)
}

async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, End> {
    match timeout(limit, work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(End::Broken(format!("{what} had no answer within {limit:?}"))),
    }
}

/// None at first; then longer and longer, when members answer and their watches break all the same.
fn pause(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        _ => PAUSE_FIRST.saturating_mul(1 << (failures - 1).min(8)).min(PAUSE_LAST),
    }
}

const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// A node must notice soon that etcd is back: its lease may depend on it.
const PAUSE_LAST: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_begins_with_the_second_failure_and_has_an_end() {
        assert_eq!(pause(0), Duration::ZERO);
        assert_eq!(pause(1), PAUSE_FIRST);
        assert_eq!(pause(2), PAUSE_FIRST * 2);
        assert_eq!(pause(u32::MAX), PAUSE_LAST);
    }
}
