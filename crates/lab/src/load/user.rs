//! One user and one request of theirs, with the retries that a sensible client makes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use meridian_model::{Moment, RegionName};
use meridian_telemetry::clock;

use super::connection::{ExchangeError, Pool};
use super::resolver::{Resolver, ServerHealth};
use super::{Kind, Outcome, Sample, Shared, Vantage, shop};
use crate::ledger::{Ack, Unacknowledged, WriteOutcome};

/// When a try of a read without an answer is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// When a try of a write without an answer is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of one request, the first included.
const ATTEMPTS_MAX: u8 = 3;
/// How long a user prefers other addresses to one that failed.
const AVOID_FOR: Duration = Duration::from_secs(10);
/// The pause before a try again after an error that came at once; it doubles each time.
const PAUSE: Duration = Duration::from_millis(100);

/// A user: a DNS cache, connections, and a memory of which address failed.
#[derive(Debug)]
pub(super) struct User {
    resolver: Resolver,
    vantage: Arc<Vantage>,
    pool: Pool,
    avoided_until: Mutex<BTreeMap<SocketAddr, Moment>>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) sequence: u64,
    pub(super) intended: Moment,
}

/// How one try ended.
enum Tried {
    /// A whole answer came.
    Answered(Response<Bytes>),
    /// Nothing was sent, so nothing can have happened; why.
    NotSent(String),
    /// It was sent and no whole answer came; why.
    NoAnswer(String),
}

/// All tries of one request together.
struct Ended {
    outcome: Outcome,
    attempts: u8,
    answer: Option<Response<Bytes>>,
    /// What the last bad try was told.
    told: String,
}

/// Does one request to its end and records how it went.
pub(super) async fn perform(user: &User, shared: &Shared, request: Request) {
    let started = clock::now();
    let id = format!("{}-{}", shared.id_prefix, request.sequence);
    let ended = user.try_until_good(shared, request.kind, &id).await;
    let now = clock::now();
    let region = ended.answer.as_ref().and_then(shop::region);
    shared.recorder.ended(Sample {
        population: shared.population,
        region: region.as_ref().and_then(|name| place(&shared.regions, name)),
        kind: request.kind,
        outcome: ended.outcome,
        attempts: ended.attempts,
        intended: request.intended,
        started,
        ended: now,
    });
    if !ended.outcome.good() {
        shared.recorder.failed_because(format!("{}: {}", request.kind, ended.told));
    }
    if request.kind == Kind::Write {
        remember(shared, id, started, now, ended);
    }
}

/// Writes into the ledger what the user was told.
fn remember(shared: &Shared, id: String, sent_at: Moment, ended_at: Moment, ended: Ended) {
    let population = shared.population;
    match (ended.outcome, ended.answer) {
        (Outcome::Ok, Some(answer)) => {
            let by = shop::acknowledged_by(&answer);
            shared.recorder.acknowledged(Ack { id, population, sent_at, acknowledged_at: ended_at, by });
        }
        (outcome, _) => {
            let outcome =
                if outcome == Outcome::Refused { WriteOutcome::Refused } else { WriteOutcome::Unknown };
            shared.recorder.unacknowledged(Unacknowledged { id, population, sent_at, ended_at, outcome });
        }
    }
}

fn place(regions: &[RegionName], name: &RegionName) -> Option<u16> {
    regions.iter().position(|r| r == name).and_then(|i| u16::try_from(i).ok())
}

impl User {
    pub(super) fn new(host: &str, vantage: Arc<Vantage>, health: Arc<ServerHealth>) -> Self {
        Self {
            resolver: Resolver::new(host, Arc::clone(&vantage), health),
            vantage,
            pool: Pool::default(),
            avoided_until: Mutex::default(),
        }
    }

    /// Tries until it is good, definitely bad, or enough. An attempt whose fate is unknown makes the
    /// whole write unknown, whatever a later refusal says.
    async fn try_until_good(&self, shared: &Shared, kind: Kind, id: &str) -> Ended {
        let mut ended = Ended { outcome: Outcome::Refused, attempts: 0, answer: None, told: String::new() };
        let mut pause = PAUSE;
        while ended.attempts < ATTEMPTS_MAX {
            ended.attempts += 1;
            match self.try_once(&shared.host, kind, id).await {
                Tried::Answered(answer) => {
                    ended.told = shop::told(&answer);
                    match shop::outcome(kind, &answer) {
                        Outcome::Ok => return Ended { outcome: Outcome::Ok, answer: Some(answer), ..ended },
                        Outcome::Unknown => ended.outcome = Outcome::Unknown,
                        Outcome::Refused | Outcome::NotSent => {}
                    }
                }
                Tried::NoAnswer(told) => {
                    (ended.outcome, ended.told) = (Outcome::Unknown, told);
                    continue;
                }
                Tried::NotSent(told) => ended.told = told,
            }
            if ended.attempts < ATTEMPTS_MAX {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        ended
    }

    /// One try, for those who only want to know whether there is service: what was told if there is none.
    pub(super) async fn try_for_answer(&self, host: &str, kind: Kind, id: &str) -> Result<(), String> {
        match self.try_once(host, kind, id).await {
            Tried::Answered(answer) if shop::outcome(kind, &answer) == Outcome::Ok => Ok(()),
            Tried::Answered(answer) => Err(shop::told(&answer)),
            Tried::NotSent(told) | Tried::NoAnswer(told) => Err(told),
        }
    }

    /// One try: finds the addresses, takes or opens a connection, sends, waits; all within one deadline.
    async fn try_once(&self, host: &str, kind: Kind, id: &str) -> Tried {
        let addresses = self.addresses().await;
        let request = match shop::request(kind, host, id) {
            Ok(request) => request,
            Err(error) => {
                return Tried::NotSent(format!("the request cannot be built: {error}"));
            }
        };
        let limit = if kind == Kind::Read { READ_TIMEOUT } else { WRITE_TIMEOUT };
        let mut used = None;
        let exchange = async {
            let mut connection = self.pool.connection(self.vantage.client, &addresses).await?;
            // Those before the one that connected had their chance (RFC 8305, 8: outcomes may be kept).
            addresses.iter().take_while(|a| **a != connection.address).for_each(|a| self.avoid(*a));
            used = Some((connection.address, connection.reused()));
            let answer = connection.exchange(request).await?;
            self.pool.give_back(connection);
            Ok::<_, ExchangeError>(answer)
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(Ok(answer)) => Tried::Answered(answer),
            Ok(Err(error)) => self.note_failure(used, &addresses, Some(&error)),
            Err(_) => {
                // A write may wait for a writer; a read that has no answer says that the place is bad.
                if let Some((address, _)) = used.filter(|_| kind == Kind::Read) {
                    self.avoid(address);
                }
                self.note_failure(used, &addresses, None)
            }
        }
    }

    /// Remembers which address failed, by an error or by silence. A reused connection that broke at once
    /// says little of the address: servers close idle connections.
    fn note_failure(
        &self,
        used: Option<(SocketAddr, bool)>,
        tried: &[SocketAddr],
        error: Option<&ExchangeError>,
    ) -> Tried {
        let Some((address, reused)) = used else {
            tried.iter().for_each(|address| self.avoid(*address));
            let told = error.map_or_else(|| "nothing connected in time".to_owned(), ToString::to_string);
            return Tried::NotSent(told);
        };
        self.pool.forget(address);
        if error.is_some() && !reused {
            self.avoid(address);
        }
        Tried::NoAnswer(match error {
            Some(error) => error.to_string(),
            None => format!("no answer from {address} in time"),
        })
    }

    fn avoid(&self, address: SocketAddr) {
        let until = clock::now() + AVOID_FOR;
        self.avoided_until.lock().unwrap_or_else(PoisonError::into_inner).insert(address, until);
    }

    /// Where to go, in the order of the DNS answer, those that failed lately last.
    async fn addresses(&self) -> Vec<SocketAddr> {
        let answered = self.resolver.addresses().await;
        let reach = |ip| self.vantage.reach.get(ip).map(|(_, address)| *address);
        let mut addresses: Vec<SocketAddr> = answered.iter().filter_map(reach).collect();
        let now = clock::now();
        let avoided = self.avoided_until.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.sort_by_key(|address| avoided.get(address).is_some_and(|until| *until > now));
        addresses
    }
}
