//! A lab with real etcd members over the WAN, without nodes.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the helpers of tests stop the test that uses them, as tests do"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use meridian_lab::process::{Command, MARK, Spawner, find_program};
use meridian_lab::{Fault, FaultPart, Lab, LabError, LabOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::system::{name, three_regions};

const HEALTHY_WITHIN: Duration = Duration::from_secs(40);

fn options(dir: &Path) -> LabOptions {
    LabOptions { dir: Some(dir.to_owned()), without_nodes: true, seed: 1, ..LabOptions::default() }
}

async fn lab(topology: &str, dir: &Path) -> Lab {
    let lab = Lab::up(&three_regions(topology), options(dir)).await.unwrap();
    lab.wait_healthy(HEALTHY_WITHIN).await.unwrap();
    lab
}

/// Puts a key through the member at `etcd`; how long it took, or why not.
async fn put(etcd: SocketAddr, within: Duration) -> Result<Duration, String> {
    let body = r#"{"key":"Zm9v","value":"YmFy"}"#;
    let request = format!(
        "POST /v3/kv/put HTTP/1.1\r\nhost: etcd\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let start = Instant::now();
    let exchange = async {
        let mut stream = TcpStream::connect(etcd).await.map_err(|e| e.to_string())?;
        stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(|e| e.to_string())?;
        if answer.starts_with("HTTP/1.1 200") { Ok(start.elapsed()) } else { Err(answer) }
    };
    timeout(within, exchange).await.map_err(|_| "no answer".to_owned())?
}

/// Tries until a put succeeds.
async fn until_writable(etcd: SocketAddr) -> Duration {
    let trying = async {
        loop {
            if let Ok(took) = put(etcd, Duration::from_secs(3)).await {
                return took;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(HEALTHY_WITHIN, trying).await.expect("etcd never took a write")
}

fn etcd_of(lab: &Lab, region: &str) -> SocketAddr {
    lab.addresses().regions.iter().find(|r| r.region.as_str() == region).unwrap().etcd
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_feels_distance_isolation_death_and_return() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab("itlab", folder.path()).await;
    let (us, eu, ap) = ("us-east-1", "eu-central-1", "ap-southeast-1");

    // A commit needs the leader and its nearest follower: no pair is closer than 80 ms.
    let took = until_writable(etcd_of(&lab, us)).await;
    assert!(took >= Duration::from_millis(80), "no WAN between the members? {took:?}");

    // Whose connection it is, is known: only the isolated member is cut off.
    lab.fault(Fault::Isolate { region: name(eu) }).await.unwrap();
    until_writable(etcd_of(&lab, us)).await;
    let cut_off = put(etcd_of(&lab, eu), Duration::from_secs(2)).await;
    assert!(cut_off.is_err(), "an isolated member took a write: {cut_off:?}");
    lab.fault(Fault::Partition { from: name(eu), to: name(ap), one_way: false }).await.unwrap();
    let back = lab.restore(&name(eu)).await.unwrap();
    assert_eq!(
        back.detail,
        "is isolated no more, eu-central-1 is still cut off from ap-southeast-1: meridian lab heal"
    );
    assert_eq!(lab.fault(Fault::Heal).await.unwrap().detail, "the network is whole");
    until_writable(etcd_of(&lab, eu)).await;
    assert_eq!(lab.restore(&name(eu)).await.unwrap().detail, "nothing was to be restored");

    let killed = lab.fault(Fault::Kill { region: name(us), part: None }).await.unwrap();
    assert!(killed.detail.starts_with("killed 1 process,"), "{}", killed.detail);
    assert!(killed.done_at >= killed.at);
    until_writable(etcd_of(&lab, ap)).await;
    let status = lab.status().await;
    assert_eq!((status.regions[0].condition.as_str(), status.regions[0].processes), ("killed", 0));
    assert_eq!(status.network_faults, ["us-east-1 is dark"]);
    let healed = lab.fault(Fault::Heal).await.unwrap().detail;
    assert_eq!(healed, "us-east-1 stays dark because it was killed: meridian lab restore us-east-1");
    lab.restore(&name(us)).await.unwrap();
    lab.wait_healthy(HEALTHY_WITHIN).await.unwrap();

    let frozen = lab.fault(Fault::Freeze { region: name(ap), part: Some(FaultPart::Etcd) }).await.unwrap();
    assert_eq!(frozen.detail, "stopped 1 process");
    assert!(put(etcd_of(&lab, ap), Duration::from_secs(2)).await.is_err(), "a frozen member answers nothing");
    assert_eq!(lab.status().await.regions[2].condition, "etcd frozen");
    let again = lab.fault(Fault::Freeze { region: name(ap), part: Some(FaultPart::Etcd) }).await.unwrap();
    assert_eq!(again.detail, "is frozen already");
    lab.restore(&name(ap)).await.unwrap();
    lab.wait_healthy(HEALTHY_WITHIN).await.unwrap();

    let said: Vec<String> = lab.events().into_iter().map(|e| e.what).collect();
    assert!(said.iter().any(|w| w.starts_with("kill us-east-1: killed")), "{said:?}");
    lab.shutdown(true).await.unwrap();
    assert!(!folder.path().join("made-for").exists(), "purged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_labs_run_side_by_side_and_a_second_start_finds_its_data() {
    let [one, two, three] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let first = lab("itone", one.path()).await;
    let second = lab("ittwo", two.path()).await;
    assert_ne!(first.number(), second.number());
    second.shutdown(false).await.unwrap();
    let taken = LabOptions { number: Some(first.number()), ..options(three.path()) };
    let error = Lab::up(&three_regions("ittwo"), taken).await.unwrap_err();
    assert!(matches!(error, LabError::NumberTaken { .. }), "{error}");
    let number = second.number();
    drop(second);
    let same = LabOptions { number: Some(number), ..options(two.path()) };
    let again = Lab::up(&three_regions("ittwo"), same).await.unwrap();
    again.wait_healthy(HEALTHY_WITHIN).await.unwrap();
    let identities: Vec<_> = again.status().await.regions.iter().map(|r| r.processes).collect();
    assert_eq!(identities, [1, 1, 1]);
    let error = Lab::up(&three_regions("ittwo"), options(two.path())).await.unwrap_err().to_string();
    assert!(error.contains(&format!("is in use by lab {number}")), "{error}");
    let goes_on = again.events().iter().any(|e| e.what.contains("the data of an earlier run"));
    assert!(goes_on, "{:?}", again.events());
    again.shutdown(false).await.unwrap();
    drop(again);
    let mut other = three_regions("ittwo");
    other.databases[0].name = name("people");
    let error = Lab::up(&other, options(two.path())).await.unwrap_err().to_string();
    assert!(error.contains("another spec") && error.contains("people"), "{error}");
    first.shutdown(true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_interrupted_lab_has_left_is_ended_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let region = folder.path().join("us-east-1");
    std::fs::create_dir(&region).unwrap();
    let spawner = Spawner::new().unwrap();
    let left = spawner.spawn(Command {
        program: find_program("sleep", "").unwrap(),
        arguments: vec!["1000".to_owned()],
        environment: vec![(MARK.to_owned(), region.display().to_string())],
        folder: region.clone(),
        log: region.join("left.log"),
    });
    let left = left.await.unwrap();
    let state = r#"{"number":99,"lab":{"pid":1,"started":0},"processes":[]}"#;
    std::fs::write(folder.path().join("lab.json"), state).unwrap();
    let marked = || {
        let folder = folder.path().to_owned();
        meridian_lab::process::Territory { folder, roots: Vec::new() }.processes().len()
    };
    let found = async {
        while marked() == 0 {
            tokio::task::yield_now().await
        }
    };
    timeout(HEALTHY_WITHIN, found).await.unwrap();
    let lab = Lab::up(&three_regions("itleft"), options(folder.path())).await.unwrap();
    assert_eq!(left.wait().await, "signal 9");
    lab.shutdown(true).await.unwrap();
}

#[tokio::test]
async fn nonsense_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::up(&three_regions("itbad"), options(folder.path())).await.unwrap();
    let error = lab.fault(Fault::Isolate { region: name("mars") }).await.unwrap_err().to_string();
    assert_eq!(error, "there is no region `mars`; there are: us-east-1, eu-central-1, ap-southeast-1");
    let us = || name("us-east-1");
    let error =
        lab.fault(Fault::Partition { from: us(), to: us(), one_way: false }).await.unwrap_err().to_string();
    assert!(error.contains("no link to itself"), "{error}");
    let error = lab.fault(Fault::Kill { region: us(), part: Some(FaultPart::Postgres) }).await.unwrap_err();
    assert!(error.to_string().contains("no postgres runs in us-east-1"), "{error}");
    lab.shutdown(true).await.unwrap();
}
