//! Real members of etcd as child processes, and waiting for things to come true.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use meridian_coordination::{Etcd, Store as _, Timeouts};
use meridian_telemetry::Metrics;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Members of one etcd; killed when dropped.
pub(crate) struct Cluster {
    members: Vec<Process>,
    _data: TempDir,
}

struct Process {
    arguments: Vec<String>,
    address: Ipv4Addr,
    child: Option<Child>,
}

impl Cluster {
    /// Starts `size` members and waits until they agree.
    pub(crate) async fn start(size: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let addresses: Vec<_> = (0..size).map(|_| free_address()).collect();
        let member = |n: usize, a: &Ipv4Addr| format!("m{n}=http://{a}:2380");
        let all: Vec<_> = addresses.iter().enumerate().map(|(n, a)| member(n, a)).collect();
        let all = all.join(",");
        let members = addresses.iter().enumerate().map(|(n, address)| {
            let folder = data.path().join(format!("m{n}"));
            Process {
                arguments: arguments(n, *address, folder.to_str().unwrap(), &all),
                address: *address,
                child: None,
            }
        });
        let mut cluster = Self { members: members.collect(), _data: data };
        for n in 0..size {
            cluster.start_member(n);
        }
        let etcd = cluster.client();
        eventually("etcd answers", async || etcd.list("/").await.ok()).await;
        cluster
    }

    /// Starts a member that was killed.
    pub(crate) fn start_member(&mut self, n: usize) {
        let member = &mut self.members[n];
        // Dies with this thread, also when the test is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "etcd"]).args(&member.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        member.child = Some(command.spawn().expect("setpriv (util-linux) is installed"));
    }

    /// Kills a member, as a power cut would.
    pub(crate) fn kill(&mut self, n: usize) {
        if let Some(mut child) = self.members[n].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops a member's clock: connections stay, nothing is answered.
    pub(crate) fn freeze(&self, n: usize) {
        self.signal(n, Signal::STOP);
    }

    /// Lets a frozen member go on.
    pub(crate) fn thaw(&self, n: usize) {
        self.signal(n, Signal::CONT);
    }

    fn signal(&self, n: usize, signal: Signal) {
        let child = self.members[n].child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    pub(crate) fn endpoint(&self, n: usize) -> String {
        format!("http://{}:2379", self.members[n].address)
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        (0..self.members.len()).map(|n| self.endpoint(n)).collect()
    }

    /// A client that prefers member 0.
    pub(crate) fn client(&self) -> Etcd {
        client(&self.endpoints())
    }

    /// The member that leads.
    pub(crate) async fn leader(&self) -> usize {
        let etcd = self.client();
        let leads = async || {
            let all = etcd.status().await;
            all.iter()
                .position(|m| m.state.as_ref().is_ok_and(meridian_coordination::etcd::MemberState::leads))
        };
        eventually("somebody leads", leads).await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for n in 0..self.members.len() {
            self.kill(n);
        }
    }
}

pub(crate) fn client(endpoints: &[String]) -> Etcd {
    Etcd::connect(endpoints, Timeouts::default(), Metrics::new(None)).unwrap()
}

/// Asks again until there is an answer; fails after half a minute.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        loop {
            pace.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, asking).await.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"))
}

fn arguments(n: usize, address: Ipv4Addr, folder: &str, all: &str) -> Vec<String> {
    let (client, peer) = (format!("http://{address}:2379"), format!("http://{address}:2380"));
    let name = format!("m{n}");
    [
        ("name", name.as_str()),
        ("data-dir", folder),
        ("listen-client-urls", &client),
        ("advertise-client-urls", &client),
        ("listen-peer-urls", &peer),
        ("initial-advertise-peer-urls", &peer),
        ("initial-cluster", all),
        ("heartbeat-interval", "100"),
        ("election-timeout", "1000"),
        ("logger", "zap"),
        ("log-level", "error"),
    ]
    .iter()
    .map(|(option, value)| format!("--{option}={value}"))
    .collect()
}

/// An address of 127.251.0.0/16 to 127.254.0.0/16 that nobody uses; labs take 127.10 to 127.250.
fn free_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let base = (std::process::id() % 0x400) << 8;
    loop {
        let host = base + 1 + NEXT.fetch_add(1, Ordering::Relaxed) % 250;
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 251, 0, 0)) + host);
        if TcpListener::bind((address, 2379)).is_ok() && TcpListener::bind((address, 2380)).is_ok() {
            return address;
        }
    }
}
