//! The real store: etcd over gRPC, through whichever member answers.
//!
//! The own region's member stands first in the list of endpoints and is preferred. A call begins with
//! the member that answered last; if that is silent for [`Timeouts::hedge`] (or fails), the next one is
//! asked as well, and the first usable answer counts. So a frozen or cut-off member costs the first
//! call the hedge time, later calls nothing, and a slow path is not cut short before the deadline of
//! the whole call. While another member is used, the ones before it are tried in the background, and
//! the first that answers in time is preferred again.
//!
//! A connection on which an answer did not come is thrown away: after a partition TCP would go on
//! waiting on it for up to two minutes.

mod call;
mod maintain;
mod member;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Compare as EtcdCompare, CompareOp, GetOptions, Txn as EtcdTxn, TxnOp};
use meridian_telemetry::Metrics;
use tokio::sync::mpsc;

pub use maintain::{LeaderMove, MemberState, MemberStatus};

use crate::store::{
    BoxFuture, Change, Commit, Compare, LISTING_MAX, Listing, Operation, Store, StoreError, Txn, Versioned,
    WATCH_QUEUE,
};
use call::{Ask, Judge};
use member::Member;

/// A client of etcd. Clones share the connections. Needs a tokio runtime that outlives it.
#[derive(Clone)]
pub struct Etcd {
    inner: Arc<Inner>,
}

struct Inner {
    members: Vec<Member>,
    preferred: AtomicUsize,
    returning: AtomicBool,
    timeouts: Timeouts,
    metrics: Metrics,
}

/// How long etcd may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A whole call. Default 1.5 s: a renewal that fails leaves time for another before the gateway
    /// must close (3 s), while a write through a follower on the other side of the earth takes 0.5 s.
    pub call: Duration,
    /// When the next member is asked as well. Default 400 ms: two of the longest round trips between
    /// regions (220 ms) are seldom over.
    pub hedge: Duration,
    /// How often a watch proves that it is current. Default 500 ms, as often as leases are renewed.
    pub check_every: Duration,
    /// When such a proof is given up and the watch is stale. Default 1 s.
    pub check: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            call: Duration::from_millis(1_500),
            hedge: Duration::from_millis(400),
            check_every: Duration::from_millis(500),
            check: Duration::from_secs(1),
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No endpoint was given.
    #[error("etcd: no endpoint is given. List the client URLs of the members, the own region's first")]
    NoEndpoint,
    /// An endpoint is no URL.
    #[error("etcd: the endpoint `{endpoint}` cannot be used: {problem}. Write it as http://127.0.0.1:2379")]
    Endpoint {
        /// As given.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Etcd {
    /// A client of the members at `endpoints` (client URLs, the own region's first). Nothing is sent
    /// yet: whether they can be reached shows with the first call.
    ///
    /// # Errors
    /// [`ConnectError`] when there is no endpoint, or one is no URL.
    pub fn connect(endpoints: &[String], timeouts: Timeouts, metrics: Metrics) -> Result<Self, ConnectError> {
        let members: Vec<_> = endpoints.iter().map(|e| Member::new(e)).collect::<Result<_, _>>()?;
        if members.is_empty() {
            return Err(ConnectError::NoEndpoint);
        }
        let (preferred, returning) = (AtomicUsize::new(0), AtomicBool::new(false));
        Ok(Self { inner: Arc::new(Inner { members, preferred, returning, timeouts, metrics }) })
    }

    /// The endpoint that answered last, where the next call begins.
    #[must_use]
    pub fn preferred(&self) -> &str {
        let index = self.inner.preferred.load(Ordering::Relaxed);
        self.inner.members.get(index).map_or("", Member::endpoint)
    }

    async fn list_all(&self, prefix: String) -> Result<Listing, StoreError> {
        let ask: Ask<Listing> = {
            let prefix = prefix.clone();
            Arc::new(move |client| {
                let prefix = prefix.clone();
                Box::pin(async move {
                    let options = GetOptions::new().with_prefix().with_limit(LIMIT);
                    let mut kv = client.kv_client().max_decoding_message_size(ANSWER_MAX);
                    listing(kv.get(prefix, Some(options)).await?)
                })
            })
        };
        self.call(Operation::List, prefix, ask, Judge::Any).await
    }

    async fn commit_checked(&self, txn: Txn) -> Result<Commit, StoreError> {
        txn.check()?;
        let subject = txn.subject();
        let txn = to_etcd(txn);
        let ask: Ask<Commit> = Arc::new(move |client| {
            let txn = txn.clone();
            Box::pin(async move {
                let answer = client.kv_client().txn(txn).await?;
                let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
                Ok(if answer.succeeded() { Commit::Done { revision } } else { Commit::Lost })
            })
        });
        // `Lost` from the second member asked may mean that the first one applied it.
        let certain: fn(&Commit) -> bool = |commit| matches!(commit, Commit::Done { .. });
        self.call(Operation::Commit, subject, ask, Judge::OnlyIfAloneOr(certain)).await
    }
}

impl Store for Etcd {
    fn list(&self, prefix: &str) -> BoxFuture<'_, Result<Listing, StoreError>> {
        Box::pin(self.list_all(prefix.to_owned()))
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Commit, StoreError>> {
        Box::pin(self.commit_checked(txn))
    }

    fn watch(&self, prefix: &str) -> mpsc::Receiver<Change> {
        let (to, changes) = mpsc::channel(WATCH_QUEUE);
        tokio::spawn(watch::follow(Arc::clone(&self.inner), prefix.to_owned(), to));
        changes
    }
}

fn listing(answer: etcd_client::GetResponse) -> Result<Listing, etcd_client::Error> {
    if answer.more() {
        let text = format!("more than {LISTING_MAX} entries: remove what is not Meridian's");
        return Err(etcd_client::Error::InvalidArgs(text));
    }
    let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
    Ok(Listing { revision, items: answer.kvs().iter().map(versioned).collect() })
}

fn versioned(entry: &etcd_client::KeyValue) -> Versioned {
    Versioned {
        key: String::from_utf8_lossy(entry.key()).into_owned(),
        value: entry.value().to_vec(),
        revision: entry.mod_revision(),
    }
}

fn to_etcd(txn: Txn) -> EtcdTxn {
    let compare = |c| match c {
        Compare::Absent(key) => EtcdCompare::create_revision(key, CompareOp::Equal, 0),
        Compare::Revision(key, revision) => EtcdCompare::mod_revision(key, CompareOp::Equal, revision),
        Compare::Value(key, value) => EtcdCompare::value(key, CompareOp::Equal, value),
    };
    let puts = txn.put.into_iter().map(|(key, value)| TxnOp::put(key, value, None));
    let deletes = txn.delete.into_iter().map(|key| TxnOp::delete(key, None));
    let compares: Vec<_> = txn.compare.into_iter().map(compare).collect();
    EtcdTxn::new().when(compares).and_then(puts.chain(deletes).collect::<Vec<_>>())
}

#[expect(clippy::cast_possible_wrap, reason = "a small constant")]
const LIMIT: i64 = LISTING_MAX as i64;

/// The largest answer that is read, in bytes. Full journals and reports of twelve regions are under 4 MiB.
const ANSWER_MAX: usize = 32 << 20;
