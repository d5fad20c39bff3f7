//! One call: members asked one after the other, each a little later, until a usable answer is there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use etcd_client::{Client, Error};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use meridian_model::Moment;
use meridian_telemetry::events::CoordinationCalled;
use meridian_telemetry::{clock, with_causes};
use tokio::time::{sleep, timeout};

use super::member::Member;
use super::{Etcd, Inner};
use crate::store::{Attempt, BoxFuture, Operation, StoreError};

/// What is asked of a member; it may be asked of several.
pub(super) type Ask<T> = Arc<dyn Fn(Client) -> BoxFuture<'static, Result<T, Error>> + Send + Sync>;

/// Which answers can be used.
pub(super) enum Judge<T> {
    /// Each one.
    Any,
    /// Each one if only one member was asked; else only those for which this holds.
    OnlyIfAloneOr(fn(&T) -> bool),
}

impl<T> Judge<T> {
    fn usable(&self, answer: &T, asked: usize) -> bool {
        match self {
            Self::Any => true,
            Self::OnlyIfAloneOr(holds) => asked == 1 || holds(answer),
        }
    }
}

impl Etcd {
    /// Asks until there is a usable answer or the deadline is over.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        operation: Operation,
        subject: String,
        ask: Ask<T>,
        judge: Judge<T>,
    ) -> Result<T, StoreError> {
        let inner = &self.inner;
        let started = clock::now();
        let mut round = Round { inner, ask, judge, asked: Vec::new() };
        let outcome = timeout(inner.timeouts.call, round.run()).await;
        let answer = outcome.ok().flatten();
        let asked = round.asked;
        let took = clock::now().since(started);
        let name = match operation {
            Operation::List => "list",
            Operation::Commit => "commit",
            Operation::Maintain => "maintain",
        };
        inner.settle(&asked, answer.as_ref().map(|(index, _)| *index));
        if let Some((_, answer)) = answer {
            CoordinationCalled { call: name, outcome: "done", took, detail: "" }.emit(&inner.metrics);
            return Ok(answer);
        }
        let error = failed(inner, operation, subject, asked, took);
        let detail = error.to_string();
        CoordinationCalled { call: name, outcome: "unknown", took, detail: &detail }.emit(&inner.metrics);
        Err(error)
    }
}

/// The attempts of one call.
struct Round<'a, T> {
    inner: &'a Inner,
    ask: Ask<T>,
    judge: Judge<T>,
    asked: Vec<Asked>,
}

/// A member that was asked, and what it said; `None`: nothing yet.
struct Asked {
    index: usize,
    at: Moment,
    said: Option<String>,
}

impl<T: Send + 'static> Round<'_, T> {
    /// The index of the member whose answer can be used, and the answer; `None` when all have failed.
    async fn run(&mut self) -> Option<(usize, T)> {
        let mut order = self.inner.order().into_iter();
        let mut pending = FuturesUnordered::new();
        loop {
            if let Some(index) = order.next() {
                self.asked.push(Asked { index, at: clock::now(), said: None });
                pending.push(attempt(self.inner.members.get(index)?, index, Arc::clone(&self.ask)));
            }
            // Until somebody fails or is slow: then the next one is asked as well.
            let more = order.len() > 0;
            tokio::select! {
                () = sleep(self.inner.timeouts.hedge), if more => {}
                answer = pending.next() => match answer? {
                    (index, Ok(answer)) if self.judge.usable(&answer, self.asked.len()) => {
                        self.note(index, "an answer".to_owned());
                        return Some((index, answer));
                    }
                    (index, Ok(_)) => self.note(index, AMBIGUOUS.to_owned()),
                    (index, Err(error)) => self.note(index, describe(&error)),
                },
            }
        }
    }

    fn note(&mut self, index: usize, said: String) {
        if let Some(asked) = self.asked.iter_mut().find(|a| a.index == index) {
            asked.said = Some(said);
        }
    }
}

async fn attempt<T>(member: &Member, index: usize, ask: Ask<T>) -> (usize, Result<T, Error>) {
    let answer = match member.client().await {
        Ok(client) => ask(client).await,
        Err(error) => Err(error),
    };
    (index, answer)
}

impl Inner {
    /// The preferred member, then the others as they stand in the spec.
    pub(super) fn order(&self) -> Vec<usize> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let others = (0..self.members.len()).filter(|i| *i != preferred);
        std::iter::once(preferred).chain(others).collect()
    }

    /// Draws the conclusions from a call: which connections are bad, and where to begin next time.
    fn settle(self: &Arc<Self>, asked: &[Asked], answered: Option<usize>) {
        let now = clock::now();
        for silent in asked.iter().filter(|a| a.said.is_none() && now.since(a.at) >= self.timeouts.hedge) {
            if let Some(member) = self.members.get(silent.index) {
                member.forget();
            }
        }
        let next = match (answered, asked.first()) {
            (Some(index), _) => index,
            // Nobody answered in time: begin with another one, so that a silent first one does not
            // use up the time of the others again.
            (None, Some(first)) => (first.index + 1) % self.members.len().max(1),
            (None, None) => return,
        };
        self.prefer(next);
    }

    /// Begins with that member from now on, and tries those before it in the background.
    pub(super) fn prefer(self: &Arc<Self>, index: usize) {
        self.preferred.store(index, Ordering::Relaxed);
        if index > 0 && !self.returning.swap(true, Ordering::AcqRel) {
            let weak = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    sleep(RETURN_EVERY).await;
                    let Some(inner) = weak.upgrade() else { return };
                    if inner.try_return().await {
                        return;
                    }
                }
            });
        }
    }

    /// Looks for a member before the preferred one that answers in time; true when the first is back.
    async fn try_return(&self) -> bool {
        let preferred = self.preferred.load(Ordering::Relaxed);
        for (index, member) in self.members.iter().enumerate().take(preferred) {
            let probe = async { read_revision(&member.fresh().await?).await };
            if matches!(timeout(self.timeouts.hedge, probe).await, Ok(Ok(_))) {
                member.forget();
                self.preferred.store(index, Ordering::Relaxed);
                break;
            }
        }
        let home = self.preferred.load(Ordering::Relaxed) == 0;
        if home {
            self.returning.store(false, Ordering::Release);
        }
        home
    }
}

/// A linearizable read of nothing: proves that the member has a leader and is up to date; gives the
/// revision of the store.
pub(super) async fn read_revision(client: &Client) -> Result<i64, Error> {
    let options = etcd_client::GetOptions::new().with_count_only();
    let answer = client.kv_client().get("/meridian", Some(options)).await?;
    Ok(answer.header().map_or(0, etcd_client::ResponseHeader::revision))
}

fn failed(
    inner: &Inner,
    operation: Operation,
    subject: String,
    asked: Vec<Asked>,
    took: Duration,
) -> StoreError {
    let silent = |a: &Asked| format!("nothing in {:?}", took.min(clock::now().since(a.at)));
    let attempts: Vec<_> = asked
        .into_iter()
        .filter_map(|a| {
            let endpoint = inner.members.get(a.index)?.endpoint().to_owned();
            let outcome = a.said.clone().unwrap_or_else(|| silent(&a));
            Some(Attempt { endpoint, outcome })
        })
        .collect();
    let advice = advice(&attempts);
    StoreError { operation, subject, attempts, took, advice }
}

/// What to do, by what the members said.
pub(super) fn advice(attempts: &[Attempt]) -> &'static str {
    let any = |text: &str| attempts.iter().any(|a| a.outcome.contains(text));
    if any("database space exceeded") {
        "Etcd is full: compact and defragment it, then `etcdctl alarm disarm`"
    } else if any("not an etcd") || any("Unimplemented") || any("HTTP") {
        "Something else than etcd 3.4 or later answers there: look at the endpoints in the spec"
    } else if attempts.iter().all(|a| a.outcome.contains("refused")) {
        "No member of etcd is running at these addresses: start it, or look at the endpoints in the spec"
    } else {
        "Nothing changes by that alone. Look at etcd's members with `meridian status` and at their logs"
    }
}

/// An error of the client with its causes, on one line.
pub(super) fn describe(error: &Error) -> String {
    let Error::GRpcStatus(status) = error else { return error.to_string() };
    with_causes(format!("{:?}: {}", status.code(), status.message()), status)
}

/// What is said of a lost compare after another member was asked too.
const AMBIGUOUS: &str = "lost, but another member that was asked may have applied it";

/// How often members before the preferred one are tried. A dead one costs a refused connection.
const RETURN_EVERY: Duration = Duration::from_secs(1);
