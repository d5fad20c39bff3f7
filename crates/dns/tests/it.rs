//! The name server on real sockets: as `dig` sees it, and as an ill-behaved stranger does.
//!
//! `dig` comes with Debian's bind9-dnsutils.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a broken expectation must stop the test, in helpers too"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use meridian_dns::{Config, Error, Server};
use meridian_model::health::Health;
use meridian_steering::View;
use meridian_steering::fixture::{self, EU, US};
use meridian_telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

struct Running {
    address: SocketAddr,
    views: watch::Sender<Arc<View>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), Error>>,
    metrics: Metrics,
}

fn view(healths: &[(&str, Health)]) -> Arc<View> {
    let system = fixture::system();
    let snapshot = fixture::snapshot(&system, healths);
    View::new(Arc::new(system), fixture::name(US), Arc::new(snapshot))
}

async fn bind(listen: SocketAddr) -> Result<(Server, watch::Sender<Arc<View>>, Metrics), Error> {
    let metrics = Metrics::new(None);
    let (views, seen) = watch::channel(view(&[]));
    let server = meridian_dns::bind(Config { listen, workers: 2 }, seen, metrics.clone()).await?;
    Ok((server, views, metrics))
}

async fn start() -> Running {
    let (server, views, metrics) = bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = server.local_addresses()[0];
    let (stop, stopped) = watch::channel(false);
    Running { address, views, stop, task: tokio::spawn(server.serve(stopped)), metrics }
}

impl Running {
    async fn dig(&self, words: &[&str]) -> String {
        let mut command = tokio::process::Command::new("dig");
        command.arg(format!("@{}", self.address.ip())).arg("-p").arg(self.address.port().to_string());
        command.args(["+tries=1", "+time=5"]).args(words).kill_on_drop(true);
        let output = command.output().await.expect("dig is needed: apt-get install bind9-dnsutils");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn short(&self, words: &[&str]) -> Vec<String> {
        let all = [words, &["+short"]].concat();
        self.dig(&all).await.lines().map(str::to_owned).collect()
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        timeout(Duration::from_secs(10), self.task).await.expect("it stops in time").unwrap().unwrap();
    }
}

/// `shop.example.com A`, without EDNS.
fn query(id: u16) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(b"\x04shop\x07example\x03com\0\0\x01\0\x01");
    packet
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&u16::try_from(packet.len()).unwrap().to_be_bytes()[..], packet].concat()
}

#[tokio::test]
async fn dig_understands_every_kind_of_answer() {
    let server = start().await;
    let europe = ["shop.example.com", "A", "+subnet=10.2.0.0/24"];
    for transport in ["+notcp", "+tcp"] {
        let words = [&europe[..], &[transport]].concat();
        assert_eq!(server.short(&words).await, ["192.0.2.2", "192.0.2.1"], "{transport}");
    }
    let whole = server.dig(&europe).await;
    assert!(whole.contains("status: NOERROR") && whole.contains("flags: qr aa rd;"), "{whole}");
    assert!(whole.contains("CLIENT-SUBNET: 10.2.0.0/24/16"), "{whole}");
    assert!(whole.contains("udp: 1232"), "{whole}");
    assert!(!whole.contains("WARNING: Message"), "{whole}");

    let asia = ["shop.example.com", "AAAA", "+subnet=fd00:3::/48"];
    assert_eq!(server.short(&asia).await, ["2001:db8::3", "2001:db8::2"]);
    let plain = server.dig(&["shop.example.com", "+noedns"]).await;
    assert!(plain.contains("ANSWER: 2") && !plain.contains("EDNS"), "{plain}");

    let missing = server.dig(&["nothing.example.com"]).await;
    assert!(missing.contains("status: NXDOMAIN") && missing.contains("SOA\tns1.example.com."), "{missing}");
    let no_data = server.dig(&["shop.example.com", "TXT"]).await;
    assert!(no_data.contains("status: NOERROR") && no_data.contains("ANSWER: 0, AUTHORITY: 1"), "{no_data}");
    assert!(server.dig(&["example.org"]).await.contains("status: REFUSED"));
    assert!(server.dig(&["+opcode=notify", "example.com"]).await.contains("status: NOTIMP"));
    assert!(server.dig(&["+edns=1", "+noednsneg", "example.com"]).await.contains("status: BADVERS"));
    assert!(server.dig(&["example.com", "AXFR"]).await.contains("Transfer failed"));
    let servers = server.short(&["example.com", "NS"]).await;
    assert_eq!(servers, ["ns1.example.com.", "ns2.example.com.", "ns3.example.com."]);
    let cased = server.dig(&["ShOp.eXample.COM"]).await;
    assert!(cased.contains(";ShOp.eXample.COM."), "{cased}");
    server.stop().await;
}

#[tokio::test]
async fn a_new_view_changes_the_answers_and_the_serial() {
    let server = start().await;
    let europe = ["shop.example.com", "+subnet=10.2.0.0/24"];
    assert_eq!(server.short(&europe).await[0], "192.0.2.2");
    server.views.send_replace(view(&[(EU, Health::Down)]));
    let changed = async {
        while server.short(&europe).await[0] != "192.0.2.1" {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), changed).await.expect("the answer follows the view");
    let counted = server.metrics.render();
    assert!(counted.contains(r#"meridian_dns_answers_total{transport="udp",code="answer"}"#), "{counted}");
    server.stop().await;
}

#[tokio::test]
async fn many_queries_on_one_connection_are_answered_in_order() {
    let server = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let all: Vec<u8> = (0..200).flat_map(|id| framed(&query(id))).collect();
    // In odd pieces, so that messages arrive in parts.
    let (mut read, mut write) = stream.split();
    let send = async {
        for piece in all.chunks(33) {
            write.write_all(piece).await.unwrap();
        }
    };
    let receive = async {
        for id in 0..200 {
            let length = read.read_u16().await.unwrap();
            let mut answer = vec![0; usize::from(length)];
            read.read_exact(&mut answer).await.unwrap();
            assert_eq!(u16::from_be_bytes([answer[0], answer[1]]), id);
        }
    };
    timeout(Duration::from_secs(10), async { tokio::join!(send, receive) }).await.expect("all are answered");
    server.stop().await;
}

#[tokio::test]
async fn rubbish_closes_its_own_connection_only() {
    let server = start().await;
    let mut rude = TcpStream::connect(server.address).await.unwrap();
    rude.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    rude.write_all(&[0; 20_000]).await.ok();
    let mut polite = TcpStream::connect(server.address).await.unwrap();
    polite.write_all(&framed(&query(5))).await.unwrap();
    let length = timeout(Duration::from_secs(5), polite.read_u16()).await.unwrap().unwrap();
    assert!(length > 12);
    let closed = timeout(Duration::from_secs(5), async {
        let mut bytes = Vec::new();
        rude.read_to_end(&mut bytes).await
    });
    assert!(closed.await.is_ok(), "the rude one was not closed");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(server.address).await.unwrap();
    for noise in [&[][..], &[0xff; 3], &[0xff; 512], &query(1)[..20]] {
        socket.send(noise).await.unwrap();
    }
    socket.send(&query(9)).await.unwrap();
    let found = timeout(Duration::from_secs(5), async {
        let mut answer = [0; 512];
        loop {
            let length = socket.recv(&mut answer).await.unwrap();
            if answer[..2] == [0, 9] {
                return length;
            }
        }
    });
    assert!(found.await.expect("the sound query is answered") > 30);
    server.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_told_with_what_to_do() {
    let server = start().await;
    let Err(error) = bind(server.address).await.map(|_| ()) else { panic!("two servers share an address") };
    let text = error.to_string();
    assert!(text.contains(&server.address.to_string()) && text.contains("in use"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn a_stop_ends_idle_connections_at_once() {
    let server = start().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(&framed(&query(1))).await.unwrap();
    let length = idle.read_u16().await.unwrap();
    let mut answer = vec![0; usize::from(length)];
    idle.read_exact(&mut answer).await.unwrap();
    server.stop().await;
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
}
