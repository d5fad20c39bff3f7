//! What the lab sees of its regions from outside, through each node's `GET /v1/status`.
//!
//! The answer is read leniently, as JSON: a lab must still show something when a node of another version,
//! or half of one, answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use meridian_model::group::DatabaseStatus;
use meridian_model::run::{Run, RunKind};
use meridian_model::{Epoch, GroupName, Lsn, Name, RegionName, System, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpStream;

/// The whole lab at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabStatus {
    /// The name of the topology.
    pub name: String,
    /// The number of the lab: the second octet of its addresses.
    pub number: u8,
    /// Its state folder.
    pub dir: std::path::PathBuf,
    /// When, by the wall clock.
    pub at: Timestamp,
    /// Everything that should work does.
    pub healthy: bool,
    /// What is missing, one sentence each, the gravest first.
    pub missing: Vec<String>,
    /// What holds failovers back now, and for how long more, one sentence each.
    pub held_back: Vec<String>,
    /// The regions, in the order of the spec.
    pub regions: Vec<RegionStatus>,
    /// Faults on the network now, one sentence each.
    pub network_faults: Vec<String>,
}

/// One region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionStatus {
    /// Which.
    pub region: RegionName,
    /// `running`, or what the lab did to it: `killed`, `frozen`, `etcd killed`, `node frozen`.
    pub condition: String,
    /// Processes that belong to it.
    pub processes: usize,
    /// The node answered; its whole answer.
    pub node: Option<Value>,
    /// What most nodes hold it to be: `up`, `down`, `unknown`.
    pub verdict: String,
    /// Each group that it is a member of.
    pub groups: Vec<GroupRow>,
}

/// One database member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Which group.
    pub group: GroupName,
    /// `primary`, `standby`, …
    pub role: String,
    /// The epoch that it knows.
    pub epoch: u64,
    /// Who writes, as this node knows.
    pub writer: Option<RegionName>,
    /// Why nobody does.
    pub reason: String,
    /// A standby that receives, or a primary.
    pub streaming: bool,
    /// How far behind, in milliseconds; it counts on while nothing is heard from the upstream.
    pub lag_ms: Option<u64>,
    /// The same for people: how far behind, or for how long nothing was heard.
    pub lag: Option<String>,
    /// The log position, as text.
    pub lsn: String,
}

/// The longest a node is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// The largest answer that is read.
const ANSWER_MAX: usize = 8 << 20;

/// What a node answers to `GET path`; the error is a sentence.
pub(crate) async fn ask(address: SocketAddr, path: &str, secret: &str) -> Result<Value, String> {
    match tokio::time::timeout(ANSWER_WITHIN, get(address, path, secret)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("{address} does not answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}

async fn get(address: SocketAddr, path: &str, secret: &str) -> Result<Value, String> {
    let stream = TcpStream::connect(address).await.map_err(|e| format!("{address}: {e}"))?;
    let wrong = |e: hyper::Error| format!("{address}: {e}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
    let request = http::Request::get(path)
        .header(http::header::HOST, address.to_string())
        .header(http::header::AUTHORIZATION, format!("Bearer {secret}"))
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(wrong)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|e| format!("{address}: {e}"))?.to_bytes();
        if !status.is_success() {
            return Err(format!("{address} answers {status}"));
        }
        serde_json::from_slice(&body).map_err(|e| format!("{address} does not answer JSON: {e}"))
    };
    tokio::select! {
        answer = exchange => answer,
        ended = connection => Err(ended.err().map_or_else(|| "it closed".to_owned(), |e| e.to_string())),
    }
}

/// One text field of an answer.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The items of one list of an answer.
fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A region from what its node answered, if it did.
pub(crate) fn region_status(
    region: &RegionName,
    condition: &str,
    processes: usize,
    node: Option<Value>,
) -> RegionStatus {
    let groups = node.iter().flat_map(|n| list(n, "groups")).filter_map(group_row).collect();
    RegionStatus {
        region: region.clone(),
        condition: condition.to_owned(),
        processes,
        verdict: "unknown".to_owned(),
        groups,
        node,
    }
}

fn group_row(group: &Value) -> Option<GroupRow> {
    let database = group.get("database").unwrap_or(&Value::Null);
    let lsn = database.pointer("/received/lsn").and_then(Value::as_u64);
    Some(GroupRow {
        group: Name::new(text(group, "group")).ok()?,
        role: text(database, "role").to_owned(),
        epoch: group.get("epoch").and_then(Value::as_u64).unwrap_or(0),
        writer: Name::new(text(group, "writer")).ok(),
        reason: text(group, "reason").to_owned(),
        streaming: database.get("streaming").and_then(Value::as_bool).unwrap_or(false),
        lag_ms: database.get("replay_lag_ms").and_then(Value::as_u64),
        lag: DatabaseStatus::deserialize(database).ok().and_then(|d| d.lag()).map(|lag| lag.to_string()),
        lsn: lsn.map(|l| Lsn(l).to_string()).unwrap_or_default(),
    })
}

/// What most nodes hold each region to be; the worse one of a tie.
pub(crate) fn settle_verdicts(regions: &mut [RegionStatus]) {
    for i in 0..regions.len() {
        let Some(name) = regions.get(i).map(|r| r.region.clone()) else { continue };
        let said: Vec<&str> = regions
            .iter()
            .filter_map(|r| r.node.as_ref())
            .flat_map(|n| list(n, "verdicts"))
            .filter(|v| text(v, "region") == name.as_str())
            .map(|v| text(v, "health"))
            .collect();
        let count = |word: &str| said.iter().filter(|s| **s == word).count();
        let verdict =
            ["down", "unknown", "up"].into_iter().rev().max_by_key(|w| count(w)).filter(|w| count(w) > 0);
        if let Some(region) = regions.get_mut(i) {
            verdict.unwrap_or("unknown").clone_into(&mut region.verdict);
        }
    }
}

/// How many of the members of etcd run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Members {
    pub(crate) running: usize,
    pub(crate) all: usize,
}

impl Members {
    fn missing(self) -> Option<String> {
        let Self { running, all } = self;
        let verb = if running == 1 { "runs" } else { "run" };
        (running <= all / 2).then(|| format!("etcd has no quorum: {running} of {all} members {verb}"))
    }
}

/// What is missing until the whole is healthy, one sentence each, the gravest first: etcd, what does not
/// run, writers, and only then what follows from these.
pub(crate) fn missing(system: &System, regions: &[RegionStatus], etcd: Members) -> Vec<String> {
    let nodes = regions.iter().filter_map(node_missing);
    let groups: Vec<Vec<String>> = system.databases.iter().map(|d| group_missing(d, regions)).collect();
    let silent = regions.iter().filter_map(unreachable_coordination);
    etcd.missing()
        .into_iter()
        .chain(nodes)
        .chain(silent)
        .chain(groups.into_iter().flatten())
        .chain(verdicts_missing(regions))
        .collect()
}

/// A node that cannot reach etcd.
fn unreachable_coordination(region: &RegionStatus) -> Option<String> {
    let coordination = region.node.as_ref()?.get("coordination")?;
    let reachable = coordination.get("reachable").and_then(Value::as_bool).unwrap_or(true);
    (!reachable).then(|| format!("{} does not reach etcd", region.region))
}

/// For how long more a failover is held back because one was done lately: by the groups of all nodes, each
/// told once.
#[must_use]
pub fn held_back<'a>(nodes: impl Iterator<Item = &'a Value>, window: Duration) -> Vec<String> {
    let mut groups: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for node in nodes {
        let at = node.get("at").and_then(Value::as_i64);
        for group in list(node, "groups") {
            let blocks = |rule: &Value| {
                text(rule, "rule") == "FlapWindow"
                    && rule.get("allows").and_then(Value::as_bool) == Some(false)
            };
            let last = group.pointer("/record/last_failover_at").and_then(Value::as_i64);
            if let (Some(at), Some(last)) = (at, last.filter(|_| list(group, "rules").any(blocks))) {
                let latest = groups.entry(text(group, "group")).or_insert((last, at));
                *latest = (latest.0.max(last), latest.1.max(at));
            }
        }
    }
    let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
    let sentence = |(group, (last, at)): (&str, (i64, i64))| {
        let until = Timestamp(last.saturating_add(window_ms));
        let left = until.0.saturating_sub(at).max(0) / 1000;
        format!(
            "the next failover of {group} is held back for {left} s more (until {} UTC): the last one was {} s ago, within flapWindow {}",
            clock_time(until),
            at.saturating_sub(last).max(0) / 1000,
            meridian_model::units::duration_text(window),
        )
    };
    groups.into_iter().map(sentence).collect()
}

/// The maintenance that holds, as the nodes that reach etcd know it: until its end nothing begins by itself.
pub(crate) fn maintenance<'a>(nodes: impl Iterator<Item = &'a Value>) -> Option<String> {
    let holds = |node: &'a Value| {
        let reachable = node.pointer("/coordination/reachable").and_then(Value::as_bool)?;
        let now = node.get("at").and_then(Value::as_i64)?;
        let maintenance = node.get("maintenance")?;
        let until = maintenance.get("until").and_then(Value::as_i64)?;
        (reachable && now < until).then_some((until, now, maintenance.get("word")?))
    };
    let (until, now, word) = nodes.filter_map(holds).max_by_key(|(until, now, _)| (*until, *now))?;
    let left = (until - now) / 1000;
    let reason = Some(text(word, "reason")).filter(|r| !r.is_empty()).map(|r| format!(": {r}"));
    Some(format!(
        "maintenance for {left} s more (until {} UTC, by {}{}): no failover begins by itself; end it: meridian maintenance end",
        clock_time(Timestamp(until)),
        text(word, "by"),
        reason.unwrap_or_default(),
    ))
}

/// `12:03:04`, UTC.
fn clock_time(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| "-".to_owned(), |t| t.strftime("%H:%M:%S").to_string())
}

fn node_missing(region: &RegionStatus) -> Option<String> {
    let name = &region.region;
    match (&region.node, region.condition.as_str()) {
        (None, "running") => Some(format!("the node of {name} does not answer")),
        (Some(node), "running") if list(node, "verdicts").next().is_none() => {
            Some(format!("{name} has no verdict yet"))
        }
        (_, "running") => None,
        (_, whole @ ("killed" | "frozen")) => Some(format!("{name} is {whole}")),
        (_, parts) => Some(format!("{name}: {parts}")),
    }
}

/// What is not up, and for whom. A whole region that is not up names its parts; a region can also be up with
/// a part that is down (the application of a standby, for one).
fn verdicts_missing(regions: &[RegionStatus]) -> Vec<String> {
    let mut seen: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let nodes = regions.iter().filter_map(|r| Some((r.region.as_str(), r.node.as_ref()?)));
    let verdicts =
        nodes.flat_map(|(viewer, node)| list(node, "verdicts").map(move |verdict| (viewer, verdict)));
    for (viewer, verdict) in verdicts {
        let whole_is_up = text(verdict, "health") == "up";
        let bad =
            |part: &&Value| text(part, "health") == "down" || (!whole_is_up && text(part, "health") != "up");
        let name = text(verdict, "region");
        let part_name =
            |part: &Value| part.pointer("/target/part").and_then(Value::as_str).unwrap_or("?").to_owned();
        let mut parts = list(verdict, "parts").filter(bad).peekable();
        if parts.peek().is_none() && !whole_is_up {
            let what = format!("{name} is {} ({})", text(verdict, "health"), text(verdict, "reason"));
            seen.entry(what).or_default().push(viewer);
        }
        for part in parts {
            let what = format!("{} of {name} is {}", part_name(part), text(part, "health"));
            seen.entry(what).or_default().push(viewer);
        }
    }
    let everybody = regions.iter().filter(|r| r.node.is_some()).count();
    let sentence = |(what, viewers): (String, Vec<&str>)| match viewers.len() {
        n if n == everybody => what,
        _ => format!("{what} for {}", viewers.join(", ")),
    };
    seen.into_iter().map(sentence).collect()
}

fn group_missing(database: &meridian_model::Database, regions: &[RegionStatus]) -> Vec<String> {
    let group = &database.name;
    let row = |r: &&RegionName| {
        let status = regions.iter().find(|s| &s.region == *r)?;
        status.groups.iter().find(|g| &g.group == group).map(|g| (status, g))
    };
    let members: Vec<&RegionName> = database.members.iter().map(|m| &m.region).collect();
    let mut all = Vec::new();
    let mut writers = BTreeSet::new();
    for (status, row) in members.iter().filter_map(row) {
        match &row.writer {
            Some(writer) => drop(writers.insert(writer.clone())),
            None => all.push(format!("{} knows no writer of {group} ({})", status.region, row.reason)),
        }
        let follows = row.writer.as_ref() != Some(&status.region);
        if follows && !(row.role == "standby" && row.streaming) {
            all.push(format!("{group} in {} is {} and does not stream", status.region, row.role));
        }
        if !follows && row.role != "primary" {
            all.push(format!("{group} in {} should write and is {}", status.region, row.role));
        }
    }
    if writers.len() > 1 {
        all.push(format!("the nodes do not agree on the writer of {group}"));
    }
    all.extend(run_missing(group.as_str(), regions));
    all
}

/// A run that waits for a person, or the first one of a group while it is under way: it may fail yet. What it waits
/// for is missing, and what helps is told.
fn run_missing(group: &str, regions: &[RegionStatus]) -> BTreeSet<String> {
    let nodes = regions.iter().filter_map(|r| r.node.as_ref());
    let groups = nodes.flat_map(|node| list(node, "groups")).filter(|g| text(g, "group") == group);
    let missing = |told: &Value| {
        let epoch = Epoch(told.get("epoch").and_then(Value::as_u64)?);
        let run = Run::deserialize(list(told, "runs").next()?).ok()?;
        let waits = run.paused.is_some() || run.kind == RunKind::Start;
        run.unfinished().filter(|_| waits && !run.ended_before(epoch))
    };
    groups.filter_map(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::run::{Step, StepKind, StepState};
    use serde_json::json;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn region(name: &str, node: Option<Value>) -> RegionStatus {
        region_status(&Name::new(name).unwrap(), "running", 1, node)
    }

    fn says(other: &str, health: &str, database: &str) -> Value {
        json!({"region": other, "health": health, "reason": "because",
               "parts": [{"target": {"region": other, "part": "database"}, "health": database}]})
    }

    #[test]
    fn what_is_missing_is_told_once_with_those_who_see_it() {
        let both = || json!({"verdicts": [says("a", "up", "up"), says("b", "up", "down")]});
        let one = json!({"verdicts": [says("a", "unknown", "unknown"), says("b", "up", "down")]});
        let healthy = json!({"verdicts": [says("a", "up", "up")]});
        assert_eq!(verdicts_missing(&[region("a", Some(healthy))]), Vec::<String>::new());
        let all = [region("a", Some(both())), region("b", Some(one))];
        assert_eq!(verdicts_missing(&all), ["database of a is unknown for b", "database of b is down"]);
        assert_eq!(node_missing(&region("c", None)).unwrap(), "the node of c does not answer");
        let without_etcd =
            RegionStatus { condition: "etcd killed".to_owned(), ..region("c", Some(json!({}))) };
        assert_eq!(node_missing(&without_etcd).unwrap(), "c: etcd killed");
    }

    #[test]
    fn etcd_without_a_majority_is_told_first() {
        let told = |running, all| Members { running, all }.missing();
        assert_eq!(told(1, 3).unwrap(), "etcd has no quorum: 1 of 3 members runs");
        assert_eq!((told(2, 3), told(1, 1)), (None, None));
        assert_eq!(told(2, 4).unwrap(), "etcd has no quorum: 2 of 4 members run");
        let cut_off = json!({"verdicts": [says("a", "up", "up")], "coordination": {"reachable": false}});
        let system = meridian_spec::read(&[meridian_spec::SourceFile {
            name: "x.yaml".to_owned(),
            text: include_str!("../../../examples/three-regions.yaml").to_owned(),
        }]);
        let told = missing(&system.unwrap(), &[region("a", Some(cut_off))], Members { running: 1, all: 3 });
        assert!(told[0].starts_with("etcd has no quorum"), "{told:?}");
        assert_eq!(told[1], "a does not reach etcd");
    }

    #[test]
    fn a_failover_that_is_held_back_is_told_once_with_its_end() {
        let node = |allows: bool| {
            json!({"at": 1_700_000_100_000_i64, "groups": [{"group": "orders",
                "record": {"last_failover_at": 1_700_000_000_000_i64},
                "rules": [{"rule": "FlapWindow", "allows": allows, "evidence": ""}]}]})
        };
        let told = held_back([node(false), node(false)].iter(), Duration::from_secs(300));
        assert_eq!(
            told,
            [
                "the next failover of orders is held back for 200 s more (until 22:18:20 UTC): the last one was 100 s ago, \
              within flapWindow 5m"
            ]
        );
        assert!(held_back([node(true)].iter(), Duration::from_secs(300)).is_empty());
    }

    /// The first run of a lab was paused at once, and the lab said that all is healthy.
    #[test]
    fn a_run_that_waits_for_a_person_is_missing_with_what_helps() {
        let run = |kind: RunKind, state: StepState, paused: Option<&str>| {
            let (id, group, to) = (name("orders-1-start"), name("orders"), name("a"));
            let begun = Run::begin(id, group, kind, Epoch(1), to, Timestamp(0));
            let step = Step::plain(StepKind::Scale, state).unwrap();
            Run { steps: vec![step], paused: paused.map(str::to_owned), ..begun }
        };
        let told = |run: Run, epoch: u64| {
            let node = json!({"groups": [{"group": "orders", "epoch": epoch, "runs": [run]}]});
            run_missing("orders", &[region("a", Some(node.clone())), region("b", Some(node))])
        };
        let running = || StepState::Running { since: Timestamp(0) };
        let paused = told(run(RunKind::Switchover, running(), Some("step scale failed")), 1);
        let expected = "run orders-1-start is paused (step scale failed): `meridian run resume orders-1-start` lets it \
                        go on, `meridian run abort orders-1-start` ends it";
        assert_eq!(paused.into_iter().collect::<Vec<_>>(), [expected], "once, however many nodes tell it");
        assert_eq!(told(run(RunKind::Start, running(), None), 1).len(), 1, "it may fail yet");
        assert!(told(run(RunKind::Switchover, running(), None), 1).is_empty(), "it is under way");
        assert!(told(run(RunKind::Start, running(), Some("why")), 2).is_empty(), "another reign has begun");
        let done = StepState::Done { since: Timestamp(0), at: Timestamp(1), detail: String::new() };
        assert!(told(run(RunKind::Start, done, None), 1).is_empty());
    }

    #[test]
    fn maintenance_is_told_until_its_end_by_nodes_that_reach_etcd() {
        let node = |reachable: bool, at: i64| {
            json!({"at": at, "coordination": {"reachable": reachable}, "maintenance":
                {"until": 1_700_000_000_000_i64, "word": {"by": "ann", "at": 0, "reason": "new disks"}}})
        };
        let before = 1_699_999_940_000;
        let told = "maintenance for 60 s more (until 22:13:20 UTC, by ann: new disks): no failover begins by itself; \
                    end it: meridian maintenance end";
        assert_eq!(maintenance([node(false, 0), node(true, before)].iter()).as_deref(), Some(told));
        assert_eq!(maintenance([node(false, before)].iter()), None, "what it knows may be over");
        assert_eq!(maintenance([node(true, 1_700_000_000_000)].iter()), None, "it has ended");
        let none = json!({"at": before, "coordination": {"reachable": true}, "maintenance": null});
        assert_eq!(maintenance([none].iter()), None);
    }

    #[test]
    fn verdicts_of_the_majority_hold_and_groups_are_read() {
        let node = |health: &str| {
            json!({"verdicts": [says("a", health, health)],
                   "groups": [{"group": "orders", "epoch": 3, "writer": "b", "reason": "",
                               "database": {"role": "standby", "streaming": true, "replay_lag_ms": 5,
                                            "replayed": 50_331_647, "standbys": [],
                                            "received": {"timeline": 2, "lsn": 50_331_648}}}]})
        };
        let mut all =
            [region("a", Some(node("down"))), region("b", Some(node("up"))), region("c", Some(node("down")))];
        settle_verdicts(&mut all);
        assert_eq!(all[0].verdict, "down");
        let group = &all[0].groups[0];
        assert_eq!(
            (group.role.as_str(), group.epoch, group.lag_ms, group.lsn.as_str()),
            ("standby", 3, Some(5), "0/3000000")
        );
        assert_eq!(group.lag.as_deref(), Some("5 ms"));
        assert_eq!(group.writer.as_ref().map(Name::as_str), Some("b"));
    }
}
