//! The load's users against a toy world: a DNS server and two regions on loopback sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a failure is the test's"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use meridian_lab::load::{
    Kind, Load, Outcome, Plan, PopulationPlan, Progress, Recorded, Vantage, wait_served,
};
use meridian_model::RegionName;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

const HOST: &str = "shop.example.com";
/// What DNS answers with; the vantage says where that is.
const PUBLIC: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 250, 1, 1), Ipv4Addr::new(127, 250, 2, 1)];

/// How a toy region treats requests.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Mood {
    Well,
    /// Takes the request and never answers.
    Silent,
    /// 503.
    Refusing,
    /// 500: who knows.
    Failing,
}

struct Region {
    name: &'static str,
    mood: AtomicU8,
    written: Mutex<Vec<String>>,
}

impl Region {
    fn new(name: &'static str) -> Self {
        Self { name, mood: AtomicU8::new(Mood::Well as u8), written: Mutex::default() }
    }
}

struct World {
    regions: [Arc<Region>; 2],
    edges: Vec<SocketAddr>,
    dns: SocketAddr,
    asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl World {
    async fn new(ttl: u32) -> Self {
        let mut tasks = JoinSet::new();
        let regions = ["us-east-1", "eu-central-1"].map(|name| Arc::new(Region::new(name)));
        let mut edges = Vec::new();
        for region in &regions {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            edges.push(listener.local_addr().unwrap());
            tasks.spawn(edge(listener, Arc::clone(region)));
        }
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let dns = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        tasks.spawn(name_server(socket, ttl, Arc::clone(&asked)));
        Self { regions, edges, dns, asked, _tasks: tasks }
    }

    fn mood(&self, region: usize, mood: Mood) {
        self.regions[region].mood.store(mood as u8, Ordering::SeqCst);
    }

    fn plan(&self, rate: f64, write_share: f64) -> Plan {
        let names = ["us-east-1", "eu-central-1"].map(|r| RegionName::new(r).unwrap());
        let reach = (0..2).map(|i| (IpAddr::V4(PUBLIC[i]), (names[i].clone(), self.edges[i])));
        let vantage = Vantage {
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            dns: vec![self.dns],
            subnet: "127.250.201.0/24".parse().unwrap(),
            reach: reach.collect::<BTreeMap<_, _>>(),
        };
        let population =
            PopulationPlan { name: RegionName::new("europe").unwrap(), rate, write_share, users: 2, vantage };
        Plan {
            host: HOST.to_owned(),
            token: "t".to_owned(),
            seed: 3,
            regions: names.to_vec(),
            populations: vec![population],
        }
    }
}

async fn name_server(socket: UdpSocket, ttl: u32, asked: Arc<AtomicUsize>) {
    let mut buffer = [0; 1500];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        asked.fetch_add(1, Ordering::SeqCst);
        let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
        assert!(question.edns.is_some(), "a question without a client subnet");
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.message_type = MessageType::Response;
        answer.add_queries(question.queries.clone());
        let name = question.queries[0].name().clone();
        for address in PUBLIC {
            answer.add_answer(Record::from_rdata(name.clone(), ttl, RData::A(A(address))));
        }
        socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
    }
}

async fn edge(listener: TcpListener, region: Arc<Region>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let region = Arc::clone(&region);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&region)));
            let io = TokioIo::new(stream);
            _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    region: Arc<Region>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let write = request.method() == http::Method::POST;
    let body = request.into_body().collect().await?.to_bytes();
    let mood = region.mood.load(Ordering::SeqCst);
    if mood == Mood::Silent as u8 {
        std::future::pending::<()>().await;
    }
    let status = match mood {
        m if m == Mood::Refusing as u8 => StatusCode::SERVICE_UNAVAILABLE,
        m if m == Mood::Failing as u8 => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    };
    if write && status == StatusCode::OK {
        let order: serde_json::Value = serde_json::from_slice(&body).unwrap();
        region.written.lock().unwrap().push(order["id"].as_str().unwrap().to_owned());
    }
    let text = r#"{"server":"127.9.1.1","port":5432,"timeline":1}"#;
    let answer = Response::builder().status(status).header("meridian-region", region.name);
    Ok(answer.body(Full::new(Bytes::from_static(text.as_bytes()))).unwrap())
}

/// Runs the load until `enough`, then stops it; fails after ten seconds.
async fn load_until(plan: Plan, enough: impl Fn(Progress) -> bool) -> Recorded {
    let load = Load::start(plan);
    let reached = async {
        while !enough(load.progress()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reached).await.expect("the load did not get so far");
    load.stop().await
}

#[tokio::test]
async fn users_are_served_by_the_first_region_and_every_acknowledged_write_is_there_once() {
    let world = World::new(60).await;
    let seen = load_until(world.plan(200.0, 0.5), |p| p.requests >= 100).await;
    assert!(seen.samples.iter().all(|s| s.outcome == Outcome::Ok && s.region == Some(0) && s.attempts == 1));
    let written = world.regions[0].written.lock().unwrap().clone();
    let told: BTreeSet<String> = seen.ledger.acknowledged.iter().map(|a| a.id.clone()).collect();
    assert_eq!(written.iter().cloned().collect::<BTreeSet<_>>(), told);
    assert_eq!(written.len(), told.len(), "an id was written twice");
    assert!(told.iter().all(|id| id.starts_with("t-europe-")));
    assert_eq!(seen.ledger.acknowledged[0].by.unwrap().timeline, 1);
    assert_eq!(world.asked.load(Ordering::SeqCst), 2, "one question for each user's cache");
}

#[tokio::test]
async fn an_answer_without_time_to_live_is_asked_for_anew() {
    let world = World::new(0).await;
    load_until(world.plan(200.0, 0.0), |p| p.requests >= 50).await;
    assert!(world.asked.load(Ordering::SeqCst) >= 50);
}

#[tokio::test]
async fn a_read_that_hangs_is_retried_at_the_other_region_after_a_second() {
    let world = World::new(60).await;
    world.mood(0, Mood::Silent);
    let seen = load_until(world.plan(20.0, 0.0), |p| p.requests >= 20).await;
    assert!(seen.samples.iter().all(|s| s.outcome == Outcome::Ok && s.region == Some(1)));
    let first = seen.samples.iter().min_by_key(|s| s.intended).unwrap();
    assert_eq!(first.attempts, 2);
    assert!((1.0..1.6).contains(&first.latency().as_secs_f64()), "{:?}", first.latency());
    let last = seen.samples.iter().max_by_key(|s| s.intended).unwrap();
    assert_eq!(last.attempts, 1, "the address that failed is avoided");
}

#[tokio::test]
async fn a_stall_is_in_the_latency_of_all_who_came_during_it() {
    let world = World::new(60).await;
    world.mood(0, Mood::Silent);
    let seen = load_until(world.plan(50.0, 0.0), |p| p.requests >= 60).await;
    let waited = seen.samples.iter().filter(|s| s.latency() > Duration::from_millis(900)).count();
    assert!(waited >= 20, "only {waited} of those who were due in the first second waited");
}

#[tokio::test]
async fn a_refused_write_is_tried_again_and_is_refused_in_the_end() {
    let world = World::new(60).await;
    world.mood(0, Mood::Refusing);
    world.mood(1, Mood::Refusing);
    let seen = load_until(world.plan(50.0, 1.0), |p| p.requests >= 10).await;
    assert!(
        seen.samples
            .iter()
            .all(|s| s.outcome == Outcome::Refused && s.attempts == 3 && s.kind == Kind::Write)
    );
    assert!(seen.ledger.acknowledged.is_empty());
    assert_eq!(seen.ledger.unacknowledged.len(), seen.samples.len());
    let reasons: Vec<_> =
        seen.failures.iter().map(|(why, n)| (why.split(' ').take(2).collect(), *n)).collect();
    assert_eq!(reasons, [(vec!["write:", "503"], u64::try_from(seen.samples.len()).unwrap())]);
}

#[tokio::test]
async fn nobody_begins_before_users_are_served() {
    let world = World::new(60).await;
    wait_served(&world.plan(1.0, 0.5), Duration::from_secs(5)).await.unwrap();
    world.mood(0, Mood::Refusing);
    let told = wait_served(&world.plan(1.0, 0.5), Duration::from_millis(300)).await.unwrap_err();
    assert!(told.starts_with("no read of europe is answered: 503"), "{told}");
}

#[tokio::test]
async fn a_write_whose_fate_nobody_knows_is_unknown() {
    let world = World::new(60).await;
    world.mood(0, Mood::Failing);
    let seen = load_until(world.plan(50.0, 1.0), |p| p.requests >= 10).await;
    assert!(seen.samples.iter().all(|s| s.outcome == Outcome::Unknown));
}

#[tokio::test]
async fn a_silent_name_server_costs_its_time_once() {
    let world = World::new(60).await;
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut plan = world.plan(50.0, 0.0);
    plan.populations[0].vantage.dns.insert(0, silent.local_addr().unwrap());
    let seen = load_until(plan, |p| p.requests >= 80).await;
    assert!(seen.samples.iter().all(|s| s.outcome == Outcome::Ok));
    let slowest = seen.samples.iter().map(|s| s.latency()).max().unwrap();
    assert!((0.4..0.8).contains(&slowest.as_secs_f64()), "{slowest:?}");
}

#[tokio::test]
async fn an_address_that_does_not_connect_costs_a_quarter_of_a_second() {
    let world = World::new(60).await;
    // A listener whose queue is full: further handshakes hang, as they do toward a region that went dark.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let dark = socket.local_addr().unwrap().as_socket().unwrap();
    let _filling: Vec<_> =
        (0..2).map(|_| std::net::TcpStream::connect_timeout(&dark, Duration::from_millis(200))).collect();
    let mut plan = world.plan(20.0, 0.0);
    plan.populations[0]
        .vantage
        .reach
        .insert(IpAddr::V4(PUBLIC[0]), (RegionName::new("us-east-1").unwrap(), dark));
    let seen = load_until(plan, |p| p.requests >= 20).await;
    assert!(seen.samples.iter().all(|s| s.outcome == Outcome::Ok && s.region == Some(1)));
    let slowest = seen.samples.iter().map(|s| s.latency()).max().unwrap();
    assert!((0.24..0.7).contains(&slowest.as_secs_f64()), "{slowest:?}");
}
