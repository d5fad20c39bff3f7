//! The whole system: brought up, used by ordinary clients, broken, recovered, killed. These tests take a
//! minute or two each, and one at a time: each needs the machine's cores for itself.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "the helpers of tests stop the test that uses them; they poll other programs, with the test's PATH"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meridian_telemetry::clock;
use serde_json::Value;

use super::tool::{meridian, other, printed, root};

const SPEC: &str = "examples/three-regions.yaml";
/// Nothing that is waited for here takes longer on the slowest machine that counts.
const PATIENCE: Duration = Duration::from_secs(120);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(super) fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = clock::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(clock::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A lab in the foreground, as in a terminal of its own. Killed if the test fails.
pub(super) struct Up {
    child: Child,
    pub(super) folder: tempfile::TempDir,
    said: Value,
}

impl Up {
    pub(super) fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL runs as another user when we are root.
        other("chmod", &["711", folder.path().to_str().unwrap()], &[]);
        let program = PathBuf::from(env!("CARGO_BIN_EXE_meridian"));
        let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let said_to = folder.path().join("said.json");
        let log = std::fs::File::create(folder.path().join("up.log")).unwrap();
        let child = Command::new(&program)
            .args(["lab", "up", SPEC, "--output", "json", "--dir"])
            .arg(folder.path().join("lab"))
            .env("PATH", path)
            .current_dir(root())
            .stdout(std::fs::File::create(&said_to).unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut up = Self { child, folder, said: Value::Null };
        up.said = until("the lab is healthy", || {
            if let Some(status) = up.child.try_wait().unwrap() {
                let log = std::fs::read_to_string(up.folder.path().join("up.log")).unwrap();
                panic!("it ended with {status}:\n{log}");
            }
            serde_json::from_str(&std::fs::read_to_string(&said_to).unwrap()).ok()
        });
        up
    }

    pub(super) fn number(&self) -> String {
        self.said["number"].to_string()
    }

    pub(super) fn region(&self, index: usize, what: &str) -> SocketAddr {
        self.said["regions"][index][what].as_str().unwrap().parse().unwrap()
    }

    /// `meridian lab COMMAND… --lab NUMBER --output json`.
    pub(super) fn lab(&self, arguments: &[&str]) -> Value {
        self.answered(arguments, 0)
    }

    fn answered(&self, arguments: &[&str], code: i32) -> Value {
        let number = self.number();
        let all = [&["lab"], arguments, &["--lab", &number, "--output", "json"]].concat();
        let text = printed(&meridian(&all), code);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
    }

    /// The lab is healthy; its exit code says so too.
    fn healthy(&self) -> bool {
        let output = meridian(&["lab", "status", "--lab", &self.number(), "--output", "json"]);
        let code = output.status.code().unwrap();
        let status: Value = serde_json::from_str(&printed(&output, code)).unwrap();
        assert_eq!(status["healthy"].as_bool(), Some(code == 0), "{status}");
        code == 0
    }

    /// `meridian lab logs` of a region's node, as it grows, into a file.
    fn follow(&self, region: &str) -> (Child, PathBuf) {
        let file = self.folder.path().join("followed.log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
        command.args(["lab", "logs", region, "-f", "-n", "0", "--lab", &self.number()]);
        command.stdout(std::fs::File::create(&file).unwrap());
        (command.spawn().unwrap(), file)
    }

    /// SQL through a gateway, by psql.
    pub(super) fn sql(&self, gateway: SocketAddr, sql: &str) -> String {
        let database = &self.said["databases"][0];
        let password = std::fs::read_to_string(database["app_password_file"].as_str().unwrap()).unwrap();
        let (host, port) = (gateway.ip().to_string(), gateway.port().to_string());
        let user = database["app_user"].as_str().unwrap();
        let (dbname, connection) =
            (database["dbname"].as_str().unwrap(), ["-h", &host, "-p", &port, "-U", user]);
        let arguments = [&connection[..], &[dbname, "-X", "-A", "-t", "-q", "-c", sql]].concat();
        other("psql", &arguments, &[("PGPASSWORD", password.trim())]).trim().to_owned()
    }

    fn processes(&self) -> Vec<u32> {
        processes_under(&self.folder.path().join("lab"))
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes that carry the lab's mark of a region under `folder`.
fn processes_under(folder: &Path) -> Vec<u32> {
    let folder = folder.to_str().unwrap().as_bytes();
    let carries = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(folder.len()).any(|part| part == folder)
    };
    let all = std::fs::read_dir("/proc").unwrap();
    let pids = all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id()).filter(carries).collect()
}

#[test]
fn ordinary_clients_use_a_system_that_leaves_nothing_behind() {
    let _alone = alone();
    let mut up = Up::begin();

    // DNS: dig finds the region of its network; curl is served by the edge over HTTP and over TLS.
    let dns = up.region(0, "dns");
    let (at, port) = (format!("@{}", dns.ip()), dns.port().to_string());
    let dig = |options: &[&str]| {
        other("dig", &[&[&at, "-p", &port, "+short", "shop.example.com"], options].concat(), &[])
    };
    let public = up.said["regions"][1]["public"].as_str().unwrap().to_owned();
    let european = up.said["populations"][1]["network"].as_str().unwrap().to_owned();
    assert_eq!(dig(&[&format!("+subnet={european}")]).lines().next(), Some(public.as_str()));
    assert_eq!(dig(&["+tcp"]).lines().count(), 2, "the nearest and one to fall back to");
    let edge = format!("http://{}/health", up.region(1, "edge_http"));
    assert!(other("curl", &["-sSf", "-H", "host: shop.example.com", &edge], &[]).contains("ok"));
    let tls = up.region(1, "edge_https");
    let (resolve, url) = (
        format!("shop.example.com:{}:{}", tls.port(), tls.ip()),
        format!("https://shop.example.com:{}/health", tls.port()),
    );
    let ca = up.said["ca_file"].as_str().unwrap().to_owned();
    let curl = [
        "-sSf",
        "--http2",
        "-o",
        "/dev/null",
        "-w",
        "%{http_version}",
        "--cacert",
        &ca,
        "--resolve",
        &resolve,
        &url,
    ];
    assert_eq!(other("curl", &curl, &[]), "2");

    // psql in Asia writes to the writer in America, and reads what it wrote at its own replica.
    up.sql(
        up.region(2, "gateway_write"),
        "create table seen (id int primary key); insert into seen values (7)",
    );
    assert_eq!(up.sql(up.region(0, "gateway_write"), "select id from seen"), "7");
    let replica = up.region(2, "gateway_read");
    until("the row is at the replica", || {
        let there = up.sql(replica, "select count(*) from pg_tables where tablename = 'seen'") == "1";
        (there && up.sql(replica, "select id, pg_is_in_recovery() from seen") == "7|t").then_some(())
    });

    // The status says who writes, with the evidence; metrics are on the control port.
    until("all is healthy", || up.healthy().then_some(()));
    let told = printed(&meridian(&["status", "--lab", &up.number(), "--output", "json"]), 0);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told.as_array().map(Vec::len), Some(3), "every region answers: {told}");
    let metrics = other("curl", &["-sSf", &format!("http://{}/metrics", up.region(0, "control"))], &[]);
    assert!(metrics.contains("meridian_lease_renewals"), "{metrics}");

    nothing_stands_in_the_way_of_a_recovery(&up);
    a_plan_is_rehearsed_and_production_does_not_notice(&up);
    a_crash_of_postgres_is_mended(&up);
    assert_eq!(up.sql(up.region(1, "gateway_write"), "select id, pg_is_in_recovery() from seen"), "7|f");
    a_dead_member_of_etcd_is_told_by_name(&up);

    let number = up.number();
    // What servers share beside their buffers is a file with the data, not in /dev/shm.
    let shared = up.region(0, "gateway_write");
    assert_eq!(up.sql(shared, "show dynamic_shared_memory_type"), "mmap");

    assert!(up.processes().len() > 10, "nodes, etcd, PostgreSQL and shops run");
    up.lab(&["kill", "us-east-1"]);

    // Killed without a word: nothing that it has started outlives it.
    assert!(!up.processes().is_empty(), "two regions run");
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    until("nothing is left", || up.processes().is_empty().then_some(()));
    shared_memory_goes_with_the_data(&up, &number);
}

/// All nodes have looked at what they have, and the checks hold.
fn nothing_stands_in_the_way_of_a_recovery(up: &Up) {
    let number = up.number();
    let told = until("every region has told what it has, and it is sound", || {
        let output = meridian(&["doctor", "--lab", &number, "--output", "json"]);
        let told: Value = serde_json::from_slice(&output.stdout).ok()?;
        let all = told["looked"].as_array().is_some_and(|looked| looked.len() == 3);
        // All members run: that a look is from before is no failure.
        assert!(!told.to_string().contains("member-unseen"), "{told}");
        assert_eq!(output.status.code(), Some(i32::from(told["sound"] != true)), "{told}");
        (all && told["sound"] == true).then_some(told)
    });
    assert!(told["silent"].as_object().unwrap().is_empty(), "{told}");
    let live = printed(&meridian(&["plan", "check", "--lab", &number, "--output", "json"]), 0);
    let live: Value = serde_json::from_str(&live).unwrap();
    assert!(live["live"].is_array(), "{live}");
    printed(&meridian(&["doctor", "--lab", &number, "--region", "nowhere"]), 2);
}

/// A standby's clone is promoted, the application runs on it, and nothing is left.
fn a_plan_is_rehearsed_and_production_does_not_notice(up: &Up) {
    let number = up.number();
    let told = printed(&meridian(&["plan", "rehearse", "--lab", &number, "--output", "json"]), 0);
    let told: Value = serde_json::from_str(&told).unwrap();
    let state = |name: &str| {
        let steps = told["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("{name}: {told}"));
        (step["state"].as_str().unwrap().to_owned(), step["detail"].as_str().unwrap_or_default().to_owned())
    };
    for name in ["clone", "start", "promote", "scale", "verify", "remove"] {
        assert_eq!(state(name).0, "done", "{told}");
    }
    assert!(state("scale").1.contains("2 copies of shop"), "{told}");
    for name in ["fence", "repoint", "shift", "dns", "protect"] {
        assert_eq!(state(name).0, "skipped", "{told}");
    }
    let left = &told["left"];
    assert_eq!((&left["processes"], &left["folder"]), (&Value::from(0), &Value::from(false)), "{told}");
    assert_eq!(of_rehearsals(&up.folder.path().join("lab")), 0, "what was started has ended");
    let tables = "select count(*) from pg_tables where tablename like 'meridian_rehears%'";
    assert_eq!(up.sql(up.region(0, "gateway_write"), tables), "0");
    printed(&meridian(&["plan", "rehearse", "--lab", &number, "--to", "us-east-1"]), 1);
}

/// Processes whose command names the folder of a rehearsal below this one.
fn of_rehearsals(folder: &Path) -> usize {
    let folder = folder.to_str().unwrap();
    let commands = std::fs::read_dir("/proc").unwrap().flatten();
    let commands = commands.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let words = commands.map(|command| String::from_utf8_lossy(&command).into_owned());
    words.filter(|words| words.contains(folder) && words.contains("meridian-rehearsal-")).count()
}

/// In the same region, and nothing is lost; the followed log tells of it.
fn a_crash_of_postgres_is_mended(up: &Up) {
    let (mut following, followed) = up.follow("us-east-1");
    up.lab(&["kill", "us-east-1", "--part", "postgres"]);
    until("the log of its node tells of it", || {
        assert_eq!(following.try_wait().unwrap(), None, "it goes on until somebody ends it");
        std::fs::metadata(&followed).is_ok_and(|about| about.len() > 0).then_some(())
    });
    following.kill().unwrap();
    following.wait().unwrap();
    until("the writer is back", || up.healthy().then_some(()));
}

/// And nobody else gets this folder.
fn a_dead_member_of_etcd_is_told_by_name(up: &Up) {
    up.lab(&["kill", "eu-central-1", "--part", "etcd"]);
    let status = up.answered(&["status"], 1);
    assert_eq!(status["regions"][1]["condition"], "etcd killed", "{status}");
    assert_eq!(status["missing"][0], "eu-central-1: etcd killed", "{status}");
    let output = meridian(&["lab", "up", SPEC, "--dir", up.folder.path().join("lab").to_str().unwrap()]);
    printed(&output, 1);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(&format!("is in use by lab {}", up.number())), "{told}");
    what_runs_already_is_told(up, &told);
    up.lab(&["restore", "eu-central-1"]);
    until("all members are back", || up.healthy().then_some(()));
}

/// Before a second lab, with how to end the first; before a drill, whose figures it would disturb.
fn what_runs_already_is_told(up: &Up, by_second: &str) {
    let number = up.number();
    let end = format!("meridian lab down --lab {number}");
    assert!(by_second.contains("a lab of this very spec, runs already in"), "{by_second}");
    assert!(by_second.contains(&end), "{by_second}");
    let output = meridian(&["drill", "run", "drills/blip.yaml", "--lab", &number]);
    printed(&output, 1);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("will disturb the figures") && told.contains(&end), "{told}");
    let output = meridian(&["lab", "logs", "mars", "--lab", &number]);
    printed(&output, 2);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("no region `mars`; there are: ap-southeast-1, eu-central-1, us-east-1"), "{told}");
}

/// Its server was killed, and its data is removed: with it goes the memory that it had shared.
fn shared_memory_goes_with_the_data(up: &Up, number: &str) {
    let data = std::fs::metadata(up.folder.path().join("lab/us-east-1/postgres/orders")).unwrap();
    // A key is the inode of the data directory, cut to 32 bits with a sign.
    let inode = std::os::unix::fs::MetadataExt::ino(&data) & u64::from(u32::MAX);
    let key = u32::try_from(inode).unwrap().cast_signed().to_string();
    let left = || {
        let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
        table.lines().filter(|line| line.split_whitespace().next() == Some(&key)).count()
    };
    assert_eq!(left(), 1, "a server that was killed leaves it");
    printed(&meridian(&["lab", "down", "--lab", number, "--purge"]), 0);
    assert_eq!(left(), 0);
}

#[test]
fn a_lost_region_is_recovered_and_the_loss_is_counted() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let arguments =
        ["drill", "run", "drills/region-loss.yaml", "--output", "json", "--report", report.to_str().unwrap()];
    let output = meridian(&arguments);
    let drill: Value = serde_json::from_str(&printed(&output, 0)).unwrap();
    assert_eq!((&drill["passed"], &drill["max_concurrent_writers"]), (&Value::from(true), &Value::from(1)));
    assert!(drill["acknowledged_writes"].as_u64().unwrap() > 300, "{drill}");
    assert!(drill["rto_write_seconds"].as_f64().unwrap() > 3.0, "no writer begins before the lease is over");
    let phases = drill["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 11);
    assert!(phases.iter().all(|phase| phase["after_fault_seconds"].is_number()), "{phases:?}");
    let progress = String::from_utf8_lossy(&output.stderr).into_owned();
    let place = progress.lines().find_map(|line| line.split_once(" starts in ")).expect("it says where").1;
    assert!(place.contains("drill-region-loss-") && !Path::new(place).exists(), "a drill removes its data");
    let html = std::fs::read_to_string(report.join("report.html")).unwrap();
    assert!(
        html.contains("<svg") && !html.contains("src=\"http") && !html.contains("href=\"http"),
        "it works offline"
    );
}
