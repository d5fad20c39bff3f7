//! A user's DNS resolver: a cache that respects the TTL, and the next server when one is silent.
//!
//! It does what resolvers in front of users do: it asks the nearest authoritative server with the
//! client's subnet (RFC 7871), gives it 400 ms, avoids a server that was silent for half a minute,
//! and serves a stale answer when nobody answers at all (RFC 8767).

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsOption};
use hickory_proto::rr::{Name as DnsName, RData, RecordType};
use meridian_model::Moment;
use meridian_telemetry::clock;
use tokio::net::UdpSocket;
use tokio::sync::Mutex;

use super::Vantage;

/// How long one server is given: longer than the longest round trip between regions. Unbound gives a
/// server that it does not know 376 ms.
pub(super) const SERVER_TIMEOUT: Duration = Duration::from_millis(400);
/// How long a silent server is asked last.
const SILENT_FOR: Duration = Duration::from_secs(30);
/// A failed look-up is not repeated within this time by the same user.
const FAILURE_TTL: Duration = Duration::from_millis(500);
/// What we say that we can take in one datagram (the DNS flag day's figure).
const PAYLOAD_MAX: u16 = 1232;

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// It is not a host name.
    #[error("`{0}` is no host name")]
    Name(String),
    /// The server could not be asked, or what it sent makes no sense.
    #[error("DNS server {server}: {what}")]
    Server {
        /// Who was asked.
        server: SocketAddr,
        /// What went wrong.
        what: String,
    },
    /// No answer in time.
    #[error("DNS server {0} did not answer within 400 ms")]
    Silent(SocketAddr),
    /// The list of servers is empty.
    #[error("there is no DNS server to ask")]
    NoServer,
}

/// An answer: addresses in the server's order, and how long they may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// In the order of the answer: the first is the one that steering wants.
    pub addresses: Vec<IpAddr>,
    /// How long they may be kept.
    pub ttl: Duration,
}

/// Which servers were silent lately; shared by the users of a population, as they share a resolver.
#[derive(Debug)]
pub(super) struct ServerHealth(StdMutex<Vec<Moment>>);

impl ServerHealth {
    pub(super) fn new(servers: usize) -> Arc<Self> {
        Arc::new(Self(StdMutex::new(vec![Moment::ZERO; servers])))
    }

    /// Indexes of the servers, the silent ones last.
    fn order(&self, now: Moment) -> Vec<usize> {
        let silent_until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut order: Vec<usize> = (0..silent_until.len()).collect();
        order.sort_by_key(|i| silent_until.get(*i).is_some_and(|until| *until > now));
        order
    }

    fn set_silent_until(&self, index: usize, until: Moment) {
        if let Some(slot) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
            *slot = until;
        }
    }
}

/// One user's cache.
#[derive(Debug)]
pub struct Resolver {
    host: String,
    vantage: Arc<Vantage>,
    health: Arc<ServerHealth>,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    addresses: Vec<IpAddr>,
    good_until: Moment,
}

impl Resolver {
    pub(super) fn new(host: &str, vantage: Arc<Vantage>, health: Arc<ServerHealth>) -> Self {
        Self { host: host.to_owned(), vantage, health, cache: Mutex::default() }
    }

    /// The addresses of the host, from the cache while they are fresh. Callers at the same time share
    /// one question. A stale answer is better than none.
    pub(super) async fn addresses(&self) -> Vec<IpAddr> {
        let mut cache = self.cache.lock().await;
        if clock::now() < cache.good_until {
            return cache.addresses.clone();
        }
        match self.ask_servers().await {
            Ok(resolved) => {
                cache.good_until = clock::now() + resolved.ttl;
                cache.addresses = resolved.addresses;
            }
            Err(error) => {
                tracing::debug!(%error, "no DNS answer; the last one is used");
                cache.good_until = clock::now() + FAILURE_TTL;
            }
        }
        cache.addresses.clone()
    }

    /// The first server that answers.
    async fn ask_servers(&self) -> Result<Resolved, ResolveError> {
        let mut last = ResolveError::NoServer;
        for index in self.health.order(clock::now()) {
            let Some(server) = self.vantage.dns.get(index).copied() else { continue };
            let Vantage { client, subnet, .. } = *self.vantage;
            match (Question { server, client, subnet }).ask(&self.host).await {
                Ok(resolved) => {
                    self.health.set_silent_until(index, Moment::ZERO);
                    return Ok(resolved);
                }
                Err(error) => {
                    self.health.set_silent_until(index, clock::now() + SILENT_FOR);
                    last = error;
                }
            }
        }
        Err(last)
    }
}

/// Whom to ask, and as whom.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// The server.
    pub server: SocketAddr,
    /// The address to ask from.
    pub client: IpAddr,
    /// The client subnet to ask for.
    pub subnet: ipnet::IpNet,
}

impl Question {
    /// Asks for the IPv4 addresses of `host`.
    ///
    /// # Errors
    /// [`ResolveError`] when the server is silent for 400 ms or its answer is no use.
    pub async fn ask(self, host: &str) -> Result<Resolved, ResolveError> {
        let server = self.server;
        let failed = |what: String| ResolveError::Server { server, what };
        let question = question(host, self.subnet)?;
        let answer = tokio::time::timeout(SERVER_TIMEOUT, self.exchange(&question))
            .await
            .map_err(|_| ResolveError::Silent(server))?
            .map_err(|e| failed(e.to_string()))?;
        read(&answer).map_err(failed)
    }

    async fn exchange(self, question: &Message) -> std::io::Result<Message> {
        let socket = UdpSocket::bind((self.client, 0)).await?;
        socket.connect(self.server).await?;
        socket.send(&question.to_vec().map_err(std::io::Error::other)?).await?;
        let mut buffer = vec![0; usize::from(PAYLOAD_MAX)];
        loop {
            let length = socket.recv(&mut buffer).await?;
            let answer = buffer.get(..length).and_then(|bytes| Message::from_vec(bytes).ok());
            if let Some(answer) = answer.filter(|a| answers(a, question)) {
                return Ok(answer);
            }
        }
    }
}

/// Is this the answer to that question?
fn answers(answer: &Message, question: &Message) -> bool {
    answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == question.queries
}

fn question(host: &str, subnet: ipnet::IpNet) -> Result<Message, ResolveError> {
    let mut name = DnsName::from_ascii(host).map_err(|_| ResolveError::Name(host.to_owned()))?;
    name.set_fqdn(true);
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD_MAX);
    let subnet = ClientSubnet::new(subnet.network(), subnet.prefix_len(), 0);
    edns.options_mut().insert(EdnsOption::Subnet(subnet));
    let mut message = Message::query();
    message.add_query(Query::query(name, RecordType::A));
    message.set_edns(edns);
    Ok(message)
}

fn read(answer: &Message) -> Result<Resolved, String> {
    if answer.metadata.response_code != ResponseCode::NoError {
        return Err(format!("answered {}", answer.metadata.response_code));
    }
    let mut resolved = Resolved { addresses: Vec::new(), ttl: Duration::MAX };
    for record in &answer.answers {
        if let RData::A(address) = &record.data {
            resolved.addresses.push(IpAddr::V4(address.0));
            resolved.ttl = resolved.ttl.min(Duration::from_secs(u64::from(record.ttl)));
        }
    }
    if resolved.addresses.is_empty() {
        return Err("answered without an address".to_owned());
    }
    Ok(resolved)
}
