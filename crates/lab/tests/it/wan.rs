//! The WAN emulator with real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the helpers of tests stop the test that uses them, as tests do"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use meridian_lab::wan::{Forward, Origin, Owners, Place, Shape, Transport, Wan, WanConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

const ONE_WAY: Duration = Duration::from_millis(40);
/// Long enough for anything that happens at all.
const SOON: Duration = Duration::from_secs(10);
/// How long something that must not happen is given: more than a round trip and a SYN retransmission.
const NEVER: Duration = Duration::from_millis(1500);

/// Two places with an echo server in the second, reached from the first.
struct Rig {
    wan: Wan,
    near: SocketAddr,
    listener: TcpListener,
}

/// An address block of its own for each rig of this process: 127.251.N.0/24.
fn block() -> (u16, SocketAddr, SocketAddr) {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let port = 20_000 + u16::try_from(std::process::id() % 20_000).unwrap();
    let at = |last: u8| SocketAddr::from(([127, 251, u8::try_from(n).unwrap(), last], port));
    (n, at(1), at(101))
}

async fn rig(shape: Shape) -> Rig {
    let (_, target, near) = block();
    let listener = TcpListener::bind(target).await.unwrap();
    let wan = wan_of(shape, near, target, Transport::Tcp);
    until_reachable(near).await;
    // The probe of `until_reachable` has reached the listener, too.
    drop(timeout(SOON, listener.accept()).await.unwrap().unwrap());
    Rig { wan, near, listener }
}

fn wan_of(shape: Shape, listen: SocketAddr, target: SocketAddr, transport: Transport) -> Wan {
    let client = |last: u8| {
        let IpAddr::V4(ip) = listen.ip() else { unreachable!() };
        let [a, b, c, _] = ip.octets();
        IpAddr::from([a, b, c, last])
    };
    let place = |name: &str, last| Place { name: name.to_owned(), client: client(last) };
    Wan::start(WanConfig {
        places: vec![place("here", 11), place("there", 12)],
        shapes: BTreeMap::from([((0, 1), shape), ((1, 0), shape)]),
        forwards: vec![Forward { origin: Origin::Place(0), to: 1, listen, target, transport }],
        owners: Owners::default(),
        seed: 1,
    })
    .unwrap()
}

fn delayed() -> Shape {
    Shape { delay: ONE_WAY, ..Shape::default() }
}

async fn until_reachable(address: SocketAddr) {
    let connected = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await
        }
    };
    timeout(SOON, connected).await.unwrap();
}

impl Rig {
    /// Connected both ways: client side, server side.
    async fn pair(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.near).await.unwrap();
        let (server, _) = timeout(SOON, self.listener.accept()).await.unwrap().unwrap();
        (client, server)
    }
}

/// Reads exactly `text`.
async fn expect(stream: &mut TcpStream, text: &[u8]) {
    let mut got = vec![0; text.len()];
    timeout(SOON, stream.read_exact(&mut got)).await.expect("nothing came").unwrap();
    assert_eq!(got, text);
}

async fn hears_nothing(stream: &mut TcpStream) {
    let mut byte = [0];
    let heard = timeout(NEVER, stream.read(&mut byte)).await;
    assert!(heard.is_err(), "heard {heard:?}");
}

#[tokio::test]
async fn a_new_connection_costs_two_round_trips_and_an_old_one_one() {
    let rig = rig(delayed()).await;
    let start = Instant::now();
    let mut client = TcpStream::connect(rig.near).await.unwrap();
    client.write_all(b"a").await.unwrap();
    let (mut server, peer) = rig.listener.accept().await.unwrap();
    assert_eq!(peer.ip().to_string().rsplit('.').next(), Some("11"), "the far side sees the client's place");
    expect(&mut server, b"a").await;
    server.write_all(b"b").await.unwrap();
    expect(&mut client, b"b").await;
    let first = start.elapsed();
    assert!(first >= ONE_WAY * 4, "SYN, SYN+ACK, request, answer: {first:?}");
    let again = Instant::now();
    client.write_all(b"c").await.unwrap();
    expect(&mut server, b"c").await;
    server.write_all(b"d").await.unwrap();
    expect(&mut client, b"d").await;
    let second = again.elapsed();
    assert!(second >= ONE_WAY * 2 && second < first, "{second:?}");
}

#[tokio::test]
async fn order_is_kept_and_many_bytes_are_under_way_at_once() {
    let shape = Shape { jitter: Duration::from_millis(20), ..delayed() };
    let rig = rig(shape).await;
    let (mut client, mut server) = rig.pair().await;
    let data: Vec<u8> = (0..8_u32 << 20).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let sent = data.clone();
    let start = Instant::now();
    let writer = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });
    let mut got = Vec::new();
    timeout(SOON * 3, server.read_to_end(&mut got)).await.unwrap().unwrap();
    let took = start.elapsed();
    assert!(got == data, "{} bytes in another order", got.len());
    // One chunk of 16 KiB a round trip would take 512 round trips: 40 s.
    assert!(took < SOON, "{took:?}");
    // The half-close has passed; the other half is open.
    let mut client = writer.await.unwrap();
    server.write_all(b"still here").await.unwrap();
    expect(&mut client, b"still here").await;
}

#[tokio::test]
async fn a_partition_hangs_connections_and_connects_and_heals() {
    let rig = rig(delayed()).await;
    let (mut client, mut server) = rig.pair().await;
    client.write_all(b"before").await.unwrap();
    expect(&mut server, b"before").await;
    rig.wan.partition(0, 1, true);
    client.write_all(b"during").await.unwrap();
    server.write_all(b"answer").await.unwrap();
    let connecting = tokio::spawn(TcpStream::connect(rig.near));
    hears_nothing(&mut server).await;
    hears_nothing(&mut client).await;
    assert!(!connecting.is_finished(), "a SYN into a partition must be lost");
    assert_eq!(rig.wan.network_faults(), ["no packets pass between here and there"]);
    rig.wan.heal();
    expect(&mut server, b"during").await;
    expect(&mut client, b"answer").await;
    timeout(SOON, connecting).await.expect("the SYN is sent again").unwrap().unwrap();
}

#[tokio::test]
async fn a_place_that_rejoins_is_heard_unless_a_partition_stays() {
    let rig = rig(delayed()).await;
    let (mut client, mut server) = rig.pair().await;
    rig.wan.isolate(1);
    rig.wan.partition(0, 1, false);
    client.write_all(b"waits").await.unwrap();
    assert!(rig.wan.rejoin(1));
    assert!(!rig.wan.rejoin(1), "it was back already");
    assert_eq!((rig.wan.parted_from(0), rig.wan.parted_from(1)), (vec!["there".into()], vec!["here".into()]));
    server.write_all(b"passes").await.unwrap();
    expect(&mut client, b"passes").await;
    hears_nothing(&mut server).await;
    rig.wan.heal();
    expect(&mut server, b"waits").await;
    assert_eq!(rig.wan.parted_from(1), Vec::<String>::new());
}

#[tokio::test]
async fn a_one_way_partition_lets_the_other_way_pass() {
    let rig = rig(delayed()).await;
    let (mut client, mut server) = rig.pair().await;
    rig.wan.partition(0, 1, false);
    client.write_all(b"lost").await.unwrap();
    server.write_all(b"passes").await.unwrap();
    expect(&mut client, b"passes").await;
    hears_nothing(&mut server).await;
    rig.wan.heal();
    expect(&mut server, b"lost").await;
}

#[tokio::test]
async fn a_dark_place_is_never_heard_to_reset() {
    let rig = rig(delayed()).await;
    let (mut client, server) = rig.pair().await;
    rig.wan.set_dark(1, true);
    // The process dies: its kernel would send a reset, and refuse the next connection.
    socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    drop(rig.listener);
    let connecting = tokio::spawn(TcpStream::connect(rig.near));
    hears_nothing(&mut client).await;
    assert!(!connecting.is_finished());
    // The machine is back without that program: what was open is reset at the next byte.
    rig.wan.set_dark(1, false);
    client.write_all(b"anybody?").await.unwrap();
    let mut byte = [0];
    let heard = timeout(SOON, client.read(&mut byte)).await.expect("a reset");
    assert_eq!(heard.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let refused = timeout(SOON, connecting).await.expect("an answer").unwrap().unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_process_that_dies_in_a_living_region_is_refused_and_reset() {
    let rig = rig(delayed()).await;
    let (mut client, server) = rig.pair().await;
    drop(rig.listener);
    let refused = async {
        while TcpStream::connect(rig.near).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, refused).await.expect("the listener mirrors its target");
    socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    let mut byte = [0];
    let heard = timeout(SOON, client.read(&mut byte)).await.expect("a reset");
    assert_eq!(heard.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let gone = async {
        while rig.wan.connections() > 0 {
            tokio::task::yield_now().await
        }
    };
    timeout(SOON, gone).await.expect("no socket is left behind");
}

#[tokio::test]
async fn a_slow_link_is_slow_until_it_heals() {
    let rig = rig(delayed()).await;
    let (mut client, mut server) = rig.pair().await;
    rig.wan.slow(0, 1, Some(Duration::from_millis(600)), None, None);
    let slow = round_trip(&mut client, &mut server).await;
    assert!(slow >= Duration::from_millis(600), "{slow:?}");
    rig.wan.heal();
    let healed = round_trip(&mut client, &mut server).await;
    assert!(healed >= ONE_WAY * 2 && healed < slow, "{healed:?}");
}

async fn round_trip(client: &mut TcpStream, server: &mut TcpStream) -> Duration {
    let start = Instant::now();
    client.write_all(b"?").await.unwrap();
    expect(server, b"?").await;
    server.write_all(b"!").await.unwrap();
    expect(client, b"!").await;
    start.elapsed()
}

#[tokio::test]
async fn datagrams_are_delayed_and_lost() {
    let (_, target, near) = block();
    let echo = UdpSocket::bind(target).await.unwrap();
    let wan = wan_of(delayed(), near, target, Transport::Udp);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(near).await.unwrap();
    let mut buffer = [0; 64];
    let start = Instant::now();
    client.send(b"?").await.unwrap();
    let (bytes, peer) = timeout(SOON, echo.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!((bytes, peer.ip().to_string().ends_with(".11")), (1, true), "{peer}");
    echo.send_to(b"!", peer).await.unwrap();
    timeout(SOON, client.recv(&mut buffer)).await.unwrap().unwrap();
    assert!(start.elapsed() >= ONE_WAY * 2);
    wan.slow(0, 1, None, Some(0.5), None);
    for _ in 0..200 {
        client.send(b"x").await.unwrap();
    }
    let mut arrived = 0;
    while timeout(ONE_WAY * 10, echo.recv_from(&mut buffer)).await.is_ok() {
        arrived += 1;
    }
    assert!((50..150).contains(&arrived), "{arrived} of 200 with 50 % loss");
    wan.partition(0, 1, true);
    client.send(b"x").await.unwrap();
    assert!(timeout(ONE_WAY * 10, echo.recv_from(&mut buffer)).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_names_its_owner() {
    let (_, target, near) = block();
    let _taken = TcpListener::bind(near).await.unwrap();
    let config = WanConfig {
        places: vec![
            Place { name: "a".into(), client: near.ip() },
            Place { name: "b".into(), client: near.ip() },
        ],
        forwards: vec![Forward {
            origin: Origin::Place(0),
            to: 1,
            listen: near,
            target,
            transport: Transport::Tcp,
        }],
        ..WanConfig::default()
    };
    let error = Wan::start(config).unwrap_err().to_string();
    assert!(error.contains(&format!("(pid {})", std::process::id())) && error.contains("--lab"), "{error}");
}
